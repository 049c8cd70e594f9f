#include "spare.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon.h"
#include "log.h"

/* After one was taken, unless its device is attached sooner: until then its enumeration has the VM's processor to itself. Also between tries when the VM refuses. */
#define REFILL_USEC UINT64_C(3000000)

struct spare {
	sd_event *event;             /* borrowed: outlives us */
	sd_event_source *timer;      /* owned */
	struct transport *transport; /* borrowed; NULL while the link is down */
	struct stream *stream;       /* owned */
};

static int spare_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	spare_refill(userdata);
	return 0;
}

static void spare_refill_later(struct spare *spare)
{
	timer_arm(spare->event, &spare->timer, REFILL_USEC, spare_on_timer, spare);
}

/* Nobody announced it, so nobody says OK. */
static int spare_on_ready(int kernel_fd, struct failure *ret_failure, void *userdata)
{
	(void)kernel_fd;
	(void)userdata;
	return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "the VM accepted a stream that was not announced");
}

static void spare_on_ended(const struct failure *failure, void *userdata)
{
	struct spare *spare = userdata;

	log_debug("the spare stream ended: %s", failure->text);
	spare->stream = stream_free(spare->stream);
	spare_refill_later(spare);
}

static const struct stream_handlers HANDLERS = { .on_ready = spare_on_ready, .on_ended = spare_on_ended };

static void spare_open(struct spare *spare)
{
	if (stream_new(spare->event, spare->transport, &HANDLERS, spare, &spare->stream) < 0)
		spare_refill_later(spare);
}

int spare_new(sd_event *event, struct spare **ret_spare)
{
	struct spare *spare = calloc(1, sizeof(*spare));
	int r;

	if (!spare)
		return -ENOMEM;
	spare->event = event;
	r = timer_new(event, &spare->timer, spare_on_timer, spare);
	if (r < 0) {
		free(spare);
		return r;
	}
	*ret_spare = spare;
	return 0;
}

struct spare *spare_free(struct spare *spare)
{
	if (!spare)
		return NULL;
	spare_drop(spare);
	sd_event_source_disable_unref(spare->timer);
	free(spare);
	return NULL;
}

void spare_fill(struct spare *spare, struct transport *transport)
{
	spare->transport = transport;
	if (!spare->stream)
		spare_open(spare);
}

void spare_refill(struct spare *spare)
{
	if (spare->transport && !spare->stream)
		spare_open(spare);
}

void spare_drop(struct spare *spare)
{
	timer_disarm(spare->timer);
	spare->transport = NULL;
	spare->stream = stream_free(spare->stream);
}

struct stream *spare_take(struct spare *spare, const struct stream_handlers *handlers, void *userdata)
{
	struct stream *stream = spare->stream;

	if (!stream || !stream_is_open(stream))
		return NULL;
	spare->stream = NULL;
	stream_hand_over(stream, handlers, userdata);
	spare_refill_later(spare);
	return stream;
}

void spare_give(struct spare *spare, struct stream *stream)
{
	if (!stream)
		return;
	if (!spare->transport || spare->stream || !stream_is_open(stream)) {
		stream_free(stream);
		return;
	}
	stream_hand_over(stream, &HANDLERS, spare);
	spare->stream = stream;
}
