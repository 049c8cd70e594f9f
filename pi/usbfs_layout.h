#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a device's descriptors say there is in it, by configuration: interfaces' alternate settings and endpoints. USB 2.0 specification, section 9.6. */
struct usbfs_layout;

/* Of what sysfs' `descriptors` says: the device descriptor, then each configuration with all that belongs to it. Foreign bytes: -EBADMSG where they are no descriptors,
 * -ENOMEM. The object is the caller's. */
int usbfs_layout_new(const uint8_t *bytes, size_t size, struct usbfs_layout **ret_layout);

/* Reads them below a device's directory of sysfs. The same, or another negative errno. */
int usbfs_layout_read(int device_fd, struct usbfs_layout **ret_layout);

/* Takes NULL, returns NULL. */
struct usbfs_layout *usbfs_layout_free(struct usbfs_layout *layout);

/* Whether a configuration (bConfigurationValue; negative: any of them) has that endpoint (bEndpointAddress: with its direction) in some setting. Endpoint 0 is always there. */
bool usbfs_layout_has_endpoint(const struct usbfs_layout *layout, int configuration, uint8_t address);

/* The longest isochronous packet that an endpoint there takes in any setting (usb_submit_urb() in drivers/usb/core/urb.c): with what it may repeat in a microframe, and, of
 * SuperSpeed, its bursts. 0 without that endpoint. */
uint32_t usbfs_layout_get_packet_size(const struct usbfs_layout *layout, int configuration, uint8_t address);

/* The class of an alternate setting of an interface there (bInterfaceClass); -ENOENT without it. */
int usbfs_layout_get_class(const struct usbfs_layout *layout, int configuration, uint8_t interface, uint8_t setting);

/* Whether an interface of it has that alternate setting. */
bool usbfs_layout_has_setting(const struct usbfs_layout *layout, int configuration, uint8_t interface, uint8_t setting);
