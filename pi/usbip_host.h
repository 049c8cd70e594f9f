#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "busid.h"
#include "failure.h"

/* The kernel's exporter side: usbip-host's files in sysfs (drivers/usb/usbip/stub_main.c, stub_dev.c). The one file that writes them. Calls marked
 * "may block" wait for the device's lock in the kernel: they belong in a job. */
struct usbip_host;
struct usbfs_claim;

/* References on the kernel's usb_device and its hub, held through open usbfs nodes. usbip-host keeps a bare pointer to the device in its
 * match_busid table, which `rebind` follows even after an unplug: with these references it still points at memory that is there, and so the
 * entry can be cleared at any time. */
struct usbip_hold {
	int device_fd, hub_fd;     /* owned; negative without */
	struct usbfs_claim *claim; /* owned: it is not usbip-host that has the device, but this program, by usbfs; else NULL */
};

enum usbip_host_status {
	USBIP_HOST_AVAILABLE = 1, /* bound, no session */
	USBIP_HOST_USED = 2,      /* a session is up or being torn down */
	USBIP_HOST_ERROR = 3,     /* unusable until bound anew */
};

/* sysfs_root "/sys", dev_root "/dev"; tests pass trees of their own. The reference is the caller's. */
int usbip_host_new(const char *sysfs_root, const char *dev_root, struct usbip_host **ret_host);

/* One more reference, for a job's thread, which may outlive all others. Returns host. */
struct usbip_host *usbip_host_ref(struct usbip_host *host);

/* Takes NULL, returns NULL. */
struct usbip_host *usbip_host_unref(struct usbip_host *host);

/* Opens the directory of a device; the fd is the caller's. -ENOENT: unplugged. */
int usbip_host_open_device(const struct usbip_host *host, const struct busid *busid);

/* Calls fn for each device that is plugged in, with its path ("/sys/devices/...") and its driver ("" without one). 0; a negative
 * errno if it may have missed one. */
int usbip_host_enumerate(const struct usbip_host *host,
			 void (*fn)(const struct busid *busid, const char *syspath, const char *driver, void *userdata), void *userdata);

/* Resets the device as its driver would (USBDEVFS_RESET, drivers/usb/core/devio.c). May block. 0 or negative errno. */
int usbip_host_reset(const struct usbip_host *host, const struct busid *busid);

/* Opens the node in usbfs of the hub that the device is plugged in at, for requests to it; the fd is the caller's. Negative errno. */
int usbip_host_open_hub(const struct usbip_host *host, int device_fd);

/* Whether usbip-host can be used: FAILURE_NO_MODULE or FAILURE_NO_USB with the cure otherwise. */
int usbip_host_check(const struct usbip_host *host, struct failure *ret_failure);

/* Takes the device from its driver and gives it to usbip-host. May block. On success ret_hold holds it; on failure the device is with the driver it had as
 * far as it is still there. FAILURE_GONE: unplugged meanwhile, ordinary. FAILURE_BUSY: somebody else's session is on it.
 * FAILURE_TABLE_FULL, FAILURE_NO_PERMISSION, FAILURE_NO_MODULE, FAILURE_KERNEL. */
int usbip_host_bind(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *ret_hold, struct failure *ret_failure);

/* Whether match_busid has a free place, as far as that can be read. Somebody else may take it before us. */
bool usbip_host_has_place(const struct usbip_host *host);

/* The other way: takes the device from its drivers by usbfs (usbfs_claim.h), of which there may be any number. May block. The same failures, but for the table. */
int usbip_host_claim(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *ret_hold, struct failure *ret_failure);

/* Lets the kernel's drivers have those of its interfaces that no driver has. May block. 0 or negative errno. */
int usbip_host_connect(const struct usbip_host *host, const struct busid *busid);

/* Takes hold of a device that a predecessor bound. May block. -ENODEV if it is not bound to usbip-host. */
int usbip_host_adopt(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *ret_hold);

/* Gives a bound device without a session back to the Pi's own driver and clears its match_busid entry. May block. 0 also when it was unplugged meanwhile; the
 * hold is used up. Never while a session is torn down (use after free up to 6.12): -EBUSY then. After an error the hold stays, and the same can be tried again. */
int usbip_host_release(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *hold, struct failure *ret_failure);

/* After an unplug: clears the match_busid entry, so that it says nothing about the next device in that socket. An entry that a bound device lives on stays: its
 * disconnect would find none and run into BUG() (stub_disconnect() in stub_dev.c). 0: the hold is used up. A negative errno: it could not be cleared, and the
 * hold stays, to be tried again. */
int usbip_host_forget(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *hold);

/* Whether the device in that socket is with usbip-host now. Never blocks. */
bool usbip_host_is_bound(const struct usbip_host *host, const struct busid *busid);

/* The number that the kernel gave the device in that socket at its enumeration: another plug, another number. Never blocks. -ENOENT: nothing is plugged in. */
int usbip_host_get_devnum(const struct usbip_host *host, const struct busid *busid, uint32_t *ret_devnum);

/* The session's state; -ENOENT or -ENODEV when the device is gone or not bound to usbip-host. */
int usbip_host_get_status(const struct usbip_host *host, const struct busid *busid, enum usbip_host_status *ret_status);

/* Starts a session on a connected stream socket. The kernel keeps a reference of its own: the caller closes its one. Must be called by the process that holds fd. */
int usbip_host_start_session(const struct usbip_host *host, const struct busid *busid, int fd, struct failure *ret_failure);

/* Closes what it holds; transfers under way end. */
void usbip_hold_done(struct usbip_hold *hold);

#define USBIP_HOLD_NONE ((struct usbip_hold){ -EBADF, -EBADF, NULL })
