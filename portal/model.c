#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "backoff.h"
#include "cleanup.h"
#include "daemon.h"
#include "log.h"

#define MODEL_MAX_EVENTS   50
#define MODEL_FRESH_USEC   1000000
#define MODEL_LOOK_USEC    2000000 /* app.js takes 13 s of silence for the end of the connection */
#define MODEL_TIMEOUT_USEC 5000000
#define MODEL_MAX_WAITING  400 /* more than there can be connections */

struct model_waiter {
	STAILQ_ENTRY(model_waiter) entry;
	model_fresh_fn on_fresh;
	void *userdata;      /* borrowed */
	uint64_t since_usec; /* the status must have been asked for after that */
};

STAILQ_HEAD(model_waiter_list, model_waiter);

struct model {
	sd_event *event;           /* borrowed: outlives us */
	struct upstream *upstream; /* borrowed: outlives us */
	model_change_fn on_change;
	void *userdata; /* borrowed */
	json_t *status; /* owned; NULL while the exporter is away */
	json_t *events; /* owned array */
	struct failure failure;
	uint64_t asked_usec, refreshed_usec;
	bool is_asking, is_dirty, is_watched;
	struct backoff backoff;
	sd_event_source *retry_timer, *look_timer; /* owned */
	struct model_waiter_list waiters;
	unsigned n_waiters;
};

static void model_subscribe(struct model *model);

/* Those whose question the answer is, in order. Who is called may ask anew. */
static void model_tell_waiters(struct model *model)
{
	struct model_waiter *waiter;

	while ((waiter = STAILQ_FIRST(&model->waiters)) && waiter->since_usec <= model->refreshed_usec) {
		STAILQ_REMOVE_HEAD(&model->waiters, entry);
		model->n_waiters--;
		waiter->on_fresh(waiter->userdata);
		free(waiter);
	}
}

static void model_on_status(const json_t *answer, const struct failure *failure, void *userdata)
{
	struct model *model = userdata;

	model->is_asking = false;
	json_decref(model->status);
	model->status = failure ? NULL : json_copy((json_t *)(uintptr_t)answer);
	if (model->status)
		json_object_del(model->status, "ok");
	else if (failure)
		model->failure = *failure;
	else
		failure_set(&model->failure, FAILURE_INTERNAL, NULL, "out of memory");
	model->refreshed_usec = model->asked_usec;
	model->on_change(model->userdata);
	model_tell_waiters(model);
	if (model->is_dirty)
		model_refresh(model);
}

void model_refresh(struct model *model)
{
	model->is_dirty = model->is_asking;
	if (model->is_asking)
		return;
	model->asked_usec = clock_now_usec();
	model->is_asking =
		upstream_ask(model->upstream, json_pack("{s:s}", "request", "status"), MODEL_TIMEOUT_USEC, model_on_status, model) == 0;
	if (model->is_asking)
		return;
	log_debug("the status can't be asked for: at the end, or out of memory");
	model->refreshed_usec = model->asked_usec;
	model_tell_waiters(model); /* what was known before is all there is */
}

static int model_on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	model_subscribe(userdata);
	return 0;
}

static void model_on_events(const json_t *answer, const struct failure *failure, void *userdata)
{
	struct model *model = userdata;

	if (!failure) {
		backoff_reset(&model->backoff);
		json_decref(model->events);
		model->events = json_deep_copy(json_object_get(answer, "events"));
		if (!json_is_array(model->events)) {
			json_decref(model->events);
			model->events = json_array();
		}
		while (json_array_size(model->events) > MODEL_MAX_EVENTS)
			json_array_remove(model->events, 0);
		log_info("the exporter is there");
	} else if (timer_arm(model->event, &model->retry_timer, backoff_next(&model->backoff), model_on_retry, model) < 0) {
		log_error("out of memory: the exporter's events are lost (%s)", failure->text);
	}
	model_refresh(model);
}

static void model_on_event(const json_t *line, void *userdata)
{
	struct model *model = userdata;
	json_t *event = json_object_get(line, "event");

	if (event) {
		json_array_append(model->events, event);
		if (json_array_size(model->events) > MODEL_MAX_EVENTS)
			json_array_remove(model->events, 0);
	}
	model_refresh(model);
}

static void model_subscribe(struct model *model)
{
	if (upstream_subscribe(model->upstream, json_pack("{s:s, s:b}", "request", "events", "follow", 1), MODEL_TIMEOUT_USEC,
			       model_on_events, model_on_event, model) < 0)
		timer_arm(model->event, &model->retry_timer, backoff_next(&model->backoff), model_on_retry, model);
}

struct model *model_new(sd_event *event, struct upstream *upstream, model_change_fn on_change, void *userdata)
{
	struct model *model = calloc(1, sizeof(*model));

	if (!model)
		return NULL;
	*model = (struct model){ .event = event,
				 .upstream = upstream,
				 .on_change = on_change,
				 .userdata = userdata,
				 .events = json_array(),
				 .backoff = { .min_usec = 100000, .max_usec = 1000000 } };
	failure_set(&model->failure, FAILURE_UNREACHABLE, "Wait a moment.", "usbpush-exporter has not answered yet");
	STAILQ_INIT(&model->waiters);
	if (!model->events)
		return model_free(model);
	model_subscribe(model);
	return model;
}

struct model *model_free(struct model *model)
{
	struct model_waiter *waiter;

	if (!model)
		return NULL;
	while ((waiter = STAILQ_FIRST(&model->waiters))) {
		STAILQ_REMOVE_HEAD(&model->waiters, entry);
		free(waiter);
	}
	sd_event_source_disable_unref(model->retry_timer);
	sd_event_source_disable_unref(model->look_timer);
	json_decref(model->status);
	json_decref(model->events);
	free(model);
	return NULL;
}

/* While it is being asked for something has happened, or it is old. */
static bool model_is_fresh(const struct model *model)
{
	return model->refreshed_usec && clock_now_usec() - model->refreshed_usec < MODEL_FRESH_USEC && !model->is_asking;
}

int model_when_fresh(struct model *model, model_fresh_fn on_fresh, void *userdata)
{
	uint64_t now = clock_now_usec();
	struct model_waiter *waiter;

	if (model_is_fresh(model)) {
		on_fresh(userdata);
		return 0;
	}
	waiter = model->n_waiters < MODEL_MAX_WAITING ? calloc(1, sizeof(*waiter)) : NULL;
	if (!waiter)
		return -ENOMEM;
	*waiter = (struct model_waiter){ .on_fresh = on_fresh, .userdata = userdata, .since_usec = now };
	STAILQ_INSERT_TAIL(&model->waiters, waiter, entry);
	model->n_waiters++;
	model_refresh(model);
	return 0;
}

static int model_on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct model *model = userdata;

	(void)source;
	(void)usec;
	if (!model->is_watched)
		return 0;
	model_refresh(model);
	return timer_arm(model->event, &model->look_timer, MODEL_LOOK_USEC, model_on_look, model);
}

void model_set_watched(struct model *model, bool is_watched)
{
	if (is_watched && !model->is_watched) {
		timer_arm(model->event, &model->look_timer, MODEL_LOOK_USEC, model_on_look, model);
		if (!model_is_fresh(model))
			model_refresh(model);
	}
	model->is_watched = is_watched;
}

const json_t *model_status(const struct model *model)
{
	return model->status;
}

uint64_t model_asked_usec(const struct model *model)
{
	return model->refreshed_usec;
}

const struct failure *model_failure(const struct model *model)
{
	return model->status ? NULL : &model->failure;
}

const json_t *model_events(const struct model *model)
{
	return model->events;
}

json_t *model_snapshot(const struct model *model)
{
	return json_pack("{s:O, s:o, s:O}", "events", model->events, "exporter",
			 model->status ? json_null() : failure_to_json(&model->failure), "status",
			 model->status ? model->status : json_null());
}
