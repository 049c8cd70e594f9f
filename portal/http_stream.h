#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* An answer without end, written as there is something to say. */
struct http_request;
struct http_stream;

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
