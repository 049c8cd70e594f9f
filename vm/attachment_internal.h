#pragma once

/* Shared by attachment.c (the states, and what the device is) and attachment_port.c (the port: to vhci_hcd and back). */

#include <stdint.h>
#include <systemd/sd-event.h>

#include "attachment.h"
#include "descriptor.h"

#define N_ATTACHMENT_STATES (ATTACHMENT_STATE_GONE + 1)

struct job;

struct attachment {
	const struct attachment_services *services; /* borrowed: outlives us */
	void *owner;                                /* borrowed: outlives us */
	const char *owner_name;                     /* borrowed: outlives us */
	struct attachment_info info;
	struct descriptors *descriptors; /* owned: what the kernel read, from AUTHORIZING on; before, of which there are many, NULL */
	int stream_fd;                   /* owned until the kernel has it */
	uint64_t entered_usec;
	uint64_t spent_usec[N_ATTACHMENT_STATES];
	uint64_t poll_usec;
	sd_event_source *limit; /* owned: this state's end */
	sd_event_source *poll;  /* owned: looks at the port where no event tells of it */
	struct job *job;        /* valid until it is done */
	unsigned n_tries;       /* ports that were tried */
	bool is_detach_written;
};

/* ---- attachment.c ---- */

/* The one transition function. */
void attachment_enter_state(struct attachment *attachment, enum attachment_state state);

/* When this state ends by itself. */
void attachment_limit(struct attachment *attachment, uint64_t usec);

/* Looks at the port soon, and less often with each time. */
void attachment_poll_port(struct attachment *attachment);

/* The failure is filled in; what the kernel holds is taken back first. */
void attachment_fail(struct attachment *attachment);

/* It holds nothing any more: FAILED or GONE. */
void attachment_end(struct attachment *attachment);

/* ---- attachment_port.c ---- */

/* ATTACHING, with its stream: finds a port, and the kernel gets both in a job. Goes on to ENUMERATING, or fails. */
void attachment_claim_port(struct attachment *attachment);

/* DETACHING: the port is given back in a job, as soon as the kernel has returned from what it was asked before. */
void attachment_release_port(struct attachment *attachment);

/* DETACHING: whether that is over, and the next step towards it. */
void attachment_check_release(struct attachment *attachment);

/* DETACHING has taken too long. A port from whose write the kernel has not returned stays this attachment's: another's would wait there, too. */
void attachment_give_up_release(struct attachment *attachment);

/* Whether the kernel calls the port free (or the module went, and the port with it). */
bool attachment_is_port_free(const struct attachment *attachment);

/* Whether the device's directory is gone. */
bool attachment_is_device_gone(const struct attachment *attachment);
