#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "busid.h"

/* The text of vhci_hcd's `status` files (drivers/usb/usbip/vhci_sysfs.c, port_show_vhci). */

enum vhci_port_state {
	VHCI_PORT_FREE = 4,
	VHCI_PORT_ASSIGNED = 5, /* attached, not enumerated yet */
	VHCI_PORT_USED = 6,
	VHCI_PORT_ERROR = 7,
};

struct vhci_port {
	uint32_t number;
	bool is_super_speed;
	enum vhci_port_state state;
	uint32_t devid;     /* of the exporter; 0 unless used */
	struct busid busid; /* on this machine; empty unless used */
};

/* Decodes the rows of one status file, at most max of them; the socket's column is passed over (it is an old fd number, or 16 digits).
 * -EBADMSG for a row that makes no sense, -E2BIG for too many. */
int vhci_status_parse(const char *text, struct vhci_port *ports, size_t max, size_t *ret_n);
