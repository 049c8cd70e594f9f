#include "acceptance.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "rule_set.h"
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

enum { ACTION_ACCEPT, ACTION_REFUSE, ACTION_DEFAULT };

static const char *const ACTIONS[] = { [ACTION_ACCEPT] = "accept", [ACTION_REFUSE] = "refuse", [ACTION_DEFAULT] = "default", NULL };
static const struct rule_syntax SYNTAX = { ACTIONS, RULE_KEY_PI };

struct acceptance {
	struct serial_driver_index *drivers; /* owned; NULL when there is no module index */
	const char *rules_path;              /* borrowed: outlives us */
	struct rule_set rules;               /* owned: in force */
	struct config_problem problem;       /* of the file as it lies there; empty without */
	bool is_unread;
};

static void acceptance_on_problem(const struct config_problem *problem, void *userdata)
{
	(void)userdata;
	log_warning("%s", problem->text);
}

static void acceptance_load(struct acceptance *acceptance)
{
	int r = rule_set_read(acceptance->rules_path, &SYNTAX, acceptance_on_problem, NULL, &acceptance->rules);

	acceptance->is_unread = r < 0;
	if (r >= 0) {
		acceptance->problem = acceptance->rules.broken;
		return;
	}
	acceptance->rules.broken_line = 1; /* it may say anything */
	snprintf(acceptance->problem.text, sizeof(acceptance->problem.text), "%.200s can't be read: %s", acceptance->rules_path,
		 strerror(-r));
	acceptance->rules.broken = acceptance->problem;
	log_error("%s", acceptance->problem.text);
}

bool acceptance_reload(struct acceptance *acceptance)
{
	struct rule_set set;
	bool is_changed;
	int r = rule_set_read(acceptance->rules_path, &SYNTAX, acceptance_on_problem, NULL, &set);

	acceptance->is_unread = r < 0;
	if (r < 0) {
		log_error("%s can't be read: %s; the rules stay as they were", acceptance->rules_path, strerror(-r));
		return false;
	}
	acceptance->problem = set.broken;
	if (r > 0) {
		log_error("%s is not used until that is mended; the rules stay as they were", acceptance->rules_path);
		rule_set_done(&set);
		return false;
	}
	is_changed = !rule_set_equal(&acceptance->rules, &set);
	rule_set_done(&acceptance->rules);
	acceptance->rules = set;
	return is_changed;
}

const struct config_problem *acceptance_get_problem(const struct acceptance *acceptance, bool *ret_is_in_force)
{
	*ret_is_in_force = acceptance->rules.broken_line != 0;
	return acceptance->problem.text[0] ? &acceptance->problem : NULL;
}

bool acceptance_is_unread(const struct acceptance *acceptance)
{
	return acceptance->is_unread;
}

int acceptance_new(const char *modules_dir, const char *rules_path, struct acceptance **ret_acceptance)
{
	struct acceptance *acceptance = calloc(1, sizeof(*acceptance));
	int err;

	if (!acceptance)
		return -ENOMEM;
	err = serial_driver_index_new(modules_dir, &acceptance->drivers);
	if (err == -ENOMEM) {
		acceptance->drivers = NULL;
		acceptance_free(acceptance);
		return err;
	}
	if (err < 0) {
		acceptance->drivers = NULL;
		log_warning("the kernel's module index can't be read (error %d): devices are judged by their USB class alone", -err);
	}
	acceptance->rules_path = rules_path;
	acceptance_load(acceptance);
	*ret_acceptance = acceptance;
	return 0;
}

struct acceptance *acceptance_free(struct acceptance *acceptance)
{
	if (!acceptance)
		return NULL;
	serial_driver_index_free(acceptance->drivers);
	rule_set_done(&acceptance->rules);
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
	return failure_set(
		ret_failure, FAILURE_NOT_ACCEPTED,
		"To take it all the same, write a rule into the VM's /etc/usbpush/accept.conf; else on the Pi: usbpush ignore DEVICE.",
		"the VM does not accept %s", what);
}

static int acceptance_check_default(struct acceptance *acceptance, const struct descriptors *descriptors, struct failure *ret_failure)
{
	bool is_serial = false;
	char what[80];

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

/* What is behind a hub was neither offered nor verified. */
static bool is_hub(const struct descriptors *descriptors)
{
	for (size_t i = 0; i < descriptors->n_interfaces; i++)
		if (descriptors->interfaces[i].class == CLASS_HUB)
			return true;
	return descriptors->class == CLASS_HUB;
}

static const struct rule *acceptance_find_rule(const struct acceptance *acceptance, const struct acceptance_device *device)
{
	struct rule_subject subject = { .descriptors = device->descriptors, .serial = device->identity->serial, .pi = device->pi };

	for (size_t i = 0; acceptance->drivers && acceptance->rules.n > 0 && i < device->descriptors->n_interfaces; i++)
		(void)serial_driver_list(acceptance->drivers, device->descriptors, &device->descriptors->interfaces[i], subject.drivers,
					 RULE_MAX_DRIVERS, &subject.n_drivers);
	return rule_set_find(&acceptance->rules, &subject);
}

int acceptance_check(struct acceptance *acceptance, const struct acceptance_device *device, struct failure *ret_failure)
{
	const struct rule *rule;

	if (is_hub(device->descriptors))
		return acceptance_refuse(ret_failure, "a hub");
	rule = acceptance_find_rule(acceptance, device);
	if (rule == RULE_BROKEN)
		return failure_set(ret_failure, FAILURE_NOT_ACCEPTED, "Mend that line on the VM.", "%s; it may be about this device",
				   acceptance->rules.broken.text);
	if (rule && rule->action == ACTION_ACCEPT)
		return 0;
	if (rule && rule->action == ACTION_REFUSE)
		return failure_set(ret_failure, FAILURE_NOT_ACCEPTED, "Change that rule on the VM.",
				   "the VM refuses it by its rule in %s:%u", acceptance->rules_path, rule->line);
	return acceptance_check_default(acceptance, device->descriptors, ret_failure);
}

unsigned acceptance_find_main(struct acceptance *acceptance, const struct descriptors *descriptors)
{
	unsigned lowest = UINT8_MAX;

	for (size_t i = 0; i < descriptors->n_interfaces; i++) {
		if (interface_is_serial(acceptance, descriptors, &descriptors->interfaces[i]))
			return descriptors->interfaces[i].number;
		if (descriptors->interfaces[i].number < lowest)
			lowest = descriptors->interfaces[i].number;
	}
	return lowest;
}
