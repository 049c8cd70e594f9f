#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "daemon.h"
#include "device_internal.h"
#include "direct_road.h"
#include "log.h"

/* A device on the direct road. The VM imports what it is offered; another machine that may, what nobody has ("lent": the VM gets it when that one is done). */

/* The first of each number: of the first configuration, the alternate setting 0. usbip-host leaves none of them active. No configuration has more than there is room for. */
static void device_fill_interfaces(const struct descriptors *descriptors, struct usbip_device *usbip)
{
	bool is_there[256] = { false };

	for (size_t i = 0; i < descriptors->n_interfaces; i++) {
		const struct usb_interface *interface = &descriptors->interfaces[i];

		if (!is_there[interface->number] && usbip->n_interfaces < USBIP_MAX_INTERFACES)
			usbip->interfaces[usbip->n_interfaces++] = *interface;
		is_there[interface->number] = true;
	}
}

static void device_fill_usbip(const struct device *device, struct usbip_device *ret_usbip)
{
	const struct descriptors *descriptors = &device->descriptors;

	*ret_usbip = (struct usbip_device){
		.busid = device->busid,
		.busnum = device->busnum,
		.devnum = device->devnum,
		.speed = usbip_speed_from_mbit(device->speed),
		.vid = descriptors->vid,
		.pid = descriptors->pid,
		.bcd = descriptors->bcd_device,
		.class = descriptors->class,
		.subclass = descriptors->subclass,
		.protocol = descriptors->protocol,
		.n_configurations = descriptors->n_configurations,
	};
	snprintf(ret_usbip->path, sizeof(ret_usbip->path), "%s", device->syspath);
	device_fill_interfaces(descriptors, ret_usbip);
}

static bool device_is_on_road(const struct device *device)
{
	return device->decision.is_direct && device->goal == GOAL_SHARE && device->hold.device_fd >= 0;
}

/* Whether nothing of ours stands in the way of an import. */
static enum usbip_status device_check_state(const struct device *device, bool is_vm)
{
	switch (device->state) {
	case DEVICE_READY:
		return device->session ? USBIP_BUSY : USBIP_OK;
	case DEVICE_OFFERED:
		return !is_vm || !device->on_direct || device->session ? USBIP_BUSY : USBIP_OK;
	case DEVICE_BINDING:
	case DEVICE_ATTACHED:
		return USBIP_BUSY;
	case DEVICE_FAILED:
		return USBIP_DEVICE_ERROR;
	case DEVICE_SEEN:
	case DEVICE_IGNORED:
	case DEVICE_GONE:
		break;
	}
	return USBIP_NO_DEVICE;
}

static enum usbip_status device_check_kernel(const struct device *device)
{
	enum usbip_host_status status;

	if (device_get_session_status(device, &status) < 0)
		return USBIP_NO_DEVICE;
	if (status == USBIP_HOST_AVAILABLE)
		return USBIP_OK;
	return status == USBIP_HOST_USED ? USBIP_BUSY : USBIP_DEVICE_ERROR;
}

bool device_to_usbip(const struct device *device, struct usbip_device *ret_usbip)
{
	if (!device_is_on_road(device) || device_check_state(device, true) != USBIP_OK || device_check_kernel(device) != USBIP_OK)
		return false;
	device_fill_usbip(device, ret_usbip);
	return true;
}

/* One that was lent is offered to the VM as soon as the kernel is done with that session. */
static void device_on_session_ended(const struct failure *failure, void *userdata)
{
	struct device *device = userdata;

	if (!device->is_lent) {
		device_end_stream(device, failure);
		return;
	}
	log_info("%s: no longer with %s", device->busid.text, direct_session_get_peer(device->session));
	device_enter_state(device, DEVICE_BINDING);
}

static int device_start_direct(struct device *device, int fd, const char *peer)
{
	const struct device_context *context = device->context;
	struct failure failure;
	int r = device_start_session(device, fd, &failure);

	if (r < 0) {
		log_warning("%s", failure.text);
		return r;
	}
	r = direct_session_new(context->event, fd, peer, direct_road_get_patience(context->road), device_on_session_ended, device,
			       &device->session);
	if (r == 0)
		return 0;
	(void)shutdown(fd, SHUT_RDWR); /* nobody would see its end */
	device->usbfs_session = usbfs_session_free(device->usbfs_session);
	device_send_disconnect(device, "its session could not be watched");
	device_enter_state(device, DEVICE_BINDING);
	return r;
}

enum usbip_status device_import(struct device *device, int fd, const char *peer, bool is_vm, struct usbip_device *ret_usbip)
{
	enum usbip_status status = device_is_on_road(device) ? device_check_state(device, is_vm) : USBIP_NO_DEVICE;

	if (status == USBIP_OK)
		status = device_check_kernel(device);
	if (status != USBIP_OK)
		return status;
	/* Opened ahead, before anybody knew its road. Its end, or the link's, is not to be the borrower's. */
	spare_give(device->context->spare, TAKE_PTR(device->stream));
	if (device_start_direct(device, fd, peer) < 0)
		return USBIP_DEVICE_ERROR;
	device_fill_usbip(device, ret_usbip);
	device->started_usec = clock_now_usec();
	device->is_lent = device->state == DEVICE_READY;
	device->is_streaming = !device->is_lent;
	if (device->is_lent)
		device->context->on_change(device, device->context->userdata);
	return USBIP_OK;
}

void device_change_road(struct device *device)
{
	bool is_offered = device->state == DEVICE_OFFERED || device->state == DEVICE_ATTACHED;

	if (device->is_announced)
		device_send_disconnect(device, "it takes another road");
	if (is_offered || device->is_lent)
		device_enter_state(device, DEVICE_BINDING);
	else if (device->is_announced)
		device_drop_stream(device); /* offered ahead: it is offered anew once it is bound */
}

bool device_get_borrower(const struct device *device, struct sockaddr_storage *ret_address)
{
	return device->is_lent && device->session && direct_session_get_address(device->session, ret_address) >= 0;
}

void device_end_lending(struct device *device)
{
	log_notice("%s: taken back from %s, which may import nothing any more", device->busid.text,
		   direct_session_get_peer(device->session));
	device_enter_state(device, DEVICE_BINDING);
}
