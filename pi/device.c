#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "daemon.h"
#include "device_internal.h"
#include "device_job.h"
#include "log.h"
#include "usbfs_claim.h"

#define FORGET_RETRY_USEC (USEC_PER_SEC / 2)
#define FORGET_TRIES      5

void device_fail(struct device *device, const struct failure *failure)
{
	device->failure = *failure;
	device_enter_state(device, DEVICE_FAILED);
}

void device_fail_with(struct device *device, enum failure_code code, const char *text)
{
	struct failure failure;

	failure_set(&failure, code, NULL, "%s", text);
	device_fail(device, &failure);
}

/* ---- jobs ---- */

static struct device_job *device_take_back(struct device *device, struct device_job *job)
{
	device->hold = job->hold;
	job->hold = USBIP_HOLD_NONE;
	return job;
}

/* Every job brings the hold back, whatever became of it. */
struct device_job *device_end_job(struct device *device, int result, void *arg)
{
	struct device_job *job = arg;

	device->job = NULL;
	if (result < 0 && job->failure.code == FAILURE_NONE)
		failure_set(&job->failure, FAILURE_INTERNAL, NULL, "%s: the Pi could not work on it: %s", device->busid.text,
			    strerror(-result));
	return device_take_back(device, job);
}

static void device_finish_if_gone(struct device *device);

void device_start_job(struct device *device, job_fn fn, job_done_fn on_done)
{
	struct device_job *job = device_job_new(device->context->host, &device->busid, device->devnum, &device->hold);
	int r;

	if (job)
		job->backend = device->decision.backend;
	r = job ? job_start(device->context->jobs, device->busid.text, fn, job, device_job_free, on_done, device, &device->job) : -ENOMEM;

	if (r < 0 && job)
		device_job_free(device_take_back(device, job));
	if (r < 0 && device->state != DEVICE_GONE)
		device_fail_with(device, FAILURE_INTERNAL, "out of memory");
}

/* A result that came too late is left to the state that came meanwhile. */
bool device_job_is_stale(struct device *device)
{
	if (device->state == DEVICE_GONE) {
		device_finish_if_gone(device);
		return true;
	}
	return false;
}

/* An entry that could not be cleared is one of sixteen: so it is tried again, for a while, unless the next device in that socket has taken it up. */
static bool device_forget_later(struct device *device)
{
	uint32_t devnum;

	if (device->n_forgets++ >= FORGET_TRIES || usbip_host_get_devnum(device->context->host, &device->busid, &devnum) != -ENOENT)
		return false;
	device_arm_timer(device, FORGET_RETRY_USEC);
	return true;
}

static void device_on_forgotten(int result, void *arg, void *userdata)
{
	struct device *device = userdata;

	device_end_job(device, result, arg);
	if (result < 0 && device_forget_later(device))
		return;
	usbip_hold_done(&device->hold);
	device_finish_if_gone(device);
}

/* GONE ends when the kernel's tables no longer speak of it. */
static void device_finish_if_gone(struct device *device)
{
	if (device->job)
		return;
	if (device->hold.device_fd >= 0) {
		device_start_job(device, device_job_forget, device_on_forgotten);
		if (device->job || device_forget_later(device))
			return;
	}
	device->context->on_finished(device, device->context->userdata);
}

/* ---- states ---- */

static int device_on_timer(sd_event_source *source, uint64_t usec, void *userdata);

void device_arm_timer(struct device *device, uint64_t delay_usec)
{
	timer_arm(device->context->event, &device->timer, delay_usec, device_on_timer, device);
}

void device_try_again(struct device *device)
{
	device_escalate(device);
	if (device->hold.device_fd < 0 && !device->is_found)
		device_decide(device); /* a disk of it may be mounted by now */
	if (device->hold.device_fd >= 0 || device->is_found || device->decision.is_shared)
		device_enter_state(device, DEVICE_BINDING);
	else
		device_start_look(device);
}

static void device_on_stopped(int result, void *arg, void *userdata)
{
	struct device *device = userdata;

	device->is_stopping = false;
	device_end_job(device, result, arg); /* what went wrong is tried again, and then told, by the next settling */
	if (!device_job_is_stale(device) && device->state == DEVICE_BINDING)
		device_enter_state(device, DEVICE_BINDING); /* that found the job in its way */
}

/* Nobody reads what a claimed device still says, nor asked for what it still does: with usbip-host the kernel ends that by itself. */
static void device_stop_transfers(struct device *device)
{
	if (device->is_stopping || device->job || !device->hold.claim || !device->hold.claim->is_used)
		return;
	device->is_stopping = true; /* without memory for it the device fails, and comes here again */
	device_start_job(device, device_job_settle, device_on_stopped);
	device->is_stopping = device->job != NULL;
}

static void device_enter_failed(struct device *device)
{
	uint64_t delay = backoff_next(&device->backoff);

	device_send_disconnect(device, "failed");
	device_drop_stream(device);
	device->n_failed++;
	device_stop_transfers(device);
	device->next_try_usec = 0;
	if (failure_is_final(device->failure.code))
		return;
	device->next_try_usec = clock_now_usec() + delay;
	device_arm_timer(device, delay);
}

/* An administrator reads where a device ended up; the steps on the way there are for --debug, and `usbpush events` has them. */
static enum log_level device_log_level(enum device_state state)
{
	switch (state) {
	case DEVICE_FAILED:
		return LOG_LEVEL_WARNING;
	case DEVICE_ATTACHED:
	case DEVICE_GONE:
		return LOG_LEVEL_NOTICE;
	case DEVICE_IGNORED:
		return LOG_LEVEL_INFO;
	case DEVICE_SEEN:
	case DEVICE_BINDING:
	case DEVICE_READY:
	case DEVICE_OFFERED:
		return LOG_LEVEL_DEBUG;
	}
	return LOG_LEVEL_DEBUG;
}

static void device_log_state(const struct device *device, enum device_state old)
{
	const struct identity *identity = &device->identity;
	const struct log_about about = { .busid = device->busid.text,
					 .name = device->decision.name,
					 .vm = link_get_host(device->context->link),
					 .state = device_state_to_string(device->state) };
	char text[512];

	device_describe(device, text, sizeof(text));
	log_write_about(device_log_level(device->state), &about, "%s: %s%s%04x:%04x %s: %s -> %s: %s%s%s%s", about.busid, about.name,
			about.name[0] ? ", " : "", identity->vid, identity->pid, identity->product, device_state_to_string(old),
			about.state, text, about.vm[0] ? " (VM " : "", about.vm, about.vm[0] ? ")" : "");
}

/* The one writer of device->state. */
void device_enter_state(struct device *device, enum device_state state)
{
	enum device_state old = device->state;

	device->state = state;
	device->n_short_lives = 0;
	device->is_refused_early = device->is_refused_early && (state == DEVICE_SEEN || state == DEVICE_BINDING);
	timer_disarm(device->timer);
	if (old != state || state == DEVICE_FAILED)
		device_log_state(device, old);
	switch (state) {
	case DEVICE_SEEN:
		if (!device->is_early)
			device_drop_stream(device);
		break;
	case DEVICE_IGNORED:
		device_withdraw_early(device, device->reason);
		device_drop_stream(device);
		break;
	case DEVICE_BINDING:
		device_enter_binding(device);
		break;
	case DEVICE_READY:
		device->next_try_usec = 0;
		device_offer_now(device);
		break;
	case DEVICE_OFFERED:
		device_enter_offered(device);
		break;
	case DEVICE_ATTACHED:
		device->attached_usec = clock_now_usec();
		device->n_attached++;
		spare_refill(device->context->spare); /* a board that is reset twice in a second finds one each time */
		break;
	case DEVICE_FAILED:
		device_enter_failed(device);
		break;
	case DEVICE_GONE:
		device_send_disconnect(device, "unplugged");
		device_drop_stream(device);
		break;
	}
	if (device->state == state)
		device->context->on_change(device, device->context->userdata);
}

static int device_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct device *device = userdata;

	(void)source;
	(void)usec;
	switch (device->state) {
	case DEVICE_BINDING:
		device_settle(device);
		break;
	case DEVICE_OFFERED:
		device_fail_with(device, FAILURE_TIMEOUT, "the VM did not attach it within 30 s");
		break;
	case DEVICE_ATTACHED:
		backoff_reset(&device->backoff);
		device->n_stuck = 0;
		break;
	case DEVICE_FAILED:
		device->next_try_usec = 0;
		device_try_again(device);
		break;
	case DEVICE_SEEN:
		if (device->is_early)
			device_withdraw_early(device, "its drivers on the Pi do not come to an end with it");
		else
			device_enter_state(device, DEVICE_BINDING); /* it has stayed */
		break;
	case DEVICE_GONE:
		device_finish_if_gone(device);
		break;
	case DEVICE_IGNORED:
	case DEVICE_READY:
		break;
	}
	return 0;
}

/* ---- for the exporter ---- */

int device_new(const struct device_context *context, const struct busid *busid, const char *syspath, struct device **ret_device)
{
	struct device *device = calloc(1, sizeof(*device));
	int r;

	if (!device)
		return -ENOMEM;
	device->context = context;
	device->busid = *busid;
	device->hold = USBIP_HOLD_NONE;
	device->kernel_fd = -EBADF;
	device->backoff = (struct backoff){ .min_usec = USEC_PER_SEC / 4, .max_usec = 30 * USEC_PER_SEC };
	device->seen_usec = clock_now_usec();
	(void)usbip_host_get_devnum(context->host, busid, &device->devnum); /* 0: gone already, or not there yet */
	snprintf(device->syspath, sizeof(device->syspath), "%s", syspath);
	r = timer_new(context->event, &device->timer, device_on_timer, device);
	if (r < 0) {
		device_free(device);
		return r;
	}
	*ret_device = device;
	return 0;
}

bool device_is_current(const struct device *device)
{
	uint32_t devnum;

	if (usbip_host_get_devnum(device->context->host, &device->busid, &devnum) < 0)
		return false;
	return devnum == device->devnum || devnum == 0; /* 0: the kernel is resetting what is there */
}

uint32_t device_get_number(const struct device *device)
{
	return device->devnum;
}

bool device_has_number(const struct device *device, uint32_t devnum)
{
	return devnum == 0 || device->devnum == 0 || devnum == device->devnum;
}

struct device *device_free(struct device *device)
{
	if (!device)
		return NULL;
	job_abandon(device->job);
	device_drop_stream(device);
	sd_event_source_disable_unref(device->timer);
	usbip_hold_done(&device->hold);
	free(device);
	return NULL;
}

void device_remove(struct device *device)
{
	uint64_t now = clock_now_usec();

	if (device->state == DEVICE_GONE)
		return;
	flap_list_note(device->context->flaps, &device->busid, &device->identity, now - device->seen_usec, device->n_attached > 0, now);
	device->is_found = false;
	device_enter_state(device, DEVICE_GONE);
	device_finish_if_gone(device);
}

void device_offer_now(struct device *device)
{
	if (device->goal != GOAL_SHARE || link_get_state(device->context->link) != LINK_UP)
		return;
	if (device->state == DEVICE_READY && !device->next_try_usec && !device->is_lent)
		device_enter_state(device, DEVICE_OFFERED);
	else if (device->state == DEVICE_FAILED && !device->job)
		device_try_again(device);
}

void device_lose_stream(struct device *device, const char *why)
{
	if (device->is_lent)
		return; /* the VM never had it */
	if (!device->is_announced || device->is_early || device->state == DEVICE_BINDING)
		device_drop_stream(device); /* one that was opened, or even offered, ahead */
	if (device->state != DEVICE_OFFERED && device->state != DEVICE_ATTACHED)
		return;
	log_info("%s: %s", device->busid.text, why);
	device_enter_state(device, DEVICE_BINDING);
}

void device_lose_offer(struct device *device, const char *why)
{
	/* A new name for it may have crossed what the VM says, and be an offer there: it would take the next one for a second one of the same device. */
	if (device->is_announced)
		device_send_disconnect(device, why);
	device_lose_stream(device, why);
}

void device_let_go(struct device *device, const char *reason, bool is_by_rule)
{
	if (device->state == DEVICE_GONE)
		return;
	device_send_disconnect(device, reason);
	if (device->is_early)
		device_drop_stream(device);
	snprintf(device->reason, sizeof(device->reason), "%s", reason);
	device->goal = GOAL_RELEASE;
	device->is_by_rule = is_by_rule;
	if (device->state != DEVICE_IGNORED)
		device_enter_state(device, DEVICE_BINDING);
}

void device_release(struct device *device, const char *reason)
{
	device_let_go(device, reason, false);
}

void device_detach(struct device *device, const char *reason)
{
	bool was_ignored = device->state == DEVICE_IGNORED;

	if (device->state == DEVICE_GONE)
		return;
	device->is_detached = true;
	device_release(device, reason);
	if (was_ignored) /* it stays so, for another reason */
		device->context->on_change(device, device->context->userdata);
}

void device_found_detached(struct device *device)
{
	device->is_detached = true;
	device->goal = GOAL_RELEASE;
	snprintf(device->reason, sizeof(device->reason), "%s", DETACHED_HERE);
}

bool device_is_detached(const struct device *device)
{
	return device->is_detached;
}

/* Being let go for a rule: what a person says does not hold it up, and a rule may bring it back. */
static bool device_is_leaving_by_rule(const struct device *device)
{
	return device->has_looked && !device->decision.is_shared && (device->job || device->hold.device_fd >= 0);
}

void device_share(struct device *device)
{
	bool was_detached = device->is_detached;

	device->is_detached = false;
	if (device_is_leaving_by_rule(device)) {
		device->is_by_rule = true;
		if (device->state == DEVICE_FAILED)
			device_enter_state(device, DEVICE_BINDING);
		return;
	}
	device->goal = GOAL_SHARE;
	device->is_by_rule = false;
	backoff_reset(&device->backoff);
	if (device->state == DEVICE_IGNORED || device->state == DEVICE_FAILED) {
		if (device->hold.device_fd >= 0 || device->is_found)
			device_enter_state(device, DEVICE_BINDING);
		else
			device_start_look(device);
	} else if (device->state == DEVICE_SEEN && device->n_short_lives) {
		device_enter_state(device, DEVICE_BINDING); /* a person does not wait for it to stay */
	} else {
		device_offer_now(device);
	}
	if (was_detached && device->state == DEVICE_IGNORED) { /* while it is looked at: a successor is to know now */
		snprintf(device->reason, sizeof(device->reason), "until it has been looked at again");
		device->context->on_change(device, device->context->userdata);
	}
}

const struct busid *device_busid(const struct device *device)
{
	return &device->busid;
}

enum device_state device_get_state(const struct device *device)
{
	return device->state;
}

const struct identity *device_identity(const struct device *device)
{
	return &device->identity;
}

bool device_has_offer(const struct device *device)
{
	return device->is_announced;
}

const char *device_offer_id(const struct device *device, bool *ret_is_streaming)
{
	*ret_is_streaming = device->is_streaming;
	return device->offer_id;
}

bool device_is_foreign(const struct device *device)
{
	return !device_is_held(device) && usbip_host_is_bound(device->context->host, &device->busid);
}

const struct usbip_hold *device_get_hold(const struct device *device)
{
	return &device->hold;
}

bool device_is_held(const struct device *device)
{
	return device->hold.device_fd >= 0 || device->is_found || (device->job && device->state == DEVICE_BINDING);
}

bool device_is_busy(const struct device *device)
{
	return device->job || device->state == DEVICE_BINDING;
}
