#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "failure.h"

struct sockaddr_storage;

/* A session that usbip-host has on a TCP connection: the kernels carry its bytes, we see its end, and can end it. */
struct direct_session;

/* Once, from the loop; free the session in it or later. */
typedef void (*direct_session_fn)(const struct failure *failure, void *userdata);

/* Watches the connection fd (borrowed: it takes a reference of its own), which peer's address is at the other end of. patience_ms: for how long the peer may be
 * silent while bytes wait for him; until then the pauses between retransmissions stay short (tcp_watch.h). 0 or negative errno. */
int direct_session_new(sd_event *event, int fd, const char *peer, uint32_t patience_ms, direct_session_fn on_ended, void *userdata,
		       struct direct_session **ret_session);

/* Ends it: both kernels see the end of the stream. Takes NULL, returns NULL. */
struct direct_session *direct_session_free(struct direct_session *session);

/* Who has it. */
const char *direct_session_get_peer(const struct direct_session *session);

/* Where that is, from the kernel. 0 or negative errno (-ENOTCONN once it is gone). */
int direct_session_get_address(const struct direct_session *session, struct sockaddr_storage *ret_address);
