#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Who is connected to the portal, and who holds a place without asking for anything. A client that is silent, or sends a byte a second, is closed when its
 * time is up, and sooner when others need its place: however many there are, the next one is served. */
struct connection_table;
struct connection;

#define CONNECTION_ADDRESS_SIZE INET6_ADDRSTRLEN
#define CONNECTION_PEER_SIZE    (INET6_ADDRSTRLEN + 17)

/* At most max at once, and max_per_address from one address (one /64 of IPv6); patience_usec is what a request may take to arrive in whole. The object is the
 * caller's; NULL without memory. */
struct connection_table *connection_table_new(unsigned max, unsigned max_per_address, uint64_t patience_usec);

/* Takes NULL, returns NULL. */
struct connection_table *connection_table_free(struct connection_table *table);

/* A new one: fd and address are borrowed, fd until connection_remove(). Where there are too many the one that has waited longest for its own request is shut
 * down: the server then finds it ended. NULL without memory. */
struct connection *connection_add(struct connection_table *table, int fd, const struct sockaddr *address);

/* It was closed. */
void connection_remove(struct connection *connection);

/* Its request is here in whole and being answered: it is left in peace. */
void connection_is_served(struct connection *connection);

/* The answer is out: the next request may take its time from now on. */
void connection_is_waiting(struct connection *connection);

/* The peer, as text: an IPv4 address, or the /64 of an IPv6 address. Borrowed. */
const char *connection_address(const struct connection *connection);

/* The peer's own address, with its scope where it has one (fe80::1%eth0). Borrowed. */
const char *connection_peer(const struct connection *connection);

/* Shuts down those whose request takes longer than the patience. */
void connection_table_expire(struct connection_table *table);

/* How many there are. */
unsigned connection_table_count(const struct connection_table *table);
