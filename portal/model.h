#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "upstream.h"

/* What the portal shows: the exporter's status and events, kept up to date by its subscription. The exporter is asked when something happened, and
 * now and then while somebody looks, never once for each visitor. */
struct model;

/* Something changed. */
typedef void (*model_change_fn)(void *userdata);

/* The model is fresh, or can't be; model_failure() tells. */
typedef void (*model_fresh_fn)(void *userdata);

/* Begins to listen to the exporter, and goes on whenever it comes back. The object is the caller's; NULL without memory. */
struct model *model_new(sd_event *event, struct upstream *upstream, model_change_fn on_change, void *userdata);

/* Whoever waits is not called any more. Takes NULL, returns NULL. */
struct model *model_free(struct model *model);

/* Calls on_fresh once when the status is not older than a second: at once if it is so now. 0 or -ENOMEM. */
int model_when_fresh(struct model *model, model_fresh_fn on_fresh, void *userdata);

/* Asks the exporter anew; on_change follows. */
void model_refresh(struct model *model);

/* While somebody looks, what makes no event (the round trip) is asked for now and then. */
void model_set_watched(struct model *model, bool is_watched);

/* The exporter's status, or NULL while it is not there; borrowed. */
const json_t *model_status(const struct model *model);

/* When the exporter was asked for that status, on CLOCK_BOOTTIME; 0 before the first answer. */
uint64_t model_asked_usec(const struct model *model);

/* Why there is no status; NULL if there is one. */
const struct failure *model_failure(const struct model *model);

/* The last events, oldest first; borrowed. */
const json_t *model_events(const struct model *model);

/* What the page shows, as one object: {"exporter","status","events"}. A new reference. */
json_t *model_snapshot(const struct model *model);
