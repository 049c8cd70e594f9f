#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A hub's port in sysfs (drivers/usb/core/port.c). */

/* Whether a hub descriptor (USB 2.0 section 11.23.2.1, USB 3.2 section 10.15.2.1) says that its ports' power can be switched, each alone or all at once. False also for
 * bytes that are no hub descriptor. */
bool hub_descriptor_switches_power(const uint8_t *descriptor, size_t length);

/* Takes the power of the port that a device (its directory) is plugged in at, and gives it back: the device goes and comes as by an unplug. Blocks for a second, in which
 * capacitors empty. hub_node is the hub's in usbfs, open for writing, or a negative number; borrowed.
 * 0, -EOPNOTSUPP where kernel or hub can't, or negative errno. A hub that says it can't is left alone: the kernel would let go of the device, and many a hub would not
 * tell it of the device again. */
int hub_port_cycle(int device_fd, int hub_node);
