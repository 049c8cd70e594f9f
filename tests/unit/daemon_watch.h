#pragma once

#include <stddef.h>

/* What a daemon that runs in the test says in its log, and what memory it takes: for peers that mean harm. */

/* From here on the log goes to a file of the watch. What was said is told to the test's own stderr at the end. */
void daemon_watch_begin(void);
void daemon_watch_end(void);

/* What the log has said since the last call of daemon_watch_mark() (or the begin). Valid until the next call. */
const char *daemon_watch_log(void);
void daemon_watch_mark(void);

/* What this process has allocated, in bytes. */
size_t daemon_watch_memory(void);
