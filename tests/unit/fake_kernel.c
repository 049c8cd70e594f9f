#include "fake_kernel.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "daemon.h"
#include "inject.h"

#define SHORT_WRITE 40 /* longer ones are no sysfs writes of ours, and pass unseen */
#define DRIVERS     "sys/bus/usb/drivers/"
#define HUB         "sys/devices/pci0000:00/usb1"

/* One uevent through the pipe from the kernel's thread to the loop. */
struct told {
	enum uevent_action action;
	char busid[BUSID_SIZE], driver[32];
	uint32_t devnum;
};

/* ---- devices; with the lock held ---- */

static struct fake_device *find_device(struct fake_kernel *kernel, const char *busid)
{
	for (size_t i = 0; i < FAKE_KERNEL_MAX; i++)
		if (kernel->devices[i].is_plugged && strcmp(kernel->devices[i].busid.text, busid) == 0)
			return &kernel->devices[i];
	return NULL;
}

static const char *device_path(const char *busid, const char *attribute)
{
	static __thread char path[256];

	snprintf(path, sizeof(path), HUB "/%s%s%s", busid, *attribute ? "/" : "", attribute);
	return path;
}

/* As temp_tree_replace(), but for who holds the lock: an attribute in sysfs is never there without its value. */
static void put_bytes(const struct fake_kernel *kernel, const char *path, const void *content, size_t size)
{
	char parent[256];
	_cleanup_close_ int fd = -EBADF;

	snprintf(parent, sizeof(parent), "%s", path);
	for (char *slash = strchr(parent, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdirat(kernel->tree.fd, parent, 0755);
		*slash = '/';
	}
	fd = openat(kernel->tree.fd, "soon", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || pwrite(fd, content, size, 0) != (ssize_t)size || renameat(kernel->tree.fd, "soon", kernel->tree.fd, path) < 0)
		abort();
}

static void put_text(const struct fake_kernel *kernel, const char *path, const char *text)
{
	put_bytes(kernel, path, text, strlen(text));
}

static void put_number(const struct fake_kernel *kernel, const char *path, unsigned number)
{
	char text[16];

	snprintf(text, sizeof(text), "%u\n", number);
	put_text(kernel, path, text);
}

static void put_link(const struct fake_kernel *kernel, const char *path, const char *target)
{
	if (symlinkat(target, kernel->tree.fd, path) < 0)
		abort();
}

static void tell(struct fake_kernel *kernel, enum uevent_action action, const struct fake_device *device, const char *driver)
{
	struct told told = { .action = action, .devnum = device->devnum };

	snprintf(told.busid, sizeof(told.busid), "%s", device->busid.text);
	snprintf(told.driver, sizeof(told.driver), "%s", driver);
	/* send(), not write(): the kernel does not hold itself up */
	if (send(kernel->uevents[1], &told, sizeof(told), MSG_NOSIGNAL) != sizeof(told))
		abort();
}

static void set_driver(struct fake_kernel *kernel, struct fake_device *device, const char *driver)
{
	char target[64];
	const char *busid = device->busid.text;

	unlinkat(kernel->tree.fd, device_path(busid, "driver"), 0);
	if (strcmp(device->driver, "usbip-host") == 0) {
		unlinkat(kernel->tree.fd, device_path(busid, "usbip_status"), 0);
		unlinkat(kernel->tree.fd, device_path(busid, "usbip_sockfd"), 0);
	}
	snprintf(device->driver, sizeof(device->driver), "%s", driver);
	if (!*driver)
		return;
	snprintf(target, sizeof(target), "../../../../bus/usb/drivers/%s", driver);
	if (strcmp(driver, "usbip-host") == 0) {
		put_text(kernel, device_path(busid, "usbip_status"), "1\n");
		put_text(kernel, device_path(busid, "usbip_sockfd"), "");
	}
	put_link(kernel, device_path(busid, "driver"), target);
	tell(kernel, UEVENT_BIND, device, driver);
}

static struct fake_entry *find_entry(struct fake_kernel *kernel, const char *busid)
{
	for (size_t i = 0; i < FAKE_KERNEL_TABLE; i++)
		if (strcmp(kernel->table[i].busid.text, busid) == 0)
			return &kernel->table[i];
	return NULL;
}

/* Whether somebody holds the node of the device with that number: then its memory is there, too. */
static bool is_node_held(const struct fake_kernel *kernel, uint32_t devnum)
{
	_cleanup_closedir_ DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;
	char node[160];

	snprintf(node, sizeof(node), "%s/bus/usb/001/%03u", kernel->dev, devnum);
	while (directory && (entry = readdir(directory))) {
		char link[300], target[512];
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%s", entry->d_name);
		n = readlink(link, target, sizeof(target) - 1);
		if (n >= (ssize_t)strlen(node) && strncmp(target, node, strlen(node)) == 0) /* " (deleted)" may follow */
			return true;
	}
	return false;
}

static void commit_crime(struct fake_kernel *kernel, const char *what, const char *busid)
{
	if (!kernel->crime[0])
		snprintf(kernel->crime, sizeof(kernel->crime), "%s: %s", busid, what);
}

/* ---- what each control file does; 0 or a negative errno ---- */

static int do_unbind(struct fake_kernel *kernel, const char *driver, const char *busid)
{
	struct fake_device *device = find_device(kernel, busid);

	if (!device || strcmp(device->driver, driver) != 0)
		return -ENODEV;
	if (device->session >= 0)
		commit_crime(kernel, "unbound while its session was up (use after free)", busid);
	set_driver(kernel, device, "");
	return 0;
}

static int do_match_busid(struct fake_kernel *kernel, const char *command)
{
	struct fake_entry *entry;

	if (strncmp(command, "add ", 4) != 0)
		return -EINVAL;
	if (find_entry(kernel, command + 4))
		return 0;
	entry = find_entry(kernel, "");
	if (!entry)
		return -ENOMEM;
	entry->devnum = 0;
	return busid_parse(command + 4, &entry->busid);
}

static int do_bind(struct fake_kernel *kernel, const char *busid)
{
	struct fake_device *device = find_device(kernel, busid);
	struct fake_entry *entry = find_entry(kernel, busid);

	if (!device || !entry)
		return -ENODEV;
	if (device->driver[0])
		return -EBUSY;
	entry->devnum = device->devnum;
	set_driver(kernel, device, "usbip-host");
	return 0;
}

static int do_rebind(struct fake_kernel *kernel, const char *busid)
{
	struct fake_device *device = find_device(kernel, busid);
	struct fake_entry *entry = find_entry(kernel, busid);

	if (!entry)
		return -ENODEV;
	if (!entry->devnum)
		commit_crime(kernel, "rebind of an entry that no device was bound by (NULL pointer)", busid);
	else if (!is_node_held(kernel, entry->devnum))
		commit_crime(kernel, "rebind followed a pointer that nobody holds (use after free)", busid);
	if (device && strcmp(device->driver, "usbip-host") == 0)
		commit_crime(kernel, "rebind took the entry of a bound device (BUG() at its disconnect)", busid);
	if (device && !device->driver[0])
		set_driver(kernel, device, "usb");
	entry->busid.text[0] = '\0';
	return 0;
}

static int do_probe(struct fake_kernel *kernel, const char *busid)
{
	struct fake_device *device = find_device(kernel, busid);

	if (!device)
		return -ENODEV;
	if (!device->driver[0])
		set_driver(kernel, device, "usb");
	return 0;
}

static int do_sockfd(struct fake_kernel *kernel, const char *busid, const char *value)
{
	struct fake_device *device = find_device(kernel, busid);
	int fd = atoi(value);

	if (!device || strcmp(device->driver, "usbip-host") != 0)
		return -ENODEV;
	if (device->session >= 0)
		return -EINVAL;
	device->session = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (device->session < 0)
		return -EINVAL;
	put_text(kernel, device_path(busid, "usbip_status"), "2\n");
	if (send(kernel->waker[1], "", 1, MSG_NOSIGNAL) != 1)
		abort();
	return 0;
}

static int refusal_of(struct fake_kernel *kernel, const char *file)
{
	for (size_t i = 0; i < ARRAY_SIZE(kernel->refusals); i++)
		if (kernel->refusals[i].times > 0 && strcmp(kernel->refusals[i].file, file) == 0) {
			kernel->refusals[i].times--;
			return -kernel->refusals[i].error;
		}
	return 0;
}

static void add_device(struct fake_kernel *kernel, const char *busid, const struct usb_sample *sample, const char *driver);
static void remove_device(struct fake_kernel *kernel, struct fake_device *device);

/* disable_store() in drivers/usb/core/port.c. */
static int do_disable(struct fake_kernel *kernel, const char *busid, bool is_off)
{
	struct fake_device *device = find_device(kernel, busid);

	if (is_off && device) {
		remove_device(kernel, device);
		device->is_dark = true;
	}
	for (size_t i = 0; !is_off && i < FAKE_KERNEL_MAX; i++) {
		const struct fake_device gone = kernel->devices[i];

		if (!gone.is_dark || strcmp(gone.busid.text, busid) != 0)
			continue;
		kernel->devices[i].is_dark = false;
		add_device(kernel, busid, &gone.sample, "usb");
	}
	return 0;
}

/* file: "usb/unbind", "usbip-host/bind", "drivers_probe", "1-1/usbip_sockfd". */
static int do_write(struct fake_kernel *kernel, const char *file, const char *value)
{
	size_t used = strlen(kernel->writes);
	const char *name = strrchr(file, '/');
	char parent[64] = "";
	int r = refusal_of(kernel, file);

	snprintf(kernel->writes + used, sizeof(kernel->writes) - used, "%s%s %s", used ? "; " : "", file,
		 name && strcmp(name, "/usbip_sockfd") == 0 ? "FD" : value);
	if (r < 0)
		return r;
	if (name)
		snprintf(parent, sizeof(parent), "%.*s", (int)(name - file), file);
	name = name ? name + 1 : file;
	if (strcmp(name, "unbind") == 0)
		return do_unbind(kernel, parent, value);
	if (strcmp(name, "match_busid") == 0)
		return do_match_busid(kernel, value);
	if (strcmp(name, "bind") == 0)
		return do_bind(kernel, value);
	if (strcmp(name, "rebind") == 0)
		return do_rebind(kernel, value);
	if (strcmp(name, "drivers_probe") == 0)
		return do_probe(kernel, value);
	if (strcmp(name, "usbip_sockfd") == 0)
		return do_sockfd(kernel, parent, value);
	if (strcmp(name, "disable") == 0)
		return do_disable(kernel, parent + strlen("ports/"), value[0] == '1');
	return -EINVAL;
}

/* ---- the thread ---- */

/* What of a path is a control file's name for do_write(); NULL for any other file. */
static const char *control_file(const struct fake_kernel *kernel, const char *path)
{
	static const char drivers[] = "/bus/usb/drivers/", probe[] = "/bus/usb/", devices[] = "/devices/pci0000:00/usb1/";
	size_t length = strlen(kernel->sysfs);

	if (strncmp(path, kernel->sysfs, length) != 0)
		return NULL;
	path += length;
	if (strncmp(path, drivers, strlen(drivers)) == 0)
		return path + strlen(drivers);
	if (strncmp(path, devices, strlen(devices)) == 0)
		return path + strlen(devices);
	return strncmp(path, probe, strlen(probe)) == 0 ? path + strlen(probe) : NULL;
}

/* As the real one: the caller is held up for as long as its write takes. */
static void wait_for_release(struct fake_kernel *kernel, const char *file, const char *value)
{
	char write[96];

	snprintf(write, sizeof(write), "%s %s", file, value);
	while (strcmp(kernel->held_write, write) == 0) {
		kernel->n_held++;
		pthread_cond_wait(&kernel->released, &kernel->lock);
		kernel->n_held--;
	}
}

static void unplug_if_due(struct fake_kernel *kernel, const char *file, const char *busid)
{
	char write[96];

	snprintf(write, sizeof(write), "%s %s", file, busid);
	if (strcmp(kernel->unplugging_write, write) != 0)
		return;
	kernel->unplugging_write[0] = '\0';
	remove_device(kernel, find_device(kernel, busid));
}

/* In the thread that writes. */
static bool answer_write(int fd, const void *data, size_t size, ssize_t *ret_result, void *userdata)
{
	struct fake_kernel *kernel = userdata;
	char link[64], path[512], value[SHORT_WRITE + 1] = "";
	const char *file;
	ssize_t n;
	int r;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = size <= SHORT_WRITE ? readlink(link, path, sizeof(path) - 1) : -1;
	if (n <= 0)
		return false;
	path[n] = '\0';
	file = control_file(kernel, path);
	if (!file)
		return false;
	memcpy(value, data, size);
	pthread_mutex_lock(&kernel->lock);
	wait_for_release(kernel, file, value);
	r = kernel->is_off ? -ENODEV : do_write(kernel, file, value);
	unplug_if_due(kernel, file, value);
	pthread_mutex_unlock(&kernel->lock);
	*ret_result = r < 0 ? r : (ssize_t)size;
	return true;
}

static void end_session(struct fake_kernel *kernel, struct fake_device *device)
{
	device->session = close_fd(device->session);
	device->ending_usec = 0;
	if (device->is_plugged && strcmp(device->driver, "usbip-host") == 0)
		put_number(kernel, device_path(device->busid.text, "usbip_status"), kernel->end_status);
}

/* Moves what came; at its end, stub_shutdown_connection() takes its time, with a reset of the device. */
static void run_session(struct fake_kernel *kernel, struct fake_device *device)
{
	static char chunk[65536];
	ssize_t n;

	if (device->ending_usec) {
		if (clock_now_usec() >= device->ending_usec)
			end_session(kernel, device);
		return;
	}
	n = recv(device->session, chunk, sizeof(chunk), MSG_DONTWAIT);
	if (n > 0 && kernel->is_echoing)
		(void)send(device->session, chunk, (size_t)n, MSG_NOSIGNAL);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		device->ending_usec = clock_now_usec() + kernel->teardown_msec * UINT64_C(1000);
}

static void run_sessions(struct fake_kernel *kernel)
{
	pthread_mutex_lock(&kernel->lock);
	for (size_t i = 0; i < FAKE_KERNEL_MAX; i++)
		if (!kernel->is_off && kernel->devices[i].session >= 0)
			run_session(kernel, &kernel->devices[i]);
	pthread_mutex_unlock(&kernel->lock);
}

static int choose_fds(struct fake_kernel *kernel, struct pollfd *fds)
{
	int timeout = -1;

	pthread_mutex_lock(&kernel->lock);
	for (size_t i = 0; i < FAKE_KERNEL_MAX; i++) {
		const struct fake_device *device = &kernel->devices[i];

		fds[i] = (struct pollfd){ .fd = device->ending_usec ? -1 : device->session, .events = POLLIN };
		if (device->ending_usec)
			timeout = 2;
	}
	pthread_mutex_unlock(&kernel->lock);
	return timeout;
}

static void *run_kernel(void *userdata)
{
	struct fake_kernel *kernel = userdata;

	for (;;) {
		struct pollfd fds[1 + FAKE_KERNEL_MAX] = { { .fd = kernel->waker[0], .events = POLLIN } };
		char wake;
		int timeout = choose_fds(kernel, fds + 1);

		poll(fds, ARRAY_SIZE(fds), timeout);
		(void)recv(kernel->waker[0], &wake, 1, MSG_DONTWAIT);
		run_sessions(kernel);
	}
	return NULL;
}

/* ---- life ---- */

static void put_tree(struct fake_kernel *kernel, bool has_module)
{
	static const char *const files[] = { "bus/usb/drivers_probe", "bus/usb/drivers/usb/bind", "bus/usb/drivers/usb/unbind" };
	static const char *const module[] = { "bind", "unbind", "rebind", "match_busid" };
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "sys/%s", files[i]);
		temp_tree_put(&kernel->tree, path, "");
	}
	for (size_t i = 0; has_module && i < ARRAY_SIZE(module); i++) {
		snprintf(path, sizeof(path), DRIVERS "usbip-host/%s", module[i]);
		temp_tree_put(&kernel->tree, path, "");
	}
	temp_tree_make_dir(&kernel->tree, "sys/bus/usb/devices");
	temp_tree_put(&kernel->tree, HUB "/busnum", "1\n");
	temp_tree_put(&kernel->tree, HUB "/devnum", "1\n");
	temp_tree_put(&kernel->tree, "dev/bus/usb/001/001", "");
}

void fake_kernel_new(struct fake_kernel *kernel, bool has_module)
{
	pthread_t thread;

	*kernel = (struct fake_kernel){ .next_devnum = 2, .end_status = 1 };
	temp_tree_new(&kernel->tree);
	snprintf(kernel->sysfs, sizeof(kernel->sysfs), "%s/sys", kernel->tree.path);
	snprintf(kernel->dev, sizeof(kernel->dev), "%s/dev", kernel->tree.path);
	for (size_t i = 0; i < FAKE_KERNEL_MAX; i++)
		kernel->devices[i].session = -EBADF;
	put_tree(kernel, has_module);
	pthread_mutex_init(&kernel->lock, NULL);
	pthread_cond_init(&kernel->released, NULL);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, kernel->waker), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, kernel->uevents), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_kernel, kernel), 0);
	pthread_detach(thread);
	inject_answer_writes(answer_write, kernel);
}

void fake_kernel_free(struct fake_kernel *kernel)
{
	char crime[sizeof(kernel->crime)];

	kernel->source = sd_event_source_disable_unref(kernel->source);
	pthread_mutex_lock(&kernel->lock);
	kernel->is_off = true; /* its thread, and who writes late, find it so until the process ends */
	kernel->held_write[0] = '\0';
	pthread_cond_broadcast(&kernel->released);
	memcpy(crime, kernel->crime, sizeof(crime));
	for (size_t i = 0; i < FAKE_KERNEL_MAX; i++)
		kernel->devices[i].session = close_fd(kernel->devices[i].session);
	pthread_mutex_unlock(&kernel->lock);
	temp_tree_free(&kernel->tree);
	ck_assert_msg(!crime[0], "%s", crime);
}

static int on_told(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct fake_kernel *kernel = userdata;
	struct told told;
	char syspath[128];
	struct uevent uevent = { .subsystem = "usb",
				 .devtype = "usb_device",
				 .syspath = syspath,
				 .sysname = told.busid,
				 .driver = told.driver,
				 .devnode = "",
				 .devlinks = "" };

	(void)source;
	(void)events;
	if (recv(fd, &told, sizeof(told), MSG_DONTWAIT) != sizeof(told))
		return 0;
	snprintf(syspath, sizeof(syspath), "/sys/devices/pci0000:00/usb1/%s", told.busid);
	uevent.action = told.action;
	uevent.devnum = told.devnum;
	kernel->on_uevent(&uevent, kernel->userdata);
	return 0;
}

void fake_kernel_listen(struct fake_kernel *kernel, sd_event *event, uevent_fn on_uevent, void *userdata)
{
	struct told told;

	while (recv(kernel->uevents[0], &told, sizeof(told), MSG_DONTWAIT) > 0)
		; /* what was told before */
	kernel->on_uevent = on_uevent;
	kernel->userdata = userdata;
	kernel->source = sd_event_source_disable_unref(kernel->source);
	ck_assert_int_ge(sd_event_add_io(event, &kernel->source, kernel->uevents[0], EPOLLIN, on_told, kernel), 0);
}

/* ---- plugging ---- */

static void put_strings(struct fake_kernel *kernel, const char *busid, const struct usb_sample *sample)
{
	const struct {
		const char *attribute, *value;
	} strings[] = { { "serial", sample->serial }, { "manufacturer", sample->manufacturer }, { "product", sample->product } };

	for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
		if (strings[i].value)
			put_text(kernel, device_path(busid, strings[i].attribute), strings[i].value);
}

static void put_device(struct fake_kernel *kernel, const struct fake_device *device, const struct usb_sample *sample)
{
	const char *busid = device->busid.text;
	uint8_t descriptors[512];
	char text[96], path[96];

	put_text(kernel, device_path(busid, "busnum"), "1\n");
	put_number(kernel, device_path(busid, "devnum"), device->devnum);
	put_text(kernel, device_path(busid, "speed"), "12\n");
	snprintf(text, sizeof(text), "%04x\n", sample->vid);
	put_text(kernel, device_path(busid, "idVendor"), text);
	snprintf(text, sizeof(text), "%04x\n", sample->pid);
	put_text(kernel, device_path(busid, "idProduct"), text);
	snprintf(text, sizeof(text), "%04x\n", sample->bcd_device);
	put_text(kernel, device_path(busid, "bcdDevice"), text);
	put_strings(kernel, busid, sample);
	put_bytes(kernel, device_path(busid, "descriptors"), descriptors, usb_sample_compose(sample, descriptors, sizeof(descriptors)));
	snprintf(path, sizeof(path), "sys/bus/usb/devices/%s", busid);
	snprintf(text, sizeof(text), "../../../devices/pci0000:00/usb1/%s", busid);
	put_link(kernel, path, text);
	snprintf(path, sizeof(path), "dev/bus/usb/001/%03u", device->devnum);
	put_text(kernel, path, "");
	snprintf(text, sizeof(text), "../ports/%s", busid);
	put_link(kernel, device_path(busid, "port"), text);
}

static void add_device(struct fake_kernel *kernel, const char *busid, const struct usb_sample *sample, const char *driver)
{
	struct fake_device *device = kernel->devices;

	while (device->is_plugged || device->is_dark || device->session >= 0)
		if (++device == kernel->devices + FAKE_KERNEL_MAX)
			abort();
	*device = (struct fake_device){ .is_plugged = true, .devnum = kernel->next_devnum++, .session = -EBADF, .sample = *sample };
	if (busid_parse(busid, &device->busid) < 0)
		abort();
	put_device(kernel, device, sample);
	tell(kernel, UEVENT_ADD, device, "");
	if (strcmp(driver, "usbip-host") == 0) {
		struct fake_entry *entry = find_entry(kernel, busid) ? find_entry(kernel, busid) : find_entry(kernel, "");
		*entry = (struct fake_entry){ device->busid, device->devnum };
	}
	set_driver(kernel, device, driver);
}

void fake_kernel_plug(struct fake_kernel *kernel, const char *busid, const struct usb_sample *sample)
{
	fake_kernel_have(kernel, busid, sample, "usb");
}

void fake_kernel_have(struct fake_kernel *kernel, const char *busid, const struct usb_sample *sample, const char *driver)
{
	pthread_mutex_lock(&kernel->lock);
	add_device(kernel, busid, sample, driver);
	pthread_mutex_unlock(&kernel->lock);
}

void fake_kernel_probe(struct fake_kernel *kernel, const char *busid)
{
	pthread_mutex_lock(&kernel->lock);
	if (do_probe(kernel, busid) < 0)
		abort();
	pthread_mutex_unlock(&kernel->lock);
}

static void remove_device(struct fake_kernel *kernel, struct fake_device *device)
{
	const char *busid = device->busid.text;
	char path[96];

	if (device->session >= 0)
		shutdown(device->session, SHUT_RDWR);
	snprintf(path, sizeof(path), "sys/bus/usb/devices/%s", busid);
	temp_tree_remove(&kernel->tree, path);
	temp_tree_remove(&kernel->tree, device_path(busid, ""));
	snprintf(path, sizeof(path), "dev/bus/usb/001/%03u", device->devnum);
	temp_tree_remove(&kernel->tree, path);
	device->is_plugged = false;
	device->driver[0] = '\0';
	tell(kernel, UEVENT_REMOVE, device, "");
}

void fake_kernel_unplug(struct fake_kernel *kernel, const char *busid)
{
	struct fake_device *device;

	pthread_mutex_lock(&kernel->lock);
	device = find_device(kernel, busid);
	if (!device)
		abort();
	remove_device(kernel, device);
	pthread_mutex_unlock(&kernel->lock);
}

void fake_kernel_add_port_switch(struct fake_kernel *kernel, const char *busid)
{
	char path[96];

	snprintf(path, sizeof(path), HUB "/ports/%s/disable", busid);
	pthread_mutex_lock(&kernel->lock);
	put_text(kernel, path, "0\n");
	pthread_mutex_unlock(&kernel->lock);
}

void fake_kernel_set(struct fake_kernel *kernel, const char *busid, const char *attribute, const char *value)
{
	pthread_mutex_lock(&kernel->lock);
	put_text(kernel, device_path(busid, attribute), value);
	pthread_mutex_unlock(&kernel->lock);
}

void fake_kernel_refuse(struct fake_kernel *kernel, const char *file, int error, unsigned times)
{
	size_t i = 0;

	pthread_mutex_lock(&kernel->lock);
	while (kernel->refusals[i].times > 0)
		if (++i == ARRAY_SIZE(kernel->refusals))
			abort();
	snprintf(kernel->refusals[i].file, sizeof(kernel->refusals[i].file), "%s", file);
	kernel->refusals[i].error = error;
	kernel->refusals[i].times = times;
	pthread_mutex_unlock(&kernel->lock);
}

void fake_kernel_hold(struct fake_kernel *kernel, const char *write)
{
	pthread_mutex_lock(&kernel->lock);
	snprintf(kernel->held_write, sizeof(kernel->held_write), "%s", write);
	pthread_mutex_unlock(&kernel->lock);
}

void fake_kernel_release(struct fake_kernel *kernel)
{
	pthread_mutex_lock(&kernel->lock);
	kernel->held_write[0] = '\0';
	pthread_cond_broadcast(&kernel->released);
	pthread_mutex_unlock(&kernel->lock);
}

void fake_kernel_unplug_after(struct fake_kernel *kernel, const char *write)
{
	pthread_mutex_lock(&kernel->lock);
	snprintf(kernel->unplugging_write, sizeof(kernel->unplugging_write), "%s", write);
	pthread_mutex_unlock(&kernel->lock);
}

unsigned fake_kernel_count_held(struct fake_kernel *kernel)
{
	unsigned n;

	pthread_mutex_lock(&kernel->lock);
	n = kernel->n_held;
	pthread_mutex_unlock(&kernel->lock);
	return n;
}

bool fake_kernel_is_plugged(struct fake_kernel *kernel, const char *busid)
{
	bool is_plugged;

	pthread_mutex_lock(&kernel->lock);
	is_plugged = find_device(kernel, busid) != NULL;
	pthread_mutex_unlock(&kernel->lock);
	return is_plugged;
}

const char *fake_kernel_driver(struct fake_kernel *kernel, const char *busid)
{
	static char driver[32];
	const struct fake_device *device;

	pthread_mutex_lock(&kernel->lock);
	device = find_device(kernel, busid);
	snprintf(driver, sizeof(driver), "%s", device ? device->driver : "");
	pthread_mutex_unlock(&kernel->lock);
	return driver;
}

bool fake_kernel_has_entry(struct fake_kernel *kernel, const char *busid)
{
	const struct fake_entry *entry;
	bool has_entry;

	pthread_mutex_lock(&kernel->lock);
	entry = find_entry(kernel, busid);
	has_entry = entry && entry->devnum;
	pthread_mutex_unlock(&kernel->lock);
	return has_entry;
}

unsigned fake_kernel_count_table(struct fake_kernel *kernel)
{
	unsigned n = 0;

	pthread_mutex_lock(&kernel->lock);
	for (size_t i = 0; i < FAKE_KERNEL_TABLE; i++)
		n += kernel->table[i].busid.text[0] && kernel->table[i].devnum;
	pthread_mutex_unlock(&kernel->lock);
	return n;
}

unsigned fake_kernel_count_sessions(struct fake_kernel *kernel)
{
	unsigned n = 0;

	pthread_mutex_lock(&kernel->lock);
	for (size_t i = 0; i < FAKE_KERNEL_MAX; i++)
		n += kernel->devices[i].session >= 0;
	pthread_mutex_unlock(&kernel->lock);
	return n;
}

unsigned fake_kernel_count_unbound(struct fake_kernel *kernel)
{
	unsigned n = 0;

	pthread_mutex_lock(&kernel->lock);
	for (size_t i = 0; i < FAKE_KERNEL_MAX; i++)
		n += kernel->devices[i].is_plugged && strcmp(kernel->devices[i].driver, "usb") != 0;
	pthread_mutex_unlock(&kernel->lock);
	return n;
}

const char *fake_kernel_writes(struct fake_kernel *kernel)
{
	static char writes[sizeof(kernel->writes)];

	pthread_mutex_lock(&kernel->lock);
	memcpy(writes, kernel->writes, sizeof(writes));
	kernel->writes[0] = '\0';
	pthread_mutex_unlock(&kernel->lock);
	return writes;
}
