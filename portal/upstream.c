#include "upstream.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cleanup.h"
#include "daemon.h"
#include "json_text.h"

#define UPSTREAM_MAX_REQUESTS 24 /* the exporter takes 64 in all, and others ask it, too */
#define UPSTREAM_MAX_ANSWER   ((size_t)1024 * 1024)

struct upstream_request {
	LIST_ENTRY(upstream_request) entry;
	struct upstream *upstream; /* borrowed: outlives us */
	int fd;                    /* owned */
	sd_event_source *io;       /* owned */
	sd_event_source *timer;    /* owned; also tells a failure of the start */
	char *output;              /* owned; with its newline */
	size_t output_size, output_at;
	char *input; /* owned */
	size_t input_used;
	upstream_answer_fn on_answer;
	upstream_event_fn on_event; /* NULL for a single answer */
	void *userdata;             /* borrowed */
	struct failure failure;     /* what the start came to */
	bool is_answered;
};

LIST_HEAD(upstream_request_list, upstream_request);

struct upstream {
	sd_event *event; /* borrowed: outlives us */
	char *path;      /* owned */
	struct upstream_request_list requests;
	unsigned n_requests;
	bool is_closing;
};

struct upstream *upstream_new(sd_event *event, const char *path)
{
	struct upstream *upstream = calloc(1, sizeof(*upstream));

	if (!upstream)
		return NULL;
	upstream->event = event;
	upstream->path = strdup(path);
	LIST_INIT(&upstream->requests);
	if (!upstream->path) {
		free(upstream);
		return NULL;
	}
	return upstream;
}

static void upstream_request_free(struct upstream_request *request)
{
	LIST_REMOVE(request, entry);
	request->upstream->n_requests--;
	sd_event_source_disable_unref(request->io);
	sd_event_source_disable_unref(request->timer);
	close_fd(request->fd);
	if (request->output)
		explicit_bzero(request->output, request->output_size); /* a one-time password passes through here */
	free(request->output);
	free(request->input);
	free(request);
}

/* The end of the request, however it came to it. */
static void upstream_request_fail(struct upstream_request *request, const json_t *answer, const struct failure *failure)
{
	struct failure copy = *failure;
	upstream_answer_fn on_answer = request->on_answer;
	void *userdata = request->userdata;

	upstream_request_free(request);
	on_answer(answer, &copy, userdata);
}

static void upstream_set_failure(struct failure *failure, int error)
{
	if (error == -ETIMEDOUT)
		failure_set(failure, FAILURE_TIMEOUT, "Look at its log: journalctl -u usbpush-exporter.",
			    "usbpush-exporter did not answer in time");
	else if (error == -ENOENT || error == -ECONNREFUSED)
		failure_set(failure, FAILURE_UNREACHABLE, "Start it on the Pi: sudo systemctl start usbpush-exporter",
			    "usbpush-exporter is not running");
	else if (error == -EBUSY)
		failure_set(failure, FAILURE_BUSY, "Try again in a moment.", "too much is asked of usbpush-exporter at once");
	else
		failure_set(failure, FAILURE_UNREACHABLE, "Look at its log: journalctl -u usbpush-exporter.",
			    "usbpush-exporter did not answer: %s", strerror(-error));
}

static void upstream_request_end(struct upstream_request *request, int error)
{
	struct failure failure;

	upstream_set_failure(&failure, error);
	upstream_request_fail(request, NULL, &failure);
}

struct upstream *upstream_free(struct upstream *upstream)
{
	if (!upstream)
		return NULL;
	upstream->is_closing = true;
	while (!LIST_EMPTY(&upstream->requests))
		upstream_request_end(LIST_FIRST(&upstream->requests), -ESHUTDOWN);
	free(upstream->path);
	free(upstream);
	return NULL;
}

/* ---- lines from the exporter ---- */

static void upstream_request_take_answer(struct upstream_request *request, const json_t *answer)
{
	struct failure failure;

	request->is_answered = true;
	timer_disarm(request->timer);
	if (!json_is_true(json_object_get(answer, "ok"))) {
		failure_from_json(json_object_get(answer, "error"), &failure);
		upstream_request_fail(request, answer, &failure);
	} else if (request->on_event) {
		request->on_answer(answer, NULL, request->userdata);
	} else {
		upstream_answer_fn on_answer = request->on_answer;
		void *userdata = request->userdata;

		upstream_request_free(request);
		on_answer(answer, NULL, userdata);
	}
}

/* One line; whether the request lives on. */
static bool upstream_request_take_line(struct upstream_request *request, const char *line, size_t size)
{
	_cleanup_json_ json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
	bool is_answered = request->is_answered, is_subscription = request->on_event != NULL;

	if (!json_is_object(object)) {
		upstream_request_end(request, -EBADMSG);
		return false;
	}
	if (is_answered) {
		request->on_event(object, request->userdata);
		return true;
	}
	upstream_request_take_answer(request, object);
	return is_subscription && json_is_true(json_object_get(object, "ok"));
}

static int upstream_request_read(struct upstream_request *request)
{
	char chunk[8192], *grown;
	ssize_t n = recv(request->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	if (request->input_used + (size_t)n > UPSTREAM_MAX_ANSWER)
		return -EMSGSIZE;
	grown = realloc(request->input, request->input_used + (size_t)n);
	if (!grown)
		return -ENOMEM;
	request->input = grown;
	memcpy(request->input + request->input_used, chunk, (size_t)n);
	request->input_used += (size_t)n;
	return 0;
}

static void upstream_request_take_lines(struct upstream_request *request)
{
	char *end;

	while (request->input_used > 0 && (end = memchr(request->input, '\n', request->input_used))) {
		size_t size = (size_t)(end - request->input);

		if (!upstream_request_take_line(request, request->input, size))
			return;
		request->input_used -= size + 1;
		memmove(request->input, request->input + size + 1, request->input_used);
	}
}

static int upstream_request_write(struct upstream_request *request)
{
	while (request->output_at < request->output_size) {
		ssize_t n = send(request->fd, request->output + request->output_at, request->output_size - request->output_at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return sd_event_source_set_io_events(request->io, EPOLLIN | EPOLLOUT);
		if (n < 0 && errno != EINTR)
			return -errno;
		request->output_at += n > 0 ? (size_t)n : 0;
	}
	return sd_event_source_set_io_events(request->io, EPOLLIN);
}

static int upstream_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct upstream_request *request = userdata;
	int r = 0;

	(void)source;
	(void)fd;
	if (events & EPOLLOUT)
		r = upstream_request_write(request);
	if (r >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		r = upstream_request_read(request);
	if (r < 0)
		upstream_request_end(request, r);
	else
		upstream_request_take_lines(request);
	return 0;
}

/* ---- asking ---- */

static int upstream_on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct upstream_request *request = userdata;

	(void)source;
	(void)usec;
	if (request->failure.code == FAILURE_NONE)
		upstream_request_end(request, -ETIMEDOUT);
	else
		upstream_request_fail(request, NULL, &request->failure);
	return 0;
}

static int upstream_request_connect(struct upstream_request *request)
{
	struct upstream *upstream = request->upstream;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r;

	if (upstream->n_requests > UPSTREAM_MAX_REQUESTS)
		return -EBUSY;
	if (strlen(upstream->path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, upstream->path, strlen(upstream->path));
	request->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (request->fd < 0)
		return -errno;
	if (connect(request->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == EAGAIN ? -EBUSY : -errno; /* a unix socket connects at once or not at all */
	r = sd_event_add_io(upstream->event, &request->io, request->fd, EPOLLIN, upstream_on_io, request);
	return r < 0 ? r : upstream_request_write(request);
}

static int upstream_start(struct upstream *upstream, const json_t *object, uint64_t timeout_usec, struct upstream_request *request)
{
	int r;

	LIST_INSERT_HEAD(&upstream->requests, request, entry);
	upstream->n_requests++;
	request->output = json_text(object, 0);
	if (!request->output)
		return -ENOMEM;
	request->output_size = strlen(request->output) + 1;
	request->output[request->output_size - 1] = '\n'; /* takes the NUL's place */
	r = upstream_request_connect(request);
	if (r < 0) { /* told from the loop, as every other end */
		upstream_set_failure(&request->failure, r);
		request->io = sd_event_source_disable_unref(request->io);
		timeout_usec = 0;
	}
	return timer_arm(upstream->event, &request->timer, timeout_usec, upstream_on_timeout, request);
}

int upstream_subscribe(struct upstream *upstream, json_t *request, uint64_t timeout_usec, upstream_answer_fn on_answer,
		       upstream_event_fn on_event, void *userdata)
{
	_cleanup_json_ json_t *object = request;
	struct upstream_request *started = object && !upstream->is_closing ? calloc(1, sizeof(*started)) : NULL;
	int r;

	if (!started)
		return -ENOMEM;
	*started = (struct upstream_request){
		.upstream = upstream, .fd = -EBADF, .on_answer = on_answer, .on_event = on_event, .userdata = userdata
	};
	r = upstream_start(upstream, object, timeout_usec, started);
	if (r < 0)
		upstream_request_free(started);
	return r < 0 ? r : 0;
}

int upstream_ask(struct upstream *upstream, json_t *request, uint64_t timeout_usec, upstream_answer_fn on_answer, void *userdata)
{
	return upstream_subscribe(upstream, request, timeout_usec, on_answer, NULL, userdata);
}

void upstream_cancel(struct upstream *upstream, const void *userdata)
{
	struct upstream_request *request;

	LIST_FOREACH(request, &upstream->requests, entry) {
		if (request->userdata != userdata)
			continue;
		upstream_request_end(request, -ECANCELED);
		return;
	}
}
