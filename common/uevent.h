#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* What the kernel or udev says of devices, as one typed event. The one file that includes libudev.h is uevent.c. */
enum uevent_source {
	UEVENT_KERNEL, /* at once, without udev's properties and links */
	UEVENT_UDEV,   /* after udev's rules ran: links and properties are there */
};

enum uevent_action { UEVENT_ADD, UEVENT_REMOVE, UEVENT_BIND, UEVENT_UNBIND, UEVENT_CHANGE, UEVENT_OTHER };

/* All strings are borrowed and valid during the callback only; "" where there is none. */
struct uevent {
	enum uevent_action action;
	const char *subsystem; /* "usb", "tty" */
	const char *devtype;   /* "usb_device", "usb_interface" */
	const char *syspath;   /* below /sys: "/sys/devices/..." */
	const char *sysname;   /* "1-1.4", "ttyUSB0" */
	const char *driver;
	const char *devnode;  /* "/dev/ttyUSB0" */
	const char *devlinks; /* separated by spaces; UEVENT_UDEV only */
	uint32_t
		devnum; /* of a usb_device: the number of its enumeration (usb_dev_uevent() in drivers/usb/core/usb.c); 0 if it was not told */
};

typedef void (*uevent_fn)(const struct uevent *uevent, void *userdata);

struct uevent_monitor;

/* Listens to the subsystems given (a NULL-ended list). The receive buffer is made large (8 MiB where permitted) so that a storm loses nothing. If the kernel
 * dropped events all the same, on_overrun is called: enumerate again. Events never arrive inside this call. */
int uevent_monitor_new(sd_event *event, enum uevent_source source, const char *const *subsystems, uevent_fn on_uevent,
		       void (*on_overrun)(void *userdata), void *userdata, struct uevent_monitor **ret_monitor);

/* Takes NULL, returns NULL. */
struct uevent_monitor *uevent_monitor_free(struct uevent_monitor *monitor);

/* Calls on_uevent with UEVENT_ADD for every device of a subsystem that is there now (properties as udev's database has them). 0 or negative errno. */
int uevent_enumerate(const char *subsystem, uevent_fn on_uevent, void *userdata);
