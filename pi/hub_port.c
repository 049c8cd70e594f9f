#include "hub_port.h"

#include <errno.h>
#include <linux/usb/ch11.h>
#include <linux/usb/ch9.h>
#include <linux/usbdevice_fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "cleanup.h"
#include "log.h"
#include "sysfs.h"

#define DARK_SEC 1

#define HUB_CHARACTERISTICS 3 /* offset of wHubCharacteristics' low byte */

bool hub_descriptor_switches_power(const uint8_t *descriptor, size_t length)
{
	if (length <= HUB_CHARACTERISTICS || (descriptor[1] != USB_DT_HUB && descriptor[1] != USB_DT_SS_HUB))
		return false;
	return (descriptor[HUB_CHARACTERISTICS] & HUB_CHAR_LPSM) < HUB_CHAR_NO_LPSM;
}

/* GetHubDescriptor. The number of bytes read, or negative errno. */
static int hub_read_descriptor(int hub_node, uint8_t type, uint8_t *descriptor, uint16_t size)
{
	struct usbdevfs_ctrltransfer request = {
		.bRequestType = USB_DIR_IN | USB_RT_HUB,
		.bRequest = USB_REQ_GET_DESCRIPTOR,
		.wValue = (uint16_t)(type << 8),
		.wLength = size,
		.timeout = 1000, /* ms */
		.data = descriptor,
	};
	int n = ioctl(hub_node, USBDEVFS_CONTROL, &request);

	return n < 0 ? -errno : n;
}

/* A hub that can't be asked is taken at the kernel's word: `disable` is there. */
static bool hub_refuses_power_switching(int hub_node)
{
	uint8_t descriptor[USB_DT_HUB_NONVAR_SIZE + 2 * ((USB_MAXCHILDREN + 1 + 7) / 8)];
	int n = hub_read_descriptor(hub_node, USB_DT_HUB, descriptor, sizeof(descriptor));

	if (n < 0)
		n = hub_read_descriptor(hub_node, USB_DT_SS_HUB, descriptor, USB_DT_SS_HUB_SIZE);
	return n >= 0 && !hub_descriptor_switches_power(descriptor, (size_t)n);
}

int hub_port_cycle(int device_fd, int hub_node)
{
	/* The port's directory is the hub's: it stays when the device goes. */
	_cleanup_close_ int port_fd = sysfs_open_dir(device_fd, "port");
	struct timespec dark = { .tv_sec = DARK_SEC };
	int r = port_fd < 0 ? port_fd : hub_refuses_power_switching(hub_node) ? -EOPNOTSUPP : sysfs_write(port_fd, "disable", "1");

	if (r == -ENOENT)
		return -EOPNOTSUPP; /* before Linux 6.0, or a root hub without ports */
	if (r < 0)
		return r;
	while (nanosleep(&dark, &dark) < 0 && errno == EINTR)
		;
	r = sysfs_write(port_fd, "disable", "0");
	if (r < 0)
		log_error("a hub's port that was switched off can't be switched on: %s. Unplug the hub and plug it in again", strerror(-r));
	return r;
}
