#pragma once

#include <stddef.h>
#include <systemd/sd-event.h>

/* The control channel's socket: whole lines in, a bounded queue out. */
struct channel;

typedef void (*channel_line_fn)(const char *line, size_t size, void *userdata);

/* The channel is of no more use: -ECONNRESET at its end, -EMSGSIZE or -EBADMSG for bytes that are no lines. */
typedef void (*channel_gone_fn)(int error, void *userdata);

/* Takes fd (non-blocking) over, also if it fails. 0 or negative errno. */
int channel_new(sd_event *event, int fd, channel_line_fn on_line, channel_gone_fn on_gone, void *userdata, struct channel **ret_channel);

/* Sends what the socket still takes and closes it. May be called from the callbacks, which are not called any more. Takes NULL, returns NULL. */
struct channel *channel_free(struct channel *channel);

/* Queues bytes (copied). A peer that does not read, 1 MiB behind, loses the channel: on_gone follows. */
void channel_send(struct channel *channel, const char *data, size_t size);
