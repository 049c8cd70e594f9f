#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Jobs whose work and whose end happen when the test says so, in any order: in the place of common/job.c. */

/* One of the jobs goes on: its work is done, or, when that is done, its end is told. Which one, choice says. False if there is none. */
bool virtual_jobs_step(uint32_t choice);

/* How many there are. */
unsigned virtual_jobs_count(void);
