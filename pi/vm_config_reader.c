#include "vm_config_reader.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "daemon.h"
#include "log.h"

#define READ_AGAIN_MIN_USEC UINT64_C(1000000)
#define READ_AGAIN_MAX_USEC UINT64_C(60000000)

struct vm_config_reader {
	sd_event *event;          /* borrowed: outlives us */
	const char *path;         /* borrowed: outlives us */
	struct event_log *events; /* borrowed: outlives us */
	void (*on_config)(const struct vm_config *config, void *userdata);
	void *userdata;         /* borrowed: outlives us */
	sd_event_source *timer; /* owned */
	struct backoff backoff;
	unsigned n_problems;   /* of the file as it was read last */
	bool is_reading_again; /* by itself, after a trouble that was told */
};

static void reader_on_problem(const struct config_problem *problem, void *userdata)
{
	struct vm_config_reader *reader = userdata;

	reader->n_problems++;
	if (reader->is_reading_again)
		return; /* told before */
	log_warning("%s", problem->text);
	event_log_add(reader->events, "config", NULL, "PROBLEM", problem->text);
}

static int reader_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct vm_config_reader *reader = userdata;

	(void)source;
	(void)usec;
	reader->is_reading_again = true;
	vm_config_reader_read(reader);
	reader->is_reading_again = false;
	return 0;
}

/* A file that could not be read, or a key that libssh could not take (out of memory says the same as no key): in a moment it may be otherwise. */
static void reader_read_later(struct vm_config_reader *reader)
{
	timer_arm(reader->event, &reader->timer, backoff_next(&reader->backoff), reader_on_timer, reader);
}

void vm_config_reader_read(struct vm_config_reader *reader)
{
	struct vm_config config;
	int r;

	reader->n_problems = 0;
	r = vm_config_load(reader->path, reader_on_problem, reader, &config);
	if (r < 0) {
		log_error("%s can't be read: %s; the pairing stays as it was, and it is tried again", reader->path, strerror(-r));
		reader_read_later(reader);
		return;
	}
	if (reader->n_problems > 0 && !vm_config_is_paired(&config)) {
		reader_read_later(reader);
	} else {
		timer_disarm(reader->timer);
		backoff_reset(&reader->backoff);
	}
	reader->on_config(&config, reader->userdata);
}

int vm_config_reader_new(sd_event *event, const char *path, struct event_log *events,
			 void (*on_config)(const struct vm_config *config, void *userdata), void *userdata,
			 struct vm_config_reader **ret_reader)
{
	struct vm_config_reader *reader = calloc(1, sizeof(*reader));
	int r;

	if (!reader)
		return -ENOMEM;
	*reader = (struct vm_config_reader){ .event = event,
					     .path = path,
					     .events = events,
					     .on_config = on_config,
					     .userdata = userdata,
					     .backoff = { .min_usec = READ_AGAIN_MIN_USEC, .max_usec = READ_AGAIN_MAX_USEC } };
	r = timer_new(event, &reader->timer, reader_on_timer, reader);
	if (r < 0) {
		vm_config_reader_free(reader);
		return r;
	}
	*ret_reader = reader;
	return 0;
}

struct vm_config_reader *vm_config_reader_free(struct vm_config_reader *reader)
{
	if (!reader)
		return NULL;
	sd_event_source_disable_unref(reader->timer);
	free(reader);
	return NULL;
}
