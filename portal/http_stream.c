#include "http_stream.h"

#include <errno.h>
#include <stdlib.h>

#include "http_internal.h"
#include "http_request.h"

#define HTTP_STREAM_BLOCK ((size_t)8 * 1024)

static ssize_t http_stream_on_read(void *userdata, uint64_t position, char *buffer, size_t size)
{
	struct http_stream *stream = userdata;
	ssize_t n = stream->server->is_stopping ? -ESHUTDOWN : stream->source.read(buffer, size, stream->source.userdata);

	(void)position;
	if (n < 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		stream->is_suspended = true;
		MHD_suspend_connection(stream->mhd);
	}
	return n;
}

static void http_stream_on_free(void *userdata)
{
	struct http_stream *stream = userdata;

	if (stream->server) {
		LIST_REMOVE(stream, entry);
		stream->source.on_end(stream->source.userdata);
	}
	free(stream);
}

/* The answer, with its headers; it owns stream. NULL without memory, and stream is gone. */
static struct MHD_Response *http_stream_make_response(struct http_stream *stream, struct http_request *request, const char *content_type)
{
	struct MHD_Response *response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HTTP_STREAM_BLOCK, http_stream_on_read, stream, http_stream_on_free);

	if (!response) {
		free(stream);
		return NULL;
	}
	http_request_add_header(request, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	if (http_request_add_headers_to(request, response))
		return response;
	MHD_destroy_response(response);
	return NULL;
}

struct http_stream *http_reply_stream(struct http_request *request, const char *content_type, const struct http_stream_source *source)
{
	struct http_stream *stream = calloc(1, sizeof(*stream));
	struct MHD_Response *response = stream ? http_stream_make_response(stream, request, content_type) : NULL;

	if (!response) {
		http_reply_static(request, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "", 0);
		return NULL;
	}
	stream->mhd = request->mhd;
	stream->server = request->server;
	stream->source = *source;
	LIST_INSERT_HEAD(&request->server->streams, stream, entry);
	http_request_answer(request, MHD_HTTP_OK, response);
	return stream;
}

void http_stream_wake(struct http_stream *stream)
{
	if (!stream->is_suspended)
		return;
	stream->is_suspended = false;
	MHD_resume_connection(stream->mhd);
	http_server_run_soon(stream->server);
}

bool http_stream_is_dead(const struct http_stream *stream)
{
	return http_client_is_gone(stream->mhd);
}
