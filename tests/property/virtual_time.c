#include "virtual_time.h"

#include <errno.h>
#include <stdlib.h>
#include <systemd/sd-event.h>

#include "daemon.h"
#include "property.h"

#define MAX_SOURCES 256

struct sd_event_source {
	sd_event_time_handler_t on_time; /* of a timer */
	sd_event_handler_t on_defer;     /* else */
	void *userdata;
	bool is_armed;
	uint64_t due_usec, order;
};

static struct sd_event_source *sources[MAX_SOURCES];
static uint64_t now_usec, n_armed;

void virtual_time_reset(void)
{
	now_usec = UINT64_C(1000000000);
	n_armed = 0;
}

unsigned virtual_time_count(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MAX_SOURCES; i++)
		n += sources[i] != NULL;
	return n;
}

static sd_event_source *source_new(void *userdata)
{
	for (unsigned i = 0; i < MAX_SOURCES; i++)
		if (!sources[i]) {
			sources[i] = calloc(1, sizeof(*sources[i]));
			PROPERTY(sources[i] != NULL);
			sources[i]->userdata = userdata;
			return sources[i];
		}
	PROPERTY(!"too many sources");
	return NULL;
}

static void source_arm(sd_event_source *source, uint64_t delay_usec)
{
	source->is_armed = true;
	source->due_usec = now_usec + delay_usec;
	source->order = ++n_armed;
}

bool virtual_time_pass(uint64_t limit_usec)
{
	sd_event_source *next = NULL;

	for (unsigned i = 0; i < MAX_SOURCES; i++) {
		sd_event_source *source = sources[i];

		if (source && source->is_armed &&
		    (!next || source->due_usec < next->due_usec || (source->due_usec == next->due_usec && source->order < next->order)))
			next = source;
	}
	if (!next || next->due_usec > now_usec + limit_usec) {
		now_usec += limit_usec;
		return false;
	}
	if (next->due_usec > now_usec)
		now_usec = next->due_usec;
	next->is_armed = false;
	if (next->on_time)
		next->on_time(next, now_usec, next->userdata);
	else
		next->on_defer(next, next->userdata);
	return true;
}

/* ---- daemon.h ---- */

uint64_t clock_now_usec(void)
{
	return ++now_usec; /* so that no two moments are the same */
}

int timer_new(sd_event *event, sd_event_source **source, sd_event_time_handler_t fn, void *userdata)
{
	(void)event;
	*source = source_new(userdata);
	(*source)->on_time = fn;
	return 0;
}

int timer_arm(sd_event *event, sd_event_source **source, uint64_t delay_usec, sd_event_time_handler_t fn, void *userdata)
{
	(void)event;
	if (!*source)
		*source = source_new(userdata);
	(*source)->on_time = fn;
	source_arm(*source, delay_usec);
	return 0;
}

void timer_disarm(sd_event_source *source)
{
	if (source)
		source->is_armed = false;
}

/* ---- sd-event ---- */

int sd_event_add_defer(sd_event *event, sd_event_source **ret_source, sd_event_handler_t fn, void *userdata)
{
	sd_event_source *source = source_new(userdata);

	(void)event;
	source->on_defer = fn;
	source_arm(source, 0);
	if (ret_source)
		*ret_source = source;
	return 0;
}

int sd_event_source_set_enabled(sd_event_source *source, int enabled)
{
	PROPERTY(source->on_defer != NULL);
	if (enabled == SD_EVENT_OFF)
		source->is_armed = false;
	else
		source_arm(source, 0);
	return 0;
}

sd_event_source *sd_event_source_disable_unref(sd_event_source *source)
{
	for (unsigned i = 0; source && i < MAX_SOURCES; i++)
		if (sources[i] == source) {
			sources[i] = NULL;
			free(source);
			return NULL;
		}
	PROPERTY(!source);
	return NULL;
}
