#pragma once

#include <netdb.h>
#include <stdbool.h>

/* Doctor's own connections: to see whether somebody is there. */

/* A connected non-blocking TCP socket within limit_ms, or a negative errno. */
int doctor_connect(const struct addrinfo *address, int limit_ms);

/* The same to a numeric address ("10.0.0.2", "fe80::1%eth0"): -EADDRNOTAVAIL for what is none. */
int doctor_connect_to(const char *address, unsigned port, int limit_ms);

/* Whether somebody listens on that port of this machine's loopback. */
bool doctor_port_answers(unsigned port);
