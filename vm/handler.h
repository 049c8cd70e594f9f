#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "failure.h"

/* The VM's daemon: owns vhci_hcd, knows all paired Pis, and joins what they offer with the kernel. */
struct handler;
struct uevent;

struct handler_options {
	const char *sysfs_root;     /* NULL: /sys */
	const char *modules_dir;    /* NULL: /lib/modules/RELEASE */
	const char *piconf_path;    /* NULL: /etc/usbpush/pi.conf */
	const char *accept_path;    /* NULL: /etc/usbpush/accept.conf */
	const char *runtime_dir;    /* NULL: /run/usbpush */
	const char *usbip_dir;      /* NULL: /run/vhci_hcd */
	const char *addresses_path; /* NULL: /var/lib/usbpush-handler/addresses */
	uid_t relay_uid;            /* who, besides root, may speak for a Pi */
};

/* Reads pi.conf. options are borrowed: they outlive it. 0 or negative errno. */
int handler_new(sd_event *event, const struct handler_options *options, struct handler **ret_handler);

/* Prepares vhci_hcd if it is there, and takes over the ports that a predecessor attached. */
void handler_start(struct handler *handler);

/* Listens to the kernel's and udev's events, starts, and listens on RUNTIME_DIR/handler.sock. 0 or negative errno. */
int handler_listen(struct handler *handler);

/* Takes NULL, returns NULL. */
struct handler *handler_free(struct handler *handler);

/* A connection that the relay made for a Pi, which sshd sees at address ("" if it does not say): fd is non-blocking and taken over. An unknown Pi is refused. */
void handler_accept_relay(struct handler *handler, const char *pi_id, const char *address, int fd);

/* What the monitors call; the seam for tests. */
void handler_on_uevent(const struct uevent *uevent, void *handler);

/* Reads accept.conf anew, and pi.conf: new Pis may connect, removed ones are cut off and what they had is detached. */
void handler_reload(struct handler *handler);

/* Asks every connected Pi for a `sync`; how many were asked. */
unsigned handler_resync(struct handler *handler);

/* Detaches everything; on_stopped is called when all ports are free, at the latest after 5 s. */
void handler_stop(struct handler *handler, void (*on_stopped)(void *userdata), void *userdata);

/* Detaches the device that selector (a bus id here or on the Pi, a name, VID:PID, a serial, a node) fits. 0 and the ids of its offer, or a
 * negative errno with FAILURE_NOT_FOUND or FAILURE_AMBIGUOUS and the list. */
int handler_detach(struct handler *handler, const char *selector, json_t **ret_offers, struct failure *ret_failure);

/* The device that selector fits, as `status` shows it; errors as above. A new reference. */
int handler_find(struct handler *handler, const char *selector, json_t **ret_device, struct failure *ret_failure);

/* The whole state, as `usbpush-vm status --json` shows it. A new reference. */
json_t *handler_status_to_json(struct handler *handler);

/* How much of its work in the kernel is under way. */
unsigned handler_count_jobs(const struct handler *handler);

/* Who, besides root, may speak for a Pi. */
uid_t handler_get_relay_uid(const struct handler *handler);
