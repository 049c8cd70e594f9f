#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "failure.h"
#include "message.h"

/* The direct road's client: fetches one offered device from the Pi by USB/IP's own protocol (usbip_wire.h), from our exporter or a stock usbipd alike. Nothing
 * that comes is believed: the reply must be about the very device that was offered. */
struct importer;

/* The connected socket, ready for the kernel (blocking, prepared by tcp_socket.h, read to the last byte of the reply) and the callee's; or -1 and why. Once, from the
 * loop; the importer may be freed in it. */
typedef void (*importer_fn)(int fd, const struct failure *failure, void *userdata);

/* Connects to address (numeric, "192.168.1.7" or "fe80::1%eth0") at offer->direct_port; 10 s in all. patience_ms: how long the Pi may be silent
 * (tcp_socket.h). On a negative errno ret_failure says why it can't begin. */
int importer_new(sd_event *event, const char *address, const struct offer *offer, uint32_t patience_ms, importer_fn on_done, void *userdata,
		 struct importer **ret_importer, struct failure *ret_failure);

/* Gives up. Takes NULL, returns NULL. */
struct importer *importer_free(struct importer *importer);
