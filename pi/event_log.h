#pragma once

#include <jansson.h>
#include <stddef.h>

/* The last events, for `usbpush events` and the portal: a bounded ring, and somebody who hears each as it happens. */
struct event_log;

typedef void (*event_log_fn)(json_t *event, void *userdata);

/* The object is the caller's. */
int event_log_new(size_t capacity, struct event_log **ret_log);

/* Takes NULL, returns NULL. */
struct event_log *event_log_free(struct event_log *log);

/* on_event hears of each event added from now on (the event is borrowed). */
void event_log_set_listener(struct event_log *log, event_log_fn on_event, void *userdata);

/* Adds {"seq","time","kind","busid","state","text"}; busid may be NULL. time is UTC, RFC 3339 with ms. The oldest makes room. */
void event_log_add(struct event_log *log, const char *kind, const char *busid, const char *state, const char *text);

/* All of them, oldest first; a new reference. */
json_t *event_log_to_json(const struct event_log *log);
