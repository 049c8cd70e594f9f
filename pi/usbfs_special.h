#pragma once

#include "job.h"
#include "usbfs_claim.h"

/* Requests that change what the host thinks of a device, and so are the Pi's kernel's to do: an alternate setting, a configuration, the end of a halt, a reset. They
 * wait for the device, and so are jobs. claim is borrowed; its usbfs_claim_settle() and usbfs_claim_release() wait for a job that is under way. on_done's result is the answer's status. 0 or negative errno. */
int usbfs_special_start(struct job_runner *jobs, const char *name, const struct usbfs_claim *claim, const struct usbfs_urb *urb,
			job_done_fn on_done, void *userdata, struct job **ret_job);
