#pragma once

/* What the parts of the portal that answer requests share; nobody else includes it. */

#include <jansson.h>

#include "http.h"
#include "http_request.h"
#include "model.h"
#include "owner.h"
#include "portal.h"
#include "session.h"
#include "throttle.h"
#include "upstream.h"
#include "watcher.h"

struct link_test;

struct portal {
	sd_event *event; /* borrowed: outlives us */
	struct portal_config config;
	char machine_name[64];
	struct upstream *upstream;      /* owned */
	struct model *model;            /* owned */
	struct owner *owner;            /* owned */
	struct session_table *sessions; /* owned */
	struct throttle *throttle;      /* owned */
	struct watcher_list *watchers;  /* owned */
	struct link_test *link_test;    /* owned */
	struct http_server *http;       /* owned */
	uint64_t n_requests;
	sd_event_source *knock_timer; /* owned: armed when somebody has knocked */
	uint64_t knocked_usec;        /* when the exporter was told last */
	unsigned n_pairing_steps;     /* under way, of VMs: nobody has logged in for them */
};

/* What a handler gets besides the request: all borrowed, for the time of the call. */
struct api_call {
	struct portal *portal;
	struct http_request *request;
	const struct session *session; /* NULL: not logged in */
	const char *parameter;         /* what stands for {busid} in the path; "" without one */
	const json_t *body;            /* of a POST, an object; NULL else */
};

/* Answers a request; it may do so later, and then keeps call->request and call->portal. */
typedef void (*api_handler_fn)(const struct api_call *call);
