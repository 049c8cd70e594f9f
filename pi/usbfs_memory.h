#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

/* How much memory the transfers of all devices may take that go by usbfs: the kernel lends it so much for the whole machine
 * (/sys/module/usbcore/parameters/usbfs_memory_mb), other programs' included. Who gets none waits, and does not fail.
 * Small transfers have a part of their own: what asks for much and never ends does not keep them waiting. */
struct usbfs_memory;

/* Somebody who waits for some. */
struct usbfs_waiter;

enum usbfs_pool { USBFS_POOL_LARGE, USBFS_POOL_SMALL, USBFS_N_POOLS };

/* limit: bytes, of large transfers; a third of it more is for the small ones. The object is the caller's. */
int usbfs_memory_new(size_t limit, struct usbfs_memory **ret_memory);

/* Three quarters of what that file of sysfs says; as many bytes of its default (16) without it. */
size_t usbfs_memory_get_limit(const char *sysfs_root);

/* Nobody may wait for it any more. Takes NULL, returns NULL. */
struct usbfs_memory *usbfs_memory_free(struct usbfs_memory *memory);

/* Whether so many bytes can ever be had there. */
bool usbfs_memory_fits(const struct usbfs_memory *memory, enum usbfs_pool pool, size_t size);

/* Takes so many bytes for who has n_own of them there already: nobody has more than half, but for one transfer that is more. False while they are not to be had. */
bool usbfs_memory_take(struct usbfs_memory *memory, enum usbfs_pool pool, size_t n_own, size_t size);

/* Whether nobody has any. */
bool usbfs_memory_is_whole(const struct usbfs_memory *memory);

/* Gives them back: whoever waits is told, from the loop. */
void usbfs_memory_give(struct usbfs_memory *memory, enum usbfs_pool pool, size_t size);

/* on_given is called after each time that something was given back while the waiter waits. The object is the caller's. 0 or negative errno. */
int usbfs_waiter_new(sd_event *event, struct usbfs_memory *memory, void (*on_given)(void *userdata), void *userdata,
		     struct usbfs_waiter **ret_waiter);

/* Whether it waits. */
void usbfs_waiter_set(struct usbfs_waiter *waiter, bool is_waiting);

/* Takes NULL, returns NULL. */
struct usbfs_waiter *usbfs_waiter_free(struct usbfs_waiter *waiter);
