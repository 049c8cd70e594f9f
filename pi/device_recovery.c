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
	if (device->state == DEVICE_BINDING)
		device_enter_state(device, DEVICE_BINDING); /* from where it is now */
	else if (device->state == DEVICE_SEEN)
		device_look(device); /* its driver's `bind` may have come meanwhile, and found the job under way */
	else
		device->context->on_change(device, device->context->userdata);
}

bool device_start_recovery(struct device *device)
{
	if (device->recovery == RECOVERY_NONE || device->job)
		return false;
	device_start_job(device, device->recovery == RECOVERY_POWER ? device_job_cycle_power : device_job_reset, device_on_recovered);
	if (!device->job)
		device->recovery = RECOVERY_NONE;
	return device->job != NULL;
}

int device_recover(struct device *device, bool is_hard, struct failure *ret_failure)
{
	if (device->state == DEVICE_GONE)
		return failure_set(ret_failure, FAILURE_GONE, NULL, "%s is not plugged in any more", device->busid.text);
	if (device->job || device->recovery != RECOVERY_NONE)
		return failure_set(ret_failure, FAILURE_BUSY, "Try again.", "%s is busy: something is under way for it",
				   device->busid.text);
	if (device->hold.device_fd < 0 && usbip_host_is_bound(device->context->host, &device->busid))
		return failure_set(ret_failure, FAILURE_BUSY, NULL, "%s is bound to usbip-host by somebody else", device->busid.text);
	device->recovery = is_hard ? RECOVERY_POWER : RECOVERY_RESET;
	device->n_resets++;
	if (device->hold.device_fd < 0) {
		(void)device_start_recovery(device); /* it is with the Pi's own driver */
		return 0;
	}
	device_send_disconnect(device, is_hard ? "its power is taken and given back" : "it is reset");
	device_enter_state(device, DEVICE_BINDING); /* the session's end, then device_start_recovery() */
	return 0;
}
