#include "pair_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "cleanup.h"
#include "daemon.h"
#include "directory.h"

#define LOCK_PATH    "/run/usbpush/pairing"
#define USEC_PER_SEC UINT64_C(1000000)

/* The file's one line: how many codes are spent, and when the last one was (µs of CLOCK_BOOTTIME). */
struct spent {
	unsigned n;
	uint64_t since_usec;
};

static struct spent lock_read(const struct pair_lock *lock)
{
	struct spent spent = { 0 };
	char text[64] = "", *rest, *end;

	if (pread(lock->fd, text, sizeof(text) - 1, 0) <= 0)
		return spent;
	spent.n = (unsigned)strtoul(text, &rest, 10);
	spent.since_usec = strtoull(rest, &end, 10);
	if (rest == text || end == rest || *end != '\n')
		return (struct spent){ 0 };
	if (clock_now_usec() - spent.since_usec > PAIR_LOCK_REST_S * USEC_PER_SEC)
		return (struct spent){ 0 };
	return spent;
}

static void lock_write(struct pair_lock *lock, unsigned n)
{
	char text[64];
	int length = snprintf(text, sizeof(text), "%u %" PRIu64 "\n", n, clock_now_usec());

	if (ftruncate(lock->fd, 0) < 0 || pwrite(lock->fd, text, (size_t)length, 0) != length)
		fprintf(stderr, "usbpush-vm: note: %s can't be written: %s\n", LOCK_PATH, strerror(errno));
}

static int lock_check(const struct pair_lock *lock, struct failure *failure)
{
	struct spent spent = lock_read(lock);

	if (spent.n < PAIR_LOCK_MAX_SPENT)
		return 0;
	return failure_set(failure, FAILURE_LOCKED, "Wait; or pair without digits: usbpush-vm authorize.",
			   "pairing is locked for another %" PRIu64 " s, after %u wrong codes",
			   PAIR_LOCK_REST_S - (clock_now_usec() - spent.since_usec) / USEC_PER_SEC, spent.n);
}

int pair_lock_take(const char *root, struct pair_lock *ret_lock, struct failure *ret_failure)
{
	struct pair_lock lock = { .fd = -EBADF };
	char path[PATH_MAX];
	int err;

	if (snprintf(path, sizeof(path), "%s%s", root, LOCK_PATH) >= (int)sizeof(path))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "%s: the path is too long", root);
	(void)directory_make_parents(path);
	lock.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock.fd < 0)
		return failure_set(ret_failure, errno == EACCES ? FAILURE_NOT_ALLOWED : FAILURE_INTERNAL,
				   "Run it as root: sudo usbpush-vm pair", "%s: %s", path, strerror(errno));
	if (flock(lock.fd, LOCK_EX | LOCK_NB) < 0) {
		pair_lock_done(&lock);
		return failure_set(ret_failure, FAILURE_BUSY, "Wait for its end, or stop it.",
				   "another usbpush-vm pair runs on this machine");
	}
	err = lock_check(&lock, ret_failure);
	if (err < 0) {
		pair_lock_done(&lock);
		return err;
	}
	*ret_lock = lock;
	return 0;
}

void pair_lock_done(struct pair_lock *lock)
{
	lock->fd = close_fd(lock->fd);
}

int pair_lock_spend(struct pair_lock *lock, struct failure *ret_failure)
{
	lock_write(lock, lock_read(lock).n + 1);
	return lock_check(lock, ret_failure);
}

void pair_lock_clear(struct pair_lock *lock)
{
	lock_write(lock, 0);
}
