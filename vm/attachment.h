#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "failure.h"
#include "message.h"
#include "node_list.h"
#include "uevent.h"

/* One offer's way on the VM, from its `connect` to its port being free again. */

struct attachment;
struct job_runner;
struct acceptance;
struct name_book;
struct vhci;

enum attachment_state {
	ATTACHMENT_STATE_WAITING,     /* for the stream */
	ATTACHMENT_STATE_ATTACHING,   /* giving the stream to vhci_hcd */
	ATTACHMENT_STATE_ENUMERATING, /* the kernel reads the device */
	ATTACHMENT_STATE_VERIFYING,   /* is it what was offered, and do we take it? */
	ATTACHMENT_STATE_AUTHORIZING, /* drivers bind */
	ATTACHMENT_STATE_SETTLING,    /* udev makes the nodes */
	ATTACHMENT_STATE_ATTACHED,
	ATTACHMENT_STATE_DETACHING, /* until the kernel has freed the port */
	ATTACHMENT_STATE_FAILED,    /* holds nothing any more; kept to tell why */
	ATTACHMENT_STATE_GONE,      /* holds nothing any more; may be freed */
};

struct attachment_info {
	struct offer offer;
	enum attachment_state state;
	bool has_port;
	uint32_t port;
	struct busid busid;     /* on this machine; empty before the device is enumerated */
	uint64_t epoch;         /* the Pi's connection on which it was offered; 0 for an adopted one */
	struct failure failure; /* code FAILURE_NONE unless it failed; told already while DETACHING */
	char reason[128];       /* why it is detached; empty before */
	struct node_list nodes;
};

/* What all attachments of a handler share. Borrowed by them: outlives them. */
struct attachment_services {
	sd_event *event;
	struct job_runner *jobs;
	struct vhci *vhci;
	struct acceptance *acceptance;
	struct name_book *names;
	/* Whether another attachment still holds a port that the kernel calls free. */
	bool (*is_port_reserved)(uint32_t port, void *userdata);
	/* After each change of state, and (from == the state itself) when the port, the nodes or the offer changed. Must not free the attachment.
	 * ATTACHING with a port is told before the kernel gets the stream, so that the port can be recorded first. */
	void (*on_change)(struct attachment *attachment, enum attachment_state from, void *userdata);
	void *userdata;
};

/* A fresh attachment, WAITING. owner is borrowed and only remembered; owner_name (borrowed) stands in the log; epoch tells the Pi's
 * connections apart. NULL without memory. */
struct attachment *attachment_new(const struct attachment_services *services, void *owner, const char *owner_name,
				  const struct offer *offer, uint64_t epoch);

/* One whose port a predecessor of this process attached; it is verified again. Call attachment_check() next. NULL without memory. */
struct attachment *attachment_adopt(const struct attachment_services *services, void *owner, const char *owner_name,
				    const struct offer *offer, uint32_t port);

/* Releases the object, whatever its state, without touching the kernel. Takes NULL, returns NULL. Not from on_change. */
struct attachment *attachment_free(struct attachment *attachment);

/* Gives it the stream it WAITs for. The fd (its first line read, nothing written; of an import, the reply read) is taken over. */
void attachment_take_stream(struct attachment *attachment, int fd);

/* The stream it WAITs for can't be had: it fails. */
void attachment_refuse_stream(struct attachment *attachment, const struct failure *failure);

/* The offer is withdrawn: ends in GONE, at once or when the kernel has freed the port. reason is told to the Pi. One
 * that has failed and is on its way out ends so, too. */
void attachment_detach(struct attachment *attachment, const char *reason);

/* A usb_device below a port: the kernel's uevent (or enumerated, as UEVENT_BIND). The caller found the port and its bus id. */
void attachment_on_device(struct attachment *attachment, enum uevent_action action, const struct busid *busid);

/* A device node below the device, from udev. */
void attachment_on_node(struct attachment *attachment, enum uevent_action action, const char *path, const char *devlinks);

/* The VM's rules changed: one that they do not take any more is detached. */
void attachment_reconsider(struct attachment *attachment);

/* The rest of an offer that was partial: only with it is the device verified, and goes on from ENUMERATING. */
void attachment_complete(struct attachment *attachment, const struct offer *offer);

/* Its owner calls it so from now on (may be empty). */
void attachment_rename(struct attachment *attachment, const char *name);

/* Its name: of its link in /dev/usbpush once it has one, else as it was offered. Borrowed until the next change. */
const char *attachment_get_name(const struct attachment *attachment);

/* Looks at sysfs in case events were lost. */
void attachment_check(struct attachment *attachment);

/* The owner as given. */
void *attachment_get_owner(const struct attachment *attachment);

/* What others may know of it; borrowed, valid as long as the attachment. */
const struct attachment_info *attachment_get_info(const struct attachment *attachment);

/* Whether it has, or is about to get, a device: every state from WAITING to ATTACHED. */
bool attachment_is_live(const struct attachment *attachment);

/* The state in a word: "attached". */
const char *attachment_state_to_string(enum attachment_state state);

/* How long each step took: {"attach":1,"enumerate":480,...} in ms. A new reference. */
json_t *attachment_steps_to_json(const struct attachment *attachment);
