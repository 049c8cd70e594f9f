#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "failure.h"
#include "message.h"

/* Where the connections of one Pi wait until they have a place: until their first line has come, and a stream until its offer has come. */
struct lobby;

struct lobby_callbacks {
	/* A first line `hello`; fd is the callee's. */
	void (*on_hello)(int fd, const struct hello *hello, void *userdata);
	/* A first line `stream`. 1: the callee takes it now, with lobby_take_stream(); 0: let it wait for its offer; negative errno with
	 * the failure: refuse it. */
	int (*on_stream)(const char *offer_id, struct failure *ret_failure, void *userdata);
	/* The callee takes the stream that on_stream wanted. */
	void (*on_stream_ready)(const char *offer_id, int fd, void *userdata);
};

/* name (borrowed, as are the callbacks and userdata) stands in the log. NULL without memory. */
struct lobby *lobby_new(sd_event *event, const char *name, const struct lobby_callbacks *callbacks, void *userdata);

/* Closes all that wait. Takes NULL, returns NULL. */
struct lobby *lobby_free(struct lobby *lobby);

/* Closes all that wait. */
void lobby_clear(struct lobby *lobby);

/* A fresh connection (non-blocking, taken over). At most 64 without a first line, 32 streams without an offer, 128 opened ahead of one; more are closed. */
void lobby_enter(struct lobby *lobby, int fd);

/* The waiting stream of an offer: its fd, the caller's; -ENOENT if there is none. */
int lobby_take_stream(struct lobby *lobby, const char *offer_id);
