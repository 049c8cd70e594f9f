#pragma once

#include <systemd/sd-event.h>

/* Work that may block in the kernel (a sysfs write waits for the device's lock) runs in a thread of its own; its end is told in the
 * daemon's event loop. No other device waits for it. */
struct job_runner;
struct job;

/* In the job's thread. Touches nothing but arg. Its result goes to on_done. */
typedef int (*job_fn)(void *arg);

/* In the event loop, unless the job was abandoned. */
typedef void (*job_done_fn)(int result, void *arg, void *userdata);

/* The runner's memory is the caller's. At most max_jobs run at once, later ones wait in order. 0 or negative errno. */
int job_runner_new(sd_event *event, unsigned max_jobs, struct job_runner **ret_runner);

/* Abandons all jobs. A thread that is stuck in the kernel keeps what it needs and ends by itself; it does not hold up an exit. Takes NULL. */
struct job_runner *job_runner_free(struct job_runner *runner);

/* Starts fn(arg). arg belongs to the job from now on, also if this fails, and is released with free_arg (may be NULL) after on_done returned, or
 * when the job was abandoned. *ret_job is valid until on_done returns. 0 or negative errno. */
int job_start(struct job_runner *runner, job_fn fn, void *arg, void (*free_arg)(void *), job_done_fn on_done, void *userdata,
	      struct job **ret_job);

/* From now on on_done is not called; the work itself is not stopped. Takes NULL, returns NULL. */
struct job *job_abandon(struct job *job);

/* How many jobs are under way or waiting. */
unsigned job_runner_count(const struct job_runner *runner);
