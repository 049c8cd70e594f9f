#pragma once

#include <stdbool.h>

/* A disk that takes its time: fsync(2) of what is to become one file, held in whichever thread of our code it is. One at a time. */

/* From now on each sync of "NAME.XXXXXX", that is of what file_write_atomic() makes of NAME, does not return; nor does one of a directory NAME, when a file in it has its new
 * content already. In the thread that calls this, which is the event loop's, none
 * may come: the test fails. */
void held_disk_begin(const char *name);

/* Whether one is held now, and how many have been since the begin. */
bool held_disk_has_one(void);
unsigned held_disk_count(void);

/* Lets the one that is held return, with 0 or a negative errno. Later ones are held, too. */
void held_disk_release_one(int result);

/* Lets it return as it would have, and holds none any more. */
void held_disk_end(void);
