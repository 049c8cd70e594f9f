#pragma once

#include <jansson.h>
#include <systemd/sd-event.h>

#include "device.h"
#include "event_log.h"
#include "failure.h"
#include "policy.h"

/* devices.conf while the exporter runs: read anew when it changes, and changed when the owner says so. */
struct rulebook;

/* Watches the file (a directory that is missing is logged; then only rulebook_reload() reads it). on_change: other rules, or answers, are in force, and every device
 * is to be reconsidered. policy and events are borrowed: they outlive it. The object is the caller's. */
int rulebook_new(sd_event *event, struct policy *policy, struct event_log *events, const char *path, void (*on_change)(void *userdata),
		 void *userdata, struct rulebook **ret_book);

/* Takes NULL, returns NULL. */
struct rulebook *rulebook_free(struct rulebook *book);

/* Reads the file anew. Problems go to the log and the events. */
void rulebook_reload(struct rulebook *book);

/* A problem of the rules, for `status`; NULL if there is none. A new reference. */
json_t *rulebook_problem_to_json(const struct rulebook *book);

/* Tells a problem of the rules: a config_problem_fn, for policy_new() with the event log as userdata. */
void rulebook_tell(const struct config_problem *problem, void *events);

/* Writes a rule for the device. 0, or a negative errno with ret_failure. */
int rulebook_set_action(struct rulebook *book, struct device *device, enum policy_action action, struct failure *ret_failure);

/* Writes its name; also: the VID:PID of its boot loader, NULL without. */
int rulebook_set_name(struct rulebook *book, struct device *device, const char *name, const char *also, struct failure *ret_failure);

/* The owner's yes or no to a device that waits for it. FAILURE_BAD_REQUEST for one that does not. */
int rulebook_answer(struct rulebook *book, struct device *device, bool is_yes, struct failure *ret_failure);
