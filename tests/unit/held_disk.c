#include "held_disk.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "inject.h"

static struct {
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	char name[64]; /* "": none is held */
	pthread_t loop;
	unsigned n_held, n_released;
	int result;
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* Under the lock. */
static bool is_meant(int fd)
{
	char link[64], path[512];
	const char *slash;
	size_t length = strlen(disk.name);
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0 || length == 0)
		return false;
	path[n] = '\0';
	slash = strrchr(path, '/');
	return slash && strncmp(slash + 1, disk.name, length) == 0 && (slash[1 + length] == '.' || slash[1 + length] == '\0');
}

static bool disk_on_sync(int fd, int *ret_result, void *userdata)
{
	unsigned turn;
	bool is_held;

	(void)userdata;
	pthread_mutex_lock(&disk.lock);
	is_held = is_meant(fd);
	if (is_held && pthread_equal(disk.loop, pthread_self())) {
		pthread_mutex_unlock(&disk.lock);
		ck_abort_msg("the event loop itself waits for the disk");
	}
	if (is_held) {
		turn = ++disk.n_held;
		pthread_cond_broadcast(&disk.changed);
		while (disk.name[0] && disk.n_released < turn)
			pthread_cond_wait(&disk.changed, &disk.lock);
		is_held = disk.n_released >= turn;
		*ret_result = disk.result;
	}
	pthread_mutex_unlock(&disk.lock);
	return is_held;
}

void held_disk_begin(const char *name)
{
	pthread_mutex_lock(&disk.lock);
	snprintf(disk.name, sizeof(disk.name), "%s", name);
	disk.loop = pthread_self();
	disk.n_held = disk.n_released = 0;
	pthread_mutex_unlock(&disk.lock);
	inject_answer_syncs(disk_on_sync, NULL);
}

bool held_disk_has_one(void)
{
	bool has_one;

	pthread_mutex_lock(&disk.lock);
	has_one = disk.n_held > disk.n_released;
	pthread_mutex_unlock(&disk.lock);
	return has_one;
}

unsigned held_disk_count(void)
{
	unsigned count;

	pthread_mutex_lock(&disk.lock);
	count = disk.n_held;
	pthread_mutex_unlock(&disk.lock);
	return count;
}

void held_disk_release_one(int result)
{
	pthread_mutex_lock(&disk.lock);
	ck_assert_uint_gt(disk.n_held, disk.n_released);
	disk.result = result;
	disk.n_released++;
	pthread_cond_broadcast(&disk.changed);
	pthread_mutex_unlock(&disk.lock);
}

void held_disk_end(void)
{
	inject_answer_syncs(NULL, NULL);
	pthread_mutex_lock(&disk.lock);
	disk.name[0] = '\0';
	pthread_cond_broadcast(&disk.changed);
	pthread_mutex_unlock(&disk.lock);
}
