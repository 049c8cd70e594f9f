#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SETUP_CODE_PATH "/run/usbpush/setup-code"
#define SETUP_CODE_SIZE 10 /* "ABCD-EFGH" */

#define PORTAL_USER      "usbpush-portal"
#define PORTAL_STATE_DIR "/var/lib/usbpush-portal"
#define PORTAL_OWNER     "owner" /* in it: the hash of the owner's password */

/* The code that makes its bearer the portal's owner: root makes it with `usbpush setup-code`, the portal compares it. It dies with the boot. */

/* Makes a new code and writes it to path, for root and group to read; an older one is void. 0 or negative errno. */
int setup_code_make(const char *path, gid_t group, char *ret_code, size_t size);

/* Whether given is the code at path; case, spaces and dashes do not count. Takes as long for a wrong one as for the right one. */
bool setup_code_fits(const char *path, const char *given);

/* Removes it. 0 or negative errno; 0 if there is none. */
int setup_code_remove(const char *path);
