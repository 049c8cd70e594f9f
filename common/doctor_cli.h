#pragma once

#include "doctor_archive.h"
#include "doctor_check.h"

/* `doctor [--json] [--archive FILE]`: the same on both command lines. */

struct doctor_side {
	const char *program; /* "usbpush" */
	const struct doctor_check *checks;
	size_t n_checks;
	const struct doctor_part *parts;
	size_t n_parts;
};

/* argv[0] is "doctor". The exit status: 0 nothing is wrong, 1 something is (or the archive could not be written), 2 usage. */
int doctor_cli(int argc, char **argv, const struct doctor_side *side);
