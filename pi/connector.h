#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "failure.h"
#include "job.h"

/* Resolves a name and connects by TCP, without blocking the loop: the look-up runs in a job, each address is tried in turn. */
struct connector;

/* The connected socket (the callee's), or -1 and why. Called once, never from within connector_new(). The connector may be freed in it. */
typedef void (*connector_done_fn)(int fd, const char *address, const struct failure *failure, void *userdata);

/* user_timeout_ms: after how long unacknowledged bytes end the connection (TCP_USER_TIMEOUT); keepalive is set to notice a silent peer in about that time too. */
int connector_new(sd_event *event, struct job_runner *jobs, const char *host, uint16_t port, uint32_t user_timeout_ms,
		  connector_done_fn on_done, void *userdata, struct connector **ret_connector);

/* Gives up. Takes NULL, returns NULL. */
struct connector *connector_free(struct connector *connector);
