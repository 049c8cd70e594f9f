#include <errno.h>
#include <stdio.h>

#include "daemon.h"
#include "device_internal.h"
#include "device_job.h"
#include "usbfs_claim.h"

#define USEC_PER_MSEC     UINT64_C(1000)
#define SETTLE_STEP_USEC  (10 * USEC_PER_MSEC) /* between looks at usbip_status, which tells its changes to nobody */
#define SETTLE_MAX_USEC   (250 * USEC_PER_MSEC)
#define SETTLE_LIMIT_USEC (15 * USEC_PER_SEC)

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
	device->is_left = false;
	device->bound_usec = clock_now_usec();
	if (device->goal == GOAL_RELEASE)
		device_enter_state(device, DEVICE_BINDING);
	else if (device_has_wrong_carrier(device))
		device_leave_carrier(device);
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

/* Looks again in a moment; false once that has gone on for too long. */
static bool device_settle_later(struct device *device)
{
	if (clock_now_usec() - device->settle_since_usec > SETTLE_LIMIT_USEC)
		return false;
	device_arm_timer(device, device->settle_step_usec);
	if (device->settle_step_usec < SETTLE_MAX_USEC)
		device->settle_step_usec *= 2;
	return true;
}

static void device_on_settled(int result, void *arg, void *userdata)
{
	struct device *device = userdata;
	enum failure_code code = ((struct device_job *)arg)->failure.code;

	/* Unplugged: `remove` is on its way. */
	if (result < 0 && code == FAILURE_GONE && device->state == DEVICE_BINDING) {
		device_end_job(device, result, arg);
		if (!device_settle_later(device))
			device_fail_with(device, FAILURE_BUSY, "its node in usbfs is of no use any more");
		return;
	}
	device_on_bound(result, arg, userdata);
}

void device_settle(struct device *device)
{
	enum usbip_host_status status;
	int r = device_get_session_status(device, &status);

	if (r < 0 && device->goal == GOAL_RELEASE && !usbip_host_is_bound(device->context->host, &device->busid)) {
		device_start_job(device, device_job_release, device_on_released); /* a release that came half way */
		return;
	}
	if (r < 0 || status == USBIP_HOST_USED) {
		/* No status: unplugged (`remove` follows), or taken from usbip-host by somebody (`bind` follows, or nothing). */
		if (device_settle_later(device))
			return;
		if (r < 0)
			usbip_hold_done(&device->hold); /* tried again from the beginning */
		device_fail_with(device, FAILURE_BUSY,
				 r < 0 ? "it is no longer with usbip-host" : "the Pi's kernel is still busy with the last session");
		return;
	}
	if (device->recovery != RECOVERY_NONE && device_start_recovery(device))
		return;
	if (device->goal == GOAL_RELEASE)
		device_start_job(device, device_job_release, device_on_released);
	else if (status == USBIP_HOST_ERROR || device_has_wrong_carrier(device))
		device_start_job(device, device_job_rebind, device_on_bound);
	else if (device->hold.claim && device->hold.claim->is_used)
		device_start_job(device, device_job_settle, device_on_settled);
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
		device->is_by_rule = !device->decision.is_shared;
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

void device_enter_binding(struct device *device)
{
	if ((device->is_announced && !device->is_early) || device->is_lent)
		device_drop_stream(device);
	if (!device->is_refused_early)
		device->refusal = (struct failure){ 0 };
	device->is_refused_early = false;
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
		if (device->job && device->refusal.code == FAILURE_NONE)
			device_offer_ahead(device);
	} else {
		device_ignore_as_asked(device); /* it never left its driver */
	}
}
