#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

/* The control channel's socket: whole lines in, a bounded queue out. */
struct pi_channel;

typedef void (*pi_channel_line_fn)(const char *line, size_t size, void *userdata);

/* The channel is of no more use: -ECONNRESET at its end, -EMSGSIZE or -EBADMSG for bytes that are no lines. */
typedef void (*pi_channel_gone_fn)(int error, void *userdata);

/* Takes fd (non-blocking) over, also if it fails. 0 or negative errno. */
int pi_channel_new(sd_event *event, int fd, pi_channel_line_fn on_line, pi_channel_gone_fn on_gone, void *userdata,
		   struct pi_channel **ret_channel);

/* Sends what the socket still takes and closes it. May be called from the callbacks, which are not called any more. Takes NULL, returns
 * NULL. */
struct pi_channel *pi_channel_free(struct pi_channel *channel);

/* Whether something came that was not read yet. */
bool pi_channel_has_input(const struct pi_channel *channel);

/* Ends it from within: on_gone follows from the loop. */
void pi_channel_break(struct pi_channel *channel);

/* Queues bytes (copied). A peer that does not read, 1 MiB behind, loses the channel: on_gone follows. */
void pi_channel_send(struct pi_channel *channel, const char *data, size_t size);
