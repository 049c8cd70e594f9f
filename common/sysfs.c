#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "job.h"

static ssize_t sysfs_read_raw(int dir_fd, const char *path, char *buffer, size_t size)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buffer, size);
	return n < 0 ? -errno : n;
}

int sysfs_read(int dir_fd, const char *path, char *buffer, size_t size)
{
	ssize_t n;

	job_set_step("read", path);
	n = sysfs_read_raw(dir_fd, path, buffer, size);
	job_set_step(NULL, NULL);
	if (n < 0)
		return (int)n;
	if ((size_t)n >= size)
		return -E2BIG;
	while (n > 0 && buffer[n - 1] == '\n')
		n--;
	buffer[n] = '\0';
	return (int)n;
}

int sysfs_read_uint(int dir_fd, const char *path, int base, uint32_t *ret_value)
{
	char text[32], *end;
	unsigned long long value;
	int r = sysfs_read(dir_fd, path, text, sizeof(text));

	if (r < 0)
		return r;
	errno = 0;
	value = strtoull(text, &end, base);
	if (errno || end == text || *end || value > UINT32_MAX)
		return -EINVAL;
	*ret_value = (uint32_t)value;
	return 0;
}

static int sysfs_write_raw(int dir_fd, const char *path, const char *value)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
	size_t length = strlen(value);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, value, length);
	if (n < 0)
		return -errno;
	return (size_t)n == length ? 0 : -EIO;
}

int sysfs_write(int dir_fd, const char *path, const char *value)
{
	int r;

	job_set_step("write", path);
	r = sysfs_write_raw(dir_fd, path, value);
	job_set_step(NULL, NULL);
	return r;
}

int sysfs_link_name(int dir_fd, const char *path, char *buffer, size_t size)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir_fd, path, target, sizeof(target) - 1);
	const char *name;

	if (n < 0)
		return errno == EINVAL ? -ENOENT : -errno;
	target[n] = '\0';
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	if (strlen(name) >= size)
		return -E2BIG;
	memcpy(buffer, name, strlen(name) + 1);
	return 0;
}

int sysfs_open_dir(int dir_fd, const char *path)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}
