#include "inventory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "daemon.h"
#include "held_file.h"
#include "kept_file.h"
#include "log.h"

#define LOOK_AGAIN_USEC UINT64_C(1000000)

/* What a successor is to know: a file with a line a device. */
struct note {
	void (*print)(FILE *stream, const struct device *device); /* its line, or none */
	int (*write)(const char *path, const char *lines, size_t size);
	char path[256];
	char *text;   /* owned: what was last written */
	char *former; /* owned: what it says while devices are enumerated; NULL else */
};

struct inventory {
	sd_event *event;             /* borrowed: outlives us */
	struct usbip_host *host;     /* borrowed: outlives us */
	struct device_list *devices; /* borrowed: outlives us */
	struct hold_store *holds;    /* borrowed: outlives us; NULL: nobody keeps them */
	void (*on_plug)(void *userdata);
	void *userdata;                 /* borrowed: outlives us */
	struct uevent_monitor *monitor; /* owned */
	sd_event_source *look_timer;    /* owned */
	struct note held, kept;
	bool is_starting; /* what a predecessor held is still being found */
	bool is_stopping;
	bool has_missed; /* a device, for want of memory */
};

static int inventory_on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	inventory_look(userdata);
	return 0;
}

/* Something was missed, about a device or in the run directory: all are looked at anew, in a moment, when there is memory again. */
static void inventory_look_later(struct inventory *inventory)
{
	timer_arm(inventory->event, &inventory->look_timer, LOOK_AGAIN_USEC, inventory_on_look, inventory);
}

/* ---- what a successor finds ---- */

static void print_held(FILE *stream, const struct device *device)
{
	if (device_is_held(device))
		fprintf(stream, "%s\n", device_busid(device)->text);
}

static void print_kept(FILE *stream, const struct device *device)
{
	if (device_is_detached(device))
		kept_file_print(stream, device_busid(device), device_get_number(device));
}

/* The lines; the caller's. NULL without memory. */
static char *inventory_list(struct inventory *inventory, const struct note *note)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return NULL;
	DEVICE_LIST_FOREACH(inventory->devices, device)
		note->print(stream, device);
	if (fclose(stream) == 0)
		return text;
	free(text);
	return NULL;
}

static void inventory_keep_holds(struct inventory *inventory)
{
	hold_store_begin(inventory->holds);
	DEVICE_LIST_FOREACH(inventory->devices, device)
		if (device_is_held(device))
			hold_store_keep(inventory->holds, device_busid(device), device_get_hold(device));
	hold_store_end(inventory->holds);
}

static void inventory_write(struct inventory *inventory, struct note *note)
{
	_cleanup_free_ char *text = inventory_list(inventory, note);
	int r;

	if (!text || (note->text && strcmp(note->text, text) == 0))
		return;
	free(note->text);
	note->text = NULL; /* the next change writes it again */
	r = note->write(note->path, text, strlen(text));
	if (r == 0) {
		note->text = TAKE_PTR(text);
		return;
	}
	log_warning("%s can't be written: %s", note->path, strerror(-r));
	inventory_look_later(inventory); /* and with it, it is written again */
}

void inventory_note(struct inventory *inventory)
{
	if (inventory->is_starting)
		return; /* the predecessor's files are still being read */
	inventory_keep_holds(inventory);
	inventory_write(inventory, &inventory->held);
	inventory_write(inventory, &inventory->kept);
}

/* What the files say now. Without the first nothing may be touched; without the second, only what a person said is lost. */
static int inventory_read_notes(struct inventory *inventory)
{
	int r = held_file_read(inventory->held.path, &inventory->held.former);

	if (r < 0 || !inventory->is_starting) /* from then on we know ourselves who was detached */
		return r;
	r = kept_file_read(inventory->kept.path, &inventory->kept.former);
	if (r < 0 && r != -ENOMEM)
		log_warning("%s can't be read: %s; what was detached by hand is shared again", inventory->kept.path, strerror(-r));
	return r == -ENOMEM ? r : 0;
}

static void inventory_forget_notes(struct inventory *inventory)
{
	free(inventory->held.former);
	free(inventory->kept.former);
	inventory->held.former = inventory->kept.former = NULL;
}

/* ---- what the kernel says ---- */

static struct device *inventory_add(struct inventory *inventory, const struct busid *busid, const char *syspath)
{
	struct device *device = NULL;

	if (device_list_add(inventory->devices, busid, syspath, &device) == -ENOMEM) {
		log_error("%s: out of memory; it is looked at again", busid->text);
		inventory->has_missed = true;
		inventory_look_later(inventory);
	}
	return device;
}

/* A bus id is a place: one that came and went before us may have left its `remove` in the queue. What is there now was found and maybe bound since, and its own `add`
 * is behind. */
static void inventory_handle_remove(struct device *device, uint32_t devnum)
{
	if (device && device_has_number(device, devnum))
		device_remove(device);
}

static void inventory_handle_add(struct inventory *inventory, struct device *device, const struct busid *busid, const char *syspath)
{
	if (device && device_is_current(device))
		return; /* found by enumeration before its event came */
	if (device)
		device_remove(device); /* its `remove` was lost */
	device = inventory_add(inventory, busid, syspath);
	if (!device)
		return;
	inventory->on_plug(inventory->userdata);
	device_prepare(device);
	if (!inventory->is_stopping)
		device_list_glance(inventory->devices, device);
}

static void inventory_handle_bind(struct inventory *inventory, struct device *device, const struct busid *busid,
				  const struct uevent *uevent)
{
	if (!device)
		device = inventory_add(inventory, busid, uevent->syspath);
	if (device && strcmp(uevent->driver, "usb") == 0 && !inventory->is_stopping)
		device_list_look(inventory->devices, device);
}

void inventory_handle_uevent(struct inventory *inventory, const struct uevent *uevent)
{
	struct device *device;
	struct busid busid;

	if (strcmp(uevent->subsystem, "usb") != 0 || strcmp(uevent->devtype, "usb_device") != 0 || busid_parse(uevent->sysname, &busid) < 0)
		return;
	device = device_list_find(inventory->devices, &busid);
	switch (uevent->action) {
	case UEVENT_ADD:
		inventory_handle_add(inventory, device, &busid, uevent->syspath);
		break;
	case UEVENT_BIND:
		inventory_handle_bind(inventory, device, &busid, uevent);
		break;
	case UEVENT_REMOVE:
		inventory_handle_remove(device, uevent->devnum);
		break;
	case UEVENT_UNBIND:
	case UEVENT_CHANGE:
	case UEVENT_OTHER:
		break;
	}
}

static void inventory_on_uevent(const struct uevent *uevent, void *userdata)
{
	inventory_handle_uevent(userdata, uevent);
}

static void inventory_on_overrun(void *userdata)
{
	log_warning("the kernel dropped device events; looking at all devices anew");
	inventory_look(userdata);
}

/* ---- all of them as they are now ---- */

/* One device of the tree: what events would have said. */
static void inventory_on_enumerated(const struct busid *busid, const char *syspath, const char *driver, void *userdata)
{
	struct inventory *inventory = userdata;
	struct device *device = device_list_find(inventory->devices, busid);
	bool is_ours = held_lines_have(inventory->held.former, busid);

	if (device) { /* its `add` came, and maybe its `bind` was among what was lost */
		if (device_get_state(device) == DEVICE_SEEN && strcmp(driver, "usb") == 0)
			device_list_look(inventory->devices, device);
		return;
	}
	device = inventory_add(inventory, busid, syspath);
	if (!device)
		return;
	if (kept_lines_have(inventory->kept.former, busid, device_get_number(device)))
		device_found_detached(device);
	if (strcmp(driver, "usbip-host") == 0) {
		device_found_bound(device, is_ours);
	} else if (driver[0] || is_ours) { /* ours without a driver: the predecessor ended between two drivers */
		if (is_ours)
			device_found_left(device);
		device_list_look(inventory->devices, device);
	}
}

static void inventory_enumerate(struct inventory *inventory)
{
	int r = inventory_read_notes(inventory);

	inventory->has_missed = false;
	if (r == 0)
		r = usbip_host_enumerate(inventory->host, inventory_on_enumerated, inventory);
	if (r == 0 && inventory->has_missed)
		r = -ENOMEM;
	inventory_forget_notes(inventory);
	if (r < 0) {
		log_warning("not every USB device could be looked at: %s; it is tried again", strerror(-r));
		inventory_look_later(inventory);
		return;
	}
	inventory->is_starting = false;
	inventory_note(inventory);
}

/* What is gone, or another one by now, is found by its number, what is new by enumeration. */
void inventory_look(struct inventory *inventory)
{
	DEVICE_LIST_FOREACH(inventory->devices, device)
		if (!device_is_current(device))
			device_remove(device);
	inventory_enumerate(inventory);
}

/* ---- start and end ---- */

int inventory_new(sd_event *event, struct usbip_host *host, struct device_list *devices, struct hold_store *holds, const char *run_dir,
		  void (*on_plug)(void *userdata), void *userdata, struct inventory **ret_inventory)
{
	struct inventory *inventory = calloc(1, sizeof(*inventory));
	int r;

	if (!inventory)
		return -ENOMEM;
	*inventory = (struct inventory){ .event = event,
					 .host = host,
					 .devices = devices,
					 .holds = holds,
					 .on_plug = on_plug,
					 .userdata = userdata,
					 .held = { .print = print_held, .write = held_file_write },
					 .kept = { .print = print_kept, .write = kept_file_write },
					 .is_starting = true };
	snprintf(inventory->held.path, sizeof(inventory->held.path), "%s/held", run_dir);
	snprintf(inventory->kept.path, sizeof(inventory->kept.path), "%s/kept", run_dir);
	r = timer_new(event, &inventory->look_timer, inventory_on_look, inventory);
	if (r < 0) {
		inventory_free(inventory);
		return r;
	}
	*ret_inventory = inventory;
	return 0;
}

struct inventory *inventory_free(struct inventory *inventory)
{
	if (!inventory)
		return NULL;
	uevent_monitor_free(inventory->monitor);
	sd_event_source_disable_unref(inventory->look_timer);
	free(inventory->held.text);
	free(inventory->kept.text);
	free(inventory);
	return NULL;
}

int inventory_start(struct inventory *inventory)
{
	static const char *const subsystems[] = { "usb", NULL };
	int r;

	/* First listen, then look: what comes in between is heard twice and found known. */
	r = uevent_monitor_new(inventory->event, UEVENT_KERNEL, subsystems, inventory_on_uevent, inventory_on_overrun, inventory,
			       &inventory->monitor);
	if (r < 0)
		return r;
	hold_store_clear_former(inventory->holds, inventory->host);
	inventory_enumerate(inventory);
	return 0;
}

void inventory_stop(struct inventory *inventory)
{
	inventory->is_stopping = true;
}
