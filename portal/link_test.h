#pragma once

#include <jansson.h>

#include "model.h"

/* "Test Connection": the way to the VM, step by step. One runs at a time; whoever asks meanwhile gets its result. */
struct link_test;

/* result: {"ok","steps":[{"name","text","state","ms"}],"rtt_ms","error"}, or NULL and the failure that kept it from running. Both borrowed. */
typedef void (*link_test_fn)(const json_t *result, const struct failure *failure, void *userdata);

/* The object is the caller's; NULL without memory. */
struct link_test *link_test_new(sd_event *event, struct upstream *upstream, struct model *model);

/* Whoever waits is not called any more. Takes NULL, returns NULL. */
struct link_test *link_test_free(struct link_test *test);

/* Starts one, or joins the one that runs. 0, or -EBUSY when too many wait. */
int link_test_start(struct link_test *test, link_test_fn on_done, void *userdata);

/* The model has changed: the test may be over. */
void link_test_look(struct link_test *test);

/* The steps of a link as the exporter's status has it, each `done`, `failed` (where it stopped) or `open`. A new reference. */
json_t *link_test_steps(const json_t *link);
