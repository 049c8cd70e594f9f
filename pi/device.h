#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "busid.h"
#include "flap.h"
#include "job.h"
#include "link.h"
#include "policy.h"
#include "spare.h"
#include "usbfs_session.h"
#include "usbip_host.h"
#include "usbip_wire.h"

/* One plugged-in USB device on the Pi, from its enumeration to its unplug: a state machine (DESIGN section 5). */
struct sockaddr_storage;
struct device;

/* Why it is IGNORED after it was detached on this side. */
#define DETACHED_HERE "detached by hand; usbpush attach brings it back"

enum device_state {
	DEVICE_SEEN,     /* enumerated; being looked at */
	DEVICE_IGNORED,  /* stays with the Pi; the reason says why */
	DEVICE_BINDING,  /* on the way to usbip-host, or waiting there for an old session's end */
	DEVICE_READY,    /* with usbip-host, waiting for the link */
	DEVICE_OFFERED,  /* told to the VM, its stream on the way */
	DEVICE_ATTACHED, /* the VM has it, nodes and all */
	DEVICE_FAILED,   /* the failure says why; tried again later */
	DEVICE_GONE,     /* unplugged; freed when nothing in the kernel needs it any more */
};

struct direct_road;

/* What devices stand on; all borrowed and outliving them. */
struct device_context {
	sd_event *event;
	struct job_runner *jobs;
	struct usbip_host *host;
	struct policy *policy;
	struct link *link;
	struct spare *spare;
	struct flap_list *flaps;
	struct direct_road *road;
	struct usbfs_context usbfs;
	void (*on_change)(struct device *device, void *userdata);   /* state or details changed */
	void (*on_finished)(struct device *device, void *userdata); /* GONE, and nothing under way: free it */
	void (*make_offer_id)(char *buffer, size_t size, void *userdata);
	void *userdata;
};

/* The caller's, and freed by it in or after on_finished (or at exit). */
int device_new(const struct device_context *context, const struct busid *busid, const char *syspath, struct device **ret_device);

/* Ends what is under way and leaves the kernel as it is. Takes NULL, returns NULL. */
struct device *device_free(struct device *device);

/* It was just plugged in and may turn out to be one to share, or the link is coming up and it will be offered: opens its stream ahead. */
void device_prepare(struct device *device);

/* The kernel is about to ask its drivers (uevent `add`): offers it right away where it will surely be shared. device_look() is to follow. */
void device_glance(struct device *device);

/* The kernel's generic driver has it (uevent `bind`, or found so at start): look at it, decide, take it. */
void device_look(struct device *device);

/* What it is held with; borrowed, without fds if it is not held (yet). */
const struct usbip_hold *device_get_hold(const struct device *device);

/* Whether it is what is in its socket now, and not another one that came since. */
bool device_is_current(const struct device *device);

/* Its number on its bus, which is another one at the next plug; 0: nobody knows it (yet). */
uint32_t device_get_number(const struct device *device);

/* Whether what is said of a device of this number in its socket is said of it, and not of one that was there before. 0: nobody knows the number. */
bool device_has_number(const struct device *device, uint32_t devnum);

/* It was found with usbip-host at start: ours says whether a predecessor of this exporter put it there. */
void device_found_bound(struct device *device, bool is_ours);

/* A person detached it before a restart of the exporter, and it was not unplugged since: it stays here, as after device_detach(). To be said before it is looked at. */
void device_found_detached(struct device *device);

/* A predecessor had it by usbfs, and left it without drivers: it gets them back unless it is shared again. */
void device_found_left(struct device *device);

/* It was unplugged. */
void device_remove(struct device *device);

/* The link is up and synced: offer it if it is ready or failed. */
void device_offer_now(struct device *device);

/* The link is gone: back to READY by way of the kernel's teardown. */
void device_lose_stream(struct device *device, const char *why);

/* The VM did not keep the offer: the same, and it is taken back. */
void device_lose_offer(struct device *device, const char *why);

/* The VM kept the offer: it is told what changed while it could not be. */
void device_keep_offer(struct device *device);

/* What the VM says about the offer that is this device's (attached, failed, detached). */
void device_handle_message(struct device *device, const struct message *message);

/* At exit, or without a VM: end the stream and give it back to the Pi's own driver; it then is IGNORED with that reason until device_share() or a new plug. */
void device_release(struct device *device, const char *reason);

/* By hand: the same, and a restart of the exporter changes nothing about it (kept_file.h). */
void device_detach(struct device *device, const char *reason);

/* Whether a person has detached it, and nobody wanted it again since. */
bool device_is_detached(const struct device *device);

/* The rules changed: it is judged anew, and shared, let go or renamed accordingly; what was detached by hand stays so. */
void device_reconsider(struct device *device);

/* Shares it again, or now: what detached it by hand is forgotten. */
void device_share(struct device *device);

/* Its place; borrowed. */
const struct busid *device_busid(const struct device *device);

/* The state. */
enum device_state device_get_state(const struct device *device);

/* The state's name as in --json: "ATTACHED". Never NULL. */
const char *device_state_to_string(enum device_state state);

/* What it is, all zero until it was looked at; borrowed. */
const struct identity *device_identity(const struct device *device);

/* What the policy said last; all zero until it was looked at. Borrowed. */
const struct policy_decision *device_decision(const struct device *device);

/* What the policy is asked about; borrowed from the device. False until it was looked at. */
bool device_to_policy(const struct device *device, struct policy_device *ret_asked);

/* Whether it is offered to the VM now: in OFFERED, ATTACHED, toward the end of BINDING, and early in SEEN. */
bool device_has_offer(const struct device *device);

/* The offer that the VM may know, or "" in states without one. is_streaming: its stream stands. */
const char *device_offer_id(const struct device *device, bool *ret_is_streaming);

/* Whether somebody else gave it to usbip-host (`usbip bind`): it is taken from there only if a person asks for it. */
bool device_is_foreign(const struct device *device);

/* Gets a stuck device going again: by a reset, or (is_hard) by taking its power. What is attached goes and comes back. 0, or FAILURE_BUSY, FAILURE_GONE. */
int device_recover(struct device *device, bool is_hard, struct failure *ret_failure);

/* Whether usbip-host holds it by our doing, so that a successor may find out. */
bool device_is_held(const struct device *device);

/* Whether something is under way in the kernel for it. */
bool device_is_busy(const struct device *device);

/* What a machine on the direct road is told of it. False while it can't be imported. */
bool device_to_usbip(const struct device *device, struct usbip_device *ret_usbip);

/* Gives it to peer (an address), whose connection fd (borrowed) is: the kernel's on return. is_vm: it is the VM to which devices are offered; any other gets only
 * what nobody has. USBIP_OK with ret_usbip, or why not. */
enum usbip_status device_import(struct device *device, int fd, const char *peer, bool is_vm, struct usbip_device *ret_usbip);

/* Whether a machine other than the VM has it on the direct road; then ret_address says which. */
bool device_get_borrower(const struct device *device, struct sockaddr_storage *ret_address);

/* Ends the session of the machine that borrowed it; then it is for the VM again. */
void device_end_lending(struct device *device);

/* One of `status --json`'s devices; a new reference. */
json_t *device_to_json(const struct device *device);

/* One line for people and logs: "attached: /dev/ttyUSB0". */
void device_describe(const struct device *device, char *buffer, size_t size);
