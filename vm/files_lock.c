#include "files_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "cleanup.h"
#include "directory.h"

#define LOCK_PATH "/run/usbpush/files.lock"

static int lock_open(const char *root)
{
	char path[PATH_MAX];
	int err, fd;

	if (snprintf(path, sizeof(path), "%s%s", root, LOCK_PATH) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	err = directory_make_parents(path);
	if (err < 0)
		return err;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

static int lock_wait(int fd)
{
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int files_lock_take(const char *root, struct failure *ret_failure)
{
	_cleanup_close_ int fd = lock_open(root);
	int err = fd < 0 ? fd : lock_wait(fd);

	if (err >= 0)
		return TAKE_FD(fd);
	if (err == -EACCES || err == -EPERM)
		return failure_set(ret_failure, FAILURE_NOT_ALLOWED, "Run it as root: sudo usbpush-vm ...", "%s: %s", LOCK_PATH,
				   strerror(-err));
	return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "%s: %s", LOCK_PATH, strerror(-err));
}
