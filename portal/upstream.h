#pragma once

#include <jansson.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "failure.h"

/* What the portal knows of the exporter: its control socket, asked without waiting. Each request has a connection of its own. */
struct upstream;
struct upstream_request;

/* failure is NULL if all is well; else it says why not, and answer is the exporter's own {"ok":false,"error":...}, or NULL if there is none. Both are
 * borrowed. */
typedef void (*upstream_answer_fn)(const json_t *answer, const struct failure *failure, void *userdata);

/* Each further line of a request that subscribed. */
typedef void (*upstream_event_fn)(const json_t *line, void *userdata);

/* path: the exporter's control socket. The object is the caller's; NULL without memory. */
struct upstream *upstream_new(sd_event *event, const char *path);

/* Whoever waits is told of the end by his on_answer; nothing new is asked. Takes NULL, returns NULL. */
struct upstream *upstream_free(struct upstream *upstream);

/* Asks (the request's reference is taken). on_answer is called once, from the event loop and never from within this. 0 or a negative errno without memory. */
int upstream_ask(struct upstream *upstream, json_t *request, uint64_t timeout_usec, upstream_answer_fn on_answer, void *userdata);

/* The same, and on_event hears of every line after the answer; on_answer is called again, with a failure, when the connection ends. There is one subscription
 * at most. */
int upstream_subscribe(struct upstream *upstream, json_t *request, uint64_t timeout_usec, upstream_answer_fn on_answer,
		       upstream_event_fn on_event, void *userdata);

/* Ends the request that was asked with this userdata: its on_answer is told. Nothing without one. */
void upstream_cancel(struct upstream *upstream, const void *userdata);
