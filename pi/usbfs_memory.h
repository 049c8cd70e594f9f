#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

/* How much memory the transfers of all devices may take that go by usbfs: the kernel lends it so much for the whole machine
 * (/sys/module/usbcore/parameters/usbfs_memory_mb), other programs' included. Who gets none waits, and does not fail; what he brings with him meanwhile is
 * counted, too, in a part of its own.
 * Small transfers have parts of their own: what asks for much and never ends does not keep them waiting.
 * Counted: its owner and each claimed device have one reference. A job's thread may give back and end a reference; all else is the event loop's. */
struct usbfs_memory;

/* Somebody who waits for some. */
struct usbfs_waiter;

/* With usbfs; or here, on the way there. */
enum usbfs_pool { USBFS_POOL_LARGE, USBFS_POOL_SMALL, USBFS_POOL_LARGE_HERE, USBFS_POOL_SMALL_HERE, USBFS_N_POOLS };

/* limit: bytes, of large transfers with usbfs, and as many here, but 32 MiB at most; a third of it more is for the small ones. One reference, the caller's. 0 or negative errno. */
int usbfs_memory_new(sd_event *event, size_t limit, struct usbfs_memory **ret_memory);

/* Three quarters of what that file of sysfs says; as many bytes of its default (16) without it. */
size_t usbfs_memory_get_limit(const char *sysfs_root);

/* One more reference. Returns memory. */
struct usbfs_memory *usbfs_memory_ref(struct usbfs_memory *memory);

/* Takes NULL, returns NULL. */
struct usbfs_memory *usbfs_memory_unref(struct usbfs_memory *memory);

/* The owner's end of it, and of its reference: nobody may wait for it any more, and nobody is told. Takes NULL, returns NULL. */
struct usbfs_memory *usbfs_memory_free(struct usbfs_memory *memory);

/* Whether so many bytes can ever be had there. */
bool usbfs_memory_fits(const struct usbfs_memory *memory, enum usbfs_pool pool, size_t size);

/* Takes so many bytes for who has n_own of them there already: nobody has more than half, but for one transfer that is more. False while they are not to be had. */
bool usbfs_memory_take(struct usbfs_memory *memory, enum usbfs_pool pool, size_t n_own, size_t size);

/* Whether nobody has any. */
bool usbfs_memory_is_whole(struct usbfs_memory *memory);

/* Gives them back: whoever waits is told, from the loop. */
void usbfs_memory_give(struct usbfs_memory *memory, enum usbfs_pool pool, size_t size);

/* on_given is called after each time that something was given back while the waiter waits, or between its ceasing to wait and its waiting again; it frees no waiter. The object is the caller's. NULL without memory. */
struct usbfs_waiter *usbfs_waiter_new(struct usbfs_memory *memory, void (*on_given)(void *userdata), void *userdata);

/* Whether it waits. Who tries ceases to wait, takes what there is, and waits again if that was not enough: what is given back meanwhile is not missed. */
void usbfs_waiter_set(struct usbfs_waiter *waiter, bool is_waiting);

/* Takes NULL, returns NULL. */
struct usbfs_waiter *usbfs_waiter_free(struct usbfs_waiter *waiter);
