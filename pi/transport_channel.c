#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "transport_internal.h"

#define CHANNEL_READ_SIZE \
	((size_t)1280000) /* libssh's window (WINDOW_DEFAULT in 0.10's channels.c): a read of more would open it further */
#define CHANNEL_READS  16 /* at most in one turn of the loop: others wait, too */
#define CHANNEL_UNREAD ((size_t)3 * 1024 * 1024) /* libssh gives windows of 1.3 (0.10) or 2 MB (0.11), and takes what comes beyond them */

static void channel_note_complaint(struct transport_channel *channel, const char *text, size_t size)
{
	const char *end = memchr(text, '\n', size);
	int length = (int)(end ? end - text : (ssize_t)size);

	snprintf(channel->complaint, sizeof(channel->complaint), "%.*s", length, text);
}

/* libssh's callbacks only take notes: the work is done in transport_channels_step(), outside of libssh. */
static int channel_on_data(ssh_session session, ssh_channel ssh, void *data, uint32_t size, int is_stderr, void *userdata)
{
	struct transport_channel *channel = userdata;

	(void)session;
	(void)ssh;
	(void)data;
	if (is_stderr) {
		channel_note_complaint(channel, data, size);
		return (int)size;
	}
	if (channel->state == CHANNEL_CLOSED)
		return (int)size; /* for nobody */
	channel->has_data = true;
	channel->transport->is_overrun = channel->transport->is_overrun || size > CHANNEL_UNREAD; /* size is all that is unread */
	return 0; /* stays in libssh's buffer, which bounds the peer by its window, until channel_step_data() reads it */
}

static void channel_on_end(ssh_session session, ssh_channel ssh, void *userdata)
{
	struct transport_channel *channel = userdata;

	(void)session;
	(void)ssh;
	channel->has_ended = true;
}

static void channel_on_close(ssh_session session, ssh_channel ssh, void *userdata)
{
	struct transport_channel *channel = userdata;

	channel->has_closed = true;
	channel_on_end(session, ssh, userdata);
}

static void channel_init_callbacks(struct transport_channel *channel)
{
	channel->callbacks = (struct ssh_channel_callbacks_struct){
		.userdata = channel,
		.channel_data_function = channel_on_data,
		.channel_eof_function = channel_on_end,
		.channel_close_function = channel_on_close,
	};
	ssh_callbacks_init(&channel->callbacks);
	ssh_set_channel_callbacks(channel->ssh, &channel->callbacks);
}

int transport_open_channel(struct transport *transport, const struct transport_channel_handlers *handlers, void *userdata,
			   struct transport_channel **ret_channel)
{
	struct transport_channel *channel;

	if (transport->is_down || transport->step != TRANSPORT_UP)
		return -ENOTCONN;
	channel = calloc(1, sizeof(*channel));
	if (!channel)
		return -ENOMEM;
	channel->transport = transport;
	channel->handlers = *handlers;
	channel->userdata = userdata;
	channel->ssh = ssh_channel_new(transport->ssh);
	if (!channel->ssh) {
		free(channel);
		return -ENOMEM;
	}
	channel_init_callbacks(channel);
	TAILQ_INSERT_TAIL(&transport->channels, channel, entry);
	transport_schedule(transport);
	*ret_channel = channel;
	return 0;
}

ssize_t transport_channel_write(struct transport_channel *channel, const char *data, size_t size)
{
	struct transport *transport = channel->transport;
	int n;

	if (channel->state != CHANNEL_OPEN || transport->is_down)
		return -ENOTCONN;
	/* What TCP does not take stays in libssh's memory: the kernel's socket buffer is the bound, not that. */
	if (ssh_get_poll_flags(transport->ssh) & SSH_WRITE_PENDING) {
		channel->wants_write = true;
		return 0;
	}
	n = ssh_channel_write(channel->ssh, data, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size);
	/* It also reads: what came for any channel meanwhile wakes no loop any more. */
	transport_schedule(transport);
	if (n == SSH_AGAIN)
		n = 0;
	if (n < 0) {
		channel->has_ended = true; /* told as any other end */
		return -EPIPE;
	}
	transport->bytes_out += (uint64_t)n;
	if ((size_t)n < size)
		channel->wants_write = true;
	return n;
}

void transport_channel_resume(struct transport_channel *channel)
{
	channel->is_paused = false;
	transport_schedule(channel->transport);
}

struct transport_channel *transport_channel_close(struct transport_channel *channel)
{
	struct transport *transport;

	if (!channel)
		return NULL;
	transport = channel->transport;
	channel->state = CHANNEL_CLOSED; /* stays in the list: this may be called while transport_channels_step() walks it */
	transport_schedule(transport);
	return NULL;
}

/* Asks until the VM has answered. */
static int channel_ask(struct transport_channel *channel)
{
	int r;

	channel->is_asked = true;
	r = ssh_channel_open_session(channel->ssh);
	channel->is_open = r == SSH_OK;
	return r;
}

/* What the VM goes on sending to a channel that is closed on this side, libssh would keep. So it stays, and takes it, until the VM has closed it, too. */
static bool channel_is_over(struct transport_channel *channel)
{
	if (channel->is_asked && !channel->is_open && channel_ask(channel) == SSH_AGAIN)
		return false;
	if (!channel->is_open)
		return true;
	if (!channel->is_closing) {
		ssh_channel_close(channel->ssh);
		free(TAKE_PTR(channel->staged));
	}
	channel->is_closing = true;
	return channel->has_closed;
}

void transport_channels_reap(struct transport *transport, bool is_all)
{
	struct transport_channel *channel, *next;

	for (channel = TAILQ_FIRST(&transport->channels); channel; channel = next) {
		next = TAILQ_NEXT(channel, entry);
		if (!is_all && (channel->state != CHANNEL_CLOSED || !channel_is_over(channel)))
			continue;
		TAILQ_REMOVE(&transport->channels, channel, entry);
		/* libssh 0.10 calls back from within ssh_channel_free() otherwise */
		ssh_remove_channel_callbacks(channel->ssh, &channel->callbacks);
		ssh_channel_free(channel->ssh);
		free(channel->staged);
		free(channel);
	}
}

static void channel_tell_closed(struct transport_channel *channel, enum failure_code code, const char *text)
{
	struct failure failure;

	if (channel->is_told)
		return;
	channel->is_told = true;
	failure_set(&failure, code, NULL, "%s", text);
	channel->handlers.on_closed(&failure, channel->userdata);
}

/* Opens the channel, then runs the command; both take a round trip and are asked again until they are through. */
static void channel_step_opening(struct transport_channel *channel)
{
	int r;

	if (channel->state == CHANNEL_OPENING) {
		r = channel_ask(channel);
		if (r == SSH_AGAIN)
			return;
		if (r != SSH_OK) {
			channel_tell_closed(channel, FAILURE_STREAM, "the VM's sshd refused a further session");
			return;
		}
		channel->state = CHANNEL_EXEC;
	}
	r = ssh_channel_request_exec(channel->ssh, "usbpush-relay");
	if (r == SSH_AGAIN)
		return;
	if (r != SSH_OK) {
		channel_tell_closed(channel, FAILURE_STREAM, "the VM's sshd did not start usbpush-relay");
		return;
	}
	channel->state = CHANNEL_OPEN;
	channel->has_data = true; /* bytes may have come with the confirmation */
	channel->handlers.on_open(channel->userdata);
}

/* Offers bytes to the handler; what it leaves is staged, and the channel paused. False when there is no going on now. */
static bool channel_deliver(struct transport_channel *channel, const char *data, size_t size)
{
	size_t taken = channel->handlers.on_data(data, size, channel->userdata);

	if (channel->state != CHANNEL_OPEN)
		return false; /* closed by the handler */
	if (taken == size)
		return true;
	channel->is_paused = true;
	if (channel->staged) {
		channel->staged_taken += taken; /* it is that which was offered */
		return false;
	}
	channel->staged = malloc(size - taken);
	if (!channel->staged) {
		channel_tell_closed(channel, FAILURE_INTERNAL, "out of memory");
		return false;
	}
	channel->staged_size = size - taken;
	channel->staged_taken = 0;
	memcpy(channel->staged, data + taken, size - taken);
	return false;
}

static bool channel_deliver_staged(struct transport_channel *channel)
{
	if (!channel_deliver(channel, channel->staged + channel->staged_taken, channel->staged_size - channel->staged_taken))
		return false;
	free(TAKE_PTR(channel->staged));
	return true;
}

/* All that is unread at once, and nothing while some of that waits here: with each read libssh 0.10 opens the window anew, whatever is still unread. So the VM has
 * a window's bytes there and one here at most. */
static void channel_step_data(struct transport_channel *channel)
{
	static char buffer[CHANNEL_READ_SIZE]; /* one loop, one thread: used within this call only. What is never touched takes no memory */

	if (channel->is_paused || (channel->staged && !channel_deliver_staged(channel)))
		return;
	for (unsigned i = 0; channel->has_data && i < CHANNEL_READS; i++) {
		int n = ssh_channel_read_nonblocking(channel->ssh, buffer, sizeof(buffer), 0);

		if (n <= 0) {
			channel->has_data = false;
			return;
		}
		channel->transport->bytes_in += (uint64_t)n;
		if (!channel_deliver(channel, buffer, (size_t)n))
			return;
	}
	if (channel->has_data)
		transport_schedule(channel->transport);
}

static void channel_step(struct transport_channel *channel)
{
	struct transport *transport = channel->transport;

	if (channel->is_told || channel->state == CHANNEL_CLOSED)
		return;
	if (channel->state < CHANNEL_OPEN) {
		channel_step_opening(channel);
		return;
	}
	if (channel->has_data || channel->staged)
		channel_step_data(channel);
	if (channel->state == CHANNEL_OPEN && channel->wants_write && ssh_channel_window_size(channel->ssh) > 0 &&
	    !(ssh_get_poll_flags(transport->ssh) & SSH_WRITE_PENDING)) {
		channel->wants_write = false;
		channel->handlers.on_writable(channel->userdata);
	}
	if (channel->state == CHANNEL_OPEN && channel->has_ended && !channel->staged && !channel->has_data)
		channel_tell_closed(channel, FAILURE_STREAM, channel->complaint[0] ? channel->complaint : "the VM ended the channel");
}

void transport_channels_step(struct transport *transport)
{
	struct transport_channel *channel, *next;

	for (channel = TAILQ_FIRST(&transport->channels); channel; channel = next) {
		channel_step(channel);
		if (transport->is_freed)
			return;
		next = TAILQ_NEXT(channel, entry); /* handlers add at the end and only mark what they close */
	}
}
