#include "stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "message.h"

#define STREAM_CHUNK    ((size_t)64 * 1024)
#define STREAM_LINE_MAX ((size_t)1024)

enum stream_state { STREAM_OPENING, STREAM_OPEN, STREAM_ANNOUNCED, STREAM_MOVING, STREAM_ENDED };

struct stream {
	enum stream_state state;
	struct transport_channel *channel; /* owned */
	sd_event_source *io;               /* owned: our half of the socketpair */
	sd_event_source *ender;            /* owned: tells the end from the loop */
	struct failure failure;            /* why it ended */
	int fd, kernel_fd;                 /* owned */
	char offer_id[MESSAGE_ID_SIZE];    /* empty until it is announced */
	char line[STREAM_LINE_MAX];        /* the VM's answer, until its newline */
	size_t line_used;
	char *pending; /* owned: read from the kernel, not yet taken by the channel */
	size_t pending_size;
	bool wants_write; /* the kernel's socket was full */
	struct stream_handlers handlers;
	void *userdata; /* borrowed */
};

static int stream_on_end(sd_event_source *source, void *userdata)
{
	struct stream *stream = userdata;
	struct failure failure = stream->failure;

	(void)source;
	stream->handlers.on_ended(&failure, stream->userdata);
	return 0;
}

/* The handler hears of it from the loop, so that nobody up the stack holds a freed stream. */
static void stream_end(struct stream *stream, const struct failure *failure)
{
	if (stream->state == STREAM_ENDED)
		return;
	stream->state = STREAM_ENDED;
	stream->failure = *failure;
	stream->io = sd_event_source_disable_unref(stream->io);
	stream->channel = transport_channel_close(stream->channel);
	stream->fd = close_fd(stream->fd);
	sd_event_source_set_enabled(stream->ender, SD_EVENT_ONESHOT);
}

static void stream_end_with(struct stream *stream, enum failure_code code, const char *text)
{
	struct failure failure;

	failure_set(&failure, code, NULL, "%s", text);
	stream_end(stream, &failure);
}

/* What the loop has to wait for: room towards the kernel, and bytes from it unless the channel is full. */
static void stream_update_interest(struct stream *stream)
{
	uint32_t events = (stream->pending ? 0 : EPOLLIN) | (stream->wants_write ? EPOLLOUT : 0);

	sd_event_source_set_io_events(stream->io, events);
	/* A hang-up is reported even to who asked for nothing: not while the bytes before it still wait for the channel. */
	sd_event_source_set_enabled(stream->io, events ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* Hands the channel what it takes; keeps the rest, behind what it did not take before. False when the stream ended. */
static bool stream_write_channel(struct stream *stream, const char *data, size_t size)
{
	ssize_t n = stream->pending ? 0 : transport_channel_write(stream->channel, data, size);
	char *rest;

	if (n < 0) {
		stream_end_with(stream, FAILURE_STREAM, "the channel to the VM was lost");
		return false;
	}
	if ((size_t)n == size)
		return true;
	rest = realloc(stream->pending, stream->pending_size + size - (size_t)n);
	if (!rest) {
		stream_end_with(stream, FAILURE_INTERNAL, "out of memory");
		return false;
	}
	memcpy(rest + stream->pending_size, data + n, size - (size_t)n);
	stream->pending = rest;
	stream->pending_size += size - (size_t)n;
	return true;
}

static void stream_on_writable(void *userdata)
{
	struct stream *stream = userdata;
	_cleanup_free_ char *pending = TAKE_PTR(stream->pending);
	size_t size = stream->pending_size;

	stream->pending_size = 0;
	if (pending && !stream_write_channel(stream, pending, size))
		return;
	stream_update_interest(stream);
}

static void stream_read_kernel(struct stream *stream)
{
	static char buffer[STREAM_CHUNK]; /* one loop, one thread: used within this call only */
	ssize_t n = recv(stream->fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		stream_end_with(stream, FAILURE_GONE, "the Pi's kernel ended the session");
		return;
	}
	if (stream_write_channel(stream, buffer, (size_t)n))
		stream_update_interest(stream);
}

static int stream_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct stream *stream = userdata;

	(void)source;
	(void)fd;
	if (events & EPOLLOUT) {
		stream->wants_write = false;
		stream_update_interest(stream);
		transport_channel_resume(stream->channel);
	}
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !stream->pending)
		stream_read_kernel(stream);
	return 0;
}

static size_t stream_write_kernel(struct stream *stream, const char *data, size_t size)
{
	ssize_t n = send(stream->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return size; /* the kernel closed its end: stream_on_io() sees that and ends us */
	if (n < (ssize_t)size) {
		stream->wants_write = true;
		stream_update_interest(stream);
	}
	return n < 0 ? 0 : (size_t)n;
}

/* The VM's answer to the announcement: "OK", or "NO " and why. */
static void stream_handle_answer(struct stream *stream)
{
	_cleanup_json_ json_t *object = NULL;
	struct failure failure;

	if (stream->line_used == 2 && memcmp(stream->line, "OK", 2) == 0) {
		stream->state = STREAM_MOVING;
		if (stream->handlers.on_ready(stream->kernel_fd, &failure, stream->userdata) < 0)
			stream_end(stream, &failure);
		stream->kernel_fd = close_fd(stream->kernel_fd);
		return;
	}
	if (strncmp(stream->line, "NO ", 3) == 0)
		object = json_loadb(stream->line + 3, stream->line_used - 3, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(object))
		failure_from_json(object, &failure);
	else
		failure_set(&failure, FAILURE_BAD_REQUEST, NULL, "the VM answered the stream with something else than OK or NO");
	stream_end(stream, &failure);
}

/* Takes the bytes up to the answer's newline; what follows it is the kernel's. */
static size_t stream_take_answer(struct stream *stream, const char *data, size_t size)
{
	const char *end = memchr(data, '\n', size);
	size_t length = end ? (size_t)(end - data) : size;

	if (stream->line_used + length >= sizeof(stream->line)) {
		stream_end_with(stream, FAILURE_BAD_REQUEST, "the VM's answer to the stream is too long");
		return size;
	}
	memcpy(stream->line + stream->line_used, data, length);
	stream->line_used += length;
	stream->line[stream->line_used] = '\0';
	if (!end)
		return size;
	stream_handle_answer(stream);
	return length + 1;
}

static size_t stream_on_data(const char *data, size_t size, void *userdata)
{
	struct stream *stream = userdata;
	size_t taken = 0;

	if (stream->state == STREAM_OPEN)
		stream_end_with(stream, FAILURE_BAD_REQUEST, "the VM answered a stream that was not announced");
	if (stream->state == STREAM_ANNOUNCED)
		taken = stream_take_answer(stream, data, size);
	if (stream->state == STREAM_ENDED || taken == size)
		return size;
	return taken + stream_write_kernel(stream, data + taken, size - taken);
}

static void stream_send(struct stream *stream, const struct message *message)
{
	_cleanup_free_ char *line = message_format(message);

	if (line)
		stream_write_channel(stream, line, strlen(line));
	else
		stream_end_with(stream, FAILURE_INTERNAL, "out of memory");
}

static void stream_send_announcement(struct stream *stream)
{
	struct message message = { .type = MESSAGE_STREAM };

	memcpy(message.id, stream->offer_id, sizeof(message.id));
	stream->state = STREAM_ANNOUNCED;
	stream_send(stream, &message);
}

static void stream_on_open(void *userdata)
{
	struct stream *stream = userdata;

	stream->state = STREAM_OPEN;
	if (stream->offer_id[0])
		stream_send_announcement(stream);
	else
		stream_send(stream, &(struct message){ .type = MESSAGE_SPARE });
}

bool stream_is_open(const struct stream *stream)
{
	return stream->state == STREAM_OPEN;
}

void stream_hand_over(struct stream *stream, const struct stream_handlers *handlers, void *userdata)
{
	stream->handlers = *handlers;
	stream->userdata = userdata;
}

void stream_announce(struct stream *stream, const char *offer_id)
{
	snprintf(stream->offer_id, sizeof(stream->offer_id), "%s", offer_id);
	if (stream->state == STREAM_OPEN)
		stream_send_announcement(stream);
}

static void stream_on_closed(const struct failure *failure, void *userdata)
{
	stream_end(userdata, failure);
}

static int stream_init(struct stream *stream, sd_event *event, struct transport *transport)
{
	static const struct transport_channel_handlers handlers = {
		.on_open = stream_on_open,
		.on_data = stream_on_data,
		.on_writable = stream_on_writable,
		.on_closed = stream_on_closed,
	};
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	stream->fd = fds[0];
	stream->kernel_fd = fds[1];
	r = sd_event_add_io(event, &stream->io, stream->fd, EPOLLIN, stream_on_io, stream);
	if (r < 0)
		return r;
	r = sd_event_add_defer(event, &stream->ender, stream_on_end, stream);
	if (r < 0)
		return r;
	sd_event_source_set_enabled(stream->ender, SD_EVENT_OFF);
	return transport_open_channel(transport, &handlers, stream, &stream->channel);
}

int stream_new(sd_event *event, struct transport *transport, const struct stream_handlers *handlers, void *userdata,
	       struct stream **ret_stream)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	int r;

	if (!stream)
		return -ENOMEM;
	stream->fd = stream->kernel_fd = -EBADF;
	stream->handlers = *handlers;
	stream->userdata = userdata;
	r = stream_init(stream, event, transport);
	if (r < 0) {
		stream_free(stream);
		return r;
	}
	*ret_stream = stream;
	return 0;
}

struct stream *stream_free(struct stream *stream)
{
	if (!stream)
		return NULL;
	stream->state = STREAM_ENDED;
	sd_event_source_disable_unref(stream->io);
	sd_event_source_disable_unref(stream->ender);
	transport_channel_close(stream->channel);
	close_fd(stream->fd);
	close_fd(stream->kernel_fd);
	free(stream->pending);
	free(stream);
	return NULL;
}
