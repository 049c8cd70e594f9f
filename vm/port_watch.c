#include "port_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attachment.h"
#include "cleanup.h"
#include "log.h"
#include "sysfs.h"

struct port_watch {
	sd_event *event;                                      /* borrowed: outlives us */
	struct vhci *vhci;                                    /* borrowed: outlives us */
	struct roster *roster;                                /* borrowed: outlives us */
	struct uevent_monitor *kernel_monitor, *udev_monitor; /* owned */
	sd_event_source *node_scan;                           /* owned */
};

/* Those whose devices have nodes that programs open. */
static const char *const NODE_SUBSYSTEMS[] = { "tty", "block", "hidraw", "video4linux", "sound", "input", "usbmisc", NULL };

static void watch_on_node(const struct uevent *uevent, void *userdata)
{
	struct port_watch *watch = userdata;
	struct attachment *attachment;
	struct busid busid;
	uint32_t port;

	if (!*uevent->devnode || !vhci_find_port(watch->vhci, uevent->syspath, &port, &busid))
		return;
	attachment = roster_find_port(watch->roster, port);
	if (attachment)
		attachment_on_node(attachment, uevent->action, uevent->devnode, uevent->devlinks);
}

/* The module was loaded or went, maybe: its root hubs come one by one, and what is told is the whole. */
static void watch_rescan(struct port_watch *watch)
{
	uint32_t n_before = vhci_count_ports(watch->vhci), n;
	struct failure failure;

	vhci_scan(watch->vhci);
	n = vhci_count_ports(watch->vhci);
	if (n > 0 && vhci_prepare(watch->vhci, &failure) < 0)
		log_error("%s. %s", failure.text, failure.cure);
	if (n == n_before)
		return;
	if (n > 0)
		log_info("vhci_hcd has %u ports", n);
	else
		log_error("vhci_hcd went away, and all that was attached with it");
	roster_check(watch->roster);
}

static bool uevent_is_root_hub(const struct uevent *uevent)
{
	return strncmp(uevent->sysname, "usb", 3) == 0 && strstr(uevent->syspath, "/platform/vhci_hcd.") != NULL;
}

/* `usbip attach` by hand: it stays whoever's it is. Authorizing it is not ours, either: a port that the kernel was slow to free looks the same. */
static void watch_tell_of_stranger(struct port_watch *watch, uint32_t port, const char *syspath)
{
	_cleanup_close_ int fd = vhci_open_device(watch->vhci, port, NULL);
	char authorized[8];

	if (fd >= 0 && sysfs_read(fd, "authorized", authorized, sizeof(authorized)) >= 0 && strcmp(authorized, "0") == 0)
		log_notice("port %u: a device that no Pi offered (usbip attach?) gets no driver: usbpush-handler lets none in by itself. "
			   "If it is yours: echo 1 > %s/authorized",
			   port, syspath);
}

static void watch_on_usb_device(struct port_watch *watch, const struct uevent *uevent)
{
	struct attachment *attachment;
	struct busid busid;
	uint32_t port;

	if (uevent_is_root_hub(uevent) && (uevent->action == UEVENT_ADD || uevent->action == UEVENT_REMOVE)) {
		watch_rescan(watch);
		return;
	}
	/* Only the device at the port itself, not one behind a hub there. */
	if (!vhci_find_port(watch->vhci, uevent->syspath, &port, &busid) || strcmp(uevent->sysname, busid.text) != 0)
		return;
	attachment = roster_find_port(watch->roster, port);
	if (attachment)
		attachment_on_device(attachment, uevent->action, &busid);
	else if (uevent->action == UEVENT_BIND)
		watch_tell_of_stranger(watch, port, uevent->syspath);
}

void port_watch_handle_uevent(struct port_watch *watch, const struct uevent *uevent)
{
	if (strcmp(uevent->subsystem, "usb") != 0)
		watch_on_node(uevent, watch);
	else if (strcmp(uevent->devtype, "usb_device") == 0)
		watch_on_usb_device(watch, uevent);
}

static void watch_on_uevent(const struct uevent *uevent, void *userdata)
{
	port_watch_handle_uevent(userdata, uevent);
}

static void watch_scan_nodes(struct port_watch *watch)
{
	for (size_t i = 0; NODE_SUBSYSTEMS[i]; i++)
		(void)uevent_enumerate(NODE_SUBSYSTEMS[i], watch_on_node, watch);
}

static int watch_on_node_scan(sd_event_source *source, void *userdata)
{
	(void)source;
	watch_scan_nodes(userdata);
	return 0;
}

static void watch_on_overrun(void *userdata)
{
	struct port_watch *watch = userdata;

	log_warning("the kernel dropped events; everything is looked at anew");
	watch_rescan(watch);
	roster_check(watch->roster);
	watch_scan_nodes(watch);
}

int port_watch_new(sd_event *event, struct vhci *vhci, struct roster *roster, struct port_watch **ret_watch)
{
	struct port_watch *watch = calloc(1, sizeof(*watch));
	int err;

	if (!watch)
		return -ENOMEM;
	*watch = (struct port_watch){ .event = event, .vhci = vhci, .roster = roster };
	err = sd_event_add_defer(event, &watch->node_scan, watch_on_node_scan, watch);
	if (err >= 0)
		err = sd_event_source_set_enabled(watch->node_scan, SD_EVENT_OFF);
	if (err < 0) {
		port_watch_free(watch);
		return err;
	}
	*ret_watch = watch;
	return 0;
}

struct port_watch *port_watch_free(struct port_watch *watch)
{
	if (!watch)
		return NULL;
	uevent_monitor_free(watch->kernel_monitor);
	uevent_monitor_free(watch->udev_monitor);
	sd_event_source_disable_unref(watch->node_scan);
	free(watch);
	return NULL;
}

int port_watch_listen(struct port_watch *watch)
{
	static const char *const usb[] = { "usb", NULL };
	int err = uevent_monitor_new(watch->event, UEVENT_KERNEL, usb, watch_on_uevent, watch_on_overrun, watch, &watch->kernel_monitor);

	if (err < 0)
		return err;
	return uevent_monitor_new(watch->event, UEVENT_UDEV, NODE_SUBSYSTEMS, watch_on_uevent, watch_on_overrun, watch,
				  &watch->udev_monitor);
}

void port_watch_scan_nodes(struct port_watch *watch)
{
	sd_event_source_set_enabled(watch->node_scan, SD_EVENT_ONESHOT);
}
