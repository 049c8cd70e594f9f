#pragma once

#include <stdbool.h>

#include "descriptor.h"

/* Which devices are shared (DESIGN section 6): by what a device is, never by where it is plugged in. */
struct policy;

struct policy_decision {
	bool is_shared;
	char reason[128]; /* "serial driver ftdi_sio", "a hub", ... */
};

/* modules_dir NULL: the running kernel's. The object is the caller's. */
int policy_new(const char *modules_dir, struct policy **ret_policy);

/* Takes NULL, returns NULL. */
struct policy *policy_free(struct policy *policy);

/* Decides by the device's descriptors and its path in sysfs ("/sys/devices/..."). */
void policy_decide(struct policy *policy, const char *syspath, const struct descriptors *descriptors, struct policy_decision *ret_decision);
