#pragma once

#include "descriptor.h"
#include "identity.h"

/* One enumerated device of this machine, reached through its sysfs directory. What is done here takes the kernel's device lock and may wait
 * as long as the device does: call it from a job (job.h) only. */
struct candidate {
	int fd; /* owned: the device's directory */
	struct identity identity;
	struct descriptors descriptors;
};

/* Takes the directory over. NULL without memory (then fd is closed). */
struct candidate *candidate_new(int fd);

/* Closes the directory. A free_arg of job.h. */
void candidate_free(void *device);

/* A job_fn: reads identity and descriptors, and whether both tell the same (-EBADMSG if not). */
int candidate_read(void *device);

/* A job_fn: lets drivers see the device (usb_authorize_device, drivers/usb/core/hub.c). Returns when they have bound. */
int candidate_authorize(void *device);
