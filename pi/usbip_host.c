#include "usbip_host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/usbdevice_fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cleanup.h"
#include "sysfs.h"
#include "usbfs.h"
#include "usbfs_claim.h"
#include "usbfs_layout.h"

#define DRIVERS    "bus/usb/drivers/"
#define TABLE_SIZE 16 /* MAX_BUSID in drivers/usb/usbip/stub.h */

struct usbip_host {
	unsigned n_references; /* of several threads */
	int sysfs_fd, dev_fd;  /* owned */
};

int usbip_host_new(const char *sysfs_root, const char *dev_root, struct usbip_host **ret_host)
{
	struct usbip_host *host = calloc(1, sizeof(*host));

	if (!host)
		return -ENOMEM;
	host->n_references = 1;
	host->sysfs_fd = sysfs_open_dir(AT_FDCWD, sysfs_root);
	host->dev_fd = sysfs_open_dir(AT_FDCWD, dev_root);
	if (host->sysfs_fd < 0 || host->dev_fd < 0) {
		int r = host->sysfs_fd < 0 ? host->sysfs_fd : host->dev_fd;
		usbip_host_unref(host);
		return r;
	}
	*ret_host = host;
	return 0;
}

struct usbip_host *usbip_host_ref(struct usbip_host *host)
{
	__atomic_add_fetch(&host->n_references, 1, __ATOMIC_RELAXED);
	return host;
}

struct usbip_host *usbip_host_unref(struct usbip_host *host)
{
	if (!host || __atomic_sub_fetch(&host->n_references, 1, __ATOMIC_ACQ_REL) > 0)
		return NULL;
	close_fd(host->sysfs_fd);
	close_fd(host->dev_fd);
	free(host);
	return NULL;
}

static int host_device_path(const struct busid *busid, const char *attribute, char *path, size_t size)
{
	int n = snprintf(path, size, "bus/usb/devices/%s/%s", busid->text, attribute);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int usbip_host_open_device(const struct usbip_host *host, const struct busid *busid)
{
	char path[128];
	int r = host_device_path(busid, "", path, sizeof(path));

	return r < 0 ? r : sysfs_open_dir(host->sysfs_fd, path);
}

int usbip_host_check(const struct usbip_host *host, struct failure *ret_failure)
{
	struct utsname kernel;

	if (faccessat(host->sysfs_fd, DRIVERS "usbip-host/bind", F_OK, 0) == 0)
		return 0;
	if (uname(&kernel) < 0)
		return -errno;
	if (faccessat(host->sysfs_fd, "bus/usb", F_OK, 0) < 0)
		return failure_set(
			ret_failure, FAILURE_NO_USB,
			"Install a kernel with USB, on Debian: apt install linux-image-$(dpkg --print-architecture), and reboot.",
			"this kernel (%s) has no USB support%s", kernel.release,
			strstr(kernel.release, "cloud") ? ": Debian's cloud kernel is built without" : "");
	return failure_set(ret_failure, FAILURE_NO_MODULE,
			   "Load it: sudo modprobe usbip-host. If there is no such module, install the kernel's extra modules.",
			   "the kernel module usbip-host is not loaded (kernel %s)", kernel.release);
}

/* What a failed write means to a person. ENODEV and ENOENT at any step mean that the device was unplugged meanwhile. */
static int host_fail(struct failure *failure, int error, const struct busid *busid, const char *what)
{
	switch (-error) {
	case ENODEV:
	case ENOENT:
		return failure_set(failure, FAILURE_GONE, NULL, "%s: unplugged meanwhile", busid->text);
	case EACCES:
	case EPERM:
	case EROFS:
		return failure_set(failure, FAILURE_NO_PERMISSION,
				   "Run usbpush-exporter by its systemd unit, as root and with sysfs writable.", "%s: no permission to %s",
				   busid->text, what);
	default:
		return failure_set(failure, FAILURE_KERNEL, "Look at dmesg on the Pi; plug the device in again.",
				   "%s: the kernel refused to %s: %s", busid->text, what, strerror(-error));
	}
}

static int host_write_driver(const struct usbip_host *host, const char *file, const char *value)
{
	char path[128];
	int n = snprintf(path, sizeof(path), DRIVERS "%s", file);

	return n < 0 || (size_t)n >= sizeof(path) ? -ENAMETOOLONG : sysfs_write(host->sysfs_fd, path, value);
}

/* The name of the device's driver; "" without one. */
static int host_read_driver(const struct usbip_host *host, const struct busid *busid, char *driver, size_t size)
{
	_cleanup_close_ int fd = usbip_host_open_device(host, busid);
	int r;

	if (fd < 0)
		return fd;
	r = sysfs_link_name(fd, "driver", driver, size);
	if (r == -ENOENT) {
		driver[0] = '\0';
		return 0;
	}
	return r;
}

/* A link of bus/usb/devices leads to "../../../devices/...". */
static void host_read_syspath(int devices_fd, const char *name, char *syspath, size_t size)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(devices_fd, name, target, sizeof(target) - 1);
	const char *path = target;

	target[n > 0 ? n : 0] = '\0';
	while (strncmp(path, "../", 3) == 0)
		path += 3;
	snprintf(syspath, size, "/sys/%s", path);
}

int usbip_host_enumerate(const struct usbip_host *host,
			 void (*fn)(const struct busid *busid, const char *syspath, const char *driver, void *userdata), void *userdata)
{
	int fd = sysfs_open_dir(host->sysfs_fd, "bus/usb/devices");
	_cleanup_closedir_ DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int r = 0;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd; /* a kernel without USB: usbip_host_check() tells it */
	if (!directory) {
		close_fd(fd);
		return -ENOMEM;
	}
	while ((errno = 0, entry = readdir(directory))) {
		char syspath[PATH_MAX + 8], driver[64];
		struct busid busid;
		int err;

		if (busid_parse(entry->d_name, &busid) < 0)
			continue; /* a root hub, an interface */
		err = host_read_driver(host, &busid, driver, sizeof(driver));
		if (err < 0) {
			r = err == -ENOENT || err == -ENODEV ? r : err; /* those say: unplugged since */
			continue;
		}
		host_read_syspath(fd, entry->d_name, syspath, sizeof(syspath));
		fn(&busid, syspath, driver, userdata);
	}
	return errno ? -errno : r;
}

static int host_open_node(const struct usbip_host *host, int device_fd, int flags)
{
	uint32_t bus, device;
	char path[64];
	int fd, r = sysfs_read_uint(device_fd, "busnum", 10, &bus);

	if (r == 0)
		r = sysfs_read_uint(device_fd, "devnum", 10, &device);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "bus/usb/%03u/%03u", bus, device);
	fd = openat(host->dev_fd, path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int host_open_node_of(const struct usbip_host *host, const struct busid *busid)
{
	_cleanup_close_ int device = usbip_host_open_device(host, busid);

	return device < 0 ? device : host_open_node(host, device, O_RDWR);
}

int usbip_host_reset(const struct usbip_host *host, const struct busid *busid)
{
	_cleanup_close_ int node = host_open_node_of(host, busid);

	if (node < 0)
		return node;
	return ioctl(node, USBDEVFS_RESET, 0) < 0 ? -errno : 0;
}

static int host_open_hub(const struct usbip_host *host, int device_fd, int flags)
{
	_cleanup_close_ int hub = openat(device_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return hub < 0 ? -errno : host_open_node(host, hub, flags);
}

int usbip_host_open_hub(const struct usbip_host *host, int device_fd)
{
	return host_open_hub(host, device_fd, O_RDWR);
}

static int host_take_hold(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *ret_hold)
{
	_cleanup_close_ int device = usbip_host_open_device(host, busid);
	struct usbip_hold hold = USBIP_HOLD_NONE;

	if (device < 0)
		return device;
	hold.device_fd = host_open_node(host, device, O_RDONLY);
	hold.hub_fd = host_open_hub(host, device, O_RDONLY);
	if (hold.device_fd < 0 || hold.hub_fd < 0) {
		int r = hold.device_fd < 0 ? hold.device_fd : hold.hub_fd;
		usbip_hold_done(&hold);
		return r;
	}
	*ret_hold = hold;
	return 0;
}

void usbip_hold_done(struct usbip_hold *hold)
{
	hold->device_fd = close_fd(hold->device_fd);
	hold->hub_fd = close_fd(hold->hub_fd);
	hold->claim = usbfs_claim_free(hold->claim);
}

static int host_bind_to_stub(const struct usbip_host *host, const struct busid *busid, struct failure *failure)
{
	char command[BUSID_SIZE + 8];
	int r;

	snprintf(command, sizeof(command), "add %s", busid->text);
	r = host_write_driver(host, "usbip-host/match_busid", command);
	if (r == -ENOMEM)
		return failure_set(failure, FAILURE_TABLE_FULL, "Release a device first: usbpush detach DEVICE.",
				   "%s: the kernel's usbip-host can hold 16 devices, and it holds 16", busid->text);
	if (r == 0)
		r = host_write_driver(host, "usbip-host/bind", busid->text);
	return r < 0 ? host_fail(failure, r, busid, "bind it to usbip-host") : 0;
}

static int host_unbind_driver(const struct usbip_host *host, const struct busid *busid, struct failure *failure)
{
	enum usbip_host_status status;
	char driver[64], file[80];
	int r = host_read_driver(host, busid, driver, sizeof(driver));

	if (r == 0 && strcmp(driver, "usbip-host") == 0 && usbip_host_get_status(host, busid, &status) == 0 && status == USBIP_HOST_USED)
		return failure_set(failure, FAILURE_BUSY, "End it at its other end, or stop usbipd here.",
				   "%s: another program has a USB/IP session on it", busid->text);
	if (r == 0 && driver[0]) {
		snprintf(file, sizeof(file), "%s/unbind", driver);
		r = host_write_driver(host, file, busid->text);
	}
	return r < 0 ? host_fail(failure, r, busid, "take it from its driver") : 0;
}

int usbip_host_bind(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *ret_hold, struct failure *ret_failure)
{
	struct usbip_hold hold = USBIP_HOLD_NONE;
	int r = usbip_host_check(host, ret_failure);

	if (r < 0)
		return r;
	r = host_take_hold(host, busid, &hold);
	if (r < 0)
		return host_fail(ret_failure, r, busid, "open it");
	r = host_unbind_driver(host, busid, ret_failure);
	if (r < 0) {
		usbip_hold_done(&hold);
		return r;
	}
	r = host_bind_to_stub(host, busid, ret_failure);
	if (r < 0) {
		usbip_hold_done(&hold);
		(void)sysfs_write(host->sysfs_fd, "bus/usb/drivers_probe", busid->text); /* back to the driver it had; or it is gone */
		return r;
	}
	*ret_hold = hold;
	return 0;
}

/* match_busid reads as its entries, one behind the other. */
bool usbip_host_has_place(const struct usbip_host *host)
{
	char text[TABLE_SIZE * (BUSID_SIZE + 1) + 2], *rest = text, *word;
	unsigned n = 0;

	if (sysfs_read(host->sysfs_fd, DRIVERS "usbip-host/match_busid", text, sizeof(text)) < 0)
		return true; /* the write will tell */
	while ((word = strsep(&rest, " \n")))
		if (*word)
			n++;
	return n < TABLE_SIZE;
}

/* `rebind` marks the entry as nobody's, lets the drivers try the device again, and clears the entry (rebind_store() in stub_main.c): the only way
 * to clear one. Without the hold it would follow a stale pointer. */
static int host_clear_entry(const struct usbip_host *host, const struct busid *busid)
{
	int r = host_write_driver(host, "usbip-host/rebind", busid->text);

	if (r == -ENODEV)
		r = host_write_driver(host, "usbip-host/rebind",
				      busid->text); /* sysfs says that, too, of a file that is just being replaced */
	return r == -ENODEV ? 0 : r;                /* no entry: nothing to clear */
}

/* Somebody bound it to usbip-host: there are no interfaces to be claimed then, or they are his session's. */
static int host_take_from_stub(const struct usbip_host *host, const struct busid *busid, struct failure *failure)
{
	int r;

	if (!usbip_host_is_bound(host, busid))
		return 0;
	r = host_unbind_driver(host, busid, failure);
	if (r < 0)
		return r;
	r = host_clear_entry(host, busid); /* the generic driver tries it, too: with that come its interfaces */
	return r < 0 ? host_fail(failure, r, busid, "give it back to its driver") : 0;
}

/* Negative: not known. It is empty where the device has none. */
static int host_read_configuration(int device_fd)
{
	uint32_t configuration;

	return sysfs_read_uint(device_fd, "bConfigurationValue", 10, &configuration) == 0 && configuration <= UINT8_MAX ?
		       (int)configuration :
		       -1;
}

/* node is used up. */
static int host_claim_node(int device_fd, int node, struct usbfs_claim **ret_claim)
{
	struct usbfs_layout *layout = NULL;
	int r = usbfs_layout_read(device_fd, &layout);

	if (r < 0) {
		close_fd(node);
		return r;
	}
	return usbfs_claim_new(node, layout, host_read_configuration(device_fd), ret_claim);
}

int usbip_host_claim(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *ret_hold, struct failure *ret_failure)
{
	_cleanup_close_ int device = usbip_host_open_device(host, busid);
	struct usbip_hold hold = USBIP_HOLD_NONE;
	int r = device < 0 ? device : host_open_node(host, device, O_RDONLY);

	if (r >= 0) {
		hold.device_fd = r;
		r = host_take_from_stub(host, busid, ret_failure);
		if (r < 0) {
			usbip_hold_done(&hold);
			return r;
		}
		r = host_open_node(host, device, O_RDWR);
	}
	if (r >= 0)
		r = host_claim_node(device, r, &hold.claim);
	if (r < 0)
		usbip_hold_done(&hold);
	if (r == -ENXIO)
		return failure_set(ret_failure, FAILURE_KERNEL, "Look at dmesg on the Pi; plug the device in again.",
				   "%s: it has no interface that could be claimed", busid->text);
	if (r == -EBUSY)
		return failure_set(ret_failure, FAILURE_BUSY, "End that program.", "%s: another program on the Pi uses it (by usbfs)",
				   busid->text);
	if (r < 0)
		return host_fail(ret_failure, r, busid, "claim it");
	*ret_hold = hold;
	return 0;
}

int usbip_host_connect(const struct usbip_host *host, const struct busid *busid)
{
	_cleanup_close_ int node = host_open_node_of(host, busid);

	if (node < 0)
		return node;
	usbfs_connect_drivers(node);
	return 0;
}

int usbip_host_adopt(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *ret_hold)
{
	char driver[64];
	int r = host_read_driver(host, busid, driver, sizeof(driver));

	if (r < 0)
		return r;
	if (strcmp(driver, "usbip-host") != 0)
		return -ENODEV;
	return host_take_hold(host, busid, ret_hold);
}

/* Whether it may be that usbip-host has it: also when that can't be read. */
static bool host_may_be_bound(const struct usbip_host *host, const struct busid *busid)
{
	char driver[64];
	int r = host_read_driver(host, busid, driver, sizeof(driver));

	return r < 0 ? r != -ENOENT && r != -ENODEV : strcmp(driver, "usbip-host") == 0;
}

int usbip_host_release(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *hold, struct failure *ret_failure)
{
	enum usbip_host_status status;
	int r = usbip_host_get_status(host, busid, &status);

	if (r == 0 && status == USBIP_HOST_USED)
		return failure_set(ret_failure, FAILURE_BUSY, NULL, "%s: its session is still being torn down", busid->text);
	if (r == 0)
		r = host_write_driver(host, "usbip-host/unbind", busid->text);
	if (r == -ENODEV || r == -ENOENT)
		r = host_may_be_bound(host, busid) ? -EIO : 0; /* unplugged, or unbound by somebody else: unless it is there as before */
	if (r < 0)
		return host_fail(ret_failure, r, busid, "take it from usbip-host");
	r = host_clear_entry(host, busid);
	if (r < 0)
		return host_fail(ret_failure, r, busid, "give it back to its driver");
	usbip_hold_done(hold);
	return 0;
}

int usbip_host_forget(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *hold)
{
	char driver[64];
	int r = host_read_driver(host, busid, driver, sizeof(driver));

	if (r < 0 && r != -ENOENT && r != -ENODEV)
		return r;
	/* Never without the references; then, and for a bound device, the entry stays, and is taken up by the next device there. */
	if (hold->device_fd >= 0 && (r < 0 || strcmp(driver, "usbip-host") != 0)) {
		r = host_clear_entry(host, busid);
		if (r < 0)
			return r;
	}
	usbip_hold_done(hold);
	return 0;
}

bool usbip_host_is_bound(const struct usbip_host *host, const struct busid *busid)
{
	char driver[64];

	return host_read_driver(host, busid, driver, sizeof(driver)) == 0 && strcmp(driver, "usbip-host") == 0;
}

int usbip_host_get_devnum(const struct usbip_host *host, const struct busid *busid, uint32_t *ret_devnum)
{
	char path[128];
	int r = host_device_path(busid, "devnum", path, sizeof(path));

	return r < 0 ? r : sysfs_read_uint(host->sysfs_fd, path, 10, ret_devnum);
}

int usbip_host_get_status(const struct usbip_host *host, const struct busid *busid, enum usbip_host_status *ret_status)
{
	char path[128];
	uint32_t value;
	int r = host_device_path(busid, "usbip_status", path, sizeof(path));

	if (r == 0)
		r = sysfs_read_uint(host->sysfs_fd, path, 10, &value);
	if (r < 0)
		return r;
	*ret_status = value == 1 ? USBIP_HOST_AVAILABLE : value == 2 ? USBIP_HOST_USED : USBIP_HOST_ERROR;
	return 0;
}

int usbip_host_start_session(const struct usbip_host *host, const struct busid *busid, int fd, struct failure *ret_failure)
{
	char path[128], value[16];
	int r = host_device_path(busid, "usbip_sockfd", path, sizeof(path));

	snprintf(value, sizeof(value), "%d", fd);
	if (r == 0)
		r = sysfs_write(host->sysfs_fd, path, value);
	return r < 0 ? host_fail(ret_failure, r, busid, "start a USB/IP session on it") : 0;
}
