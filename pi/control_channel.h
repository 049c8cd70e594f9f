#pragma once

#include <systemd/sd-event.h>

#include "failure.h"
#include "message.h"
#include "transport.h"

/* The link's control channel: messages in lines over a channel of the transport (PROTOCOL.md). */
struct control_channel;

struct control_channel_handlers {
	void (*on_open)(void *userdata);
	void (*on_message)(const struct message *message, void *userdata);
	/* Once: the channel ended, or the VM sent what makes no sense (FAILURE_BAD_REQUEST). Free it then. */
	void (*on_closed)(const struct failure *failure, void *userdata);
};

/* Opens it. Handlers are called from the loop and may free it. 0 or negative errno. */
int control_channel_new(sd_event *event, struct transport *transport, const struct control_channel_handlers *handlers, void *userdata,
			struct control_channel **ret_control);

/* Queues a message; before on_open it is dropped, since the first line must be hello. A queue above its bound (the VM does not read) closes the channel. */
void control_channel_send(struct control_channel *control, const struct message *message);

/* Takes NULL, returns NULL. */
struct control_channel *control_channel_free(struct control_channel *control);
