#pragma once

#include "usbip_host.h"

/* A device may be unplugged while there is no exporter, because it was killed. Its entry of match_busid is one of sixteen, and only who holds the device
 * (struct usbip_hold) can clear it. So systemd keeps doubles of what each hold is made of (sd_pid_notify_with_fds(3), FDSTORE=1), and gives them to the successor.
 * Where systemd is not there, nothing is kept. For a store that is NULL nothing is done, but for the two calls that fill it. */
struct hold_store;

/* The object is the caller's. 0 or -ENOMEM. */
int hold_store_new(struct hold_store **ret_store);

/* Closes what it has itself; what systemd has, stays there. Returns NULL. */
struct hold_store *hold_store_free(struct hold_store *store);

/* Takes over what systemd kept for a predecessor (sd_listen_fds_with_names(3)). 0 or negative errno. */
int hold_store_take_over(struct hold_store *store);

/* One fd of that: its name, and the fd, which is the store's from now on. The seam for tests. */
void hold_store_add_former(struct hold_store *store, const char *name, int fd);

/* Clears the entries of those that are not with usbip-host any more. The others stay as they are, for who takes them over. To be called before any device is bound. */
void hold_store_clear_former(struct hold_store *store, const struct usbip_host *host);

/* A look at all devices begins: what hold_store_keep() is not called for until hold_store_end() is let go of. */
void hold_store_begin(struct hold_store *store);

/* This one is held. hold is borrowed, and may have no fd yet. A claim is not kept: a double would keep the Pi's own drivers out. */
void hold_store_keep(struct hold_store *store, const struct busid *busid, const struct usbip_hold *hold);

/* That was all of them. */
void hold_store_end(struct hold_store *store);
