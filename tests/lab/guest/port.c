#define _GNU_SOURCE
#include "port.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof PORT_MAGIC - 1 == PORT_MAGIC_SIZE, "magic");

static int port_find(const char *name, int flags)
{
	DIR *dir = opendir("/sys/class/virtio-ports");
	struct dirent *entry;
	int fd = -ENOENT;

	if (!dir)
		return -errno;
	while (fd < 0 && (entry = readdir(dir))) {
		char path[320], text[64] = "";

		snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
		int name_fd = open(path, O_RDONLY | O_CLOEXEC);
		if (name_fd < 0)
			continue;
		ssize_t n = read(name_fd, text, sizeof text - 1);
		close(name_fd);
		if (n <= 0)
			continue;
		text[strcspn(text, "\n")] = '\0';
		if (strcmp(text, name) != 0)
			continue;
		snprintf(path, sizeof path, "/dev/%s", entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC | flags);
	}
	closedir(dir);
	return fd;
}

int port_open(const char *name, int flags)
{
	int fd;

	while ((fd = port_find(name, flags)) < 0)
		poll(NULL, 0, 50);
	return fd;
}

void port_write(int fd, const void *data, size_t n)
{
	const char *at = data;

	while (n > 0) {
		ssize_t done = write(fd, at, n);

		if (done > 0) {
			at += done;
			n -= done;
		} else if (done < 0 && errno == EAGAIN) {
			struct pollfd p = { .fd = fd, .events = POLLOUT };
			poll(&p, 1, 100);
		} else {
			poll(NULL, 0, 20);
		}
	}
}

void port_boot_id(char *ret_id)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	memset(ret_id, '0', 36);
	if (fd < 0 || read(fd, ret_id, 36) != 36)
		memset(ret_id, '0', 36);
	if (fd >= 0)
		close(fd);
}
