#pragma once

#include <stddef.h>

#include "descriptor.h"

#define SERIAL_DRIVER_NAME_SIZE 48

/* Which serial driver the kernel would bind to an interface, looked up by modalias in the module index (libkmod), so that it
 * does not depend on what is loaded yet. */
struct serial_driver_index;

/* Loads the module index of the running kernel; one that can't be read now is looked for again by each question. modules_dir NULL: /lib/modules/RELEASE.
 * The object is the caller's. */
int serial_driver_index_new(const char *modules_dir, struct serial_driver_index **ret_index);

/* Releases it; takes NULL. */
struct serial_driver_index *serial_driver_index_free(struct serial_driver_index *index);

/* Asks for one interface. 1 and the driver's name in buffer if a serial driver (cdc_acm or one of drivers/usb/serial) would bind it,
 * 0 if none would, negative errno if the index can't be read. Generic matches of usbserial itself don't count. */
int serial_driver_lookup(struct serial_driver_index *index, const struct descriptors *descriptors, const struct usb_interface *interface,
			 char *buffer, size_t size);

/* 1 if a network driver (one of drivers/net) would bind the interface, 0 if not, negative errno. */
int serial_driver_is_network(struct serial_driver_index *index, const struct descriptors *descriptors,
			     const struct usb_interface *interface);

/* Whether a driver of another kind (input, network, storage ...) would bind the interface: 1 and its name in buffer, 0 if none, negative errno. */
int serial_driver_find_other(struct serial_driver_index *index, const struct descriptors *descriptors,
			     const struct usb_interface *interface, char *buffer, size_t size);

/* Adds the names of all drivers that the kernel has for the interface to names, each once, as many as fit: *n of max are filled. 0 or negative errno. */
int serial_driver_list(struct serial_driver_index *index, const struct descriptors *descriptors, const struct usb_interface *interface,
		       char names[][SERIAL_DRIVER_NAME_SIZE], size_t max, size_t *n);
