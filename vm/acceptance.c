#include "acceptance.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "log.h"
#include "serial_driver.h"

/* usb.org, "Defined Class Codes"; subclasses of communications: CDC 1.2, table 4. */
#define CLASS_AUDIO          0x01
#define CLASS_COMMUNICATIONS 0x02
#define CLASS_HID            0x03
#define CLASS_MASS_STORAGE   0x08
#define CLASS_HUB            0x09
#define CLASS_CDC_DATA       0x0a
#define CLASS_VIDEO          0x0e
#define CLASS_DIAGNOSTIC     0xdc
#define CLASS_WIRELESS       0xe0
#define CLASS_APPLICATION    0xfe
#define CLASS_VENDOR         0xff
#define SUBCLASS_ACM         0x02
#define SUBCLASS_DFU         0x01
#define PROTOCOL_VENDOR      0xff

struct acceptance {
	struct serial_driver_index *drivers; /* owned; NULL when there is no module index */
};

int acceptance_new(const char *modules_dir, struct acceptance **ret_acceptance)
{
	struct acceptance *acceptance = calloc(1, sizeof(*acceptance));
	int err;

	if (!acceptance)
		return -ENOMEM;
	err = serial_driver_index_new(modules_dir, &acceptance->drivers);
	if (err < 0) {
		acceptance->drivers = NULL;
		log_warning("the kernel's module index can't be read (error %d): devices are judged by their USB class alone", -err);
	}
	*ret_acceptance = acceptance;
	return 0;
}

struct acceptance *acceptance_free(struct acceptance *acceptance)
{
	if (!acceptance)
		return NULL;
	serial_driver_index_free(acceptance->drivers);
	free(acceptance);
	return NULL;
}

/* cdc_acm binds by class (drivers/usb/class/cdc-acm.c, acm_ids), which needs no look-up; protocol ff there is RNDIS, a network adapter. */
static bool interface_is_acm(const struct usb_interface *interface)
{
	return interface->class == CLASS_COMMUNICATIONS && interface->subclass == SUBCLASS_ACM && interface->protocol != PROTOCOL_VENDOR;
}

/* Interfaces that a serial device may have; every other class is refused, so that a class nobody thought of is, too. */
static bool interface_is_harmless(const struct usb_interface *interface)
{
	switch (interface->class) {
	case CLASS_COMMUNICATIONS:
		return interface->subclass <= SUBCLASS_ACM && interface->protocol != PROTOCOL_VENDOR;
	case CLASS_APPLICATION:
		return interface->subclass == SUBCLASS_DFU;
	case CLASS_CDC_DATA:
	case CLASS_DIAGNOSTIC:
	case CLASS_VENDOR:
		return true;
	default:
		return false;
	}
}

static void class_describe(uint8_t class, char *buffer, size_t size)
{
	switch (class) {
	case CLASS_AUDIO:
	case CLASS_VIDEO:
		snprintf(buffer, size, "an audio or video device");
		break;
	case CLASS_COMMUNICATIONS:
	case CLASS_WIRELESS:
		snprintf(buffer, size, "a network or Bluetooth adapter");
		break;
	case CLASS_HID:
		snprintf(buffer, size, "a keyboard, mouse or other HID");
		break;
	case CLASS_MASS_STORAGE:
		snprintf(buffer, size, "a disk");
		break;
	case CLASS_HUB:
		snprintf(buffer, size, "a hub");
		break;
	default:
		snprintf(buffer, size, "an interface of USB class %02x", class);
		break;
	}
}

static bool interface_is_serial(struct acceptance *acceptance, const struct descriptors *descriptors, const struct usb_interface *interface)
{
	char driver[64];

	if (interface_is_acm(interface))
		return true;
	return acceptance->drivers && serial_driver_lookup(acceptance->drivers, descriptors, interface, driver, sizeof(driver)) > 0;
}

/* A vendor's own class says nothing: a gamepad or a network adapter may hide there. The kernel's own table of drivers tells. */
static bool interface_has_other_driver(struct acceptance *acceptance, const struct descriptors *descriptors,
				       const struct usb_interface *interface, char *ret_what, size_t size)
{
	char driver[48];

	if (!acceptance->drivers || serial_driver_find_other(acceptance->drivers, descriptors, interface, driver, sizeof(driver)) <= 0)
		return false;
	snprintf(ret_what, size, "a device for the driver %s", driver);
	return true;
}

static int acceptance_refuse(struct failure *ret_failure, const char *what)
{
	return failure_set(ret_failure, FAILURE_NOT_ACCEPTED, "This VM takes serial devices only. On the Pi: usbpush detach DEVICE.",
			   "the VM does not accept %s", what);
}

int acceptance_check(struct acceptance *acceptance, const struct descriptors *descriptors, struct failure *ret_failure)
{
	bool is_serial = false;
	char what[80];

	if (descriptors->class == CLASS_HUB)
		return acceptance_refuse(ret_failure, "a hub");
	for (size_t i = 0; i < descriptors->n_interfaces; i++) {
		const struct usb_interface *interface = &descriptors->interfaces[i];

		if (!interface_is_harmless(interface)) {
			class_describe(interface->class, what, sizeof(what));
			return acceptance_refuse(ret_failure, what);
		}
		if (interface_has_other_driver(acceptance, descriptors, interface, what, sizeof(what)))
			return acceptance_refuse(ret_failure, what);
		is_serial = is_serial || interface_is_serial(acceptance, descriptors, interface);
	}
	return is_serial ? 0 : acceptance_refuse(ret_failure, "a device without a serial port");
}
