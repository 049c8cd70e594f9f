#pragma once

#include <stdbool.h>

/* A bus id as Linux names a USB device: BUS-PORT[.PORT]..., "1-1.4". A place, not an identity. */
#define BUSID_SIZE 32 /* with the NUL: usbip's SYSFS_BUS_ID_SIZE, include/uapi of drivers/usb/usbip */

struct busid {
	char text[BUSID_SIZE];
};

/* Accepts decimal numbers from 1 to 255 without leading zeros, nothing else: no root hub ("usb1"), no interface ("1-1:1.0"),
 * no slash. -EINVAL, and *ret_busid untouched, otherwise. */
int busid_parse(const char *text, struct busid *ret_busid);

/* Whether the two are the same place ("1-1" is not "1-1.2"). */
bool busid_equal(const struct busid *a, const struct busid *b);
