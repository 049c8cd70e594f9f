#pragma once

#include <stdbool.h>

#include "usbfs_specials.h"
#include "usbfs_urb.h"

#define USBFS_CHANGE_BURST 10
#define USBFS_CHANGE_USEC  UINT64_C(1000000)

/* A device that this program has by usbfs, in the place of usbip-host: its interfaces are claimed, so that no driver takes them, until it is given back. Between
 * sessions it stays claimed. All of these may block, and belong in a job. */
struct usbfs_claim {
	int fd;                /* owned: its node; one who waits for transfers there is its session */
	uint64_t changed_usec; /* until when its changes are paid for: each costs a second, and some may be owed; its event loop's */
	bool is_used;          /* a session was on it since the last usbfs_claim_settle() that did all it promises */
	int configuration;     /* that it had (bConfigurationValue), and has when it is given back; negative: not known */
	struct usbfs_specials *specials; /* owned reference */
	struct usbfs_layout *layout;     /* owned: what is in it */
	struct usbfs_urb_list flying;    /* owned: with usbfs */
	struct usbfs_memory *memory;     /* owned reference: of which those have their part; NULL before its first session */
};

/* Claims the device whose node fd is; fd and layout are used up. 0, or a negative errno: -EBUSY where another program has it by usbfs; -ENXIO
 * where it has no interface. configuration: the one that it is in, or negative. The object is the caller's. */
int usbfs_claim_new(int fd, struct usbfs_layout *layout, int configuration, struct usbfs_claim **ret_claim);

/* From now on what is under way has its part of that memory: until it is ended, not only until its session is. */
void usbfs_claim_use_memory(struct usbfs_claim *claim, struct usbfs_memory *memory);

/* The configuration that it is in now (bConfigurationValue); negative: not known. */
int usbfs_claim_get_configuration(const struct usbfs_claim *claim);

/* Whether the device and the kernel can make sense of it now. Else the kernel would say so, in its log, each time: the VM could fill that. */
bool usbfs_claim_allows(const struct usbfs_claim *claim, const struct usbfs_urb *urb);

/* A reset, a configuration or a setting is to be chosen now: 0, or how many µs that must wait. Of each the kernel's log has a line or more, of a setting where it fails,
 * and so the VM may not have it without end: USBFS_CHANGE_BURST at once, then one a second. */
uint64_t usbfs_claim_pay_change(struct usbfs_claim *claim, uint64_t now_usec);

/* The change that was paid for last has cost no line of the kernel's log, and counts for none. */
void usbfs_claim_refund_change(struct usbfs_claim *claim);

/* Claims what was released, on that node of it. 0 or negative errno. May block. */
int usbfs_claim_again(int fd, struct usbfs_specials *specials);

/* After a session, or where it is to be got going again: ends what is under way and resets the device, as usbip-host does at the end of each session
 * (stub_device_reset()): the next one must not find what the last has left in it, halted endpoints, toggles, bytes that nobody asked for. What was claimed is
 * claimed again. 0 or negative errno. */
int usbfs_claim_settle(struct usbfs_claim *claim);

/* Gives it back to the Pi's own drivers, after a reset if a session was on it, and in the configuration that it had. */
void usbfs_claim_release(struct usbfs_claim *claim);

/* Closes the node, and so ends what is under way; drivers don't come by themselves. Takes NULL, returns NULL. */
struct usbfs_claim *usbfs_claim_free(struct usbfs_claim *claim);
