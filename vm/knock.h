#pragma once

#include <stddef.h>
#include <stdint.h>

/* This VM has booted and tells its Pis so: a request to each one's portal (PROTOCOL.md, "The knock"), so that a Pi that waits for its next try makes it now. Best effort: who does
 * not answer, refuses or answers nonsense costs nothing, and not a byte of what is answered is read. In a thread of its own, all Pis at once. */
struct knock;

/* For how long: by then each Pi has tried by itself. */
#define KNOCK_LIMIT_MS 8000

/* Begins to knock at these addresses, IPv4 or IPv6 literals, maybe with a scope; the first 64 of them. Where the network is not there yet it is tried again every half second. 0 or
 * negative errno. */
int knock_start(const char *const *addresses, size_t n, uint16_t port, struct knock **ret_knock);

/* Ends it, at once and wherever it is. Takes NULL, returns NULL. */
struct knock *knock_free(struct knock *knock);
