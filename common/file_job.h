#pragma once

#include "atomic_file.h"
#include "job.h"

/* A whole small file written in a job (job.h): a sync may take seconds on an SD card, and on one that dies it does not return. */

/* Starts file_write_atomic() of draft to path (copied); on_done is told what that returned. name is for people. 0, and draft is empty: it is the job's now. Or a negative
 * errno, and it is still the caller's. */
int file_job_start(struct job_runner *runner, const char *name, const char *path, struct file_draft *draft, job_done_fn on_done,
		   void *userdata, struct job **ret_job);
