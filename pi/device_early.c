#include <stdio.h>

#include "daemon.h"
#include "device_internal.h"
#include "device_job.h"
#include "log.h"

/* The offer of a device that the Pi's own drivers still have.
 *
 * Between the uevents `add` and `bind` the kernel configures the device and asks its drivers, and holds its lock all that time: the strings can't be read (usb_string_attr() in
 * drivers/usb/core/sysfs.c), and it can't be taken. But bus id, number, speed and descriptors can (read_descriptors() needs no lock since Linux 6.2, and 6.1.16), and no more does the VM's
 * kernel need: it waits for the port to settle and resets it before it asks the device for anything. So the VM's half begins here, with an offer without strings. They follow, as the
 * same offer once more, when the device has been looked at and is being bound; before that the VM does not let the device through to any driver.
 *
 * It is made only where the decision can't turn out another one by the serial number or by what the drivers make of the device. Where it does all the same, the offer is withdrawn. */

#define EARLY_LIMIT_USEC (5 * USEC_PER_SEC) /* then the VM's kernel gives up asking, too (USB_CTRL_GET_TIMEOUT) */

static bool device_may_offer_early(const struct device *device)
{
	const struct device_context *context = device->context;

	return device->state == DEVICE_SEEN && device->goal == GOAL_SHARE && !device->job && !device->is_announced && !device->has_looked &&
	       !device->is_found && !device->is_left && device->recovery == RECOVERY_NONE && device->hold.device_fd < 0 &&
	       link_get_state(context->link) == LINK_UP && link_can_partial(context->link);
}

/* Whether what is there is surely to be taken as soon as its drivers have it. */
static bool device_will_be_taken(const struct device *device, const struct device_job *job)
{
	const struct policy_device asked = {
		.syspath = device->syspath, .busid = &device->busid, .identity = &job->identity, .descriptors = &job->descriptors
	};

	return device_has_number(device, job->devnum) && policy_foresees_sharing(device->context->policy, &asked) &&
	       !flap_list_may_hold(device->context->flaps, &device->busid, job->identity.vid, job->identity.pid, clock_now_usec());
}

void device_limit_early(struct device *device)
{
	if (device->is_early)
		device_arm_timer(device, EARLY_LIMIT_USEC);
}

static void device_offer_early(struct device *device, const struct device_job *job)
{
	device->busnum = job->busnum;
	device->devnum = job->devnum;
	device->speed = job->speed;
	device->early_identity = job->identity;
	device->is_early = true;
	if (device_make_offer(device, &(struct failure){ 0 }) < 0)
		device->is_early = false; /* it is made with the bind */
	else
		device_limit_early(device);
}

static void device_on_glanced(int result, void *arg, void *userdata)
{
	struct device *device = userdata;
	struct device_job *job = device_end_job(device, result, arg);
	bool is_look_due = device->is_look_due;

	device->is_glancing = device->is_look_due = false;
	if (device_job_is_stale(device))
		return;
	if (result == 0 && device_may_offer_early(device) && device_will_be_taken(device, job))
		device_offer_early(device, job);
	/* What was wanted meanwhile found the job in its way. */
	if (device->state == DEVICE_BINDING)
		device_enter_state(device, DEVICE_BINDING);
	else if (is_look_due)
		device_start_look(device);
}

void device_glance(struct device *device)
{
	if (!device_may_offer_early(device))
		return;
	device_start_job(device, device_job_glance, device_on_glanced);
	device->is_glancing = device->job != NULL;
}

void device_withdraw_early(struct device *device, const char *reason)
{
	if (!device->is_early)
		return;
	log_debug("%s: its early offer is withdrawn: %s", device->busid.text, reason);
	device_send_disconnect(device, reason);
	device_drop_stream(device);
}

/* What has been looked at is what was offered, and goes the same way. */
void device_check_early(struct device *device, const struct device_job *job)
{
	const struct identity *offered = &device->early_identity, *seen = &job->identity;

	if (job->devnum != device->devnum || job->busnum != device->busnum || job->speed != device->speed || offered->vid != seen->vid ||
	    offered->pid != seen->pid || offered->bcd_device != seen->bcd_device)
		device_withdraw_early(device, "another device is in its place");
}

void device_complete_offer(struct device *device)
{
	device->is_early = false;
	device_send_name(device);
}
