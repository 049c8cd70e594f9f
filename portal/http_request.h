#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A request that is here in whole, and its answer. Answer it with http_reply() or http_reply_stream(), now or later: until then it is valid, also if its client went
 * away. */
struct http_request;

/* "GET". Borrowed, as all of a request. */
const char *http_request_method(const struct http_request *request);

/* The path without its query, decoded. */
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

/* Adds a header to the answer; before the answer itself. Where there is no memory for one the connection ends without an answer. */
void http_request_add_header(struct http_request *request, const char *name, const char *value);

/* Answers with a copy of body. The request is not the caller's any more. */
void http_reply(struct http_request *request, unsigned status, const char *content_type, const char *body, size_t size);

/* Answers with bytes that live as long as the program. */
void http_reply_static(struct http_request *request, unsigned status, const char *content_type, const void *body, size_t size);
