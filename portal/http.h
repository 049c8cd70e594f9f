#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* HTTP on the daemon's event loop: libmicrohttpd without threads, behind a face of our own. */
struct http_server;
struct http_request;

struct http_limits {
	unsigned max_connections;         /* at once; further ones push out who waits longest */
	unsigned max_address_connections; /* of one address */
	uint64_t patience_usec;           /* for a request to arrive in whole */
	size_t max_head, max_body;        /* of a request: its line and headers, what follows */
};

/* A request came in whole; it is to be answered (http_request.h). */
typedef void (*http_request_fn)(struct http_request *request, void *userdata);

/* Serves what comes to listen_fd (taken over, also on failure). The object is the caller's. 0 or negative errno. */
int http_server_new(sd_event *event, int listen_fd, const struct http_limits *limits, http_request_fn on_request, void *userdata,
		    struct http_server **ret_server);

/* Closes all connections. Requests that were not answered get 503. Takes NULL, returns NULL. */
struct http_server *http_server_free(struct http_server *server);

/* How many connections there are. */
unsigned http_server_connections(const struct http_server *server);
