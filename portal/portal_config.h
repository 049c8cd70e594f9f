#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "portal_port.h"

/* How the portal is to be: portal.conf. */
struct portal_config {
	uint16_t port;           /* PORTAL_PORT_DEFAULT */
	char address[64];        /* to listen on, numeric; empty: all */
	bool is_public;          /* whether the status may be seen without login */
	char metrics_token[256]; /* the file with the token that opens /metrics; empty: none */
	char host_names[512];    /* further names that the portal is called by, comma-separated */
};

/* Without a file all is default. Each line that makes no sense is passed to on_problem (its userdata means nothing) and leaves its default. Returns the
 * number of problems, or a negative errno if the file can't be read. */
int portal_config_load(const char *path, config_problem_fn on_problem, struct portal_config *ret_config);
