#pragma once

#include "descriptor.h"
#include "failure.h"

/* Which devices this VM takes, whatever a Pi offers: those with an interface for a serial driver, and none with an interface that a serial
 * device has no business with. A hijacked Pi can't give the VM a keyboard. */
struct acceptance;

/* modules_dir NULL: /lib/modules/RELEASE. Succeeds without a module index; then only the USB classes decide. 0 or -ENOMEM. */
int acceptance_new(const char *modules_dir, struct acceptance **ret_acceptance);

/* Takes NULL, returns NULL. */
struct acceptance *acceptance_free(struct acceptance *acceptance);

/* Decides by what the kernel read from the device. 0, or a negative errno with FAILURE_NOT_ACCEPTED and the reason. */
int acceptance_check(struct acceptance *acceptance, const struct descriptors *descriptors, struct failure *ret_failure);
