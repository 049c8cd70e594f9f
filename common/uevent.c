#include "uevent.h"

#include <errno.h>
#include <libudev.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define UEVENT_RECEIVE_BUFFER (8 * 1024 * 1024)

struct uevent_monitor {
	struct udev *udev;            /* owned */
	struct udev_monitor *monitor; /* owned */
	sd_event_source *source;      /* owned */
	uevent_fn on_uevent;
	void (*on_overrun)(void *);
	void *userdata; /* borrowed: outlives us */
};

static enum uevent_action uevent_action_from_string(const char *action)
{
	static const struct {
		const char *name;
		enum uevent_action action;
	} actions[] = {
		{ "add", UEVENT_ADD },       { "remove", UEVENT_REMOVE }, { "bind", UEVENT_BIND },
		{ "unbind", UEVENT_UNBIND }, { "change", UEVENT_CHANGE },
	};

	for (size_t i = 0; action && i < ARRAY_SIZE(actions); i++)
		if (strcmp(action, actions[i].name) == 0)
			return actions[i].action;
	return UEVENT_OTHER;
}

static const char *uevent_or_empty(const char *text)
{
	return text ? text : "";
}

/* "007"; 0 for what is no number. */
static uint32_t uevent_number(const char *text)
{
	unsigned long long value;
	char *end;

	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	value = strtoull(text, &end, 10);
	return errno || *end || value > UINT32_MAX ? 0 : (uint32_t)value;
}

static void uevent_emit(struct udev_device *device, enum uevent_action action, uevent_fn on_uevent, void *userdata)
{
	struct uevent uevent = {
		.action = action,
		.subsystem = uevent_or_empty(udev_device_get_subsystem(device)),
		.devtype = uevent_or_empty(udev_device_get_devtype(device)),
		.syspath = uevent_or_empty(udev_device_get_syspath(device)),
		.sysname = uevent_or_empty(udev_device_get_sysname(device)),
		.driver = uevent_or_empty(udev_device_get_property_value(device, "DRIVER")),
		.devnode = uevent_or_empty(udev_device_get_devnode(device)),
		.devlinks = uevent_or_empty(udev_device_get_property_value(device, "DEVLINKS")),
		.devnum = uevent_number(udev_device_get_property_value(device, "DEVNUM")),
	};

	on_uevent(&uevent, userdata);
}

static int uevent_monitor_on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct uevent_monitor *monitor = userdata;
	struct udev_device *device;

	(void)source;
	(void)fd;
	(void)events;
	/* One event a turn: the callback may free the monitor. The socket stays readable for the next. */
	errno = 0;
	device = udev_monitor_receive_device(monitor->monitor);
	if (!device) {
		/* ENOBUFS is the kernel's; out of memory libudev loses one as well. EAGAIN: it was not for us. */
		if (errno && errno != EAGAIN && errno != EINTR && monitor->on_overrun)
			monitor->on_overrun(monitor->userdata);
		return 0;
	}
	uevent_emit(device, uevent_action_from_string(udev_device_get_action(device)), monitor->on_uevent, monitor->userdata);
	udev_device_unref(device);
	return 0;
}

static int uevent_monitor_open(struct uevent_monitor *monitor, sd_event *event, enum uevent_source source, const char *const *subsystems)
{
	int r;

	monitor->udev = udev_new();
	if (!monitor->udev)
		return -ENOMEM;
	monitor->monitor = udev_monitor_new_from_netlink(monitor->udev, source == UEVENT_KERNEL ? "kernel" : "udev");
	if (!monitor->monitor)
		return errno ? -errno : -ENOMEM;
	for (; *subsystems; subsystems++) {
		r = udev_monitor_filter_add_match_subsystem_devtype(monitor->monitor, *subsystems, NULL);
		if (r < 0)
			return r;
	}
	/* Beyond net.core.rmem_max it takes CAP_NET_ADMIN, which we lack: SO_RCVBUFFORCE then fails and the default stays. */
	(void)udev_monitor_set_receive_buffer_size(monitor->monitor, UEVENT_RECEIVE_BUFFER);
	r = udev_monitor_enable_receiving(monitor->monitor);
	if (r < 0)
		return r;
	return sd_event_add_io(event, &monitor->source, udev_monitor_get_fd(monitor->monitor), EPOLLIN, uevent_monitor_on_readable,
			       monitor);
}

int uevent_monitor_new(sd_event *event, enum uevent_source source, const char *const *subsystems, uevent_fn on_uevent,
		       void (*on_overrun)(void *userdata), void *userdata, struct uevent_monitor **ret_monitor)
{
	struct uevent_monitor *monitor = calloc(1, sizeof(*monitor));
	int r;

	if (!monitor)
		return -ENOMEM;
	monitor->on_uevent = on_uevent;
	monitor->on_overrun = on_overrun;
	monitor->userdata = userdata;
	r = uevent_monitor_open(monitor, event, source, subsystems);
	if (r < 0) {
		uevent_monitor_free(monitor);
		return r;
	}
	*ret_monitor = monitor;
	return 0;
}

struct uevent_monitor *uevent_monitor_free(struct uevent_monitor *monitor)
{
	if (!monitor)
		return NULL;
	sd_event_source_disable_unref(monitor->source);
	udev_monitor_unref(monitor->monitor);
	udev_unref(monitor->udev);
	free(monitor);
	return NULL;
}

static void uevent_enumerate_list(struct udev *udev, struct udev_enumerate *enumerate, uevent_fn on_uevent, void *userdata)
{
	struct udev_list_entry *entry;

	udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(enumerate))
	{
		struct udev_device *device = udev_device_new_from_syspath(udev, udev_list_entry_get_name(entry));

		if (!device)
			continue; /* unplugged since the list was made */
		uevent_emit(device, UEVENT_ADD, on_uevent, userdata);
		udev_device_unref(device);
	}
}

int uevent_enumerate(const char *subsystem, uevent_fn on_uevent, void *userdata)
{
	struct udev *udev = udev_new();
	struct udev_enumerate *enumerate = udev ? udev_enumerate_new(udev) : NULL;
	int r = -ENOMEM;

	if (enumerate) {
		r = udev_enumerate_add_match_subsystem(enumerate, subsystem);
		if (r >= 0)
			r = udev_enumerate_scan_devices(enumerate);
		if (r >= 0)
			uevent_enumerate_list(udev, enumerate, on_uevent, userdata);
	}
	udev_enumerate_unref(enumerate);
	udev_unref(udev);
	return r < 0 ? r : 0;
}
