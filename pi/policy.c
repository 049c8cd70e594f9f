#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serial_driver.h"

/* Class codes of usb.org/defined-class-codes. */
enum { CLASS_COMMUNICATIONS = 0x02, CLASS_HUB = 0x09, CLASS_WIRELESS = 0xe0, CLASS_MISCELLANEOUS = 0xef };

struct policy {
	struct serial_driver_index *drivers; /* owned */
};

/* The first look-up reads the module index from the disk: better now than when a device waits for it. */
static void policy_warm_up(struct policy *policy)
{
	const struct descriptors ftdi = { .vid = 0x0403, .pid = 0x6001, .n_interfaces = 1, .interfaces = { { .class = 0xff } } };
	char driver[64];

	(void)serial_driver_lookup(policy->drivers, &ftdi, &ftdi.interfaces[0], driver, sizeof(driver));
}

int policy_new(const char *modules_dir, struct policy **ret_policy)
{
	struct policy *policy = calloc(1, sizeof(*policy));
	int r;

	if (!policy)
		return -ENOMEM;
	r = serial_driver_index_new(modules_dir, &policy->drivers);
	if (r < 0) {
		free(policy);
		return r;
	}
	policy_warm_up(policy);
	*ret_policy = policy;
	return 0;
}

struct policy *policy_free(struct policy *policy)
{
	if (!policy)
		return NULL;
	serial_driver_index_free(policy->drivers);
	free(policy);
	return NULL;
}

/* Network functions that a class code tells: CDC Ethernet, NCM, MBIM, and RNDIS in its two spellings. */
static bool policy_is_network(const struct usb_interface *interface)
{
	switch (interface->class) {
	case CLASS_COMMUNICATIONS:
		return interface->subclass == 0x06 || interface->subclass == 0x0d || interface->subclass == 0x0e;
	case CLASS_WIRELESS:
		return interface->subclass == 0x01 && interface->protocol == 0x03;
	case CLASS_MISCELLANEOUS:
		return interface->subclass == 0x04 && interface->protocol == 0x01;
	default:
		return false;
	}
}

static void policy_ignore(struct policy_decision *decision, const char *reason)
{
	decision->is_shared = false;
	snprintf(decision->reason, sizeof(decision->reason), "%s", reason);
}

/* What is never shared, whatever else it has. */
static bool policy_is_taboo(struct policy *policy, const char *syspath, const struct descriptors *descriptors,
			    struct policy_decision *decision)
{
	if (descriptors->class == CLASS_HUB) {
		policy_ignore(decision, "a hub");
		return true;
	}
	if (strstr(syspath, "/vhci_hcd.")) {
		policy_ignore(decision, "itself attached over the network");
		return true;
	}
	for (size_t i = 0; i < descriptors->n_interfaces; i++) {
		const struct usb_interface *interface = &descriptors->interfaces[i];

		if (interface->class == CLASS_HUB)
			policy_ignore(decision, "a hub");
		else if (policy_is_network(interface) || serial_driver_is_network(policy->drivers, descriptors, interface) == 1)
			policy_ignore(decision, "has a network interface");
		else
			continue;
		return true;
	}
	return false;
}

void policy_decide(struct policy *policy, const char *syspath, const struct descriptors *descriptors, struct policy_decision *ret_decision)
{
	char driver[64];
	int r = 0;

	if (policy_is_taboo(policy, syspath, descriptors, ret_decision))
		return;
	for (size_t i = 0; i < descriptors->n_interfaces && r == 0; i++)
		r = serial_driver_lookup(policy->drivers, descriptors, &descriptors->interfaces[i], driver, sizeof(driver));
	ret_decision->is_shared = r == 1;
	if (r == 1)
		snprintf(ret_decision->reason, sizeof(ret_decision->reason), "serial driver %s", driver);
	else if (r < 0)
		snprintf(ret_decision->reason, sizeof(ret_decision->reason), "the kernel's module index can't be read: %s", strerror(-r));
	else
		policy_ignore(ret_decision, "no serial driver fits it");
}
