#include "control_channel.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "line.h"
#include "log.h"

#define CONTROL_QUEUE_MAX ((size_t)1024 * 1024)

struct control_channel {
	struct transport_channel *channel; /* owned */
	sd_event_source *work;             /* owned: hands messages out from the loop, so that a handler may free us */
	struct line_buffer input;
	char *output; /* owned */
	size_t output_used, output_allocated;
	bool is_open;
	bool is_broken; /* failure is to be told */
	struct failure failure;
	struct control_channel_handlers handlers;
	void *userdata; /* borrowed */
};

static void control_break(struct control_channel *control, const struct failure *failure)
{
	if (control->is_broken)
		return;
	control->is_broken = true;
	control->failure = *failure;
	sd_event_source_set_enabled(control->work, SD_EVENT_ON);
}

/* One line a turn of the loop; the source stays enabled while there may be more. */
static int control_on_work(sd_event_source *source, void *userdata)
{
	struct control_channel *control = userdata;
	_cleanup_(message_freep) struct message *message = NULL;
	_cleanup_free_ char *line = NULL;
	struct failure failure;
	size_t size;
	int r = line_buffer_take(&control->input, &line, &size);

	if (r > 0)
		r = message_parse(line, size, &message, &failure) < 0 ? -EBADMSG : 1;
	else if (r < 0)
		failure_set(&failure, FAILURE_BAD_REQUEST, NULL, "a line that is too long or has a NUL byte");
	if (r < 0) {
		failure_set(&control->failure, FAILURE_BAD_REQUEST, "Is usbpush-handler what answers there?",
			    "the VM sent what makes no sense: %s", failure.text);
		control->is_broken = true;
	}
	if (r > 0) {
		control->handlers.on_message(message, control->userdata);
		return 0; /* control may be gone */
	}
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	if (control->is_broken) {
		failure = control->failure;
		control->handlers.on_closed(&failure, control->userdata);
	}
	return 0;
}

static size_t control_on_data(const char *data, size_t size, void *userdata)
{
	struct control_channel *control = userdata;
	struct failure failure;

	if (control->is_broken)
		return 0; /* no more is taken from who sent what makes no sense */
	if (line_buffer_add(&control->input, data, size) < 0) {
		failure_set(&failure, FAILURE_BAD_REQUEST, NULL, "the VM sent more than this Pi can take");
		control_break(control, &failure);
	}
	sd_event_source_set_enabled(control->work, SD_EVENT_ON);
	return size;
}

static void control_flush(struct control_channel *control)
{
	ssize_t n;

	if (control->output_used == 0)
		return;
	n = transport_channel_write(control->channel, control->output, control->output_used);
	if (n <= 0)
		return; /* full: on_writable comes; lost: on_closed comes */
	control->output_used -= (size_t)n;
	memmove(control->output, control->output + n, control->output_used);
	if (control->output_used == 0) {
		free(control->output);
		control->output = NULL;
		control->output_allocated = 0;
	}
}

static void control_on_open(void *userdata)
{
	struct control_channel *control = userdata;

	control->is_open = true;
	control->handlers.on_open(control->userdata);
}

static void control_on_writable(void *userdata)
{
	control_flush(userdata);
}

static void control_on_closed(const struct failure *failure, void *userdata)
{
	control_break(userdata, failure);
}

int control_channel_new(sd_event *event, struct transport *transport, const struct control_channel_handlers *handlers, void *userdata,
			struct control_channel **ret_control)
{
	static const struct transport_channel_handlers channel_handlers = {
		.on_open = control_on_open,
		.on_data = control_on_data,
		.on_writable = control_on_writable,
		.on_closed = control_on_closed,
	};
	struct control_channel *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return -ENOMEM;
	control->handlers = *handlers;
	control->userdata = userdata;
	r = sd_event_add_defer(event, &control->work, control_on_work, control);
	if (r >= 0) {
		sd_event_source_set_enabled(control->work, SD_EVENT_OFF);
		r = transport_open_channel(transport, &channel_handlers, control, &control->channel);
	}
	if (r < 0) {
		control_channel_free(control);
		return r;
	}
	*ret_control = control;
	return 0;
}

/* Room for so many bytes more, twice what there was: a VM that does not read makes nobody copy all of it at each message. */
static bool control_make_room(struct control_channel *control, size_t size)
{
	size_t needed = control->output_used + size, wanted = needed < CONTROL_QUEUE_MAX / 2 ? 2 * needed : CONTROL_QUEUE_MAX;
	char *grown;

	if (needed <= control->output_allocated)
		return true;
	if (needed > CONTROL_QUEUE_MAX)
		return false;
	grown = realloc(control->output, wanted);
	if (!grown)
		return false;
	control->output = grown;
	control->output_allocated = wanted;
	return true;
}

void control_channel_send(struct control_channel *control, const struct message *message)
{
	_cleanup_free_ char *line = message_format(message);
	size_t size = line ? strlen(line) : 0;
	struct failure failure;

	if (control->is_broken || !control->is_open)
		return;
	if (!line || !control_make_room(control, size)) {
		failure_set(&failure, FAILURE_STREAM, NULL, "the VM does not read its control channel, or memory ran out");
		control_break(control, &failure);
		return;
	}
	memcpy(control->output + control->output_used, line, size);
	control->output_used += size;
	control_flush(control);
}

struct control_channel *control_channel_free(struct control_channel *control)
{
	if (!control)
		return NULL;
	sd_event_source_disable_unref(control->work);
	transport_channel_close(control->channel);
	line_buffer_done(&control->input);
	free(control->output);
	free(control);
	return NULL;
}
