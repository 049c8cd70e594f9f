#include "hub_port.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "log.h"
#include "sysfs.h"

#define DARK_SEC 1

int hub_port_cycle(int device_fd)
{
	/* The port's directory is the hub's: it stays when the device goes. */
	_cleanup_close_ int port_fd = sysfs_open_dir(device_fd, "port");
	struct timespec dark = { .tv_sec = DARK_SEC };
	int r = port_fd < 0 ? port_fd : sysfs_write(port_fd, "disable", "1");

	if (r == -ENOENT)
		return -EOPNOTSUPP; /* before Linux 6.0, or a root hub without ports */
	if (r < 0)
		return r;
	while (nanosleep(&dark, &dark) < 0 && errno == EINTR)
		;
	r = sysfs_write(port_fd, "disable", "0");
	if (r < 0)
		log_error("a hub's port that was switched off can't be switched on: %s. Unplug the hub and plug it in again", strerror(-r));
	return r;
}
