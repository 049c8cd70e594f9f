#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "failure.h"
#include "transport.h"

/* One device's USB/IP stream on the Pi: bytes between an SSH channel and the socket of which usbip-host holds the other end, with backpressure both ways. */
struct stream;

struct stream_handlers {
	/* The VM said OK: give kernel_fd (borrowed; closed after the call) to usbip-host. On a negative errno with ret_failure filled the stream ends. Must not free it. */
	int (*on_ready)(int kernel_fd, struct failure *ret_failure, void *userdata);
	void (*on_ended)(const struct failure *failure, void *userdata); /* once, from the loop; free the stream in it or later */
};

/* Opens the channel, which takes two round trips: it may be opened before there is an offer. Limits on time are the caller's. 0 or negative errno. */
int stream_new(sd_event *event, struct transport *transport, const struct stream_handlers *handlers, void *userdata,
	       struct stream **ret_stream);

/* Whether its channel is open, so that it can be announced at once. */
bool stream_is_open(const struct stream *stream);

/* Gives an unannounced stream another owner: the handlers and userdata of whom it reports to from now on. */
void stream_hand_over(struct stream *stream, const struct stream_handlers *handlers, void *userdata);

/* Says which offer the stream is for, as soon as the channel is open. Once only. */
void stream_announce(struct stream *stream, const char *offer_id);

/* Ends it at once: the kernels on both sides see the end of the stream. Takes NULL, returns NULL. */
struct stream *stream_free(struct stream *stream);
