#pragma once

#include <jansson.h>
#include <systemd/sd-event.h>

#include "device.h"
#include "event_log.h"
#include "failure.h"
#include "policy.h"
#include "rule_writer.h"

/* devices.conf while the exporter runs: read anew when it changes, and changed when the owner says so. */
struct rulebook;

struct rulebook_handlers {
	void (*on_change)(void *userdata);  /* other rules, or answers, are in force, and every device is to be reconsidered */
	void (*on_written)(void *userdata); /* nothing waits to be written any more, and who waited has been told */
};

/* Watches the file (a directory that is missing is logged; then only rulebook_reload() reads it). handlers are copied; jobs, which write it, policy and events are borrowed:
 * they outlive it. The object is the caller's. */
int rulebook_new(sd_event *event, struct job_runner *jobs, struct policy *policy, struct event_log *events, const char *path,
		 const struct rulebook_handlers *handlers, void *userdata, struct rulebook **ret_book);

/* What was to be written: see rule_writer_free(). Takes NULL, returns NULL. */
struct rulebook *rulebook_free(struct rulebook *book);

/* Reads the file anew. Problems go to the log and the events. */
void rulebook_reload(struct rulebook *book);

/* A problem of the rules, for `status`; NULL if there is none. A new reference. */
json_t *rulebook_problem_to_json(const struct rulebook *book);

/* Tells a problem of the rules: a config_problem_fn, for policy_new() with the event log as userdata. */
void rulebook_tell(const struct config_problem *problem, void *events);

/* Writes a rule for the device, when all that was asked for before is written. 0, and on_done tells the end: on the disk and in force, or why not. Or a negative errno with
 * ret_failure, and on_done is not called. */
int rulebook_set_action(struct rulebook *book, const struct device *device, enum policy_action action, rule_written_fn on_done,
			void *userdata, struct failure *ret_failure);

/* The same with its name; also: the VID:PID of its boot loader, NULL without. */
int rulebook_set_name(struct rulebook *book, const struct device *device, const char *name, const char *also, rule_written_fn on_done,
		      void *userdata, struct failure *ret_failure);

/* Whoever waits with this userdata (NULL: anybody) has gone; what he wanted is written all the same. */
void rulebook_forget(struct rulebook *book, const void *userdata);

/* Whether something is being written, or waits for that. */
bool rulebook_is_writing(const struct rulebook *book);

/* The owner's yes or no to a device that waits for it. FAILURE_BAD_REQUEST for one that does not. */
int rulebook_answer(struct rulebook *book, struct device *device, bool is_yes, struct failure *ret_failure);
