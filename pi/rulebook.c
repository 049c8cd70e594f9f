#include "rulebook.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "daemon.h"
#include "file_watch.h"
#include "log.h"

#define USEC_PER_SEC UINT64_C(1000000)

struct rulebook {
	struct policy *policy;    /* borrowed: outlives us */
	struct event_log *events; /* borrowed: outlives us */
	const char *path;         /* borrowed: outlives us */
	struct file_watch *watch; /* owned; NULL where there is nothing to watch */
	sd_event *event;          /* borrowed: outlives us */
	sd_event_source *retry;   /* owned: a file that could not be read is read again */
	struct backoff backoff;   /* of it */
	void (*on_change)(void *userdata);
	void *userdata; /* borrowed: outlives us */
};

void rulebook_tell(const struct config_problem *problem, void *events)
{
	log_warning("%s", problem->text);
	event_log_add(events, "config", NULL, "PROBLEM", problem->text);
}

static void rulebook_on_file(void *userdata)
{
	rulebook_reload(userdata);
}

static int rulebook_on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	rulebook_reload(userdata);
	return 0;
}

static void rulebook_plan_retry(struct rulebook *book)
{
	if (policy_is_unread(book->policy)) {
		timer_arm(book->event, &book->retry, backoff_next(&book->backoff), rulebook_on_retry, book);
		return;
	}
	timer_disarm(book->retry);
	backoff_reset(&book->backoff);
}

int rulebook_new(sd_event *event, struct policy *policy, struct event_log *events, const char *path, void (*on_change)(void *userdata),
		 void *userdata, struct rulebook **ret_book)
{
	struct rulebook *book = calloc(1, sizeof(*book));
	int r;

	if (!book)
		return -ENOMEM;
	*book = (struct rulebook){ .policy = policy,
				   .events = events,
				   .path = path,
				   .on_change = on_change,
				   .userdata = userdata,
				   .event = event,
				   .backoff = { .min_usec = USEC_PER_SEC / 4, .max_usec = 30 * USEC_PER_SEC } };
	r = timer_new(event, &book->retry, rulebook_on_retry, book);
	if (r < 0) {
		free(book);
		return r;
	}
	rulebook_plan_retry(book);
	r = file_watch_new(event, path, rulebook_on_file, book, &book->watch);
	if (r < 0)
		log_warning("%s is not watched (%s): after a change of it, systemctl reload usbpush-exporter", path, strerror(-r));
	*ret_book = book;
	return 0;
}

struct rulebook *rulebook_free(struct rulebook *book)
{
	if (!book)
		return NULL;
	file_watch_free(book->watch);
	sd_event_source_disable_unref(book->retry);
	free(book);
	return NULL;
}

void rulebook_reload(struct rulebook *book)
{
	int r = policy_reload(book->policy, rulebook_tell, book->events);

	rulebook_plan_retry(book);
	if (r < 0)
		log_warning("%s can't be read: %s; the rules stay as they were", book->path, strerror(-r));
	else if (r > 0)
		log_warning("%s is not used until that is mended; the rules stay as they were", book->path);
	else
		book->on_change(book->userdata);
}

json_t *rulebook_problem_to_json(const struct rulebook *book)
{
	bool is_in_force;
	const struct config_problem *problem = policy_get_problem(book->policy, &is_in_force);
	struct failure failure;

	if (!problem)
		return NULL;
	failure_set(&failure, FAILURE_BAD_REQUEST,
		    is_in_force ? "Mend that line. Until then devices that no rule above it fits wait for your yes." :
				  "Mend that line. Until then the rules from before hold.",
		    "%s", problem->text);
	return failure_to_json(&failure);
}

static int rulebook_ask_device(const struct device *device, struct policy_device *ret_asked, struct failure *ret_failure)
{
	if (device_to_policy(device, ret_asked))
		return 0;
	return failure_set(ret_failure, FAILURE_BUSY, "Try again.", "%s was just plugged in, and is being looked at",
			   device_busid(device)->text);
}

int rulebook_set_action(struct rulebook *book, struct device *device, enum policy_action action, struct failure *ret_failure)
{
	struct policy_device asked;
	int r = rulebook_ask_device(device, &asked, ret_failure);

	if (r == 0)
		r = policy_set_action(book->policy, &asked, action, ret_failure);
	if (r < 0)
		return r;
	rulebook_reload(book);
	return 0;
}

int rulebook_set_name(struct rulebook *book, struct device *device, const char *name, const char *also, struct failure *ret_failure)
{
	struct policy_device asked;
	int r = rulebook_ask_device(device, &asked, ret_failure);

	if (r == 0)
		r = policy_set_name(book->policy, &asked, name, also, ret_failure);
	if (r < 0)
		return r;
	rulebook_reload(book);
	return 0;
}

int rulebook_answer(struct rulebook *book, struct device *device, bool is_yes, struct failure *ret_failure)
{
	struct policy_device asked;

	if (!device_to_policy(device, &asked) || !device_decision(device)->is_asking)
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "usbpush devices --explain tells how it stands.",
				   "%s does not wait for an answer", device_busid(device)->text);
	policy_answer(book->policy, &asked, is_yes);
	book->on_change(book->userdata);
	return 0;
}
