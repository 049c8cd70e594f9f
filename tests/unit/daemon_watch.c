#include "daemon_watch.h"

#include <check.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the sanitizers' runtime, where there is one: glibc's own figures are of an allocator that is not in use then. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak)); // NOLINT

static int log_fd = -1, saved_fd = -1;
static off_t mark;
static char *text;

void daemon_watch_begin(void)
{
	log_fd = memfd_create("log", MFD_CLOEXEC);
	saved_fd = dup(STDERR_FILENO);
	mark = 0;
	ck_assert_int_ge(log_fd, 0);
	ck_assert_int_ge(saved_fd, 0);
	ck_assert_int_ge(dup2(log_fd, STDERR_FILENO), 0);
}

static const char *read_from(off_t offset)
{
	struct stat info;
	size_t size;

	ck_assert_int_eq(fstat(log_fd, &info), 0);
	size = (size_t)(info.st_size - offset);
	free(text);
	text = calloc(1, size + 1);
	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(pread(log_fd, text, size, offset), (ssize_t)size);
	return text;
}

const char *daemon_watch_log(void)
{
	return read_from(mark);
}

void daemon_watch_mark(void)
{
	struct stat info;

	ck_assert_int_eq(fstat(log_fd, &info), 0);
	mark = info.st_size;
}

void daemon_watch_end(void)
{
	struct stat info;

	if (log_fd < 0)
		return;
	(void)dup2(saved_fd, STDERR_FILENO);
	if (fstat(log_fd, &info) == 0 && info.st_size < 20000) { /* a flood's lines are no news */
		const char *all = read_from(0);

		if (write(STDERR_FILENO, all, (size_t)info.st_size) < 0)
			abort();
	}
	close(saved_fd);
	close(log_fd);
	log_fd = saved_fd = -1;
	free(text);
	text = NULL;
}

size_t daemon_watch_memory(void)
{
	struct mallinfo2 info;

	if (__sanitizer_get_current_allocated_bytes)
		return __sanitizer_get_current_allocated_bytes();
	info = mallinfo2();
	return info.uordblks + info.hblkhd;
}
