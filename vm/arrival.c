#include "arrival.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "daemon.h"
#include "json_text.h"
#include "line.h"

#define FIRST_LINE_LIMIT_USEC (UINT64_C(10) * 1000000)
#define OFFER_LIMIT_USEC      (UINT64_C(5) * 1000000)

struct arrival {
	sd_event *event;         /* borrowed: outlives us */
	int fd;                  /* owned */
	sd_event_source *source; /* owned */
	sd_event_source *limit;  /* owned */
	struct line_buffer input;
	enum arrival_kind kind;
	char offer_id[MESSAGE_ID_SIZE]; /* of a stream, else empty */
	arrival_fn on_result;
	void *userdata; /* borrowed: outlives us */
};

static int arrival_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata);
static int arrival_on_limit(sd_event_source *source, uint64_t usec, void *userdata);

int arrival_new(sd_event *event, int fd, arrival_fn on_result, void *userdata, struct arrival **ret_arrival)
{
	struct arrival *arrival = calloc(1, sizeof(*arrival));
	int err;

	if (!arrival) {
		close_fd(fd);
		return -ENOMEM;
	}
	arrival->event = event;
	arrival->fd = fd;
	arrival->on_result = on_result;
	arrival->userdata = userdata;
	err = sd_event_add_io(event, &arrival->source, fd, EPOLLIN, arrival_on_io, arrival);
	if (err >= 0)
		err = timer_arm(event, &arrival->limit, FIRST_LINE_LIMIT_USEC, arrival_on_limit, arrival);
	if (err < 0) {
		arrival_free(arrival);
		return err;
	}
	*ret_arrival = arrival;
	return 0;
}

struct arrival *arrival_free(struct arrival *arrival)
{
	if (!arrival)
		return NULL;
	sd_event_source_disable_unref(arrival->source);
	sd_event_source_disable_unref(arrival->limit);
	line_buffer_done(&arrival->input);
	close_fd(arrival->fd);
	free(arrival);
	return NULL;
}

enum arrival_kind arrival_get_kind(const struct arrival *arrival)
{
	return arrival->kind;
}

const char *arrival_get_offer(const struct arrival *arrival)
{
	return arrival->offer_id;
}

int arrival_take_fd(struct arrival *arrival)
{
	arrival->source = sd_event_source_disable_unref(arrival->source);
	return TAKE_FD(arrival->fd);
}

void arrival_keep_stream(struct arrival *arrival, const char *offer_id)
{
	snprintf(arrival->offer_id, sizeof(arrival->offer_id), "%s", offer_id);
	arrival->kind = ARRIVAL_STREAM;
	/* Only its end is of interest now: what it says next is for the kernel. */
	sd_event_source_set_io_events(arrival->source, EPOLLRDHUP);
	(void)timer_arm(arrival->event, &arrival->limit, OFFER_LIMIT_USEC, arrival_on_limit, arrival);
}

void arrival_keep_spare(struct arrival *arrival)
{
	arrival->kind = ARRIVAL_SPARE;
	timer_disarm(arrival->limit);
}

void arrival_refuse(struct arrival *arrival, bool is_stream, const struct failure *failure)
{
	struct message message = { .type = MESSAGE_REFUSED, .failure = *failure };
	_cleanup_json_ json_t *object = is_stream ? failure_to_json(failure) : NULL;
	_cleanup_free_ char *text = is_stream ? json_text(object, 0) : message_format(&message);

	if (!text)
		return;
	if (is_stream)
		(void)send(arrival->fd, "NO ", 3, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)send(arrival->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (is_stream)
		(void)send(arrival->fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Reads up to the newline and not a byte further; bytes without a newline belong to the first line for sure, so they are taken, too. */
static int arrival_read(struct arrival *arrival)
{
	char data[4096];
	ssize_t n = recv(arrival->fd, data, sizeof(data), MSG_PEEK | MSG_DONTWAIT);
	const char *end;

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -ECONNRESET;
	end = memchr(data, '\n', (size_t)n);
	n = recv(arrival->fd, data, end ? (size_t)(end - data) + 1 : (size_t)n, MSG_DONTWAIT);
	return n > 0 ? line_buffer_add(&arrival->input, data, (size_t)n) : -ECONNRESET;
}

static void arrival_tell(struct arrival *arrival, int result)
{
	_cleanup_(message_freep) struct message *message = NULL;
	_cleanup_free_ char *line = NULL;
	struct failure failure = { 0 };
	size_t size;

	if (result >= 0)
		result = line_buffer_take(&arrival->input, &line, &size);
	if (result == 0)
		return; /* not whole yet */
	if (result > 0)
		(void)message_parse(line, size, &message, &failure);
	else if (result != -ECONNRESET)
		failure_set(&failure, FAILURE_BAD_REQUEST, NULL, "a first line that is too long or no text");
	arrival->on_result(arrival, message, &failure, arrival->userdata);
}

static int arrival_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct arrival *arrival = userdata;

	(void)source;
	(void)fd;
	(void)events;
	arrival_tell(arrival, arrival->kind == ARRIVAL_STREAM ? -ECONNRESET : arrival_read(arrival));
	return 0;
}

static int arrival_on_limit(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct arrival *arrival = userdata;
	struct failure failure;

	(void)source;
	(void)usec;
	if (arrival->kind == ARRIVAL_STREAM)
		failure_set(&failure, FAILURE_NOT_FOUND, NULL, "no offer %s came for this stream", arrival->offer_id);
	else
		failure_set(&failure, FAILURE_TIMEOUT, NULL, "no first line came within 10 s");
	arrival->on_result(arrival, NULL, &failure, arrival->userdata);
	return 0;
}
