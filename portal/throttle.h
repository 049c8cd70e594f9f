#pragma once

#include <stdint.h>

/* Slows those down who guess: after five wrong tries an address waits a second before the next one, and twice as long after each further one, up to five
 * minutes. Addresses are told apart, so that nobody locks the owner out; all of them together are slowed after many more. */
struct throttle;

/* The object is the caller's; NULL without memory. */
struct throttle *throttle_new(void);

/* Takes NULL, returns NULL. */
struct throttle *throttle_free(struct throttle *throttle);

/* How long this address has to wait from now (a CLOCK_BOOTTIME time), in µs; 0: it may try. */
uint64_t throttle_wait_usec(const struct throttle *throttle, const char *address, uint64_t now_usec);

/* A try begins: it counts as wrong until it turns out right, so that tries at the same moment are counted, too. */
void throttle_count(struct throttle *throttle, const char *address, uint64_t now_usec);

/* It was right: the address begins anew. */
void throttle_forgive(struct throttle *throttle, const char *address);
