#pragma once

#include "doctor_check.h"
#include "failure.h"

/* What somebody needs who helps from afar, in one tar file: findings, status, settings, logs, and what the kernel says. No private key, password or code is in it: what could
 * have one is not read at all, and all text is looked through once more. */

enum doctor_part_kind { DOCTOR_PART_FILE, DOCTOR_PART_COMMAND };

struct doctor_part {
	const char *name; /* in the archive */
	enum doctor_part_kind kind;
	const char *const *argv; /* a file's path alone, or a command; NULL-ended */
};

/* Writes the archive (mode 0600; one that is there is left alone). What can't be had is left out, and a note says so. 0 or a negative errno with
 * ret_failure filled. */
int doctor_archive_write(const struct doctor *doctor, const char *path, const struct doctor_part *parts, size_t n,
			 struct failure *ret_failure);

/* Takes out of text (in place) what looks like a secret: private keys, password hashes, tokens, six digits after "code". Returns how many there were. */
unsigned doctor_redact(char *text);
