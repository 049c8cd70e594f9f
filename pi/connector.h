#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "failure.h"
#include "job.h"

/* Resolves a name and connects by TCP, without blocking the loop: the look-up runs in a job. The addresses race each other as RFC 8305 says, a new attempt every
 * 250 ms, and go on racing: the kernel repeats a SYN only after 1, 3 and 7 s, too seldom to notice that a wire was just healed. */
struct connector;

/* The connected socket (the callee's), or -1 and why: every address refused, or none answered within 6 s. Called once, never from within connector_new(). The
 * connector may be freed in it. */
typedef void (*connector_done_fn)(int fd, const char *address, const struct failure *failure, void *userdata);

/* 0 or negative errno. */
int connector_new(sd_event *event, struct job_runner *jobs, const char *host, uint16_t port, connector_done_fn on_done, void *userdata,
		  struct connector **ret_connector);

/* Gives up. Takes NULL, returns NULL. */
struct connector *connector_free(struct connector *connector);

/* Once it has failed: whether that was silence, and no machine or name server said no. Asking again at once then bothers nobody. */
bool connector_was_silence(const struct connector *connector);

/* Once it has failed: whether each address refused. The machine is there, and nothing listens on that port (yet). */
bool connector_was_refused(const struct connector *connector);
