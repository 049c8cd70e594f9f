#include "usb_device.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "sysfs.h"

struct usb_device *usb_device_new(int fd)
{
	struct usb_device *device = calloc(1, sizeof(*device));

	if (!device) {
		close_fd(fd);
		return NULL;
	}
	device->fd = fd;
	return device;
}

void usb_device_free(void *arg)
{
	struct usb_device *device = arg;

	if (!device)
		return;
	close_fd(device->fd);
	free(device);
}

int usb_device_read(void *arg)
{
	struct usb_device *device = arg;
	int r = identity_read(device->fd, &device->identity);

	if (r < 0)
		return r;
	r = descriptors_read(device->fd, &device->descriptors);
	if (r < 0)
		return r;
	return device->descriptors.vid == device->identity.vid && device->descriptors.pid == device->identity.pid ? 0 : -EBADMSG;
}

int usb_device_authorize(void *arg)
{
	struct usb_device *device = arg;

	return sysfs_write(device->fd, "authorized", "1");
}
