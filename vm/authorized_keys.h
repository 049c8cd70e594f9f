#pragma once

#include "pi_key.h"

/* The `usbpush` login's authorized_keys: a line for each paired Pi, whose forced command tells the handler which Pi speaks. The file and
 * its directories are root's, so that the login can't change its own keys; sshd reads it as the login, so it is readable. */

#define AUTHORIZED_KEYS_PATH "/var/lib/usbpush/.ssh/authorized_keys"

/* Writes the Pi's line in place of one with its id or (a Pi that was set up anew) its name; makes the directory when it is missing. All
 * other lines stay. 0 or negative errno. */
int authorized_keys_write(const char *path, const struct pi_key *key, const char *name);

/* Takes the line of a Pi's id out. 0, also if there was none, or negative errno. */
int authorized_keys_remove(const char *path, const char *pi_id);
