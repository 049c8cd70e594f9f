#include "usbfs_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "cleanup.h"
#include "sysfs.h"

#define DEFAULT_MB 16
#define MAX_MB     256 /* 0 stands for no limit at all; ours is one all the same */

struct usbfs_waiter {
	LIST_ENTRY(usbfs_waiter) entry;
	sd_event_source *teller; /* owned */
	bool is_waiting;
	void (*on_given)(void *userdata);
	void *userdata; /* borrowed */
};

struct usbfs_memory {
	size_t limits[USBFS_N_POOLS], n_taken[USBFS_N_POOLS];
	LIST_HEAD(usbfs_waiters, usbfs_waiter) waiters;
};

int usbfs_memory_new(size_t limit, struct usbfs_memory **ret_memory)
{
	struct usbfs_memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return -ENOMEM;
	memory->limits[USBFS_POOL_LARGE] = limit;
	memory->limits[USBFS_POOL_SMALL] = limit / 3; /* usbfs_memory_get_limit() left a quarter of all */
	*ret_memory = memory;
	return 0;
}

size_t usbfs_memory_get_limit(const char *sysfs_root)
{
	_cleanup_close_ int fd = sysfs_open_dir(AT_FDCWD, sysfs_root);
	uint32_t mb;

	if (fd < 0 || sysfs_read_uint(fd, "module/usbcore/parameters/usbfs_memory_mb", 10, &mb) < 0)
		mb = DEFAULT_MB;
	if (mb == 0 || mb > MAX_MB)
		mb = MAX_MB;
	return ((size_t)mb << 20) / 4 * 3;
}

struct usbfs_memory *usbfs_memory_free(struct usbfs_memory *memory)
{
	free(memory);
	return NULL;
}

bool usbfs_memory_fits(const struct usbfs_memory *memory, enum usbfs_pool pool, size_t size)
{
	return size <= memory->limits[pool];
}

bool usbfs_memory_take(struct usbfs_memory *memory, enum usbfs_pool pool, size_t n_own, size_t size)
{
	size_t limit = memory->limits[pool], n_taken = memory->n_taken[pool];

	if (n_taken > limit || size > limit - n_taken)
		return false;
	if (n_own > 0 && (n_own > limit / 2 || size > limit / 2 - n_own))
		return false;
	memory->n_taken[pool] += size;
	return true;
}

bool usbfs_memory_is_whole(const struct usbfs_memory *memory)
{
	return memory->n_taken[USBFS_POOL_LARGE] == 0 && memory->n_taken[USBFS_POOL_SMALL] == 0;
}

void usbfs_memory_give(struct usbfs_memory *memory, enum usbfs_pool pool, size_t size)
{
	struct usbfs_waiter *waiter;

	if (size == 0)
		return;
	memory->n_taken[pool] -= size;
	LIST_FOREACH(waiter, &memory->waiters, entry)
		if (waiter->is_waiting)
			sd_event_source_set_enabled(waiter->teller, SD_EVENT_ONESHOT);
}

static int waiter_on_tell(sd_event_source *source, void *userdata)
{
	struct usbfs_waiter *waiter = userdata;

	(void)source;
	waiter->on_given(waiter->userdata);
	return 0;
}

int usbfs_waiter_new(sd_event *event, struct usbfs_memory *memory, void (*on_given)(void *userdata), void *userdata,
		     struct usbfs_waiter **ret_waiter)
{
	struct usbfs_waiter *waiter = calloc(1, sizeof(*waiter));
	int r;

	if (!waiter)
		return -ENOMEM;
	waiter->on_given = on_given;
	waiter->userdata = userdata;
	r = sd_event_add_defer(event, &waiter->teller, waiter_on_tell, waiter);
	if (r < 0) {
		free(waiter);
		return r;
	}
	sd_event_source_set_enabled(waiter->teller, SD_EVENT_OFF);
	LIST_INSERT_HEAD(&memory->waiters, waiter, entry);
	*ret_waiter = waiter;
	return 0;
}

void usbfs_waiter_set(struct usbfs_waiter *waiter, bool is_waiting)
{
	waiter->is_waiting = is_waiting;
	if (!is_waiting)
		sd_event_source_set_enabled(waiter->teller, SD_EVENT_OFF);
}

struct usbfs_waiter *usbfs_waiter_free(struct usbfs_waiter *waiter)
{
	if (!waiter)
		return NULL;
	LIST_REMOVE(waiter, entry);
	sd_event_source_disable_unref(waiter->teller);
	free(waiter);
	return NULL;
}
