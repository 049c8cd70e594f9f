#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Time that stands still until the test lets it pass, and the loop's sources on it: in the place of common/daemon.c's clock and timers, and of those calls of sd-event that
 * the machines under test make. */

/* Everything anew, at a time of its own. */
void virtual_time_reset(void);

/* Fires the source that is due next, if it is due within limit_usec. False if there is none. */
bool virtual_time_pass(uint64_t limit_usec);

/* How many sources there are, armed or not. */
unsigned virtual_time_count(void);
