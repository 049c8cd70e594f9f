#pragma once

#include <signal.h>
#include <stdint.h>

#include "failure.h"

#define PAIR_FIND_HOST_SIZE 256

struct pair_found {
	char host[PAIR_FIND_HOST_SIZE];
	uint16_t port; /* of its portal */
};

/* Finds the one Pi on this network by mDNS. A separate process without rights listens to what comes from there (usbpush-mdns); what it says is a hint, and the digits
 * decide. 0 and where the Pi's portal is, or a negative errno with ret_failure filled: FAILURE_NOT_FOUND, FAILURE_AMBIGUOUS with the list. program: NULL for the
 * installed one. */
int pair_find(const char *program, const volatile sig_atomic_t *is_stopped, struct pair_found *ret_found, struct failure *ret_failure);
