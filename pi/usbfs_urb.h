#pragma once

#include <linux/usbdevice_fs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "usbfs_layout.h"
#include "usbfs_memory.h"
#include "usbip_urb.h"

/* One request of the VM's kernel on its way to usbfs, and its answer on the way back. Its bytes stay where they were read to: no copy is made but the kernel's. */
struct usbfs_urb {
	TAILQ_ENTRY(usbfs_urb) entry; /* of the list that it is in, its owner's */
	struct usbip_urb request;
	uint8_t *data;              /* owned; a control transfer's begins with its setup bytes. NULL until usbfs_urb_make_room() */
	uint8_t *packets;           /* owned: as they are on the wire; NULL without */
	struct usbfs_urb *unlinked; /* owned: the answer to the request to end this one; NULL while there is none */
	enum usbfs_pool pool;       /* where it has its part of the memory */
	size_t n_taken;             /* that part; 0: none */
	uint64_t starved_usec;      /* since when usbfs has had no memory for it, or for one before it; 0: it was not tried */
	int32_t refusal;            /* other than 0: it is not for usbfs, and this is the answer's status; its bytes are skipped */
	int32_t status;             /* the answer's */
	uint32_t actual_length;     /* the answer's */
	uint8_t header[USBIP_URB_HEADER_SIZE]; /* the answer's */
	size_t n_sent;                         /* bytes of the answer */
	struct usbdevfs_urb kernel;            /* last: its packets follow it */
};

TAILQ_HEAD(usbfs_urb_list, usbfs_urb);

/* What a request is about: most are transfers; some change what the host thinks of the device, and so are the host's to do (tweak_*() in stub_rx.c). */
enum usbfs_urb_kind {
	USBFS_URB_TRANSFER,
	USBFS_URB_SET_ADDRESS, /* never done: the Pi's kernel would lose the device; the VM has numbers of its own */
	USBFS_URB_SET_INTERFACE,
	USBFS_URB_SET_CONFIGURATION,
	USBFS_URB_CLEAR_HALT,
	USBFS_URB_RESET,
};

/* One for this request, without room for its bytes. One of more packets than usbfs takes has its refusal. The caller's; NULL without memory. */
struct usbfs_urb *usbfs_urb_new(const struct usbip_urb *request);

/* Takes NULL, returns NULL. */
struct usbfs_urb *usbfs_urb_free(struct usbfs_urb *urb);

/* Frees all of a list. */
void usbfs_urb_list_free(struct usbfs_urb_list *list);

/* The first in a list that has that number; NULL without one. */
struct usbfs_urb *usbfs_urb_list_find(const struct usbfs_urb_list *list, uint32_t seqnum);

/* Its pipe: one bit for each endpoint and direction. */
uint32_t usbfs_urb_get_pipe(const struct usbfs_urb *urb);

/* What it is about. */
enum usbfs_urb_kind usbfs_urb_get_kind(const struct usbfs_urb *urb);

/* Whether it asks for nothing of an interface that is not among those (one bit for each): usbfs would claim it, and say so in the kernel's log each time. A printer's
 * GET_DEVICE_ID names its interface in another way: configuration (negative: not known) says which that layout has. */
bool usbfs_urb_is_within(const struct usbfs_urb *urb, uint32_t interfaces, const struct usbfs_layout *layout, int configuration);

/* Whether what it is to change in the device is there, in that configuration of it (negative: not known): the kernel would write a line into its log each time,
 * for an endpoint in the wrong direction and for a setting that is none. */
bool usbfs_urb_is_known(const struct usbfs_urb *urb, const struct usbfs_layout *layout, int configuration);

/* Whether it ends the halt of the endpoint that the other one is on: the kernel would say so in its log each time. */
bool usbfs_urb_clears_halt_under(const struct usbfs_urb *urb, const struct usbfs_urb *other);

/* How much memory it takes, here and in usbfs. */
size_t usbfs_urb_get_cost(const struct usbfs_urb *urb);

/* How much of that it takes while it waits here; 0 for one that brings nothing with it. */
size_t usbfs_urb_get_cost_here(const struct usbfs_urb *urb);

/* Whether what follows its header can be read, or nothing does. */
bool usbfs_urb_has_place(const struct usbfs_urb *urb);

/* Whether its bytes are few, or a control transfer's. */
bool usbfs_urb_is_small(const struct usbfs_urb *urb);

/* Makes room for its bytes. 0 or -ENOMEM. */
int usbfs_urb_make_room(struct usbfs_urb *urb);

/* Where the next byte of what follows its header on the wire belongs, when n_read have come; how many are missing there. 0: all have come.
 * NULL: it may be anywhere, they are of no use. */
size_t usbfs_urb_get_gap(struct usbfs_urb *urb, size_t n_read, uint8_t **ret_bytes);

/* Fills in what usbfs is asked for; there must be room, and all bytes. A negative errno if that makes no sense, or not for its endpoint in that configuration (negative: not
 * known), of which the kernel would say so in its log each time: it is the answer's status. */
int usbfs_urb_prepare(struct usbfs_urb *urb, const struct usbfs_layout *layout, int configuration);

/* usbfs is done with it: what became of it is its answer. */
void usbfs_urb_take_result(struct usbfs_urb *urb);

/* It never came to usbfs, or it was no transfer: this is its answer. */
void usbfs_urb_set_result(struct usbfs_urb *urb, int status);

/* Makes it the answer to the request, with that seqnum, to end another one. */
void usbfs_urb_set_unlinked(struct usbfs_urb *urb, int status);

/* What of the answer is still to be sent: at most three pieces, in *ret_pieces; how many. 0: nothing. */
int usbfs_urb_get_unsent(const struct usbfs_urb *urb, struct iovec ret_pieces[static 3]);
