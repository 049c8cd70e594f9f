#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inject_internal.h"

static struct {
	inject_write_fn fn;
	void *userdata;
} writes;

void inject_answer_writes(inject_write_fn fn, void *userdata)
{
	writes.userdata = userdata;
	__atomic_store_n(&writes.fn, fn, __ATOMIC_SEQ_CST);
}

INJECT(ssize_t, write, (int fd, const void *data, size_t size))
{
	inject_write_fn fn = __atomic_load_n(&writes.fn, __ATOMIC_SEQ_CST);
	ssize_t result;

	if (inject_hits(INJECT_FILES, "write"))
		return -1;
	if (!fn || !fn(fd, data, size, &result, writes.userdata))
		return write(fd, data, size);
	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}

/* What a call holds while it asks, and who changes whom it asks waits for. */
static pthread_rwlock_t asking = PTHREAD_RWLOCK_INITIALIZER;

static struct {
	inject_ioctl_fn fn;
	void *userdata;
} ioctls;

void inject_answer_ioctls(inject_ioctl_fn fn, void *userdata)
{
	pthread_rwlock_wrlock(&asking);
	ioctls.fn = fn;
	ioctls.userdata = userdata;
	pthread_rwlock_unlock(&asking);
}

static bool ioctl_answered(int fd, unsigned long request, void *argument, int *ret_result)
{
	bool is_answered;

	pthread_rwlock_rdlock(&asking);
	is_answered = ioctls.fn && ioctls.fn(fd, request, argument, ret_result, ioctls.userdata);
	pthread_rwlock_unlock(&asking);
	return is_answered;
}

INJECT(int, ioctl, (int fd, unsigned long request, ...))
{
	va_list arguments;
	void *argument;
	int result;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if (inject_hits(INJECT_FILES, "ioctl"))
		return -1;
	if (!ioctl_answered(fd, request, argument, &result))
		return ioctl(fd, request, argument);
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

static struct {
	inject_sync_fn fn;
	void *userdata;
} syncs;

void inject_answer_syncs(inject_sync_fn fn, void *userdata)
{
	syncs.userdata = userdata;
	__atomic_store_n(&syncs.fn, fn, __ATOMIC_SEQ_CST);
}

INJECT(int, fsync, (int fd))
{
	inject_sync_fn fn = __atomic_load_n(&syncs.fn, __ATOMIC_SEQ_CST);
	int result;

	if (inject_hits(INJECT_FILES, "fsync"))
		return -1;
	if (!fn || !fn(fd, &result, syncs.userdata))
		return fsync(fd);
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

INJECT(int, open, (const char *path, int flags, ...))
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return inject_hits(INJECT_FILES, "open") ? -1 : open(path, flags, mode);
}

INJECT(int, openat, (int directory, const char *path, int flags, ...))
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return inject_hits(INJECT_FILES, "openat") ? -1 : openat(directory, path, flags, mode);
}

static struct {
	inject_close_fn fn;
	void *userdata;
} closes;

void inject_watch_closes(inject_close_fn fn, void *userdata)
{
	pthread_rwlock_wrlock(&asking);
	closes.fn = fn;
	closes.userdata = userdata;
	pthread_rwlock_unlock(&asking);
}

static int close_watched(int fd)
{
	pthread_rwlock_rdlock(&asking);
	if (closes.fn)
		closes.fn(fd, closes.userdata);
	pthread_rwlock_unlock(&asking);
	return close(fd);
}

/* As the kernel does it: what close() says is not what it does. */
INJECT(int, close, (int fd))
{
	bool is_hit = inject_hits(INJECT_FILES, "close");
	int error = errno, r = close_watched(fd);

	if (!is_hit)
		return r;
	errno = error;
	return -1;
}

/* A file that could not be written in whole tells it here, as late as fclose(). */
INJECT(int, fclose, (FILE * stream))
{
	bool is_hit = inject_hits(INJECT_FILES, "fclose");
	int error = errno, r = fclose(stream);

	if (!is_hit)
		return r;
	errno = error;
	return EOF;
}

INJECT_SIMPLE(INJECT_FILES, FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL)
INJECT_SIMPLE(INJECT_FILES, ssize_t, read, (int fd, void *data, size_t size), (fd, data, size), -1)
INJECT_SIMPLE(INJECT_FILES, ssize_t, pread, (int fd, void *data, size_t size, off_t offset), (fd, data, size, offset), -1)
INJECT_SIMPLE(INJECT_FILES, ssize_t, pwrite, (int fd, const void *data, size_t size, off_t offset), (fd, data, size, offset), -1)
INJECT_SIMPLE(INJECT_FILES, DIR *, fdopendir, (int fd), (fd), NULL)
INJECT_SIMPLE(INJECT_FILES, DIR *, opendir, (const char *path), (path), NULL)
INJECT_SIMPLE(INJECT_FILES, struct dirent *, readdir, (DIR * directory), (directory), NULL)
INJECT_SIMPLE(INJECT_FILES, ssize_t, readlinkat, (int directory, const char *path, char *target, size_t size),
	      (directory, path, target, size), -1)
INJECT_SIMPLE(INJECT_FILES, int, faccessat, (int directory, const char *path, int mode, int flags), (directory, path, mode, flags), -1)
INJECT_SIMPLE(INJECT_FILES, int, access, (const char *path, int mode), (path, mode), -1)
INJECT_SIMPLE(INJECT_FILES, int, fstatat, (int directory, const char *path, struct stat *st, int flags), (directory, path, st, flags), -1)
INJECT_SIMPLE(INJECT_FILES, int, stat, (const char *path, struct stat *st), (path, st), -1)
INJECT_SIMPLE(INJECT_FILES, int, rename, (const char *from, const char *to), (from, to), -1)
INJECT_SIMPLE(INJECT_FILES, int, link, (const char *from, const char *to), (from, to), -1)
INJECT_SIMPLE(INJECT_FILES, int, fchmod, (int fd, mode_t mode), (fd, mode), -1)
INJECT_SIMPLE(INJECT_FILES, int, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid), -1)
INJECT_SIMPLE(INJECT_FILES, int, ftruncate, (int fd, off_t size), (fd, size), -1)
INJECT_SIMPLE(INJECT_FILES, int, flock, (int fd, int operation), (fd, operation), -1)
INJECT_SIMPLE(INJECT_FILES, int, mkostemp, (char *path, int flags), (path, flags), -1)

INJECT_LARGE(open);
INJECT_LARGE(openat);
INJECT_LARGE(fopen);
INJECT_LARGE(pread);
INJECT_LARGE(pwrite);
INJECT_LARGE(readdir);
INJECT_LARGE(fstatat);
INJECT_LARGE(stat);
INJECT_LARGE(ftruncate);
INJECT_LARGE(mkostemp);
