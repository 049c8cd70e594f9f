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

#define USEC_PER_MSEC     UINT64_C(1000)
#define SETTLE_STEP_USEC  (10 * USEC_PER_MSEC) /* between looks at usbip_status, which tells its changes to nobody */
#define SETTLE_MAX_USEC   (250 * USEC_PER_MSEC)
#define SETTLE_LIMIT_USEC (15 * USEC_PER_SEC)

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
	int r = job ? job_start(device->context->jobs, device->busid.text, fn, job, device_job_free, on_done, device, &device->job) :
		      -ENOMEM;

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

static void device_on_forgotten(int result, void *arg, void *userdata)
{
	struct device *device = userdata;

	device_end_job(device, result, arg);
	device_finish_if_gone(device);
}

/* GONE ends when the kernel's tables no longer speak of it. */
static void device_finish_if_gone(struct device *device)
{
	if (device->job)
		return;
	if (device->hold.device_fd >= 0) {
		device_start_job(device, device_job_forget, device_on_forgotten);
		if (device->job)
			return;
	}
	device->context->on_finished(device, device->context->userdata);
}

/* ---- looking ---- */

static void device_ignore(struct device *device, const char *reason)
{
	snprintf(device->reason, sizeof(device->reason), "%s", reason);
	device_enter_state(device, DEVICE_IGNORED);
}

/* Released: the reason was noted when that was asked for. */
static void device_ignore_as_asked(struct device *device)
{
	device_enter_state(device, DEVICE_IGNORED);
}

static void device_take_look(struct device *device, const struct device_job *job)
{
	device->busnum = job->busnum;
	device->devnum = job->devnum;
	device->speed = job->speed;
	device->identity = job->identity;
	device->descriptors = job->descriptors;
	device->has_looked = true;
	device_decide(device);
}

/* One that flaps must stay for a moment first. Whether it is held up. */
static bool device_hold_up(struct device *device)
{
	uint64_t now = clock_now_usec(), stays = now - device->seen_usec, hold;
	unsigned n_lives;

	hold = flap_list_get_hold(device->context->flaps, &device->busid, &device->identity, now, &n_lives);
	if (hold <= stays)
		return false;
	device->n_short_lives = n_lives;
	device_arm_timer(device, hold - stays);
	device->context->on_change(device, device->context->userdata);
	return true;
}

static void device_on_looked(int result, void *arg, void *userdata)
{
	struct device *device = userdata;
	struct device_job *job = device_end_job(device, result, arg);

	if (device_job_is_stale(device))
		return;
	if ((result == -ENOENT || result == -ENODEV) && !device_is_current(device))
		return; /* unplugged while it was read: `remove` is on its way */
	if (result == -EBADMSG || result == -E2BIG) {
		device_ignore(device, "its descriptors make no sense, or are more than any serial device has");
		return;
	}
	if (result < 0) {
		device_fail_with(device, FAILURE_KERNEL, "its descriptors can't be read on the Pi");
		return;
	}
	device_take_look(device, job);
	if (device->decision.is_shared && device->is_by_rule) {
		device->goal = GOAL_SHARE; /* the rule that kept it here is gone since the look began */
		device->is_by_rule = false;
	}
	if (device->decision.is_unsure)
		device_fail_with(device, FAILURE_KERNEL, device->decision.reason);
	else if (!device->decision.is_shared)
		device_ignore(device, device->decision.reason);
	else if (device->goal == GOAL_RELEASE)
		device_ignore_as_asked(device);
	else if (link_get_state(device->context->link) == LINK_UNPAIRED)
		device_ignore(device, "not paired with a VM");
	else if (!device_hold_up(device))
		device_enter_state(device, DEVICE_BINDING);
}

void device_start_look(struct device *device)
{
	if (device->job || device->state == DEVICE_GONE)
		return;
	if (device->hold.device_fd >= 0) {
		if (usbip_host_is_bound(device->context->host, &device->busid) || !device_is_current(device))
			return; /* an old event: we have it since, or it is unplugged and `remove` follows, which takes the hold */
		/* With the generic driver although we gave it to usbip-host: somebody took it. Its entry is of no use any more. */
		log_notice("%s: somebody took it from usbip-host", device->busid.text);
		usbip_hold_done(&device->hold);
	}
	device->is_found = false;
	if (device->state != DEVICE_IGNORED)
		device_enter_state(device, DEVICE_SEEN);
	device->look_usec = clock_now_usec();
	device->decision = (struct policy_decision){ 0 };
	device->has_looked = false;
	device_start_job(device, device_job_look, device_on_looked);
}

void device_look(struct device *device)
{
	/* A bind that failed gave it back to its driver, and this is the event of that: the next try keeps its time. */
	if (device->state == DEVICE_FAILED && device->next_try_usec && device->hold.device_fd < 0)
		return;
	device_start_look(device);
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

/* ---- binding and settling ---- */

static void device_on_bound(int result, void *arg, void *userdata)
{
	struct device *device = userdata;
	struct device_job *job = device_end_job(device, result, arg);

	if (device_job_is_stale(device))
		return;
	if (result < 0) {
		device_fail(device, &job->failure);
		return;
	}
	device->bound_usec = clock_now_usec();
	if (device->goal == GOAL_RELEASE)
		device_enter_state(device, DEVICE_BINDING);
	else if (device->refusal.code != FAILURE_NONE)
		device_fail(device, &device->refusal);
	else
		device_enter_state(device, device->is_announced ? DEVICE_OFFERED : DEVICE_READY);
}

static void device_on_released(int result, void *arg, void *userdata)
{
	struct device *device = userdata;
	struct device_job *job = device_end_job(device, result, arg);

	if (device_job_is_stale(device))
		return;
	if (result < 0)
		device_fail(device, &job->failure);
	else if (device->goal == GOAL_RELEASE)
		device_ignore_as_asked(device);
	else
		device_start_look(device); /* wanted again meanwhile */
}

static int device_on_timer(sd_event_source *source, uint64_t usec, void *userdata);

void device_arm_timer(struct device *device, uint64_t delay_usec)
{
	timer_arm(device->context->event, &device->timer, delay_usec, device_on_timer, device);
}

/* An ended session is torn down by the kernel on its own time, with a reset of the device; only then may anything be done to it. */
static void device_settle(struct device *device)
{
	enum usbip_host_status status;
	int r = usbip_host_get_status(device->context->host, &device->busid, &status);

	if (r < 0 || status == USBIP_HOST_USED) {
		/* No status: unplugged (`remove` follows), or taken from usbip-host by somebody (`bind` follows, or nothing). */
		if (clock_now_usec() - device->settle_since_usec > SETTLE_LIMIT_USEC) {
			if (r < 0)
				usbip_hold_done(&device->hold); /* tried again from the beginning */
			device_fail_with(device, FAILURE_BUSY,
					 r < 0 ? "it is no longer with usbip-host" : "the Pi's kernel is still busy with the last session");
			return;
		}
		device_arm_timer(device, device->settle_step_usec);
		if (device->settle_step_usec < SETTLE_MAX_USEC)
			device->settle_step_usec *= 2;
		return;
	}
	if (device->recovery != RECOVERY_NONE && device_start_recovery(device))
		return;
	if (device->goal == GOAL_RELEASE)
		device_start_job(device, device_job_release, device_on_released);
	else if (status == USBIP_HOST_ERROR)
		device_start_job(device, device_job_rebind, device_on_bound);
	else
		device_enter_state(device, DEVICE_READY);
}

static void device_on_adopted(int result, void *arg, void *userdata)
{
	struct device *device = userdata;
	struct device_job *job = device_end_job(device, result, arg);

	if (device_job_is_stale(device))
		return;
	device->is_found = result < 0 && job->failure.code != FAILURE_GONE;
	if (result < 0)
		device_fail(device, &job->failure);
	else
		device_enter_state(device, DEVICE_BINDING);
}

/* A predecessor bound it: it is taken over, even if only to be given back. */
static void device_on_found_looked(int result, void *arg, void *userdata)
{
	struct device *device = userdata;
	struct device_job *job = device_end_job(device, result, arg);

	if (device_job_is_stale(device) || ((result == -ENOENT || result == -ENODEV) && !device_is_current(device)))
		return;
	if (result < 0 && result != -EBADMSG && result != -E2BIG) {
		device_fail_with(device, FAILURE_KERNEL, "its descriptors can't be read on the Pi");
		return;
	}
	if (result < 0)
		snprintf(device->decision.reason, sizeof(device->decision.reason), "its descriptors can't be read on the Pi");
	else
		device_take_look(device, job);
	if (device->goal == GOAL_SHARE && device->decision.is_unsure) {
		device_fail_with(device, FAILURE_KERNEL, device->decision.reason);
		return;
	}
	if (device->goal == GOAL_SHARE && (!device->decision.is_shared || link_get_state(device->context->link) == LINK_UNPAIRED)) {
		device->goal = GOAL_RELEASE;
		snprintf(device->reason, sizeof(device->reason), "%s",
			 device->decision.is_shared ? "not paired with a VM" : device->decision.reason);
	}
	device_start_job(device, device_job_adopt, device_on_adopted);
}

/* What it is decides what becomes of it; but to be given back it is taken hold of as it is. */
static void device_take_over(struct device *device)
{
	if (device->goal == GOAL_SHARE)
		device_start_job(device, device_job_look, device_on_found_looked);
	else
		device_start_job(device, device_job_adopt, device_on_adopted);
}

static void device_enter_binding(struct device *device)
{
	if (device->is_announced || device->is_lent)
		device_drop_stream(device);
	device->refusal = (struct failure){ 0 };
	device->settle_since_usec = clock_now_usec();
	device->settle_step_usec = SETTLE_STEP_USEC;
	if (device->job)
		return; /* its end goes on from here */
	if (device->hold.device_fd >= 0) {
		device_settle(device);
	} else if (device->is_found) {
		device_take_over(device);
	} else if (device_start_recovery(device)) {
		return; /* its end goes on from here */
	} else if (device->goal == GOAL_SHARE && !device->decision.is_shared) {
		device_start_look(device); /* nobody has judged it: it is never taken unseen, by whatever way it came here */
	} else if (device->goal == GOAL_SHARE) {
		device_start_job(device, device->decision.is_reset ? device_job_reset_and_bind : device_job_bind, device_on_bound);
		if (device->job)
			device_offer_ahead(device);
	} else {
		device_ignore_as_asked(device); /* it never left its driver */
	}
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

/* ---- states ---- */

static void device_enter_failed(struct device *device)
{
	uint64_t delay = backoff_next(&device->backoff);

	device_send_disconnect(device, "failed");
	device_drop_stream(device);
	device->n_failed++;
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
	enum log_level level = device_log_level(device->state);
	char text[512];

	device_describe(device, text, sizeof(text));
	log_write(level, "%s: %04x:%04x %s: %s -> %s: %s", device->busid.text, identity->vid, identity->pid, identity->product,
		  device_state_to_string(old), device_state_to_string(device->state), text);
}

/* The one writer of device->state. */
void device_enter_state(struct device *device, enum device_state state)
{
	enum device_state old = device->state;

	device->state = state;
	device->n_short_lives = 0;
	timer_disarm(device->timer);
	if (old != state || state == DEVICE_FAILED)
		device_log_state(device, old);
	switch (state) {
	case DEVICE_SEEN:
	case DEVICE_IGNORED:
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
		device_enter_state(device, DEVICE_BINDING); /* it has stayed */
		break;
	case DEVICE_IGNORED:
	case DEVICE_READY:
	case DEVICE_GONE:
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

	return usbip_host_get_devnum(device->context->host, &device->busid, &devnum) == 0 && devnum == device->devnum;
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

static void device_on_foreign_looked(int result, void *arg, void *userdata)
{
	struct device *device = userdata;
	struct device_job *job = device_end_job(device, result, arg);

	if (device_job_is_stale(device) || result < 0)
		return;
	device_take_look(device, job);
	device_ignore_as_asked(device);
}

void device_found_bound(struct device *device, bool is_ours)
{
	if (is_ours) {
		device->is_found = true; /* it counts as held from now on */
		device_enter_state(device, DEVICE_BINDING);
		return;
	}
	device->goal = GOAL_RELEASE;
	snprintf(device->reason, sizeof(device->reason), "bound to usbip-host by somebody else");
	device_start_job(device, device_job_look, device_on_foreign_looked);
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

void device_lose_stream(struct device *device, const char *why)
{
	if (device->is_lent)
		return; /* the VM never had it */
	if (!device->is_announced || device->state == DEVICE_BINDING)
		device_drop_stream(device); /* one that was opened, or even offered, ahead */
	if (device->state != DEVICE_OFFERED && device->state != DEVICE_ATTACHED)
		return;
	log_info("%s: %s", device->busid.text, why);
	device_enter_state(device, DEVICE_BINDING);
}

void device_let_go(struct device *device, const char *reason, bool is_by_rule)
{
	if (device->state == DEVICE_GONE)
		return;
	device_send_disconnect(device, reason);
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

/* Being let go for a rule: what a person says does not hold it up, and a rule may bring it back. */
static bool device_is_leaving_by_rule(const struct device *device)
{
	return device->has_looked && !device->decision.is_shared && (device->job || device->hold.device_fd >= 0);
}

void device_share(struct device *device)
{
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

bool device_is_held(const struct device *device)
{
	return device->hold.device_fd >= 0 || device->is_found || (device->job && device->state == DEVICE_BINDING);
}

bool device_is_busy(const struct device *device)
{
	return device->job || device->state == DEVICE_BINDING;
}
