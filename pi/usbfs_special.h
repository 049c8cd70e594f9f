#pragma once

#include "job.h"
#include "usbfs_urb.h"

/* Requests that change what the host thinks of a device, and so are the Pi's kernel's to do: an alternate setting, a configuration, the end of a halt, a reset. They
 * wait for the device, and so are jobs. fd: the claimed device's node; borrowed. on_done's result is the answer's status. 0 or negative errno. */
int usbfs_special_start(struct job_runner *jobs, const char *name, int fd, const struct usbfs_urb *urb, job_done_fn on_done, void *userdata,
			struct job **ret_job);
