#include "candidate.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "sysfs.h"

struct candidate *candidate_new(int fd)
{
	struct candidate *device = calloc(1, sizeof(*device));

	if (!device) {
		close_fd(fd);
		return NULL;
	}
	device->fd = fd;
	return device;
}

void candidate_free(void *arg)
{
	struct candidate *device = arg;

	if (!device)
		return;
	close_fd(device->fd);
	free(device);
}

int candidate_read(void *arg)
{
	struct candidate *device = arg;
	int r = identity_read(device->fd, &device->identity);

	if (r < 0)
		return r;
	r = descriptors_read(device->fd, &device->descriptors);
	if (r < 0)
		return r;
	return device->descriptors.vid == device->identity.vid && device->descriptors.pid == device->identity.pid ? 0 : -EBADMSG;
}

int candidate_authorize(void *arg)
{
	struct candidate *device = arg;

	return sysfs_write(device->fd, "authorized", "1");
}
