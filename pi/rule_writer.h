#pragma once

#include <stdbool.h>

#include "job.h"
#include "policy.h"

/* What the owner wants of devices, written into devices.conf: one wish after the other. Each is drawn up from the file as the one before it left it, and written in a job:
 * nobody but who asked for it waits for the disk. */
struct rule_writer;

#define RULE_WRITER_MAX 256 /* wishes that wait, so that a disk that never returns does not fill the memory */

/* What is wanted of a device. */
struct rule_wish {
	enum policy_action action; /* where there is no name */
	char name[RULE_NAME_SIZE]; /* "": none */
	char also[10];             /* with a name: the VID:PID of its boot loader; "": none */
};

/* What came of it: what holds for the device now, whether it is still plugged in or not. All is borrowed. */
struct rule_result {
	const struct policy_device *device;
	const struct rule_wish *wish;
	struct policy_decision decision;
};

/* Exactly once, from the loop. failure NULL: it is on the disk and in force; else nothing has changed. */
typedef void (*rule_written_fn)(const struct rule_result *result, const struct failure *failure, void *userdata);

struct rule_writer_handlers {
	void (*on_file)(void *userdata); /* it was written, and is to be read anew; then who waits for that is told */
	void (*on_idle)(void *userdata); /* nothing waits any more, and who waited has been told */
};

/* All is borrowed and outlives it, but for path and handlers, which are copied. The object is the caller's. 0 or negative errno. */
int rule_writer_new(sd_event *event, struct job_runner *jobs, struct policy *policy, const char *path,
		    const struct rule_writer_handlers *handlers, void *userdata, struct rule_writer **ret_writer);

/* What waits is not written, what is under way is written whole or not at all; nobody is told. Takes NULL, returns NULL. */
struct rule_writer *rule_writer_free(struct rule_writer *writer);

/* device and wish (whose name passed policy_check_name()) are copied. 0 and on_done (may be NULL) is called; or a negative errno with ret_failure, and it is not: no memory, or
 * RULE_WRITER_MAX wait already. */
int rule_writer_add(struct rule_writer *writer, const struct policy_device *device, const struct rule_wish *wish, rule_written_fn on_done,
		    void *userdata, struct failure *ret_failure);

/* Whoever waits with this userdata (NULL: anybody) has gone; what he wanted is done all the same. */
void rule_writer_forget(struct rule_writer *writer, const void *userdata);

/* Whether anything waits or is being written. */
bool rule_writer_is_busy(const struct rule_writer *writer);
