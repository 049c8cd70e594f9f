#pragma once

#include <systemd/sd-event.h>

#include "stream.h"

/* One stream that is open before anybody needs it: starting a relay on the VM costs more than all else that we add to the two kernels' time. */
struct spare;

/* The object is the caller's. It holds no stream until spare_fill(). */
int spare_new(sd_event *event, struct spare **ret_spare);

/* Takes NULL, returns NULL. */
struct spare *spare_free(struct spare *spare);

/* The link is up on this transport (borrowed until spare_drop()): opens one, and another each time one was taken, 3 s later or by spare_refill(). */
void spare_fill(struct spare *spare, struct transport *transport);

/* The plug that took the last one is over: opens another now, if the link is up and there is none. */
void spare_refill(struct spare *spare);

/* The link is gone, and the stream with it. */
void spare_drop(struct spare *spare);

/* Gives an unannounced stream back, also one that spare_take() did not give: kept if there is none, else ended. Takes NULL. */
void spare_give(struct spare *spare, struct stream *stream);

/* The stream, open and not announced, as the caller's own with these handlers; NULL if there is none now. */
struct stream *spare_take(struct spare *spare, const struct stream_handlers *handlers, void *userdata);
