#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "connection_table.h"
#include "daemon.h"
#include "log.h"

/* What libmicrohttpd has for one connection. A head that does not fit is refused by it, in HTML, with no way to say it in other words: so it takes more than we do. */
#define HTTP_CONNECTION_MEMORY ((size_t)20 * 1024)
#define HTTP_IDLE_LIMIT_SEC    20 /* for a client that does not read its answer */
#define HTTP_HARD_LIMIT_FACTOR 3  /* where pushing out is not fast enough */
#define HTTP_DISCARD_MAX       (UINT64_C(16) * 1024 * 1024)
#define HTTP_STREAM_BLOCK      ((size_t)8 * 1024)
#define HTTP_EXPIRE_USEC       1000000

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
	struct http_server *server; /* borrowed: outlives us */
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
static void http_server_run_soon(struct http_server *server)
{
	if (server->runner)
		sd_event_source_set_enabled(server->runner, SD_EVENT_ONESHOT);
}

/* ---- listening ---- */

static int http_listen_on(const struct sockaddr *address, socklen_t size)
{
	_cleanup_close_ int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int yes = 1, no = 0;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
	if (bind(fd, address, size) < 0 || listen(fd, 256) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int http_listen(const char *address, uint16_t port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM }, *found;
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	char service[8];
	int fd;

	if (!address || !*address) {
		fd = http_listen_on((struct sockaddr *)&in6, sizeof(in6));
		return fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL ? http_listen_on((struct sockaddr *)&in4, sizeof(in4)) : fd;
	}
	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(address, service, &hints, &found) != 0)
		return -EINVAL;
	fd = http_listen_on(found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return fd;
}

uint16_t http_listen_port(int fd)
{
	struct sockaddr_in6 address;
	socklen_t size = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
		return 0;
	return ntohs(address.sin6_port); /* where sockaddr_in has it, too */
}

/* ---- requests ---- */

static void http_request_free(struct http_request *request)
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

static struct http_request *http_request_new(struct http_server *server, struct MHD_Connection *mhd, const char *path, const char *method)
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

	if (!header)
		return;
	header->name = strdup(name);
	header->value = strdup(value);
	header->next = request->added;
	request->added = header;
}

/* ---- answers ---- */

/* The answer goes out now if libmicrohttpd is just asking for it, else when it asks again after the resume. */
static void http_request_answer(struct http_request *request, unsigned status, struct MHD_Response *response)
{
	for (const struct http_request_headers *header = request->added; header && response; header = header->next)
		if (header->name && header->value)
			MHD_add_response_header(response, header->name, header->value);
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

	if (response && content_type)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
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

	LIST_REMOVE(stream, entry);
	stream->source.on_end(stream->source.userdata);
	free(stream);
}

struct http_stream *http_reply_stream(struct http_request *request, const char *content_type, const struct http_stream_source *source)
{
	struct http_stream *stream = calloc(1, sizeof(*stream));
	struct MHD_Response *response = stream ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HTTP_STREAM_BLOCK, http_stream_on_read,
										   stream, http_stream_on_free) :
						 NULL;

	if (!response) {
		free(stream);
		http_reply_static(request, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "", 0);
		return NULL;
	}
	stream->mhd = request->mhd;
	stream->server = request->server;
	stream->source = *source;
	LIST_INSERT_HEAD(&request->server->streams, stream, entry);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
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

/* libmicrohttpd does not look at a connection that is suspended. */
static bool http_client_is_gone(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	char byte;
	ssize_t n = info ? recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) : -1;

	return n == 0 || (info && n < 0 && errno == ECONNRESET);
}

bool http_stream_is_dead(const struct http_stream *stream)
{
	return http_client_is_gone(stream->mhd);
}

/* One at a time: what it leads to may change the list. False when there is none any more. */
static bool http_server_tell_gone(struct http_server *server)
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

/* ---- libmicrohttpd's callbacks ---- */

static void http_request_add_body(struct http_request *request, const char *data, size_t size)
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

/* A body that is somewhat too long is read to its end, so that the client hears why it was in vain; one that is far too long is not waited for. */
static bool http_request_announces_too_much(const struct http_request *request)
{
	const char *text = http_request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return text && strtoull(text, NULL, 10) > HTTP_DISCARD_MAX;
}

static enum MHD_Result http_request_queue(struct http_request *request)
{
	struct MHD_Response *response = TAKE_PTR(request->response);
	enum MHD_Result result = MHD_queue_response(request->mhd, request->status, response);

	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result http_request_dispatch(struct http_request *request)
{
	if (!request->is_dispatched) {
		request->is_dispatched = true;
		connection_is_served(request->connection);
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

static enum MHD_Result http_on_access(void *userdata, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
				      const char *data, size_t *size, void **slot)
{
	struct http_server *server = userdata;
	struct http_request *request = *slot;

	(void)version;
	if (!request) {
		request = *slot = http_request_new(server, mhd, url, method);
		if (!request)
			return MHD_NO;
		if (!http_request_announces_too_much(request))
			return MHD_YES;
		request->is_too_large = true;
		return http_request_dispatch(request);
	}
	if (*size > 0) {
		http_request_add_body(request, data, *size);
		*size = 0;
		return request->received > HTTP_DISCARD_MAX ? MHD_NO : MHD_YES;
	}
	return http_request_dispatch(request);
}

static void http_on_completed(void *userdata, struct MHD_Connection *mhd, void **slot, enum MHD_RequestTerminationCode code)
{
	struct http_request *request = *slot;

	(void)userdata;
	(void)mhd;
	(void)code;
	if (!request)
		return;
	connection_is_waiting(request->connection);
	http_request_free(request);
	*slot = NULL;
}

static void http_on_connection(void *userdata, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
	struct http_server *server = userdata;
	const union MHD_ConnectionInfo *fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	const union MHD_ConnectionInfo *address = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = connection_add(server->connections, fd ? fd->connect_fd : -EBADF, address ? address->client_addr : NULL);
	} else if (*context) {
		connection_remove(*context);
		*context = NULL;
	}
}

static void http_on_log(void *userdata, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));

static void http_on_log(void *userdata, const char *format, va_list arguments)
{
	char text[256];

	(void)userdata;
	vsnprintf(text, sizeof(text), format, arguments);
	log_debug("libmicrohttpd: %s", text);
}

/* ---- the event loop ---- */

static int http_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct http_server *server = userdata;

	(void)source;
	(void)fd;
	(void)events;
	MHD_run(server->mhd);
	return 0;
}

static int http_on_runner(sd_event_source *source, void *userdata)
{
	struct http_server *server = userdata;

	(void)source;
	MHD_run(server->mhd);
	return 0;
}

static int http_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http_server *server = userdata;

	(void)source;
	(void)usec;
	MHD_run(server->mhd);
	return 0;
}

/* Before the loop sleeps: its epoll is edge-triggered, so what it left undone must be asked for. */
static int http_on_prepare(sd_event_source *source, void *userdata)
{
	struct http_server *server = userdata;
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	(void)source;
	if (MHD_get_timeout(server->mhd, &timeout_ms) == MHD_YES) {
		if (timeout_ms > 0)
			return timer_arm(server->event, &server->timer, timeout_ms * 1000, http_on_timer, server);
		http_server_run_soon(server); /* a timer would be a millisecond late, at each request */
	}
	timer_disarm(server->timer);
	return 0;
}

static int http_on_expire(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http_server *server = userdata;

	(void)source;
	(void)usec;
	connection_table_expire(server->connections);
	while (http_server_tell_gone(server))
		;
	return timer_arm(server->event, &server->expire_timer, HTTP_EXPIRE_USEC, http_on_expire, server);
}

static int http_server_start(struct http_server *server, int listen_fd)
{
	server->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_DUAL_STACK | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
				       http_on_access, server, MHD_OPTION_EXTERNAL_LOGGER, http_on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
				       listen_fd, MHD_OPTION_CONNECTION_LIMIT, server->limits.max_connections * HTTP_HARD_LIMIT_FACTOR,
				       MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT,
				       (unsigned)HTTP_IDLE_LIMIT_SEC, MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, server,
				       MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, server, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
				       MHD_OPTION_END);
	if (!server->mhd) {
		close_fd(listen_fd);
		return -EIO;
	}
	return 0;
}

static int http_server_watch(struct http_server *server)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	int r;

	if (!info)
		return -ENOTSUP;
	r = sd_event_add_io(server->event, &server->io, info->epoll_fd, EPOLLIN, http_on_io, server);
	if (r >= 0)
		r = sd_event_source_set_prepare(server->io, http_on_prepare);
	if (r >= 0)
		r = sd_event_add_defer(server->event, &server->runner, http_on_runner, server);
	if (r >= 0)
		r = timer_arm(server->event, &server->expire_timer, HTTP_EXPIRE_USEC, http_on_expire, server);
	return r < 0 ? r : 0;
}

int http_server_new(sd_event *event, int listen_fd, const struct http_limits *limits, http_request_fn on_request, void *userdata,
		    struct http_server **ret_server)
{
	struct http_server *server = calloc(1, sizeof(*server));
	int r;

	if (!server) {
		close_fd(listen_fd);
		return -ENOMEM;
	}
	*server = (struct http_server){ .event = event, .limits = *limits, .on_request = on_request, .userdata = userdata };
	LIST_INIT(&server->requests);
	LIST_INIT(&server->streams);
	server->connections = connection_table_new(limits->max_connections, limits->max_address_connections, limits->patience_usec);
	r = server->connections ? http_server_start(server, listen_fd) : -ENOMEM;
	if (r == 0)
		r = http_server_watch(server);
	if (r < 0) {
		http_server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

/* libmicrohttpd can't be stopped while a connection is suspended. */
static void http_server_resume_all(struct http_server *server)
{
	struct http_request *request;
	struct http_stream *stream;

	server->is_stopping = true;
	LIST_FOREACH(request, &server->requests, entry)
		if (request->is_suspended)
			http_reply_static(request, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "", 0);
	LIST_FOREACH(stream, &server->streams, entry)
		http_stream_wake(stream);
	MHD_run(server->mhd);
}

struct http_server *http_server_free(struct http_server *server)
{
	if (!server)
		return NULL;
	sd_event_source_disable_unref(server->io);
	sd_event_source_disable_unref(server->timer);
	server->runner = sd_event_source_disable_unref(server->runner);
	sd_event_source_disable_unref(server->expire_timer);
	if (server->mhd) {
		http_server_resume_all(server);
		MHD_stop_daemon(server->mhd);
	}
	connection_table_free(server->connections);
	free(server);
	return NULL;
}

unsigned http_server_connections(const struct http_server *server)
{
	return connection_table_count(server->connections);
}
