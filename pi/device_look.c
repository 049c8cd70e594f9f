#include <errno.h>
#include <stdio.h>

#include "daemon.h"
#include "device_internal.h"
#include "device_job.h"
#include "log.h"

static void device_on_connected(int result, void *arg, void *userdata)
{
	struct device *device = userdata;

	device_end_job(device, result, arg);
	if (!device_job_is_stale(device))
		device_start_look(device); /* what was wanted meanwhile found the job in its way */
}

static void device_ignore(struct device *device, const char *reason)
{
	snprintf(device->reason, sizeof(device->reason), "%s", reason);
	device_ignore_as_asked(device);
}

void device_found_left(struct device *device)
{
	device->is_left = true;
}

/* Released: the reason was noted when that was asked for. */
void device_ignore_as_asked(struct device *device)
{
	device_enter_state(device, DEVICE_IGNORED);
	if (!device->is_left || device->state != DEVICE_IGNORED || device->job)
		return;
	device->is_left = false;
	device_start_job(device, device_job_connect, device_on_connected);
}

void device_take_look(struct device *device, const struct device_job *job)
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
	device_withdraw_early(device, "it comes and goes");
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
		device_ignore(device, "its descriptors make no sense, or are more than any device has");
		return;
	}
	if (result < 0) {
		device_fail_with(device, FAILURE_KERNEL, "its descriptors can't be read on the Pi");
		return;
	}
	device_check_early(device, job);
	device_take_look(device, job);
	if (device->decision.is_direct || device->decision.is_reset)
		device_withdraw_early(device, "the rules changed");
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
	device->is_look_due = device->is_glancing; /* then its end does it */
	if (device->job || device->state == DEVICE_GONE)
		return;
	if (device->hold.device_fd >= 0) {
		if (device->hold.claim || usbip_host_is_bound(device->context->host, &device->busid) || !device_is_current(device))
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
	if (device->state == DEVICE_SEEN)
		device_limit_early(device); /* the look waits for whatever holds the device's lock */
}

void device_look(struct device *device)
{
	/* A bind that failed gave it back to its driver, and this is the event of that: the next try keeps its time. */
	if (device->state == DEVICE_FAILED && device->next_try_usec && device->hold.device_fd < 0)
		return;
	device_start_look(device);
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
