#pragma once

#include <stdbool.h>
#include <stdint.h>

/* How much each subject of the log may say: a Pi, a device, a link that storms fills neither the journal nor takes journald's own limit away from the others. The subject
 * is what stands before a line's first ": ", and the bus id that may follow there. What is trouble (a warning or worse) is counted for itself. Each has LOG_LIMIT_BURST lines, and LOG_LIMIT_PER_SEC more each second. From any thread. */

#define LOG_LIMIT_BURST    200
#define LOG_LIMIT_PER_SEC  10
#define LOG_LIMIT_SUBJECTS 256

/* Whether this line may be written at now_usec. If so *ret_left_out is how many of its subject were left out since the last one that was. */
bool log_limit_take(const char *line, bool is_trouble, uint64_t now_usec, unsigned *ret_left_out);

/* The length of a line's subject, 0 if it has none. */
int log_limit_subject(const char *line);
