#pragma once

#include "failure.h"

/* How pi.conf and authorized_keys were before a pairing wrote into them, so that they can be again what they were: also after this program was killed,
 * for it stands in a file. root is put before every path. */

#define PAIR_UNDO_PATH "/var/lib/usbpush/pairing.undo"

/* Notes both files as they are, before the first write. pi_id: whose lines are to come. 0 or a negative errno with ret_failure filled. */
int pair_undo_begin(const char *root, const char *pi_id, struct failure *ret_failure);

/* Notes both files as they are now, after the last write: only if they are still that will they be replaced as a whole. */
int pair_undo_written(const char *root, struct failure *ret_failure);

/* Makes both files what they were (where somebody else wrote meanwhile, takes the Pi's lines out), and forgets it. Nothing to undo: nothing happens.
 * 1 if something was undone, 0, or a negative errno with ret_failure filled. */
int pair_undo_restore(const char *root, struct failure *ret_failure);

/* The pairing stands: forgets how it was. */
int pair_undo_forget(const char *root, struct failure *ret_failure);
