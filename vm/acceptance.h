#pragma once

#include <stdbool.h>

#include "config.h"
#include "descriptor.h"
#include "failure.h"
#include "identity.h"

#define ACCEPTANCE_PATH "/etc/usbpush/accept.conf"

/* Which devices this VM takes, whatever a Pi offers. By default those with an interface for a serial driver, and none with an interface that a serial
 * device has no business with: a hijacked Pi can't give the VM a keyboard. The owner's rules in accept.conf come first. */
struct acceptance;

/* A device that is asked about. All borrowed. */
struct acceptance_device {
	const char *pi; /* the Pi's name, as this VM calls it */
	const struct identity *identity;
	const struct descriptors *descriptors;
};

/* modules_dir NULL: /lib/modules/RELEASE; rules_path is borrowed and outlives it. Succeeds without a module index (then only the USB classes decide), and with rules that
 * make no sense (what they may be about is refused); the log tells both. 0 or -ENOMEM. */
int acceptance_new(const char *modules_dir, const char *rules_path, struct acceptance **ret_acceptance);

/* Takes NULL, returns NULL. */
struct acceptance *acceptance_free(struct acceptance *acceptance);

/* Reads the rules anew. With a line that makes no sense they stay as they were; the log tells it. Whether other rules are in force now. */
bool acceptance_reload(struct acceptance *acceptance);

/* Whether the file could not be read when that was last tried: a later try may go well. */
bool acceptance_is_unread(const struct acceptance *acceptance);

/* The problem of the rules as they lie in the file, or NULL; borrowed. is_in_force: what no rule above that line fits is refused now (else the rules are
 * those from before). */
const struct config_problem *acceptance_get_problem(const struct acceptance *acceptance, bool *ret_is_in_force);

/* The interface that its owner means first: the first one for a serial driver, else the one of the lowest number. */
unsigned acceptance_find_main(struct acceptance *acceptance, const struct descriptors *descriptors);

/* Decides by what the kernel read from the device. 0, or a negative errno with FAILURE_NOT_ACCEPTED and the reason. */
int acceptance_check(struct acceptance *acceptance, const struct acceptance_device *device, struct failure *ret_failure);
