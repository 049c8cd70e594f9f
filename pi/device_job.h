#pragma once

#include "busid.h"
#include "descriptor.h"
#include "failure.h"
#include "identity.h"
#include "rule.h"
#include "usbip_host.h"

/* What a device needs of the kernel and what may block there: each is the body of a job (job.h). */
struct device_job {
	struct usbip_host *host; /* referenced */
	struct busid busid;
	struct usbip_hold hold; /* owned */
	struct failure failure;
	enum rule_backend backend; /* what a rule wants to carry it */
	uint32_t devnum;           /* what it was when it was looked at: another device in its place is left alone. 0: not looked at yet */
	/* of device_job_look(), and devnum too */
	uint32_t busnum, speed;
	struct identity identity;
	struct descriptors descriptors;
};

/* A job's argument, with the hold moved into it; what else it needs is to be filled in. NULL without memory. */
struct device_job *device_job_new(struct usbip_host *host, const struct busid *busid, uint32_t devnum, struct usbip_hold *hold);

/* For job_start(). */
void device_job_free(void *job);

/* Reads descriptors and numbers: what can be read while the kernel still holds the device's lock. Of the identity there are the numbers only. */
int device_job_glance(void *job);

/* Reads identity, descriptors, numbers. */
int device_job_look(void *job);

/* Binds to usbip-host, or claims it by usbfs where a rule says so or the other has no place left; the hold is filled. FAILURE_GONE, too, when another device than the one that was looked at is in the socket now. */
int device_job_bind(void *job);

/* The same after a reset of the device; one that can't be done is logged and no reason not to bind. */
int device_job_reset_and_bind(void *job);

/* Resets it where it is, with whatever driver; one that is claimed stays so. */
int device_job_reset(void *job);

/* Takes its power and gives it back. Where the hub can't: lets it go, resets it, and binds it again if it was bound. */
int device_job_cycle_power(void *job);

/* Takes hold of what is bound already, of that number. */
int device_job_adopt(void *job);

/* A claimed device after its session, which usbip-host's kernel settles by itself: usbfs_claim_settle(). */
int device_job_settle(void *job);

/* Releases and binds anew: the cure for usbip_status 3. */
int device_job_rebind(void *job);

/* Lets the kernel's drivers have what no driver has of it. */
int device_job_connect(void *job);

/* Gives it back to its driver; the hold is used up. */
int device_job_release(void *job);

/* After an unplug; the hold is used up. */
int device_job_forget(void *job);
