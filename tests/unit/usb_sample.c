#include "usb_sample.h"

#include <check.h>
#include <string.h>

const struct usb_sample FT232R = {
	.vid = 0x0403,
	.pid = 0x6001,
	.bcd_device = 0x0600,
	.serial = "A50285BI",
	.manufacturer = "FTDI",
	.product = "FT232R USB UART",
	.n_interfaces = 1,
	.interfaces = { { 0, 0xff, 0xff, 0xff } },
};

const struct usb_sample CP2102 = {
	.vid = 0x10c4,
	.pid = 0xea60,
	.bcd_device = 0x0100,
	.serial = "0001",
	.manufacturer = "Silicon Labs",
	.product = "CP2102 USB to UART Bridge Controller",
	.n_interfaces = 1,
	.interfaces = { { 0, 0xff, 0x00, 0x00 } },
};

const struct usb_sample CH340 = {
	.vid = 0x1a86,
	.pid = 0x7523,
	.bcd_device = 0x0264,
	.class = 0xff,
	.product = "USB Serial",
	.n_interfaces = 1,
	.interfaces = { { 0, 0xff, 0x01, 0x02 } },
};

const struct usb_sample ESP32_S3 = {
	.vid = 0x303a,
	.pid = 0x1001,
	.bcd_device = 0x0101,
	.class = 0xef,
	.subclass = 0x02,
	.protocol = 0x01,
	.serial = "F4:12:FA:00:11:22",
	.manufacturer = "Espressif",
	.product = "USB JTAG/serial debug unit",
	.n_interfaces = 3,
	.interfaces = { { 0, 0x02, 0x02, 0x00 }, { 1, 0x0a, 0x02, 0x00 }, { 2, 0xff, 0xff, 0x01 } },
};

const struct usb_sample ARDUINO_UNO = {
	.vid = 0x2341,
	.pid = 0x0043,
	.bcd_device = 0x0001,
	.class = 0x02,
	.serial = "75330303035351F0B1C1",
	.manufacturer = "Arduino (www.arduino.cc)",
	.n_interfaces = 2,
	.interfaces = { { 0, 0x02, 0x02, 0x01 }, { 1, 0x0a, 0x00, 0x00 } },
};

const struct usb_sample HUB = {
	.vid = 0x2109,
	.pid = 0x3431,
	.bcd_device = 0x0421,
	.class = 0x09,
	.protocol = 0x01,
	.product = "USB2.0 Hub",
	.n_interfaces = 1,
	.interfaces = { { 0, 0x09, 0x00, 0x00 } },
};

const struct usb_sample KEYBOARD_DEVICE = {
	.vid = 0x046d,
	.pid = 0xc31c,
	.bcd_device = 0x6400,
	.manufacturer = "Logitech",
	.product = "USB Keyboard",
	.n_interfaces = 2,
	.interfaces = { { 0, 0x03, 0x01, 0x01 }, { 1, 0x03, 0x00, 0x00 } },
};

const struct usb_sample DISK = {
	.vid = 0x0781,
	.pid = 0x5581,
	.bcd_device = 0x0100,
	.serial = "4C530001",
	.manufacturer = "SanDisk",
	.product = "Ultra",
	.n_interfaces = 1,
	.interfaces = { { 0, 0x08, 0x06, 0x50 } },
};

const struct usb_sample MYSTERY = {
	.vid = 0xdead,
	.pid = 0xbeef,
	.bcd_device = 0x0001,
	.n_interfaces = 1,
	.interfaces = { { 0, 0xff, 0x42, 0x42 } },
};

const struct usb_sample RTL8153 = {
	.vid = 0x0bda,
	.pid = 0x8153,
	.bcd_device = 0x3000,
	.serial = "000001",
	.manufacturer = "Realtek",
	.product = "USB 10/100/1000 LAN",
	.n_interfaces = 1,
	.interfaces = { { 0, 0xff, 0xff, 0x00 } },
};

/* A Pi 3's own Ethernet socket. */
const struct usb_sample LAN9514 = {
	.vid = 0x0424,
	.pid = 0xec00,
	.bcd_device = 0x0200,
	.class = 0xff,
	.protocol = 0x01,
	.n_interfaces = 1,
	.interfaces = { { 0, 0xff, 0x00, 0xff } },
};

/* Ethernet and a serial port in one: the serial port does not make it shared. */
const struct usb_sample ECM_MODEM = {
	.vid = 0x1234,
	.pid = 0x5678,
	.bcd_device = 0x0100,
	.class = 0xef,
	.subclass = 0x02,
	.protocol = 0x01,
	.product = "Modem",
	.n_interfaces = 4,
	.interfaces = { { 0, 0x02, 0x02, 0x01 }, { 1, 0x0a, 0x00, 0x00 }, { 2, 0x02, 0x06, 0x00 }, { 3, 0x0a, 0x00, 0x00 } },
};

const struct usb_sample RNDIS_PHONE = {
	.vid = 0x18d1,
	.pid = 0x4ee4,
	.bcd_device = 0x0510,
	.product = "Pixel",
	.n_interfaces = 4,
	.interfaces = { { 0, 0x02, 0x02, 0x01 }, { 1, 0x0a, 0x00, 0x00 }, { 2, 0xe0, 0x01, 0x03 }, { 3, 0x0a, 0x00, 0x00 } },
};

/* Serial ports for option, and one interface that only qmi_wwan knows. */
const struct usb_sample LTE_MODEM = {
	.vid = 0x2c7c,
	.pid = 0x0125,
	.bcd_device = 0x0318,
	.class = 0xef,
	.subclass = 0x02,
	.protocol = 0x01,
	.product = "EC25",
	.n_interfaces = 3,
	.interfaces = { { 0, 0xff, 0xff, 0xff }, { 2, 0xff, 0x00, 0x00 }, { 4, 0xff, 0xff, 0x50 } },
};

struct composer {
	uint8_t *buffer;
	size_t used, size;
};

static void compose_add(struct composer *composer, const uint8_t *bytes, size_t size)
{
	ck_assert_uint_le(composer->used + size, composer->size);
	memcpy(composer->buffer + composer->used, bytes, size);
	composer->used += size;
}

static void compose_interface(struct composer *composer, const struct usb_interface *interface)
{
	const uint8_t own[] = { 9, 4, interface->number, 0, 1, interface->class, interface->subclass, interface->protocol, 0 };
	const uint8_t class_specific[] = { 5, 0x24, 0, 0x10, 0x01 };
	const uint8_t endpoint[] = { 7, 5, (uint8_t)(0x81 + interface->number), 2, 64, 0, 0 };

	compose_add(composer, own, sizeof(own));
	compose_add(composer, class_specific, sizeof(class_specific));
	compose_add(composer, endpoint, sizeof(endpoint));
}

#define LOW(value)  ((uint8_t)((value)&0xff))
#define HIGH(value) ((uint8_t)((value) >> 8))

size_t usb_sample_compose(const struct usb_sample *sample, uint8_t *buffer, size_t size)
{
	struct composer composer = { buffer, 0, size };
	const size_t total = 9 + sample->n_interfaces * 21;
	const uint8_t device[] = { 18,
				   1,
				   0,
				   2,
				   sample->class,
				   sample->subclass,
				   sample->protocol,
				   64,
				   LOW(sample->vid),
				   HIGH(sample->vid),
				   LOW(sample->pid),
				   HIGH(sample->pid),
				   LOW(sample->bcd_device),
				   HIGH(sample->bcd_device),
				   1,
				   2,
				   3,
				   1 };
	const uint8_t configuration[] = { 9, 2, LOW(total), HIGH(total), (uint8_t)sample->n_interfaces, 1, 0, 0x80, 50 };

	compose_add(&composer, device, sizeof(device));
	compose_add(&composer, configuration, sizeof(configuration));
	for (size_t i = 0; i < sample->n_interfaces; i++)
		compose_interface(&composer, &sample->interfaces[i]);
	return composer.used;
}

void usb_sample_parse(const struct usb_sample *sample, struct descriptors *ret_descriptors)
{
	uint8_t buffer[512];
	size_t size = usb_sample_compose(sample, buffer, sizeof(buffer));

	ck_assert_int_eq(descriptors_parse(buffer, size, ret_descriptors), 0);
}
