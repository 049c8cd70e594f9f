#pragma once

#include "job.h"
#include "vm_config.h"

/* vm.conf written while the exporter runs: in a job, because a sync may take seconds on an SD card, and on one that dies it does not return. */

/* Starts vm_config_save(); on_done is told what that returned. writes runs one job at a time: so each sees what the one before it left. path and config are copied.
 * 0 or -ENOMEM. */
int vm_config_write(struct job_runner *writes, const char *path, const struct vm_config *config, job_done_fn on_done, void *userdata,
		    struct job **ret_job);
