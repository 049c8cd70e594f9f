#pragma once

#include <jansson.h>
#include <signal.h>
#include <stdint.h>

#include "failure.h"
#include "portal_port.h"

/* The HTTP client of pairing: JSON to the portal of a Pi and back, blocking. It wraps libcurl, which no other file includes. */
struct pi_portal;

#define PI_PORTAL_PORT PORTAL_PORT_DEFAULT /* unless somebody says another */

/* Finds an address of host (a name, IPv4, IPv6, link-local with its scope) that answers, and stays with it. is_stopped (borrowed) ends every wait when it is
 * set. FAILURE_UNREACHABLE: which address failed in which way. */
int pi_portal_new(const char *host, uint16_t port, const volatile sig_atomic_t *is_stopped, struct pi_portal **ret_portal,
		  struct failure *ret_failure);

/* Takes NULL, returns NULL. */
struct pi_portal *pi_portal_free(struct pi_portal *portal);

/* The Pi's address as connected. */
const char *pi_portal_address(const struct pi_portal *portal);

/* Its port there. */
uint16_t pi_portal_port(const struct pi_portal *portal);

/* This machine's own address on that way, without scope. */
const char *pi_portal_own_address(const struct pi_portal *portal);

/* POST /api/v1/pairing/STEP. The answer (the caller's) when it is ok; a negative errno with ret_failure filled: what the Pi said (-EREMOTEIO), FAILURE_NOT_FOUND
 * where no usbpush answers, FAILURE_UNREACHABLE, FAILURE_TIMEOUT (maybe it came through), FAILURE_CANCELLED. */
int pi_portal_post(struct pi_portal *portal, const char *step, const json_t *message, unsigned timeout_ms, json_t **ret_answer,
		   struct failure *ret_failure);
