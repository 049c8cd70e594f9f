#pragma once

#include "failure.h"

/* Whoever changes pi.conf and authorized_keys holds this lock: each change reads a whole file and writes it anew, and what somebody else wrote in between would be lost (a
 * Pi that was just let in; or, worse, the end of another's pairing). Root's alone, so that nobody else can hold it. */

/* Waits for it. An fd, the caller's, whose close ends it; or a negative errno with ret_failure. root is put before the path. */
int files_lock_take(const char *root, struct failure *ret_failure);
