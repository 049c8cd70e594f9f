#include "http.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "daemon.h"
#include "http_internal.h"
#include "http_request.h"
#include "log.h"

/* What libmicrohttpd has for one connection. A head that does not fit is refused by it, in HTML, with no way to say it in other words: so it takes more than we do. */
#define HTTP_CONNECTION_MEMORY ((size_t)20 * 1024)
#define HTTP_IDLE_LIMIT_SEC    20 /* for a client that does not read its answer */
#define HTTP_HARD_LIMIT_FACTOR 3  /* where pushing out is not fast enough */
#define HTTP_DISCARD_MAX       (UINT64_C(16) * 1024 * 1024)
#define HTTP_EXPIRE_USEC       1000000

void http_server_run_soon(struct http_server *server)
{
	if (server->runner)
		sd_event_source_set_enabled(server->runner, SD_EVENT_ONESHOT);
}

bool http_client_is_gone(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	char byte;
	ssize_t n = info ? recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) : -1;

	return n == 0 || (info && n < 0 && errno == ECONNRESET);
}

/* ---- libmicrohttpd's callbacks ---- */

/* A body that is somewhat too long is read to its end, so that the client hears why it was in vain; one that is far too long is not waited for. */
static bool http_request_announces_too_much(const struct http_request *request)
{
	const char *text = http_request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return text && strtoull(text, NULL, 10) > HTTP_DISCARD_MAX;
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

static int http_on_expire(sd_event_source *source, uint64_t usec, void *userdata);

static void http_on_connection(void *userdata, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
	struct http_server *server = userdata;
	const union MHD_ConnectionInfo *fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	const union MHD_ConnectionInfo *address = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = connection_add(server->connections, fd ? fd->connect_fd : -EBADF, address ? address->client_addr : NULL);
		if (connection_table_count(server->connections) == 1 && server->io)
			(void)timer_arm(server->event, &server->expire_timer, HTTP_EXPIRE_USEC, http_on_expire, server);
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
	if (connection_table_count(server->connections) == 0)
		return 0; /* nobody is there: the next one starts it again */
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
	server->io = sd_event_source_disable_unref(server->io); /* without it nobody new is looked after */
	server->timer = sd_event_source_disable_unref(server->timer);
	server->runner = sd_event_source_disable_unref(server->runner);
	server->expire_timer = sd_event_source_disable_unref(server->expire_timer);
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
