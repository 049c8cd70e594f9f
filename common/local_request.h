#pragma once

#include <jansson.h>

#include "failure.h"

/* The command line's side of local_server.h: blocking. */

/* Connects to the daemon's socket. program and unit stand in the error ("usbpush-exporter is not running. Start it: systemctl start UNIT").
 * Returns the fd or a negative errno with ret_failure filled. */
int local_connect(const char *path, const char *unit, struct failure *ret_failure);

/* Sends a request and waits for its answer at most timeout_ms (-1: for ever). request is borrowed. 0 and the answer (the caller's), or a negative errno with ret_failure
 * filled, be it the daemon's own error. */
int local_request(int fd, json_t *request, int timeout_ms, json_t **ret_answer, struct failure *ret_failure);

/* Waits for the next line of a subscription. 0, -ETIMEDOUT, -ECONNRESET when the daemon ended. */
int local_next_event(int fd, int timeout_ms, json_t **ret_event);
