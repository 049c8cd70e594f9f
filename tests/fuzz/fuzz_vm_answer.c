/* A VM in foreign hands, as the Pi hears it: the control channel's messages, and the answer to a stream with what follows it. The transport below them is this
 * target's own: it hands the input over in pieces. First byte: which channel, and how large the pieces are. */

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "control_channel.h"
#include "fuzz.h"
#include "stream.h"
#include "transport.h"

/* ---- the transport ---- */

struct transport_channel {
	const struct transport_channel_handlers *handlers;
	void *userdata;
	bool is_open;
};

static struct transport_channel the_channel;

int transport_open_channel(struct transport *transport, const struct transport_channel_handlers *handlers, void *userdata,
			   struct transport_channel **ret_channel)
{
	(void)transport;
	the_channel = (struct transport_channel){ handlers, userdata, true };
	*ret_channel = &the_channel;
	return 0;
}

ssize_t transport_channel_write(struct transport_channel *channel, const char *data, size_t size)
{
	(void)data;
	FUZZ_CHECK(channel->is_open);
	return (ssize_t)size;
}

void transport_channel_resume(struct transport_channel *channel)
{
	FUZZ_CHECK(channel->is_open);
}

struct transport_channel *transport_channel_close(struct transport_channel *channel)
{
	if (channel)
		channel->is_open = false;
	return NULL;
}

/* ---- who listens ---- */

struct listener {
	sd_event *event;
	struct control_channel *control;
	struct stream *stream;
	bool is_ready, is_ended;
};

static void settle(struct listener *listener)
{
	for (unsigned i = 0; i < 100000 && sd_event_run(listener->event, 0) > 0; i++)
		;
}

static void control_on_message(const struct message *message, void *userdata)
{
	const struct listener *listener = userdata;

	FUZZ_CHECK(!listener->is_ended && fuzz_is_clean(message->id));
}

static void control_on_closed(const struct failure *failure, void *userdata)
{
	struct listener *listener = userdata;

	FUZZ_CHECK(!listener->is_ended && failure->code != FAILURE_NONE && fuzz_is_clean(failure->text));
	listener->is_ended = true;
	listener->control = control_channel_free(listener->control);
}

static void control_on_open(void *userdata)
{
	(void)userdata;
}

static int stream_on_ready(int kernel_fd, struct failure *failure, void *userdata)
{
	struct listener *listener = userdata;

	(void)failure;
	FUZZ_CHECK(!listener->is_ready && !listener->is_ended && kernel_fd >= 0);
	listener->is_ready = true;
	return 0;
}

static void stream_on_ended(const struct failure *failure, void *userdata)
{
	struct listener *listener = userdata;

	FUZZ_CHECK(!listener->is_ended && fuzz_is_clean(failure->text));
	listener->is_ended = true;
}

static void feed(struct listener *listener, const uint8_t *data, size_t size, size_t piece)
{
	while (size > 0 && the_channel.is_open && !listener->is_ended) {
		size_t n = size < piece ? size : piece, taken;

		taken = the_channel.handlers->on_data((const char *)data, n, the_channel.userdata);
		FUZZ_CHECK(taken <= n);
		settle(listener);
		if (taken == 0)
			return;
		data += taken;
		size -= taken;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct control_channel_handlers control_handlers = { control_on_open, control_on_message, control_on_closed };
	static const struct stream_handlers stream_handlers = { stream_on_ready, stream_on_ended };
	struct listener listener = { 0 };
	size_t piece;

	if (size < 1)
		return 0;
	FUZZ_CHECK(sd_event_new(&listener.event) >= 0);
	piece = data[0] % 64 == 63 ? 16384 : (size_t)(data[0] % 64) + 1;
	if (data[0] & 0x80)
		FUZZ_CHECK(stream_new(listener.event, NULL, &stream_handlers, &listener, &listener.stream) == 0);
	else
		FUZZ_CHECK(control_channel_new(listener.event, NULL, &control_handlers, &listener, &listener.control) == 0);
	the_channel.handlers->on_open(the_channel.userdata);
	if (listener.stream && !(data[0] & 0x40))
		stream_announce(listener.stream, "offer-1");
	feed(&listener, data + 1, size - 1, piece);
	if (the_channel.is_open && the_channel.handlers->on_closed) {
		const struct failure end = { FAILURE_STREAM, "the end", "" };

		the_channel.handlers->on_closed(&end, the_channel.userdata);
	}
	settle(&listener);
	FUZZ_CHECK(listener.is_ended);
	stream_free(listener.stream);
	control_channel_free(listener.control);
	sd_event_unref(listener.event);
	return 0;
}
