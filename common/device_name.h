#pragma once

#include <stddef.h>

#include "busid.h"
#include "identity.h"
#include "rule.h"

/* The name of a device that nobody gave one: made of its product and serial number, so that it goes with the device; without a serial number, of its socket. Safe as
 * the name of a file (rule_is_name), whatever the device says. Two devices of the same product and serial number get the same name. */
void device_name_make(const struct identity *identity, const struct busid *busid, char ret_name[RULE_NAME_SIZE]);
