#pragma once

/* What http.c, http_request.c and http_stream.c share; nobody else includes it, nor libmicrohttpd. */

#include <microhttpd.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "connection_table.h"
#include "http.h"
#include "http_stream.h"

struct http_request {
	LIST_ENTRY(http_request) entry;
	struct http_server *server;         /* borrowed: outlives us */
	struct MHD_Connection *mhd;         /* borrowed: outlives us */
	struct connection *connection;      /* borrowed: outlives us */
	struct http_request_headers *added; /* owned */
	char method[16];
	char *path; /* owned */
	char *body; /* owned */
	size_t body_size;
	uint64_t received; /* of the body, kept or not */
	bool is_too_large, is_dispatched, is_suspended;
	bool has_lost_header;          /* of the answer */
	struct MHD_Response *response; /* owned, until it is queued */
	unsigned status;
	void (*on_gone)(void *userdata); /* NULL: nobody asks */
	void *userdata;                  /* borrowed */
};

struct http_request_headers {
	struct http_request_headers *next; /* owned */
	char *name, *value;                /* owned */
};

struct http_stream {
	struct MHD_Connection *mhd; /* borrowed: outlives us */
	struct http_stream_source source;
	bool is_suspended;
	LIST_ENTRY(http_stream) entry;
	struct http_server *server; /* borrowed: outlives us; NULL: not begun */
};

LIST_HEAD(http_request_list, http_request);
LIST_HEAD(http_stream_list, http_stream);

struct http_server {
	struct MHD_Daemon *mhd;               /* owned */
	sd_event_source *io, *timer;          /* owned */
	sd_event_source *expire_timer;        /* owned */
	sd_event_source *runner;              /* owned; for what was resumed */
	sd_event *event;                      /* borrowed: outlives us */
	struct connection_table *connections; /* owned */
	struct http_limits limits;
	http_request_fn on_request;
	void *userdata; /* borrowed */
	struct http_request_list requests;
	struct http_stream_list streams;
	bool is_stopping;
};

/* Neither libmicrohttpd's epoll nor its timeout tells of a connection that was resumed; and this may be inside one of its callbacks. */
void http_server_run_soon(struct http_server *server);

/* Whether a connection's client has closed its end: libmicrohttpd does not look at one that is suspended. */
bool http_client_is_gone(struct MHD_Connection *mhd);

/* A request whose head is here. NULL without memory. */
struct http_request *http_request_new(struct http_server *server, struct MHD_Connection *mhd, const char *path, const char *method);

/* Wipes it: there may have been a password in it. */
void http_request_free(struct http_request *request);

/* A part of its body; what is too much is counted and not kept. */
void http_request_add_body(struct http_request *request, const char *data, size_t size);

/* Adds the headers that the answer was given. False when one is lost for want of memory: it may be one that keeps a browser from harm. */
bool http_request_add_headers_to(const struct http_request *request, struct MHD_Response *response);

/* Queues the answer (taken over; NULL: there is no memory for one): at once if libmicrohttpd is just asking for it, else when it asks again after the resume. */
void http_request_answer(struct http_request *request, unsigned status, struct MHD_Response *response);

/* Hands it to the server's user when it is here in whole, and its answer to libmicrohttpd when there is one. */
enum MHD_Result http_request_dispatch(struct http_request *request);

/* Tells one user, who asked for it, that the client of his request has gone: what that leads to may change the list. False when there is none any more. */
bool http_server_tell_gone(struct http_server *server);
