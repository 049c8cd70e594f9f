#include "vhci.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "cleanup.h"
#include "machine.h"
#include "sysfs.h"
#include "usbip_wire.h"

#define VHCI_PLATFORM        "devices/platform"
#define VHCI_MAX_CONTROLLERS 128 /* Kconfig, USBIP_VHCI_NR_HCS */
#define VHCI_MAX_PORTS_EACH  30  /* Kconfig, USBIP_VHCI_HC_PORTS, high speed and SuperSpeed */
#define VHCI_STATUS_SIZE     8192
#define VHCI_PATH_SIZE       128

/* Devices that share ports with their like only, see own_rows(). */
enum port_kind { FULL_SPEED, LOW_SPEED, HIGH_SPEED, SUPER_SPEED, N_PORT_KINDS };

struct controller {
	uint32_t high_speed_bus; /* 0: not there yet */
	uint32_t super_speed_bus;
};

struct vhci {
	int root_fd;                 /* owned: /sys, or a test's tree */
	char *modules_dir;           /* owned */
	uint32_t n_controllers;      /* 0: not usable */
	uint32_t n_ports_each;       /* of one controller, both speeds */
	bool is_prepared;            /* the root hubs authorize nothing by themselves */
	uint32_t next[N_PORT_KINDS]; /* where in the kind's own ports the next search begins */
	struct controller controllers[VHCI_MAX_CONTROLLERS];
};

int vhci_new(const char *sysfs_root, const char *modules_dir, struct vhci **ret_vhci)
{
	struct vhci *vhci = calloc(1, sizeof(*vhci));
	struct utsname name;

	if (!vhci)
		return -ENOMEM;
	vhci->root_fd = open(sysfs_root ? sysfs_root : "/sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uname(&name);
	if (modules_dir)
		vhci->modules_dir = strdup(modules_dir);
	else if (asprintf(&vhci->modules_dir, "/lib/modules/%s", name.release) < 0)
		vhci->modules_dir = NULL;
	if (vhci->root_fd < 0 || !vhci->modules_dir) {
		int err = vhci->root_fd < 0 ? -errno : -ENOMEM;

		vhci_free(vhci);
		return err;
	}
	vhci_scan(vhci);
	*ret_vhci = vhci;
	return 0;
}

struct vhci *vhci_free(struct vhci *vhci)
{
	if (!vhci)
		return NULL;
	close_fd(vhci->root_fd);
	free(vhci->modules_dir);
	free(vhci);
	return NULL;
}

/* "usb12" with prefix "usb" is 12; only plain decimal numbers. */
static bool name_take_number(const char *name, const char *prefix, char end, uint32_t *ret_number, const char **ret_rest)
{
	size_t length = strlen(prefix);
	uint32_t number = 0;
	const char *p = name + length;

	if (strncmp(name, prefix, length) != 0 || *p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		number = number * 10 + (uint32_t)(*p - '0');
		if (number > 65535)
			return false;
	}
	if (*p != end)
		return false;
	*ret_number = number;
	if (ret_rest)
		*ret_rest = p;
	return true;
}

/* The high-speed root hub is registered first and so has the smaller bus number (vhci_hcd.c, vhci_hcd_probe). */
static void controller_add_bus(struct controller *controller, uint32_t bus)
{
	if (!controller->high_speed_bus || bus < controller->high_speed_bus) {
		controller->super_speed_bus = controller->high_speed_bus;
		controller->high_speed_bus = bus;
	} else if (!controller->super_speed_bus || bus < controller->super_speed_bus) {
		controller->super_speed_bus = bus;
	}
}

static void controller_scan(struct vhci *vhci, uint32_t index, struct controller *ret_controller)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[VHCI_PATH_SIZE];
	struct dirent *entry;
	uint32_t bus;
	int fd;

	snprintf(path, sizeof(path), VHCI_PLATFORM "/vhci_hcd.%u", index);
	fd = sysfs_open_dir(vhci->root_fd, path);
	if (fd < 0)
		return;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (name_take_number(entry->d_name, "usb", '\0', &bus, NULL) && bus)
			controller_add_bus(ret_controller, bus);
}

/* Counts the controllers only once all their root hubs are there: before, reading `status` could crash kernels below 6.1.190
 * (CVE-2026-97484). */
void vhci_scan(struct vhci *vhci)
{
	uint32_t n = 0, n_ports;

	vhci->n_controllers = 0;
	vhci->is_prepared = false;
	memset(vhci->controllers, 0, sizeof(vhci->controllers));
	for (; n < VHCI_MAX_CONTROLLERS; n++) {
		char path[VHCI_PATH_SIZE];
		struct stat st;

		snprintf(path, sizeof(path), VHCI_PLATFORM "/vhci_hcd.%u", n);
		if (fstatat(vhci->root_fd, path, &st, 0) < 0)
			break;
		controller_scan(vhci, n, &vhci->controllers[n]);
		if (!vhci->controllers[n].super_speed_bus)
			return;
	}
	if (n == 0 || sysfs_read_uint(vhci->root_fd, VHCI_PLATFORM "/vhci_hcd.0/nports", 10, &n_ports) < 0)
		return;
	if (n_ports == 0 || n_ports % (2 * n) != 0 || n_ports / n > VHCI_MAX_PORTS_EACH)
		return;
	vhci->n_controllers = n;
	vhci->n_ports_each = n_ports / n;
}

static bool vhci_has_module_file(const struct vhci *vhci)
{
	static const char *const suffixes[] = { "", ".xz", ".zst", ".gz" };

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/kernel/drivers/usb/usbip/vhci-hcd.ko%s", vhci->modules_dir, suffixes[i]);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

int vhci_check(const struct vhci *vhci, struct failure *ret_failure)
{
	struct utsname name;
	char cloud_cure[160];

	if (vhci->n_controllers > 0)
		return 0;
	uname(&name);
	if (vhci_has_module_file(vhci))
		return failure_set(ret_failure, FAILURE_NO_MODULE, "On the VM: modprobe vhci_hcd",
				   "the VM has not loaded its kernel's module vhci_hcd");
	snprintf(cloud_cure, sizeof(cloud_cure),
		 "On the VM, install a standard kernel: apt install linux-image-%s, remove the cloud kernel, reboot",
		 machine_kernel_arch(name.release));
	if (faccessat(vhci->root_fd, "bus/usb", F_OK, 0) < 0)
		return failure_set(ret_failure, FAILURE_NO_USB,
				   strstr(name.release, "cloud") ? cloud_cure :
								   "On the VM, boot a kernel with USB support and the module vhci-hcd",
				   "the VM's kernel %s has no USB support", name.release);
	return failure_set(ret_failure, FAILURE_NO_MODULE,
			   "On the VM, install it (Ubuntu: linux-modules-extra for this kernel), then: modprobe vhci_hcd",
			   "the VM's kernel %s has no module vhci-hcd", name.release);
}

static int vhci_fail_write(struct failure *ret_failure, const char *path, int err)
{
	switch (-err) {
	case EACCES:
	case EPERM:
	case EROFS:
		return failure_set(ret_failure, FAILURE_NO_PERMISSION,
				   "On the VM, let systemd start the handler: systemctl restart usbpush-handler",
				   "the VM's /sys/%s may not be written", path);
	case ENOENT:
	case ENODEV:
		return failure_set(ret_failure, FAILURE_NO_MODULE, "On the VM: modprobe vhci_hcd",
				   "the VM has not loaded its kernel's module vhci_hcd");
	default:
		return failure_set(ret_failure, FAILURE_KERNEL, "On the VM, see the kernel's log: dmesg", "the VM's /sys/%s: %s", path,
				   strerror(-err));
	}
}

static int hub_prepare(struct vhci *vhci, uint32_t controller, uint32_t bus, struct failure *ret_failure)
{
	char path[VHCI_PATH_SIZE];
	int err;

	snprintf(path, sizeof(path), VHCI_PLATFORM "/vhci_hcd.%u/usb%u/authorized_default", controller, bus);
	err = sysfs_write(vhci->root_fd, path, "0");
	return err < 0 ? vhci_fail_write(ret_failure, path, err) : 0;
}

int vhci_prepare(struct vhci *vhci, struct failure *ret_failure)
{
	int err = vhci_check(vhci, ret_failure);

	for (uint32_t i = 0; i < vhci->n_controllers && err >= 0; i++) {
		err = hub_prepare(vhci, i, vhci->controllers[i].high_speed_bus, ret_failure);
		if (err >= 0)
			err = hub_prepare(vhci, i, vhci->controllers[i].super_speed_bus, ret_failure);
	}
	vhci->is_prepared = err >= 0;
	return err;
}

uint32_t vhci_count_ports(const struct vhci *vhci)
{
	return vhci->n_controllers * vhci->n_ports_each;
}

static int controller_read_ports(struct vhci *vhci, uint32_t index, struct vhci_port *ports, size_t *ret_n)
{
	_cleanup_free_ char *text = malloc(VHCI_STATUS_SIZE);
	char path[VHCI_PATH_SIZE];
	int r;

	if (!text)
		return -ENOMEM;
	if (index == 0)
		snprintf(path, sizeof(path), VHCI_PLATFORM "/vhci_hcd.0/status");
	else
		snprintf(path, sizeof(path), VHCI_PLATFORM "/vhci_hcd.0/status.%u", index);
	r = sysfs_read(vhci->root_fd, path, text, VHCI_STATUS_SIZE);
	if (r < 0)
		return r;
	return vhci_status_parse(text, ports, vhci->n_ports_each, ret_n);
}

int vhci_read_ports(struct vhci *vhci, struct vhci_port **ret_ports, size_t *ret_n)
{
	_cleanup_free_ struct vhci_port *ports = calloc(vhci_count_ports(vhci) + 1, sizeof(*ports));
	size_t n = 0;

	if (!ports)
		return -ENOMEM;
	for (uint32_t i = 0; i < vhci->n_controllers; i++) {
		size_t n_here;
		int err = controller_read_ports(vhci, i, ports + n, &n_here);

		if (err < 0)
			return err;
		n += n_here;
	}
	*ret_ports = TAKE_PTR(ports);
	*ret_n = n;
	return 0;
}

int vhci_read_port(struct vhci *vhci, uint32_t port, struct vhci_port *ret_port)
{
	struct vhci_port ports[VHCI_MAX_PORTS_EACH];
	size_t n;
	int err;

	if (port >= vhci_count_ports(vhci))
		return -ENOENT;
	err = controller_read_ports(vhci, port / vhci->n_ports_each, ports, &n);
	if (err < 0)
		return err;
	for (size_t i = 0; i < n; i++) {
		if (ports[i].number != port)
			continue;
		*ret_port = ports[i];
		return 0;
	}
	return -ENOENT;
}

static enum port_kind kind_of_speed(uint32_t speed)
{
	if (speed >= 5000)
		return SUPER_SPEED;
	if (speed >= 480)
		return HIGH_SPEED;
	return speed >= 12 ? FULL_SPEED : LOW_SPEED;
}

/* Which of a root hub's n rows (a row is the port of the same number on each controller) are a kind's own.
 * rh_port_disconnect() in drivers/usb/usbip/vhci_hcd.c leaves the speed of the device that went in the port's status; the next device is taken for one of that
 * speed, until its first enumeration fails and the second one sees better: a full-speed device on a high-speed one's port is there a quarter of a
 * second later. So they don't use each other's ports as long as there are others. */
static void own_rows(enum port_kind kind, uint32_t n, uint32_t *ret_first, uint32_t *ret_n)
{
	uint32_t n_high = n / 3, n_low = n < 6 ? 1 : n / 6;

	*ret_first = 0;
	*ret_n = n;
	if (kind == SUPER_SPEED || n < 3)
		return;
	switch (kind) {
	case HIGH_SPEED:
		*ret_n = n_high;
		*ret_first = n - n_high;
		break;
	case LOW_SPEED:
		*ret_n = n_low;
		*ret_first = n - n_high - n_low;
		break;
	default:
		*ret_n = n - n_high - n_low;
	}
}

/* A port's place among all of its hubs' ports: neighbours belong to different controllers, for a hub reads its devices one after the other and two hubs
 * do so side by side. */
static uint32_t port_rank(const struct vhci *vhci, uint32_t port)
{
	return port % (vhci->n_ports_each / 2) * vhci->n_controllers + port / vhci->n_ports_each;
}

/* The first free port of the kind's own ring, from the place where the last search ended; else the first of what comes behind its own rows. */
static bool ports_pick(struct vhci *vhci, const struct vhci_port *ports, size_t n, enum port_kind kind, vhci_is_reserved_fn is_reserved,
		       void *userdata, uint32_t *ret_port)
{
	uint32_t n_all = vhci_count_ports(vhci) / 2, first, n_own, nearest = UINT32_MAX;

	own_rows(kind, vhci->n_ports_each / 2, &first, &n_own);
	first *= vhci->n_controllers;
	n_own *= vhci->n_controllers;
	for (size_t i = 0; i < n; i++) {
		uint32_t place = (port_rank(vhci, ports[i].number) + n_all - first) % n_all; /* 0: the first of its own */
		uint32_t distance = place < n_own ? (place + n_own - vhci->next[kind] % n_own) % n_own : place;

		if (ports[i].is_super_speed != (kind == SUPER_SPEED) || ports[i].state != VHCI_PORT_FREE || distance >= nearest ||
		    (is_reserved && is_reserved(ports[i].number, userdata)))
			continue;
		nearest = distance;
		*ret_port = ports[i].number;
	}
	if (nearest == UINT32_MAX)
		return false;
	if (nearest < n_own)
		vhci->next[kind] = (vhci->next[kind] + nearest + 1) % n_own;
	return true;
}

static bool vhci_has_ports(const struct vhci *vhci)
{
	return vhci->n_controllers > 0 && vhci->n_ports_each > 1;
}

/* The port where the search would begin, if it is free: then only its own controller is asked, not all of them while a device waits. */
static bool ports_pick_next(struct vhci *vhci, enum port_kind kind, vhci_is_reserved_fn is_reserved, void *userdata, uint32_t *ret_port)
{
	uint32_t n_rows = vhci->n_ports_each / 2, first, n_own, rank, port;
	struct vhci_port found;

	own_rows(kind, n_rows, &first, &n_own);
	n_own *= vhci->n_controllers;
	rank = first * vhci->n_controllers + vhci->next[kind] % n_own;
	port = rank % vhci->n_controllers * vhci->n_ports_each + rank / vhci->n_controllers + (kind == SUPER_SPEED ? n_rows : 0);
	if ((is_reserved && is_reserved(port, userdata)) || vhci_read_port(vhci, port, &found) < 0)
		return false;
	if (found.state != VHCI_PORT_FREE || found.is_super_speed != (kind == SUPER_SPEED))
		return false;
	vhci->next[kind] = (vhci->next[kind] + 1) % n_own;
	*ret_port = port;
	return true;
}

int vhci_find_free_port(struct vhci *vhci, uint32_t speed, vhci_is_reserved_fn is_reserved, void *userdata, uint32_t *ret_port,
			struct failure *ret_failure)
{
	_cleanup_free_ struct vhci_port *ports = NULL;
	enum port_kind kind = kind_of_speed(speed);
	size_t n;
	int err;

	if (!usbip_speed_from_mbit(speed))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "USB has no speed of %u Mbit/s", speed);
	if (vhci->n_controllers == 0)
		vhci_scan(vhci); /* whatever kept the last one from seeing them */
	/* Never onto a hub that would hand the device to its drivers before anybody looked at it. */
	err = vhci->is_prepared ? vhci_check(vhci, ret_failure) : vhci_prepare(vhci, ret_failure);
	if (err < 0)
		return err;
	if (vhci_has_ports(vhci) && ports_pick_next(vhci, kind, is_reserved, userdata, ret_port))
		return 0;
	err = vhci_read_ports(vhci, &ports, &n);
	if (err < 0)
		return failure_set(ret_failure, FAILURE_KERNEL, "On the VM, see the kernel's log: dmesg",
				   "the state of vhci_hcd's ports can't be read: %s", strerror(-err));
	if (!vhci_has_ports(vhci) || !ports_pick(vhci, ports, n, kind, is_reserved, userdata, ret_port))
		return failure_set(ret_failure, FAILURE_NO_FREE_PORT, "Detach a device there: usbpush-vm detach DEVICE",
				   "VM has no free %s port (%u of %u in use)", kind == SUPER_SPEED ? "SuperSpeed" : "high-speed",
				   vhci_count_ports(vhci) / 2, vhci_count_ports(vhci) / 2);
	return 0;
}

struct vhci_write {
	int root_fd;      /* owned: the job may outlive the vhci */
	int stream_fd;    /* owned; negative for `detach` */
	const char *path; /* below /sys */
	char value[64];
};

static struct vhci_write *vhci_write_new(const struct vhci *vhci, const char *path)
{
	struct vhci_write *write = calloc(1, sizeof(*write));

	if (!write)
		return NULL;
	write->path = path;
	write->stream_fd = -EBADF;
	write->root_fd = fcntl(vhci->root_fd, F_DUPFD_CLOEXEC, 3);
	if (write->root_fd < 0) {
		vhci_write_free(write);
		return NULL;
	}
	return write;
}

struct vhci_write *vhci_write_new_attach(const struct vhci *vhci, uint32_t port, int fd, uint32_t devid, uint32_t speed)
{
	struct vhci_write *write = vhci_write_new(vhci, VHCI_PLATFORM "/vhci_hcd.0/attach");

	if (!write)
		return NULL;
	write->stream_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (write->stream_fd < 0) {
		vhci_write_free(write);
		return NULL;
	}
	snprintf(write->value, sizeof(write->value), "%u %d %u %u", port, write->stream_fd, devid, usbip_speed_from_mbit(speed));
	return write;
}

struct vhci_write *vhci_write_new_detach(const struct vhci *vhci, uint32_t port)
{
	struct vhci_write *write = vhci_write_new(vhci, VHCI_PLATFORM "/vhci_hcd.0/detach");

	if (write)
		snprintf(write->value, sizeof(write->value), "%u", port);
	return write;
}

void vhci_write_free(void *arg)
{
	struct vhci_write *write = arg;

	if (!write)
		return;
	close_fd(write->root_fd);
	close_fd(write->stream_fd);
	free(write);
}

int vhci_write_run(void *arg)
{
	const struct vhci_write *write = arg;
	int err = sysfs_write(write->root_fd, write->path, write->value);

	return err == -EINVAL && write->stream_fd < 0 ? 0 : err; /* free already */
}

int vhci_write_explain(const struct vhci_write *write, int err, struct failure *ret_failure)
{
	return vhci_fail_write(ret_failure, write->path, err);
}

bool vhci_find_port(const struct vhci *vhci, const char *syspath, uint32_t *ret_port, struct busid *ret_busid)
{
	uint32_t index, bus, bus_again, socket;
	const char *rest = syspath, *path;
	bool is_super_speed;
	char name[BUSID_SIZE];
	size_t length;

	if (!name_take_number(rest, "/sys/" VHCI_PLATFORM "/vhci_hcd.", '/', &index, &rest) ||
	    !name_take_number(rest, "/usb", '/', &bus, &rest) || !name_take_number(rest, "/", '-', &bus_again, NULL))
		return false;
	if (index >= vhci->n_controllers || bus != bus_again)
		return false;
	is_super_speed = bus == vhci->controllers[index].super_speed_bus;
	if (!is_super_speed && bus != vhci->controllers[index].high_speed_bus)
		return false;

	length = strcspn(++rest, "/");
	if (length >= sizeof(name))
		return false;
	memcpy(name, rest, length);
	name[length] = '\0';
	path = strchr(name, '-');
	if (!path || !name_take_number(path, "-", '\0', &socket, NULL) || socket == 0 || socket > vhci->n_ports_each / 2)
		return false;
	if (busid_parse(name, ret_busid) < 0)
		return false;
	*ret_port = index * vhci->n_ports_each + (is_super_speed ? vhci->n_ports_each / 2 : 0) + socket - 1;
	return true;
}

int vhci_open_device(const struct vhci *vhci, uint32_t port, struct busid *ret_busid)
{
	uint32_t index, socket, bus;
	char path[VHCI_PATH_SIZE], name[BUSID_SIZE];
	int fd;

	if (port >= vhci_count_ports(vhci))
		return -ENOENT;
	index = port / vhci->n_ports_each;
	socket = port % (vhci->n_ports_each / 2) + 1;
	bus = port % vhci->n_ports_each < vhci->n_ports_each / 2 ? vhci->controllers[index].high_speed_bus :
								   vhci->controllers[index].super_speed_bus;
	snprintf(name, sizeof(name), "%u-%u", bus, socket);
	snprintf(path, sizeof(path), VHCI_PLATFORM "/vhci_hcd.%u/usb%u/%s", index, bus, name);
	fd = sysfs_open_dir(vhci->root_fd, path);
	if (fd < 0)
		return fd;
	if (ret_busid && busid_parse(name, ret_busid) < 0) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

void vhci_nudge_node(const struct vhci *vhci, const char *devnode)
{
	static const char *const classes[] = { "tty", "block", "hidraw", "video4linux", "usbmisc" };
	const char *name = strrchr(devnode, '/');
	char path[256];

	for (size_t i = 0; name && i < ARRAY_SIZE(classes); i++) {
		snprintf(path, sizeof(path), "class/%s%s/uevent", classes[i], name);
		if (sysfs_write(vhci->root_fd, path, "change") == 0)
			return;
	}
}
