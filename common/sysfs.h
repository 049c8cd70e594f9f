#pragma once

#include <stddef.h>
#include <stdint.h>

/* Attributes of sysfs below a directory fd, so that a test passes a temporary tree. All return a negative errno on failure. */

/* Reads an attribute without its trailing newline; always ends it with a NUL. Returns the length. -E2BIG if it does not fit. */
int sysfs_read(int dir_fd, const char *path, char *buffer, size_t size);

/* Reads a number in the base given (10, 16). -EINVAL if it is none or exceeds 32 bits. */
int sysfs_read_uint(int dir_fd, const char *path, int base, uint32_t *ret_value);

/* Writes value in ONE write(2), without a newline. -EIO if the kernel took only a part. */
int sysfs_write(int dir_fd, const char *path, const char *value);

/* The last component of what a symbolic link points at ("driver" -> "usbip-host"). -ENOENT without a link. */
int sysfs_link_name(int dir_fd, const char *path, char *buffer, size_t size);

/* Opens a directory below dir_fd (CLOEXEC, O_PATH is not used: the fd can be read). Returns the fd, the caller's own. */
int sysfs_open_dir(int dir_fd, const char *path);
