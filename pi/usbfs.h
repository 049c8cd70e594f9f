#pragma once

#include <linux/usbdevice_fs.h>
#include <stdbool.h>
#include <stdint.h>

/* The kernel's usbfs: a device's node /dev/bus/usb/BBB/DDD, opened for writing, through which a program is its driver (drivers/usb/core/devio.c). The one file
 * that makes those requests. All return 0 or a negative errno; -ENODEV: the device is unplugged. Calls marked "may block" wait for the device: they belong in a
 * job. */

#define USBFS_MAX_INTERFACES 32 /* the kernel keeps one bit of a long for each that a program has */

/* Takes all interfaces of the device's configuration from the drivers that they have, and keeps drivers from them. May block. -EBUSY: another program has one
 * of them by usbfs; then nothing was kept. *ret_interfaces: one bit for each; none may be there. */
int usbfs_claim_interfaces(int fd, uint32_t *ret_interfaces);

/* Gives up what is claimed; transfers under way there end. Drivers do not come by themselves. On failure some may still be claimed. May block. */
int usbfs_release_interfaces(int fd);

/* Lets the kernel's own drivers have the interfaces that no driver has; each gets a second try. May block. */
void usbfs_connect_drivers(int fd);

/* Resets the device. The kernel would give claimed interfaces back to their drivers (usb_reset_device()): release them first. May block. */
int usbfs_reset(int fd);

/* Chooses an alternate setting of a claimed interface. May block. */
int usbfs_set_interface(int fd, unsigned interface, unsigned setting);

/* Chooses a configuration; no interface may be claimed meanwhile. May block. */
int usbfs_set_configuration(int fd, unsigned configuration);

/* Ends an endpoint's halt, here and in the device. May block. */
int usbfs_clear_halt(int fd, unsigned endpoint);

/* Starts a transfer. The kernel knows it by this address, which must stay until usbfs_reap() has returned it, or the node was closed. -ENOMEM: all the memory
 * that usbfs may use is in use. */
int usbfs_submit(int fd, struct usbdevfs_urb *urb);

/* Ends a transfer; usbfs_reap() returns it then. -EINVAL: it was over already, and is to be reaped, too. */
int usbfs_discard(int fd, struct usbdevfs_urb *urb);

/* A transfer that is over, with its results filled in. -EAGAIN: none is. Also of a device that is unplugged, until all are returned. */
int usbfs_reap(int fd, struct usbdevfs_urb **ret_urb);
