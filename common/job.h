#pragma once

#include <stdbool.h>
#include <stdint.h>
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

/* fn (may be NULL) is called from the loop whenever the last job has ended, told to who waited for it, and none waits. */
void job_runner_set_idle(struct job_runner *runner, void (*fn)(void *userdata), void *userdata);

/* Abandons all jobs. A thread that is stuck in the kernel keeps what it needs and ends by itself; it does not hold up an exit. Takes NULL. */
struct job_runner *job_runner_free(struct job_runner *runner);

/* Starts fn(arg). name is for people: what is worked on. arg belongs to the job from now on, and is released with free_arg (may be NULL) after on_done returned, or when the job was abandoned.
 * *ret_job is valid until on_done returns. 0; or a negative errno, and arg is still the caller's. */
int job_start(struct job_runner *runner, const char *name, job_fn fn, void *arg, void (*free_arg)(void *), job_done_fn on_done,
	      void *userdata, struct job **ret_job);

/* In a job's thread: what it begins now and may not soon return from ("write" and the file); NULL when it has. Elsewhere it does nothing. */
void job_set_step(const char *verb, const char *what);

/* How long a job has been in its step, for who looks from the event loop. */
struct job_step {
	char name[64];  /* the job's */
	char step[128]; /* "write bus/usb/drivers/usb/unbind" */
	uint64_t usec;
};

/* A step is called long from here on: no other returns so late. */
#define JOB_STEP_LONG_USEC UINT64_C(2000000)

/* Whether the job's thread has been in one step for so long. False for NULL. */
bool job_is_long(struct job *job, struct job_step *ret_step);

/* Calls fn for each such job, also those that were abandoned. */
void job_runner_for_each_long(struct job_runner *runner, void (*fn)(const struct job_step *step, void *userdata), void *userdata);

/* From now on on_done is not called; the work itself is not stopped. Takes NULL, returns NULL. */
struct job *job_abandon(struct job *job);

/* How many jobs are under way or waiting. */
unsigned job_runner_count(const struct job_runner *runner);
