#pragma once

#include <signal.h>

#include "failure.h"

#define PAIR_FIND_HOST_SIZE 256

/* Finds the one Pi on this network by mDNS. A separate process without rights listens to what comes from there (usbpush-mdns); what it says is a hint, and the digits
 * decide. 0 and the Pi's address, or a negative errno with ret_failure filled: FAILURE_NOT_FOUND, FAILURE_AMBIGUOUS with the list. program: NULL for the
 * installed one. */
int pair_find(const char *program, const volatile sig_atomic_t *is_stopped, char ret_host[PAIR_FIND_HOST_SIZE],
	      struct failure *ret_failure);
