#pragma once

#include "failure.h"

/* One pairing at a time on this VM, and ten minutes of rest after three spent codes. It dies with the boot: /run/usbpush/pairing. */

#define PAIR_LOCK_MAX_SPENT 3
#define PAIR_LOCK_REST_S    600

struct pair_lock {
	int fd; /* owned; holds the lock */
};

/* Takes the lock. FAILURE_BUSY while another pairing runs here, FAILURE_LOCKED after too many spent codes. root is put before the path. */
int pair_lock_take(const char *root, struct pair_lock *ret_lock, struct failure *ret_failure);

/* Releases it. */
void pair_lock_done(struct pair_lock *lock);

/* One more code is spent. FAILURE_LOCKED when it was the last one for now. */
int pair_lock_spend(struct pair_lock *lock, struct failure *ret_failure);

/* A code was right: none is spent. */
void pair_lock_clear(struct pair_lock *lock);
