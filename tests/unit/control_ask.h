#pragma once

#include <jansson.h>
#include <systemd/sd-event.h>

/* Asks the exporter's control socket while the exporter's own loop runs in this very process. */
struct control_ask {
	int fd;
	char data[65536];
	size_t used;
};

/* Sends a request (the reference is taken) on a connection of its own. */
void control_ask_start(struct control_ask *ask, const char *path, json_t *request);

/* The answer, the caller's; NULL if there is none yet. The connection is closed after it. */
json_t *control_ask_take(struct control_ask *ask);

/* Closes the connection without an answer. */
void control_ask_drop(struct control_ask *ask);

/* Runs the loop until the answer is there. */
json_t *control_ask_wait(struct control_ask *ask, sd_event *event);

/* The whole. */
json_t *control_ask(sd_event *event, const char *path, json_t *request);
