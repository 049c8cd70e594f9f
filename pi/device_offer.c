#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "daemon.h"
#include "device_internal.h"
#include "direct_road.h"
#include "log.h"

#define OFFER_LIMIT_USEC (30 * USEC_PER_SEC) /* from the offer to `attached` */
#define STEADY_USEC      (5 * USEC_PER_SEC)  /* attached for so long */

void device_drop_stream(struct device *device)
{
	if (!device->is_announced)
		spare_give(device->context->spare, TAKE_PTR(device->stream)); /* as good as new */
	device->stream = stream_free(device->stream);
	device->session = direct_session_free(device->session);
	device->usbfs_session = usbfs_session_free(device->usbfs_session);
	device->kernel_fd = close_fd(device->kernel_fd);
	device->is_lent = false;
	if (device->is_early)
		timer_disarm(device->timer);
	device->is_early = device->is_announced = device->is_streaming = device->is_name_due = false;
	if (device->attached)
		json_decref(device->attached->steps_ms);
	free(device->attached);
	device->attached = NULL;
}

static int device_start_tunnel(struct device *device, int kernel_fd, struct failure *ret_failure)
{
	int r = device_start_session(device, kernel_fd, ret_failure);

	if (r < 0)
		return r;
	device->is_streaming = true;
	device->started_usec = clock_now_usec();
	return 0;
}

static int device_on_stream_ready(int kernel_fd, struct failure *ret_failure, void *userdata)
{
	struct device *device = userdata;

	if (device->state != DEVICE_BINDING && !device->is_early)
		return device_start_tunnel(device, kernel_fd, ret_failure);
	device->kernel_fd = fcntl(kernel_fd, F_DUPFD_CLOEXEC, 3);
	if (device->kernel_fd < 0)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "too many open files");
	return 0;
}

/* What ended such a session was no failure to attach: it may be attached anew at once. */
static bool device_was_steady(const struct device *device)
{
	return device->state == DEVICE_ATTACHED && clock_now_usec() - device->attached_usec > STEADY_USEC;
}

void device_end_stream(struct device *device, const struct failure *failure)
{
	bool was_steady = device_was_steady(device), was_announced = device->is_announced;

	log_info("%s: stream ended: %s", device->busid.text, failure->text);
	device_drop_stream(device);
	if (device->state != DEVICE_OFFERED && device->state != DEVICE_ATTACHED) {
		/* Of an offer made ahead: with it still waiting the VM would take the next one for a second of the same device, and end the link. */
		if (was_announced)
			device_send_disconnect(device, "its stream ended");
		return;
	}
	if (!was_steady) {
		device_fail(device, failure);
		return;
	}
	/* A VM that has not seen the end yet would take the next offer for a second one of the same device, and refuse it. */
	device_send_disconnect(device, "its stream ended");
	device_enter_state(device, DEVICE_BINDING);
}

static void device_on_stream_ended(const struct failure *failure, void *userdata)
{
	device_end_stream(userdata, failure);
}

static void device_send_connect(const struct device *device)
{
	struct message message = { .type = MESSAGE_CONNECT };
	struct offer *offer = &message.offer;

	memcpy(offer->id, device->offer_id, sizeof(offer->id));
	offer->busid = device->busid;
	offer->devid = device->busnum << 16 | device->devnum;
	offer->speed = device->speed;
	offer->is_partial = device->is_early;
	offer->identity = device->is_early ? device->early_identity : device->identity;
	memcpy(offer->name, device->decision.name, sizeof(device->decision.name));
	offer->direct_port = device->on_direct ? direct_road_get_port(device->context->road) : 0;
	link_send(device->context->link, &message);
}

/* The same offer once more: what the VM knows of it stays, the name is the new one (and so are the strings of one that was partial). While nobody hears it, or a sync
 * may yet end the offer, it waits for that. */
void device_send_name(struct device *device)
{
	bool is_up = link_get_state(device->context->link) == LINK_UP;

	if (device->is_announced && is_up)
		device_send_connect(device);
	device->is_name_due = device->is_announced && !is_up;
}

void device_keep_offer(struct device *device)
{
	if (device->is_name_due)
		device_send_name(device);
}

void device_send_disconnect(const struct device *device, const char *reason)
{
	struct message message = { .type = MESSAGE_DISCONNECT };

	if (!device->offer_id[0])
		return;
	memcpy(message.id, device->offer_id, sizeof(message.id));
	identity_clean_string(reason, message.reason, sizeof(message.reason)); /* cut at a character: else it could not be sent */
	link_send(device->context->link, &message);
}

static int device_open_stream(struct device *device)
{
	static const struct stream_handlers handlers = { .on_ready = device_on_stream_ready, .on_ended = device_on_stream_ended };
	const struct device_context *context = device->context;
	struct transport *transport = link_get_transport(context->link);

	if (!device->stream)
		device->stream = spare_take(context->spare, &handlers, device);
	if (device->stream)
		return 0;
	return transport ? stream_new(context->event, transport, &handlers, device, &device->stream) : -ENOTCONN;
}

void device_prepare(struct device *device)
{
	bool is_soon_offered = device->state == DEVICE_SEEN || (device->state == DEVICE_READY && !device->decision.is_direct);

	if (is_soon_offered && link_get_transport(device->context->link))
		(void)device_open_stream(device); /* if it fails: it is opened with the offer */
}

static int device_open_road(struct device *device, struct failure *ret_failure)
{
	if (device->decision.is_direct) {
		spare_give(device->context->spare, TAKE_PTR(device->stream)); /* opened before anybody knew that */
		return direct_road_check(device->context->road, ret_failure);
	}
	if (device_open_stream(device) < 0)
		return failure_set(ret_failure, FAILURE_STREAM, NULL, "no stream to the VM could be opened");
	return 0;
}

int device_make_offer(struct device *device, struct failure *ret_failure)
{
	const struct device_context *context = device->context;
	int r = device_open_road(device, ret_failure);

	if (r < 0)
		return r;
	device->on_direct = device->decision.is_direct;
	device->offered_usec = clock_now_usec();
	context->make_offer_id(device->offer_id, sizeof(device->offer_id), context->userdata);
	device_send_connect(device);
	if (device->stream)
		stream_announce(device->stream, device->offer_id);
	device->is_announced = true;
	return 0;
}

void device_offer_ahead(struct device *device)
{
	struct failure failure;

	if (device->is_early) {
		device_complete_offer(device);
		return;
	}
	/* On the direct road the VM fetches it itself, and there is nothing to be fetched yet. */
	if (link_get_state(device->context->link) == LINK_UP && !device->decision.is_direct)
		(void)device_make_offer(device, &failure); /* else it is made when the bind is done */
}

void device_enter_offered(struct device *device)
{
	_cleanup_close_ int kernel_fd = TAKE_FD(device->kernel_fd);
	struct failure failure;

	if (!device->is_announced && device_make_offer(device, &failure) < 0) {
		device_fail(device, &failure);
		return;
	}
	if (kernel_fd >= 0 && device_start_tunnel(device, kernel_fd, &failure) < 0) {
		device_fail(device, &failure);
		return;
	}
	device_arm_timer(device, OFFER_LIMIT_USEC);
}

static void device_take_attached(struct device *device, const struct attached *attached)
{
	struct attached *copy = malloc(sizeof(*copy));

	if (!copy) {
		device_fail_with(device, FAILURE_INTERNAL, "out of memory");
		return;
	}
	*copy = *attached;
	json_incref(copy->steps_ms);
	if (device->attached)
		json_decref(device->attached->steps_ms);
	free(device->attached);
	device->attached = copy;
	if (device->state == DEVICE_ATTACHED) {
		device->context->on_change(device, device->context->userdata);
		return;
	}
	device_enter_state(device, DEVICE_ATTACHED);
	device_arm_timer(device, STEADY_USEC);
}

/* What a side says when all that it knows is that the stream ended, or on the direct road the session. */
static bool is_mere_end(enum failure_code code)
{
	return code == FAILURE_STREAM || code == FAILURE_GONE;
}

/* The stream's end, or the end of our patience, came first: what the VM says is why. What the Pi itself failed at is no news of the VM's, whose stream just
 * ended under it. */
static bool device_is_explained_by(const struct device *device, const struct failure *failure)
{
	return !is_mere_end(failure->code) && (is_mere_end(device->failure.code) || device->failure.code == FAILURE_TIMEOUT);
}

static void device_handle_failed(struct device *device, const struct failure *failure)
{
	if (device->state == DEVICE_FAILED) {
		if (!device_is_explained_by(device, failure))
			return;
		device->failure = *failure;
		if (failure_is_final(failure->code)) {
			device->next_try_usec = 0;
			timer_disarm(device->timer);
		}
		device->context->on_change(device, device->context->userdata);
		return;
	}
	device_fail(device, failure);
}

/* The same end as that of its stream, which may be seen later or sooner: it has the same consequence. */
static void device_handle_detached(struct device *device, const char *reason)
{
	struct failure failure;

	if (device_was_steady(device)) {
		device_lose_offer(device, reason);
		return;
	}
	failure_set(&failure, FAILURE_STREAM, NULL, "the VM let go of it: %s", reason);
	device_fail(device, &failure);
}

/* Of an offer that was made while the bind is still going, or before it, which goes to its end first. */
static void device_handle_early_message(struct device *device, const struct message *message)
{
	if (message->type == MESSAGE_FAILED) {
		device->refusal = message->failure;
		device->is_refused_early = device->is_early;
	}
	/* A new name for it may have crossed that, and be an offer there; and what failed would stay in the VM's list, though it may yet turn out to be none to share. */
	device_send_disconnect(device, message->type == MESSAGE_FAILED ? "the VM refused it" : "the VM let go of it");
	device_drop_stream(device);
}

void device_handle_message(struct device *device, const struct message *message)
{
	bool is_offered = device->state == DEVICE_OFFERED || device->state == DEVICE_ATTACHED;

	if (message->type == MESSAGE_DETACHED && strcmp(message->reason, DETACHED_BY_HAND) == 0) {
		device_detach(device, "detached on the VM by hand; usbpush attach brings it back");
		return;
	}
	if ((device->state == DEVICE_BINDING || device->is_early) && device->is_announced) {
		device_handle_early_message(device, message);
		return;
	}
	switch (message->type) {
	case MESSAGE_ATTACHED:
		if (is_offered)
			device_take_attached(device, message->attached);
		break;
	case MESSAGE_FAILED:
		if (is_offered || device->state == DEVICE_FAILED)
			device_handle_failed(device, &message->failure);
		break;
	case MESSAGE_DETACHED:
		if (is_offered)
			device_handle_detached(device, message->reason);
		break;
	default:
		break; /* the link lets no other type through to a device */
	}
}
