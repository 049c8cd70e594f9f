#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "device_internal.h"
#include "device_job.h"
#include "log.h"

/* The ways to get a stuck device going again, each harder than the one before. All begin with the end of its session; what the VM has of it goes. */

static const char *const WORDS[] = {
	[RECOVERY_NONE] = "none",
	[RECOVERY_RESET] = "reset",
	[RECOVERY_POWER] = "power taken and given back",
};

/* From where it is now. What was asked for meanwhile found the job in its way. */
static void device_go_on(struct device *device)
{
	switch (device->state) {
	case DEVICE_BINDING:
		if (device->hold.device_fd >= 0 || device->goal == GOAL_RELEASE)
			device_enter_state(device, DEVICE_BINDING);
		else
			device_start_look(device); /* never taken unseen, and it may be another one after a reset */
		break;
	case DEVICE_FAILED:
		device_try_again(device);
		break;
	case DEVICE_SEEN:
	case DEVICE_IGNORED:
		device_start_look(device);
		break;
	case DEVICE_READY:
	case DEVICE_OFFERED:
	case DEVICE_ATTACHED:
	case DEVICE_GONE:
		break; /* a recovery begins with leaving these */
	}
}

static void device_on_recovered(int result, void *arg, void *userdata)
{
	struct device *device = userdata;
	enum device_recovery recovery = device->recovery;
	struct device_job *job = device_end_job(device, result, arg);

	device->recovery = RECOVERY_NONE;
	if (device_job_is_stale(device))
		return; /* with its power it went; it comes back as another one */
	if (result < 0)
		log_warning("%s: %s: it did not work: %s", device->busid.text, WORDS[recovery], job->failure.text);
	else
		log_notice("%s: %s", device->busid.text, WORDS[recovery]);
	device_go_on(device);
}

/* With usbip-host and not by us: somebody's session may be on it. */
static bool device_is_anothers(const struct device *device)
{
	return device->hold.device_fd < 0 && usbip_host_is_bound(device->context->host, &device->busid);
}

bool device_start_recovery(struct device *device)
{
	if (device->recovery == RECOVERY_NONE || device->job)
		return false;
	if (device_is_anothers(device)) {
		device->recovery = RECOVERY_NONE;
		return false;
	}
	device_start_job(device, device->recovery == RECOVERY_POWER ? device_job_cycle_power : device_job_reset, device_on_recovered);
	if (!device->job)
		device->recovery = RECOVERY_NONE;
	return device->job != NULL;
}

/* Failures of the device itself; those of the link, of the VM's rules, of a lack of ports no reset mends. */
static bool device_is_stuck(const struct device *device)
{
	if (device->state != DEVICE_FAILED)
		return false;
	switch (device->failure.code) {
	case FAILURE_ENUMERATION:
	case FAILURE_KERNEL:
	case FAILURE_TIMEOUT:
	case FAILURE_BUSY:
		return true;
	default:
		return false;
	}
}

void device_escalate(struct device *device)
{
	static const unsigned reset_at = 2, power_at = 4; /* failures in a row; each way gets one chance */
	enum rule_recover recover = device->decision.recover;

	if (!device_is_stuck(device) || device->recovery != RECOVERY_NONE || device_is_anothers(device))
		return;
	device->n_stuck++;
	if (recover >= RULE_RECOVER_RESET && device->n_stuck == reset_at)
		device->recovery = RECOVERY_RESET;
	else if (recover == RULE_RECOVER_POWER && device->n_stuck == power_at)
		device->recovery = RECOVERY_POWER;
	else
		return;
	device->n_resets++;
	log_notice("%s: failed %u times in a row: %s", device->busid.text, device->n_stuck, WORDS[device->recovery]);
}

int device_recover(struct device *device, bool is_hard, struct failure *ret_failure)
{
	if (device->state == DEVICE_GONE)
		return failure_set(ret_failure, FAILURE_GONE, NULL, "%s is not plugged in any more", device->busid.text);
	if (device->job || device->recovery != RECOVERY_NONE)
		return failure_set(ret_failure, FAILURE_BUSY, "Try again.", "%s is busy: something is under way for it",
				   device->busid.text);
	if (device_is_anothers(device))
		return failure_set(ret_failure, FAILURE_BUSY, NULL, "%s is bound to usbip-host by somebody else", device->busid.text);
	device->recovery = is_hard ? RECOVERY_POWER : RECOVERY_RESET;
	device->n_resets++;
	if (device->hold.device_fd < 0) {
		device_withdraw_early(device, "it is reset");
		(void)device_start_recovery(device); /* it is with the Pi's own driver */
		return 0;
	}
	device_send_disconnect(device, is_hard ? "its power is taken and given back" : "it is reset");
	device_enter_state(device, DEVICE_BINDING); /* the session's end, then device_start_recovery() */
	return 0;
}
