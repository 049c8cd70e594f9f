#pragma once

#include <stddef.h>

#include "message.h"

/* /run/usbpush/ports.json: which of vhci_hcd's ports are ours and for whom, so that a successor of this process knows. The kernel is the
 * truth about the ports themselves. */
struct port_record {
	uint32_t port;
	char pi_id[MESSAGE_ID_SIZE];
	struct offer offer;
};

/* Replaces the file atomically. 0 or negative errno. */
int port_records_write(const char *path, const char *boot_id, const struct port_record *records, size_t n);

/* Reads it. The array is the caller's to free. No file, or one of another boot: 0 records. -EBADMSG for one that makes no sense. */
int port_records_read(const char *path, const char *boot_id, struct port_record **ret_records, size_t *ret_n);
