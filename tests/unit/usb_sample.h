#pragma once

#include "descriptor.h"

/* USB devices as people plug them in: what their descriptors say. */
struct usb_sample {
	uint16_t vid, pid, bcd_device;
	uint8_t class, subclass, protocol;           /* of the device */
	const char *serial, *manufacturer, *product; /* NULL: the device has none */
	size_t n_interfaces;
	struct usb_interface interfaces[6];
};

extern const struct usb_sample FT232R, CP2102, CH340, ESP32_S3, ARDUINO_UNO; /* serial ones */
extern const struct usb_sample HUB, KEYBOARD_DEVICE, DISK, MYSTERY;
extern const struct usb_sample RTL8153, LAN9514, ECM_MODEM, RNDIS_PHONE, LTE_MODEM; /* with a network interface */

/* Composes what the kernel shows in `descriptors`: the device's, a configuration's, and with each interface a class-specific one and an endpoint. Returns its size. */
size_t usb_sample_compose(const struct usb_sample *sample, uint8_t *buffer, size_t size);

/* The same, as descriptors_parse() understands it. */
void usb_sample_parse(const struct usb_sample *sample, struct descriptors *ret_descriptors);
