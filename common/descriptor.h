#pragma once

#include <stddef.h>
#include <stdint.h>

/* The interfaces that a device's descriptors name. USB 2.0 specification, section 9.6. Linux takes 8 configurations of 32 interfaces each
 * (USB_MAXCONFIG, USB_MAXINTERFACES); webcams and sound cards have some dozen alternate settings of one interface, and kilobytes of descriptors of their class. */
#define DESCRIPTOR_MAX_INTERFACES 256
#define DESCRIPTOR_MAX_SIZE       ((size_t)16 * 1024)

struct usb_interface {
	uint8_t number, class, subclass, protocol;
};

struct descriptors {
	uint16_t vid, pid, bcd_device;
	uint8_t class, subclass, protocol, n_configurations;
	size_t n_interfaces;
	struct usb_interface interfaces[DESCRIPTOR_MAX_INTERFACES]; /* of all configurations and alternate settings, each once */
};

/* Decodes the content of sysfs' `descriptors`: the device descriptor, then each configuration with all that belongs to it.
 * Foreign bytes: -EBADMSG for anything inconsistent, -E2BIG for more interfaces than fit. An alternate setting of the same number, class, subclass and
 * protocol as one before is the same interface. */
int descriptors_parse(const uint8_t *data, size_t size, struct descriptors *ret);

/* Reads `descriptors` below a device's directory as they are. Returns their size, or a negative errno: -E2BIG for DESCRIPTOR_MAX_SIZE or more. */
int descriptors_read_bytes(int device_fd, uint8_t ret_bytes[static DESCRIPTOR_MAX_SIZE]);

/* Reads and decodes `descriptors` below a device's directory. Takes DESCRIPTOR_MAX_SIZE of stack. */
int descriptors_read(int device_fd, struct descriptors *ret);

/* The modalias of one interface as drivers/usb/core/driver.c (usb_uevent) writes it. Returns its length, -ENOSPC if it doesn't fit. */
int descriptors_modalias(const struct descriptors *descriptors, const struct usb_interface *interface, char *buffer, size_t size);
