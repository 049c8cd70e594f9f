#pragma once

#include "portal_internal.h"

/* A VM that has booted knocks (PROTOCOL.md, "The knock"): its Pi need not wait for the end of its backoff. It has no way to say who it is, so whoever knocks is told
 * nothing, and can't do more than a VM could. */

/* POST /api/v1/knock, without login: always 204, at once, before anything is done. The exporter is told, four times a second at most however often somebody knocks, and
 * never later than that; what it makes of it is pi/link_knock.c. */
void api_knock(const struct api_call *call);

/* Makes what api_knock() needs. 0 or negative errno. */
int api_knock_init(struct portal *portal);
