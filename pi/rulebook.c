#include "rulebook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "daemon.h"
#include "file_watch.h"
#include "log.h"

#define USEC_PER_SEC UINT64_C(1000000)

struct rulebook {
	struct policy *policy;      /* borrowed: outlives us */
	struct event_log *events;   /* borrowed: outlives us */
	const char *path;           /* borrowed: outlives us */
	struct file_watch *watch;   /* owned; NULL where there is nothing to watch */
	sd_event *event;            /* borrowed: outlives us */
	sd_event_source *retry;     /* owned: a file that could not be read is read again */
	struct backoff backoff;     /* of it */
	struct rule_writer *writer; /* owned */
	struct rulebook_handlers handlers;
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

static void rulebook_on_written(void *userdata)
{
	const struct rulebook *book = userdata;

	book->handlers.on_written(book->userdata);
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

int rulebook_new(sd_event *event, struct job_runner *jobs, struct policy *policy, struct event_log *events, const char *path,
		 const struct rulebook_handlers *handlers, void *userdata, struct rulebook **ret_book)
{
	static const struct rule_writer_handlers writer_handlers = { .on_file = rulebook_on_file, .on_idle = rulebook_on_written };
	struct rulebook *book = calloc(1, sizeof(*book));
	int r;

	if (!book)
		return -ENOMEM;
	*book = (struct rulebook){ .policy = policy,
				   .events = events,
				   .path = path,
				   .handlers = *handlers,
				   .userdata = userdata,
				   .event = event,
				   .backoff = { .min_usec = USEC_PER_SEC / 4, .max_usec = 30 * USEC_PER_SEC } };
	r = timer_new(event, &book->retry, rulebook_on_retry, book);
	if (r == 0)
		r = rule_writer_new(event, jobs, policy, path, &writer_handlers, book, &book->writer);
	if (r < 0) {
		rulebook_free(book);
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
	rule_writer_free(book->writer);
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
		book->handlers.on_change(book->userdata);
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

static int rulebook_write(struct rulebook *book, const struct device *device, const struct rule_wish *wish, rule_written_fn on_done,
			  void *userdata, struct failure *ret_failure)
{
	struct policy_device asked;
	int r = rulebook_ask_device(device, &asked, ret_failure);

	return r < 0 ? r : rule_writer_add(book->writer, &asked, wish, on_done, userdata, ret_failure);
}

int rulebook_set_action(struct rulebook *book, const struct device *device, enum policy_action action, rule_written_fn on_done,
			void *userdata, struct failure *ret_failure)
{
	const struct rule_wish wish = { .action = action };

	return rulebook_write(book, device, &wish, on_done, userdata, ret_failure);
}

int rulebook_set_name(struct rulebook *book, const struct device *device, const char *name, const char *also, rule_written_fn on_done,
		      void *userdata, struct failure *ret_failure)
{
	struct rule_wish wish = { .action = POLICY_DEFAULT };
	int r = policy_check_name(name, also, ret_failure);

	if (r < 0)
		return r;
	snprintf(wish.name, sizeof(wish.name), "%s", name);
	snprintf(wish.also, sizeof(wish.also), "%s", also ? also : "");
	return rulebook_write(book, device, &wish, on_done, userdata, ret_failure);
}

void rulebook_forget(struct rulebook *book, const void *userdata)
{
	rule_writer_forget(book->writer, userdata);
}

bool rulebook_is_writing(const struct rulebook *book)
{
	return rule_writer_is_busy(book->writer);
}

int rulebook_answer(struct rulebook *book, struct device *device, bool is_yes, struct failure *ret_failure)
{
	struct policy_device asked;

	if (!device_to_policy(device, &asked) || !device_decision(device)->is_asking)
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "usbpush devices --explain tells how it stands.",
				   "%s does not wait for an answer", device_busid(device)->text);
	policy_answer(book->policy, &asked, is_yes);
	book->handlers.on_change(book->userdata);
	return 0;
}
