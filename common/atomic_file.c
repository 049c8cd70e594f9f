#include "atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

#define FILE_FIRST_SIZE ((size_t)4096)

/* Most files are small, whatever they might be. There is always room for a NUL behind what is allocated. */
static int file_grow(char **content, size_t *allocated, size_t limit)
{
	size_t wanted = *allocated ? 2 * *allocated : FILE_FIRST_SIZE;
	char *grown;

	if (wanted > limit)
		wanted = limit;
	grown = realloc(*content, wanted + 1);
	if (!grown)
		return -ENOMEM;
	*content = grown;
	*allocated = wanted;
	return 0;
}

ssize_t file_read(const char *path, size_t max_size, char **ret_content)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *content = NULL;
	size_t used = 0, allocated = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n;
		int r = used == allocated ? file_grow(&content, &allocated, max_size + 1) : 0;
		if (r < 0)
			return r;
		n = read(fd, content + used, allocated - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > max_size)
			return -EFBIG;
	}
	content[used] = '\0';
	*ret_content = realloc(content, used + 1);
	if (!*ret_content)
		return -ENOMEM;
	content = NULL; /* realloc took it */
	return (ssize_t)used;
}

static int file_write_all(int fd, const char *content, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, content, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		content += n;
		size -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static void file_copy_owner(const char *path, int fd)
{
	struct stat old;

	if (stat(path, &old) == 0 && fchown(fd, old.st_uid, old.st_gid) < 0)
		return; /* only root may give a file away; the caller's own file is right then */
}

/* The name, too, is to be there after a power loss in the next moment: a file system writes that seconds later, on its own time. Where it can't be done now, it is left to that. */
static void directory_sync_of(const char *path)
{
	_cleanup_close_ int fd = -EBADF;
	char directory[PATH_MAX];
	const char *slash = strrchr(path, '/');

	snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		(void)fsync(fd);
}

/* A whole new file that comes to path by publish(): rename(2), link(2). */
static int file_write_by(int (*publish)(const char *from, const char *to), const char *path, const char *content, size_t size, mode_t mode)
{
	char temporary[PATH_MAX];
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	file_copy_owner(path, fd);
	r = fchmod(fd, mode) < 0 ? -errno : file_write_all(fd, content, size);
	if (r == 0 && publish(temporary, path) < 0)
		r = -errno;
	if (r < 0 || publish == link)
		unlink(temporary);
	if (r == 0)
		directory_sync_of(path);
	return r;
}

int file_write_atomic(const char *path, const char *content, size_t size, mode_t mode)
{
	return file_write_by(rename, path, content, size, mode);
}

void file_draft_done(struct file_draft *draft)
{
	free(draft->content);
	*draft = (struct file_draft){ .content = NULL };
}

int file_write_new(const char *path, const char *content, size_t size, mode_t mode)
{
	return file_write_by(link, path, content, size, mode);
}

static void copy_lines(FILE *stream, const char *content, file_line_fn is_old, const void *userdata)
{
	while (*content) {
		size_t length = strcspn(content, "\n");

		if (!is_old(content, length, userdata))
			fprintf(stream, "%.*s\n", (int)length, content);
		content += length + (content[length] == '\n');
	}
}

int file_replace_lines(const char *path, size_t max_size, file_line_fn is_old, const void *userdata, const char *addition, mode_t mode)
{
	_cleanup_free_ char *old = NULL, *new = NULL;
	_cleanup_fclose_ FILE *stream = NULL;
	size_t new_size = 0;
	ssize_t size = file_read(path, max_size, &old);

	if (size < 0 && size != -ENOENT)
		return (int)size;
	if (size > 0 && memchr(old, '\0', (size_t)size))
		return -EBADMSG; /* no text: what is behind it would be lost */
	stream = open_memstream(&new, &new_size);
	if (!stream)
		return -ENOMEM;
	copy_lines(stream, old ? old : "", is_old, userdata);
	fputs(addition, stream);
	if (fflush(stream) != 0)
		return -ENOMEM;
	return file_write_atomic(path, new, new_size, mode);
}
