#include "http_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "http_internal.h"

void http_request_free(struct http_request *request)
{
	LIST_REMOVE(request, entry);
	while (request->added) {
		struct http_request_headers *header = request->added;

		request->added = header->next;
		free(header->name);
		free(header->value);
		free(header);
	}
	if (request->response)
		MHD_destroy_response(request->response);
	if (request->body)
		explicit_bzero(request->body, request->body_size); /* there may have been a password in it */
	free(request->body);
	free(request->path);
	free(request);
}

struct http_request *http_request_new(struct http_server *server, struct MHD_Connection *mhd, const char *path, const char *method)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct http_request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	request->server = server;
	request->mhd = mhd;
	request->connection = info ? info->socket_context : NULL;
	request->path = strdup(path);
	snprintf(request->method, sizeof(request->method), "%s", method);
	LIST_INSERT_HEAD(&server->requests, request, entry);
	if (!request->path || !request->connection) {
		http_request_free(request);
		return NULL;
	}
	return request;
}

const char *http_request_method(const struct http_request *request)
{
	return request->method;
}

const char *http_request_path(const struct http_request *request)
{
	return request->path;
}

const char *http_request_header(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

const char *http_request_cookie(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->mhd, MHD_COOKIE_KIND, name);
}

const char *http_request_body(const struct http_request *request, size_t *ret_size)
{
	*ret_size = request->body_size;
	return request->body ? request->body : "";
}

bool http_request_is_head_too_large(const struct http_request *request)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	return info && info->header_size > request->server->limits.max_head;
}

bool http_request_is_too_large(const struct http_request *request)
{
	return request->is_too_large;
}

const char *http_request_address(const struct http_request *request)
{
	return connection_address(request->connection);
}

const char *http_request_peer(const struct http_request *request)
{
	return connection_peer(request->connection);
}

void http_request_watch_client(struct http_request *request, void (*on_gone)(void *userdata), void *userdata)
{
	request->on_gone = on_gone;
	request->userdata = userdata;
}

void http_request_add_header(struct http_request *request, const char *name, const char *value)
{
	struct http_request_headers *header = calloc(1, sizeof(*header));

	if (!header) {
		request->has_lost_header = true;
		return;
	}
	header->name = strdup(name);
	header->value = strdup(value);
	header->next = request->added;
	request->added = header;
}

void http_request_add_body(struct http_request *request, const char *data, size_t size)
{
	char *grown;

	request->received += size;
	if (request->is_too_large || request->body_size + size > request->server->limits.max_body) {
		request->is_too_large = true;
		return;
	}
	grown = realloc(request->body, request->body_size + size + 1);
	if (!grown) {
		request->is_too_large = true;
		return;
	}
	request->body = grown;
	memcpy(request->body + request->body_size, data, size);
	request->body_size += size;
	request->body[request->body_size] = '\0';
}

/* ---- answers ---- */

bool http_request_add_headers_to(const struct http_request *request, struct MHD_Response *response)
{
	for (const struct http_request_headers *header = request->added; header; header = header->next)
		if (!header->name || !header->value || MHD_add_response_header(response, header->name, header->value) != MHD_YES)
			return false;
	return !request->has_lost_header;
}

void http_request_answer(struct http_request *request, unsigned status, struct MHD_Response *response)
{
	request->response = response;
	request->status = status;
	if (request->is_suspended) {
		request->is_suspended = false;
		MHD_resume_connection(request->mhd);
		http_server_run_soon(request->server);
	}
}

static void http_request_reply_with(struct http_request *request, unsigned status, const char *content_type, const void *body, size_t size,
				    enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(size, (void *)(uintptr_t)body, mode);

	if (content_type)
		http_request_add_header(request, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	if (response && !http_request_add_headers_to(request, response)) {
		MHD_destroy_response(response);
		response = NULL;
	}
	http_request_answer(request, status, response);
}

void http_reply(struct http_request *request, unsigned status, const char *content_type, const char *body, size_t size)
{
	http_request_reply_with(request, status, content_type, body, size, MHD_RESPMEM_MUST_COPY);
}

void http_reply_static(struct http_request *request, unsigned status, const char *content_type, const void *body, size_t size)
{
	http_request_reply_with(request, status, content_type, body, size, MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result http_request_queue(struct http_request *request)
{
	struct MHD_Response *response = TAKE_PTR(request->response);
	enum MHD_Result result = MHD_queue_response(request->mhd, request->status, response);

	MHD_destroy_response(response);
	return result;
}

enum MHD_Result http_request_dispatch(struct http_request *request)
{
	if (!request->is_dispatched) {
		request->is_dispatched = true;
		connection_is_served(request->connection);
		if (request->server->is_stopping) /* who would answer is gone already */
			http_reply_static(request, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "", 0);
		else
			request->server->on_request(request, request->server->userdata);
	}
	if (request->response)
		return http_request_queue(request);
	if (request->status)
		return MHD_NO; /* no memory for an answer */
	request->is_suspended = true;
	MHD_suspend_connection(request->mhd);
	return MHD_YES;
}

bool http_server_tell_gone(struct http_server *server)
{
	struct http_request *request;

	LIST_FOREACH(request, &server->requests, entry) {
		void (*on_gone)(void *userdata) = request->on_gone;

		if (!on_gone || !request->is_suspended || !http_client_is_gone(request->mhd))
			continue;
		request->on_gone = NULL;
		on_gone(request->userdata);
		return true;
	}
	return false;
}
