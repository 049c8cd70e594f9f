#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "usbfs_memory.h"
#include "usbfs_urb.h"

/* What one session has of the memory that all share. Each of its requests holds what it takes: first here, on its way to usbfs; then there. */
struct usbfs_share {
	struct usbfs_memory *memory; /* borrowed: outlives us */
	size_t n_taken[USBFS_N_POOLS];
	size_t refused[USBFS_N_POOLS]; /* who wants that much there, or more, has waited long enough; 0: nobody has */
};

/* Whether this one can ever be with usbfs. */
bool usbfs_share_fits(const struct usbfs_share *share, const struct usbfs_urb *urb);

/* Takes what this request has with it while it waits: its bytes and its packets. True also where that is nothing, or it has it. False while it is not to be had. */
bool usbfs_share_take_here(struct usbfs_share *share, struct usbfs_urb *urb);

/* There was no place here for this one for too long: until there is one for as much, such requests need not wait again. */
void usbfs_share_refuse(struct usbfs_share *share, const struct usbfs_urb *urb);

/* Whether it need not wait for a place here. */
bool usbfs_share_is_refusing(const struct usbfs_share *share, const struct usbfs_urb *urb);

/* Takes what it needs to be with usbfs, in the place of what it had. True also where it has it. False while it is not to be had; nothing is changed then. */
bool usbfs_share_take(struct usbfs_share *share, struct usbfs_urb *urb);

/* Gives back what it has. */
void usbfs_share_give(struct usbfs_share *share, struct usbfs_urb *urb);

/* The same, and frees it. Takes NULL. */
void usbfs_share_free(struct usbfs_share *share, struct usbfs_urb *urb);

/* The same for all of a list. */
void usbfs_share_free_all(struct usbfs_share *share, struct usbfs_urb_list *list);
