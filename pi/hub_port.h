#pragma once

/* A hub's port in sysfs (drivers/usb/core/port.c). */

/* Takes the power of the port that a device (its directory) is plugged in at, and gives it back: the device goes and comes as by an unplug. Blocks for a second, in which
 * capacitors empty. 0, -EOPNOTSUPP where kernel or hub can't, or negative errno. */
int hub_port_cycle(int device_fd);
