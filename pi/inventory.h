#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "device_list.h"
#include "hold_store.h"
#include "uevent.h"
#include "usbip_host.h"

/* The list of devices, kept in step with what is plugged in: by the kernel's events, and by a look at all of them at the start and whenever something was missed.
 * It writes down which of them usbip-host holds for us (held_file.h), and has their holds kept (hold_store.h), so that a successor knows and can let go of them; and which ones were
 * detached by hand (kept_file.h), so that it leaves them alone. */
struct inventory;

/* run_dir: where it writes that. on_plug: something was just plugged in. host, devices, holds (may be NULL) and userdata are borrowed: they outlive it. The object is the caller's. */
int inventory_new(sd_event *event, struct usbip_host *host, struct device_list *devices, struct hold_store *holds, const char *run_dir,
		  void (*on_plug)(void *userdata), void *userdata, struct inventory **ret_inventory);

/* Takes NULL, returns NULL. The devices stay as they are. */
struct inventory *inventory_free(struct inventory *inventory);

/* Listens to the kernel, and finds what is plugged in and what a predecessor held. 0 or negative errno; what can't be looked at now is tried again. */
int inventory_start(struct inventory *inventory);

/* No device is taken from its driver any more. */
void inventory_stop(struct inventory *inventory);

/* What the kernel says of devices; the seam for tests. */
void inventory_handle_uevent(struct inventory *inventory, const struct uevent *uevent);

/* The kernel dropped events: what is gone is removed, what is new is found. */
void inventory_look(struct inventory *inventory);

/* A device may have come to usbip-host or left it, or been detached or wanted by hand: each file that says otherwise is written, and so is what systemd keeps. Until the start is over they are the
 * predecessor's, and left alone. */
void inventory_note(struct inventory *inventory);
