#include "pi_channel.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "line.h"

#define CHANNEL_MAX_OUTPUT ((size_t)1024 * 1024)
#define CHANNEL_READ_SIZE  ((size_t)16384)

struct pi_channel {
	int fd;                  /* owned */
	sd_event_source *source; /* owned */
	struct line_buffer input;
	char *output; /* owned */
	size_t output_used, output_allocated;
	pi_channel_line_fn on_line;
	pi_channel_gone_fn on_gone;
	void *userdata; /* borrowed: outlives us */
	bool is_dispatching;
	bool is_freed; /* in a callback: the memory goes when it returns */
};

static int pi_channel_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata);

int pi_channel_new(sd_event *event, int fd, pi_channel_line_fn on_line, pi_channel_gone_fn on_gone, void *userdata,
		   struct pi_channel **ret_channel)
{
	struct pi_channel *channel = calloc(1, sizeof(*channel));
	int err;

	if (!channel) {
		close_fd(fd);
		return -ENOMEM;
	}
	channel->fd = fd;
	channel->on_line = on_line;
	channel->on_gone = on_gone;
	channel->userdata = userdata;
	err = sd_event_add_io(event, &channel->source, fd, EPOLLIN, pi_channel_on_io, channel);
	if (err < 0) {
		pi_channel_free(channel);
		return err;
	}
	*ret_channel = channel;
	return 0;
}

bool pi_channel_has_input(const struct pi_channel *channel)
{
	char byte;

	return recv(channel->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* The end is seen by the event loop: no callback from within the caller's own work. */
void pi_channel_break(struct pi_channel *channel)
{
	shutdown(channel->fd, SHUT_RDWR);
}

static void pi_channel_flush(struct pi_channel *channel)
{
	ssize_t n = 0;

	while (channel->output_used > 0 &&
	       (n = send(channel->fd, channel->output, channel->output_used, MSG_NOSIGNAL | MSG_DONTWAIT)) > 0) {
		channel->output_used -= (size_t)n;
		memmove(channel->output, channel->output + n, channel->output_used);
	}
	if (channel->output_used == 0) { /* an idle channel keeps no memory for what a slow peer once had it hold */
		free(channel->output);
		channel->output = NULL;
		channel->output_allocated = 0;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		channel->output_used = 0;
		pi_channel_break(channel);
	}
	if (channel->source)
		sd_event_source_set_io_events(channel->source, channel->output_used > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

struct pi_channel *pi_channel_free(struct pi_channel *channel)
{
	if (!channel)
		return NULL;
	if (channel->fd >= 0)
		pi_channel_flush(channel);
	channel->source = sd_event_source_disable_unref(channel->source);
	channel->fd = close_fd(channel->fd);
	channel->is_freed = true;
	if (channel->is_dispatching)
		return NULL;
	line_buffer_done(&channel->input);
	free(channel->output);
	free(channel);
	return NULL;
}

/* Room for so many bytes more, twice what there was: a peer that does not read makes nobody copy all of it at each message. */
static bool pi_channel_make_room(struct pi_channel *channel, size_t size)
{
	size_t needed = channel->output_used + size, wanted = needed < CHANNEL_MAX_OUTPUT / 2 ? 2 * needed : CHANNEL_MAX_OUTPUT;
	char *grown;

	if (needed <= channel->output_allocated)
		return true;
	if (needed > CHANNEL_MAX_OUTPUT)
		return false;
	grown = realloc(channel->output, wanted);
	if (!grown)
		return false;
	channel->output = grown;
	channel->output_allocated = wanted;
	return true;
}

void pi_channel_send(struct pi_channel *channel, const char *data, size_t size)
{
	if (!pi_channel_make_room(channel, size)) {
		pi_channel_break(channel);
		return;
	}
	memcpy(channel->output + channel->output_used, data, size);
	channel->output_used += size;
	pi_channel_flush(channel);
}

/* 0 when all whole lines were told; a negative errno if what came can't be lines. */
static int pi_channel_tell_lines(struct pi_channel *channel)
{
	int r = 0;

	while (!channel->is_freed) {
		_cleanup_free_ char *line = NULL;
		size_t size;

		r = line_buffer_take(&channel->input, &line, &size);
		if (r <= 0)
			break;
		channel->on_line(line, size, channel->userdata);
	}
	return r < 0 ? r : 0;
}

/* One read a turn: a peer that floods does not starve the others. */
static int pi_channel_read(struct pi_channel *channel)
{
	char data[CHANNEL_READ_SIZE];
	ssize_t n = recv(channel->fd, data, sizeof(data), MSG_DONTWAIT);
	int err;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -ECONNRESET;
	if (n == 0)
		return -ECONNRESET;
	err = line_buffer_add(&channel->input, data, (size_t)n);
	return err < 0 ? err : pi_channel_tell_lines(channel);
}

static int pi_channel_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct pi_channel *channel = userdata;
	int err = 0;

	(void)source;
	(void)fd;
	channel->is_dispatching = true;
	if (events & EPOLLOUT)
		pi_channel_flush(channel);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		err = pi_channel_read(channel);
	if (err < 0 && !channel->is_freed)
		channel->on_gone(err, channel->userdata);
	channel->is_dispatching = false;
	if (channel->is_freed)
		pi_channel_free(channel);
	return 0;
}
