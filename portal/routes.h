#pragma once

#include <stddef.h>

#include "portal_internal.h"

/* Which path leads where, and who may go there. openapi.json describes the same table; a test compares them. */

enum route_access {
	ROUTE_OPEN,    /* everybody */
	ROUTE_LOOK,    /* the owner; everybody where PORTAL_PUBLIC_STATUS says so */
	ROUTE_METRICS, /* the same, and who has the token of PORTAL_METRICS_TOKEN */
	ROUTE_OWNER,   /* the owner */
};

#define ROUTE_PARAMETER_SIZE 64

struct route {
	const char *method; /* "GET" (and HEAD), "POST": these change something */
	const char *path;   /* one part may be a parameter: {busid} */
	enum route_access access;
	api_handler_fn handle;
};

/* All of them. */
const struct route *routes_all(size_t *ret_n);

/* The route of a request, with the parameter in its path (decoded already). NULL: ret_allow is then "" for an unknown path, or lists the methods that it
 * does know ("GET, HEAD"). */
const struct route *routes_find(const char *method, const char *path, char ret_parameter[ROUTE_PARAMETER_SIZE], const char **ret_allow);
