#include "event_log.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct event_log {
	size_t capacity;
	uint64_t seq;
	json_t *events; /* owned array */
	event_log_fn on_event;
	void *userdata; /* borrowed */
};

int event_log_new(size_t capacity, struct event_log **ret_log)
{
	struct event_log *log = calloc(1, sizeof(*log));

	if (!log)
		return -ENOMEM;
	log->capacity = capacity;
	log->events = json_array();
	if (!log->events) {
		free(log);
		return -ENOMEM;
	}
	*ret_log = log;
	return 0;
}

struct event_log *event_log_free(struct event_log *log)
{
	if (!log)
		return NULL;
	json_decref(log->events);
	free(log);
	return NULL;
}

void event_log_set_listener(struct event_log *log, event_log_fn on_event, void *userdata)
{
	log->on_event = on_event;
	log->userdata = userdata;
}

static void event_log_format_time(char *buffer, size_t size)
{
	struct timespec now;
	struct tm utc;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	n = strftime(buffer, size, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(buffer + n, size - n, ".%03ldZ", now.tv_nsec / 1000000);
}

void event_log_add(struct event_log *log, const char *kind, const char *busid, const char *state, const char *text)
{
	char time[40];
	json_t *event;

	event_log_format_time(time, sizeof(time));
	event = json_pack("{s:I, s:s, s:s, s:s?, s:s, s:s}", "seq", (json_int_t)++log->seq, "time", time, "kind", kind, "busid", busid,
			  "state", state, "text", text);
	if (!event)
		return;
	if (json_array_size(log->events) >= log->capacity)
		json_array_remove(log->events, 0);
	json_array_append(log->events, event);
	if (log->on_event)
		log->on_event(event, log->userdata);
	json_decref(event);
}

json_t *event_log_to_json(const struct event_log *log)
{
	return json_copy(log->events);
}
