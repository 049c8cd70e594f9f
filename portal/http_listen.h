#pragma once

#include <stdint.h>

/* Sockets to serve HTTP on. */

/* Listens on all addresses (IPv6 and IPv4, or IPv4 alone where there is no IPv6), or on that one, numeric. port 0 takes a free one. Returns the socket or a negative errno. */
int http_listen(const char *address, uint16_t port);

/* The port that a socket listens on. */
uint16_t http_listen_port(int fd);
