#pragma once

#include <jansson.h>

/* What comes in on the handler's socket. */

struct local_client;

/* A local_request_fn: `relay`, `status`, `watch`, `detach`, `reload`, `resync`. userdata is the handler. */
void handler_on_request(struct local_client *client, const char *request, json_t *arguments, void *handler);
