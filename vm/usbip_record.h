#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* /run/vhci_hcd/portN, one for each port in use: from where its device comes, as the stock tools keep it for `usbip port` (record_connection() in
 * tools/usb/usbip/src/usbip_attach.c): the host, its port, the bus id there. Ours have one word more, by which they are known. */

#define USBIP_RECORD_DIR "/run/vhci_hcd"

struct usbip_record {
	uint32_t port;
	const char *host;     /* borrowed; one word */
	uint16_t direct_port; /* 0: the tunnel, told as "ssh" */
	const char *busid;    /* borrowed; on the Pi */
};

/* Lets dir hold these records of ours and no others; records of the stock tools stay. Nothing is done where there is no dir. 0 or the first negative errno. */
int usbip_records_write(const char *dir, const struct usbip_record *records, size_t n);
