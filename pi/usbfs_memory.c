#include "usbfs_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "cleanup.h"
#include "sysfs.h"

#define DEFAULT_MB 16
#define MAX_MB     256                /* 0 stands for no limit at all; ours is one all the same */
#define MAX_HERE   ((size_t)32 << 20) /* two of the longest transfers that there are */

struct usbfs_waiter {
	LIST_ENTRY(usbfs_waiter) entry;
	struct usbfs_memory *memory; /* borrowed: outlives us */
	bool is_waiting;
	unsigned n_seen; /* of the gives, when it ceased to wait: what it tries afterwards knows of those only */
	void (*on_given)(void *userdata);
	void *userdata; /* borrowed */
};

struct usbfs_memory {
	size_t limits[USBFS_N_POOLS];
	pthread_mutex_t lock; /* guards the next two lines */
	size_t n_taken[USBFS_N_POOLS];
	unsigned n_references, n_waiting, n_gives;
	int bell;                /* owned: an eventfd that who gives back rings while somebody waits */
	sd_event_source *ringer; /* owned: the loop's end of it; NULL when the owner has left */
	LIST_HEAD(usbfs_waiters, usbfs_waiter) waiters;
};

/* ---- who waits ---- */

static int memory_on_bell(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct usbfs_memory *memory = userdata;
	struct usbfs_waiter *waiter;
	uint64_t n_rings;

	(void)source;
	(void)events;
	(void)!read(fd, &n_rings, sizeof(n_rings)); /* it only says that it was rung */
	LIST_FOREACH(waiter, &memory->waiters, entry)
		if (waiter->is_waiting)
			waiter->on_given(waiter->userdata);
	return 0;
}

struct usbfs_waiter *usbfs_waiter_new(struct usbfs_memory *memory, void (*on_given)(void *userdata), void *userdata)
{
	struct usbfs_waiter *waiter = calloc(1, sizeof(*waiter));

	if (!waiter)
		return NULL;
	waiter->memory = memory;
	waiter->on_given = on_given;
	waiter->userdata = userdata;
	usbfs_waiter_set(waiter, false);
	LIST_INSERT_HEAD(&memory->waiters, waiter, entry);
	return waiter;
}

/* With the lock held. */
static void memory_ring(struct usbfs_memory *memory)
{
	const uint64_t once = 1;

	(void)!write(memory->bell, &once, sizeof(once)); /* it can't be full: its loop empties it */
}

/* A job's thread may give between a take that fails and this: nobody waits yet then, and nothing else would tell. */
void usbfs_waiter_set(struct usbfs_waiter *waiter, bool is_waiting)
{
	struct usbfs_memory *memory = waiter->memory;

	pthread_mutex_lock(&memory->lock);
	memory->n_waiting = memory->n_waiting + is_waiting - waiter->is_waiting;
	if (is_waiting && !waiter->is_waiting && waiter->n_seen != memory->n_gives)
		memory_ring(memory);
	if (!is_waiting)
		waiter->n_seen = memory->n_gives;
	pthread_mutex_unlock(&memory->lock);
	waiter->is_waiting = is_waiting;
}

struct usbfs_waiter *usbfs_waiter_free(struct usbfs_waiter *waiter)
{
	if (!waiter)
		return NULL;
	usbfs_waiter_set(waiter, false);
	LIST_REMOVE(waiter, entry);
	free(waiter);
	return NULL;
}

/* ---- life ---- */

static void memory_set_limits(struct usbfs_memory *memory, size_t limit)
{
	size_t here = limit < MAX_HERE ? limit : MAX_HERE;

	memory->limits[USBFS_POOL_LARGE] = limit;
	memory->limits[USBFS_POOL_SMALL] = limit / 3; /* usbfs_memory_get_limit() left a quarter of all */
	memory->limits[USBFS_POOL_LARGE_HERE] = here;
	memory->limits[USBFS_POOL_SMALL_HERE] = here / 3;
}

int usbfs_memory_new(sd_event *event, size_t limit, struct usbfs_memory **ret_memory)
{
	struct usbfs_memory *memory = calloc(1, sizeof(*memory));
	int r;

	if (!memory)
		return -ENOMEM;
	pthread_mutex_init(&memory->lock, NULL);
	memory->n_references = 1;
	memory_set_limits(memory, limit);
	memory->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = memory->bell < 0 ? -errno : sd_event_add_io(event, &memory->ringer, memory->bell, EPOLLIN, memory_on_bell, memory);
	if (r < 0) {
		usbfs_memory_free(memory);
		return r;
	}
	*ret_memory = memory;
	return 0;
}

struct usbfs_memory *usbfs_memory_ref(struct usbfs_memory *memory)
{
	pthread_mutex_lock(&memory->lock);
	memory->n_references++;
	pthread_mutex_unlock(&memory->lock);
	return memory;
}

struct usbfs_memory *usbfs_memory_unref(struct usbfs_memory *memory)
{
	unsigned left;

	if (!memory)
		return NULL;
	pthread_mutex_lock(&memory->lock);
	left = --memory->n_references;
	pthread_mutex_unlock(&memory->lock);
	if (left > 0)
		return NULL;
	pthread_mutex_destroy(&memory->lock);
	close_fd(memory->bell);
	free(memory);
	return NULL;
}

struct usbfs_memory *usbfs_memory_free(struct usbfs_memory *memory)
{
	if (memory)
		memory->ringer = sd_event_source_disable_unref(memory->ringer);
	return usbfs_memory_unref(memory);
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

/* ---- what is taken ---- */

bool usbfs_memory_fits(const struct usbfs_memory *memory, enum usbfs_pool pool, size_t size)
{
	return size <= memory->limits[pool];
}

/* With the lock held. */
static bool memory_has(const struct usbfs_memory *memory, enum usbfs_pool pool, size_t n_own, size_t size)
{
	size_t limit = memory->limits[pool], n_taken = memory->n_taken[pool];

	if (n_taken > limit || size > limit - n_taken)
		return false;
	return n_own == 0 || (n_own <= limit / 2 && size <= limit / 2 - n_own);
}

bool usbfs_memory_take(struct usbfs_memory *memory, enum usbfs_pool pool, size_t n_own, size_t size)
{
	bool has;

	pthread_mutex_lock(&memory->lock);
	has = memory_has(memory, pool, n_own, size);
	if (has)
		memory->n_taken[pool] += size;
	pthread_mutex_unlock(&memory->lock);
	return has;
}

bool usbfs_memory_is_whole(struct usbfs_memory *memory)
{
	bool is_whole = true;

	pthread_mutex_lock(&memory->lock);
	for (enum usbfs_pool pool = 0; pool < USBFS_N_POOLS; pool++)
		is_whole = is_whole && memory->n_taken[pool] == 0;
	pthread_mutex_unlock(&memory->lock);
	return is_whole;
}

void usbfs_memory_give(struct usbfs_memory *memory, enum usbfs_pool pool, size_t size)
{
	if (size == 0)
		return;
	pthread_mutex_lock(&memory->lock);
	memory->n_taken[pool] -= size;
	memory->n_gives++;
	if (memory->n_waiting > 0)
		memory_ring(memory);
	pthread_mutex_unlock(&memory->lock);
}
