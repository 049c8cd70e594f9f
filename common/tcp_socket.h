#pragma once

#include <stdint.h>

/* Makes a TCP socket fit to be a kernel's: small URBs go at once (TCP_NODELAY), a peer that is dead is noticed while nothing is said (keepalive after 5 s of
 * silence) and while bytes wait (TCP_USER_TIMEOUT of that many ms). To be done before the kernel gets it. 0 or negative errno. */
int tcp_socket_prepare(int fd, uint32_t user_timeout_msec);

/* For how long, in ms: a heartbeat beside the connection ends it sooner where somebody listens to that. Twice the patience, so that a cut which the heartbeat
 * bears is borne here, too, whatever pauses TCP makes between its retransmissions. */
static inline uint32_t tcp_socket_patience(uint32_t patience_ms)
{
	return 2 * patience_ms;
}
