#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/* HTTP on the daemon's event loop: libmicrohttpd without threads, behind a face of our own. */
struct http_server;
struct http_request;
struct http_stream;

struct http_limits {
	unsigned max_connections;         /* at once; further ones push out who waits longest */
	unsigned max_address_connections; /* of one address */
	uint64_t patience_usec;           /* for a request to arrive in whole */
	size_t max_head, max_body;        /* of a request: its line and headers, what follows */
};

/* A request that is here in whole. Answer it with http_reply() or http_reply_stream(), now or later: until then it is valid, also if its client went away. */
typedef void (*http_request_fn)(struct http_request *request, void *userdata);

/* Listens on all addresses (IPv6 and IPv4, or IPv4 alone where there is no IPv6), or on that one, numeric. port 0 takes a free one. Returns the socket or a negative errno. */
int http_listen(const char *address, uint16_t port);

/* The port that a socket listens on. */
uint16_t http_listen_port(int fd);

/* Serves what comes to listen_fd (taken over, also on failure). The object is the caller's. 0 or negative errno. */
int http_server_new(sd_event *event, int listen_fd, const struct http_limits *limits, http_request_fn on_request, void *userdata,
		    struct http_server **ret_server);

/* Closes all connections. Requests that were not answered get 503. Takes NULL, returns NULL. */
struct http_server *http_server_free(struct http_server *server);

/* How many connections there are. */
unsigned http_server_connections(const struct http_server *server);

/* "GET", and the path without its query. Borrowed, as all of a request. */
const char *http_request_method(const struct http_request *request);
const char *http_request_path(const struct http_request *request);

/* A header's value, or NULL. */
const char *http_request_header(const struct http_request *request, const char *name);

/* A cookie's value, or NULL. */
const char *http_request_cookie(const struct http_request *request, const char *name);

/* The body, NUL-ended. */
const char *http_request_body(const struct http_request *request, size_t *ret_size);

/* Whether request line and headers were longer than max_head. */
bool http_request_is_head_too_large(const struct http_request *request);

/* Whether the body was longer than max_body; it was not kept then. */
bool http_request_is_too_large(const struct http_request *request);

/* The client's address as in connection_table.h. */
const char *http_request_address(const struct http_request *request);

/* The client's own address, with its scope. */
const char *http_request_peer(const struct http_request *request);

/* While the request waits for its answer: on_gone is called, within some two seconds and once, when its client has closed the connection. The request is still to
 * be answered. */
void http_request_watch_client(struct http_request *request, void (*on_gone)(void *userdata), void *userdata);

/* Adds a header to the answer; before the answer itself. */
void http_request_add_header(struct http_request *request, const char *name, const char *value);

/* Answers with a copy of body. The request is not the caller's any more. */
void http_reply(struct http_request *request, unsigned status, const char *content_type, const char *body, size_t size);

/* Answers with bytes that live as long as the program. */
void http_reply_static(struct http_request *request, unsigned status, const char *content_type, const void *body, size_t size);

struct http_stream_source {
	/* Fills buffer. The number of bytes; 0 for nothing now: it is asked again after http_stream_wake(); negative to end the answer. */
	ssize_t (*read)(char *buffer, size_t size, void *userdata);
	/* The stream is over; it is not to be used any more. */
	void (*on_end)(void *userdata);
	void *userdata;
};

/* Answers with a stream without end. NULL if that can't be had; then the client got 503, and on_end is not called. */
struct http_stream *http_reply_stream(struct http_request *request, const char *content_type, const struct http_stream_source *source);

/* There is something to read, or its end. */
void http_stream_wake(struct http_stream *stream);

/* Whether the client has closed its end. */
bool http_stream_is_dead(const struct http_stream *stream);
