#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "busid.h"
#include "descriptor.h"

/* What a USB/IP server and its client say to each other before a TCP connection is the kernels': Documentation/usb/usbip_protocol.rst and
 * tools/usb/usbip/src/usbip_network.h in Linux. All numbers are big-endian. */

#define USBIP_PORT           3240
#define USBIP_VERSION        0x0111
#define USBIP_HEADER_SIZE    ((size_t)8)
#define USBIP_BUSID_SIZE     ((size_t)32)
#define USBIP_COUNT_SIZE     ((size_t)4)
#define USBIP_DEVICE_SIZE    ((size_t)312)
#define USBIP_INTERFACE_SIZE ((size_t)4)
#define USBIP_MAX_INTERFACES 32                                     /* of one configuration: USB_MAXINTERFACES of include/linux/usb.h */
#define USBIP_REQUEST_SIZE   (USBIP_HEADER_SIZE + USBIP_BUSID_SIZE) /* of an import */
#define USBIP_PATH_SIZE      256

enum usbip_operation { USBIP_IMPORT = 0x03, USBIP_DEVLIST = 0x05 };

#define USBIP_REQUEST 0x8000 /* this bit of a code is set in a request and not in its reply */

enum usbip_status {
	USBIP_OK = 0,
	USBIP_NOT_AVAILABLE = 1,
	USBIP_BUSY = 2,
	USBIP_DEVICE_ERROR = 3,
	USBIP_NO_DEVICE = 4,
	USBIP_ERROR = 5, /* a request that makes no sense */
};

struct usbip_header {
	uint16_t version, code;
	uint32_t status; /* 0 in a request */
};

struct usbip_device {
	char path[USBIP_PATH_SIZE]; /* in the exporter's sysfs */
	struct busid busid;
	uint32_t busnum, devnum, speed; /* enum usb_device_speed */
	uint16_t vid, pid, bcd;
	uint8_t class, subclass, protocol, configuration, n_configurations;
	size_t n_interfaces; /* those of usbip_interfaces_encode() */
	struct usb_interface interfaces[USBIP_MAX_INTERFACES];
};

/* A header as it is on the wire. */
void usbip_header_encode(const struct usbip_header *header, uint8_t bytes[static USBIP_HEADER_SIZE]);

/* And back: every eight bytes are one. */
void usbip_header_decode(const uint8_t bytes[static USBIP_HEADER_SIZE], struct usbip_header *ret_header);

/* A whole request for the import of a device. */
void usbip_request_encode(const struct busid *busid, uint8_t bytes[static USBIP_REQUEST_SIZE]);

/* The bus id of one, as it came behind the header. -EINVAL for what is none (busid.h), or has no end. */
int usbip_busid_decode(const uint8_t bytes[static USBIP_BUSID_SIZE], struct busid *ret_busid);

/* How many devices follow in a list. */
void usbip_count_encode(uint32_t n, uint8_t bytes[static USBIP_COUNT_SIZE]);

/* A device without its interfaces: the whole body of an import's reply, and each device's beginning in a list. */
void usbip_device_encode(const struct usbip_device *device, uint8_t bytes[static USBIP_DEVICE_SIZE]);

/* The same back. -EBADMSG for a path without end or a bus id that is none; *ret_device is untouched then. Its interfaces' number is told, they themselves
 * are not there. */
int usbip_device_decode(const uint8_t bytes[static USBIP_DEVICE_SIZE], struct usbip_device *ret_device);

/* Its interfaces, n_interfaces times USBIP_INTERFACE_SIZE bytes, as they follow in a list. */
void usbip_interfaces_encode(const struct usbip_device *device, uint8_t *bytes);

/* enum usb_device_speed (include/uapi/linux/usb/ch9.h) from sysfs' Mbit/s; 1 stands for 1.5. SuperSpeed Plus, which Linux 6.1 knows only as SuperSpeed, is told
 * as that. 0 for a speed that there is not. */
uint32_t usbip_speed_from_mbit(uint32_t speed);

/* A status in a few words, for people: "the device is in use". Never NULL. */
const char *usbip_status_to_string(uint32_t status);
