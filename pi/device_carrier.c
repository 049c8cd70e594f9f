#include <errno.h>
#include <string.h>

#include "device_internal.h"
#include "usbfs_claim.h"

/* What carries a device: usbip-host, or this program by usbfs. All else is the same for both. */

static int device_start_usbfs(struct device *device, int fd, struct failure *ret_failure)
{
	int r;

	if (device->usbfs_session)
		return failure_set(ret_failure, FAILURE_BUSY, NULL, "%s: a session is on it already", device->busid.text);
	r = usbfs_session_new(&device->context->usbfs, device->hold.claim, device->busid.text, device->busnum << 16 | device->devnum, fd,
			      &device->usbfs_session);
	return r < 0 ? failure_set(ret_failure, FAILURE_KERNEL, NULL, "%s: no USB/IP session could be started on it: %s",
				   device->busid.text, strerror(-r)) :
		       0;
}

int device_start_session(struct device *device, int fd, struct failure *ret_failure)
{
	if (device->hold.claim)
		return device_start_usbfs(device, fd, ret_failure);
	return usbip_host_start_session(device->context->host, &device->busid, fd, ret_failure);
}

int device_get_session_status(const struct device *device, enum usbip_host_status *ret_status)
{
	if (!device->hold.claim)
		return usbip_host_get_status(device->context->host, &device->busid, ret_status);
	/* A request of the last session may still be under way in its thread. */
	*ret_status =
		device->usbfs_session || usbfs_specials_has_any(device->hold.claim->specials) ? USBIP_HOST_USED : USBIP_HOST_AVAILABLE;
	return 0;
}

const char *device_get_carrier(const struct device *device)
{
	if (device->hold.device_fd < 0)
		return "";
	return device->hold.claim ? "usbfs" : "usbip-host";
}

bool device_has_wrong_carrier(const struct device *device)
{
	if (device->hold.device_fd < 0)
		return false;
	return device->decision.backend == (device->hold.claim ? RULE_BACKEND_USBIP_HOST : RULE_BACKEND_USBFS);
}

void device_leave_carrier(struct device *device)
{
	device_send_disconnect(device, "the Pi carries it another way");
	device_enter_state(device, DEVICE_BINDING);
}

bool device_change_carrier(struct device *device)
{
	bool is_settled = device->state == DEVICE_READY || device->state == DEVICE_OFFERED || device->state == DEVICE_ATTACHED;

	if (!is_settled || !device_has_wrong_carrier(device))
		return false;
	device_leave_carrier(device);
	return true;
}
