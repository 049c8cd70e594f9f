#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "failure.h"
#include "usbip_wire.h"

/* The direct road's server: USB/IP on TCP, as usbipd of the kernel's tools speaks it (usbip_wire.h). It speaks with one request a connection; who may have
 * what is decided by its owner. Everything that a peer sends is bounded, in bytes and in time. */
struct import_server;

#define IMPORT_SERVER_MAX_DEVICES 64

struct import_server_handlers {
	/* Whether this address may ask at all. Who may not gets the status for that to whatever he asks. */
	bool (*is_allowed)(const struct sockaddr_storage *address, void *userdata);
	/* Fills in the devices that may be imported now; how many they are. */
	size_t (*on_list)(struct usbip_device *ret_devices, size_t max, void *userdata);
	/* Gives the device to this peer: fd (borrowed, blocking, prepared) becomes its kernel's before this returns. USBIP_OK with ret_device, or why not. A reply
	 * is sent on fd behind it, at once: no byte can come from the peer before he has read it. */
	enum usbip_status (*on_import)(const struct busid *busid, int fd, const struct sockaddr_storage *address,
				       struct usbip_device *ret_device, void *userdata);
};

/* Listens on TCP port (0: any; for tests) on all addresses, IPv6 and IPv4, with IPv4 alone where the machine has no other. user_timeout_msec: tcp_socket.h. The
 * object is the caller's. On a negative errno ret_failure says why it can't listen. */
int import_server_new(sd_event *event, uint16_t port, uint32_t user_timeout_msec, const struct import_server_handlers *handlers,
		      void *userdata, struct import_server **ret_server, struct failure *ret_failure);

/* Ends listening and every connection that is still talking; those that a kernel has got go on. Takes NULL, returns NULL. */
struct import_server *import_server_free(struct import_server *server);

/* The port it listens on. */
uint16_t import_server_get_port(const struct import_server *server);

/* An address as people write it: "192.168.1.7", not "::ffff:192.168.1.7". */
void import_server_name_address(const struct sockaddr_storage *address, char *buffer, size_t size);
