#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/* A look at everything that usbpush stands on: a list of checks, and what they found. Blocking; for the command lines, not for daemons. */

enum doctor_state {
	DOCTOR_OK,
	DOCTOR_SKIPPED, /* could not be looked at; the cure says what would help */
	DOCTOR_NOTE,    /* it works, and there is something to know */
	DOCTOR_WRONG,   /* it can't work like that */
};

struct doctor_finding {
	const char *check; /* its name: an interface of --json */
	enum doctor_state state;
	char text[256];
	char cure[256]; /* may be empty */
};

#define DOCTOR_MAX_FINDINGS 96
#define DOCTOR_PATH_SIZE    512

struct doctor {
	const char *root; /* borrowed: put before every path; "" on a real system */
	const char *check;
	size_t n;
	struct doctor_finding findings[DOCTOR_MAX_FINDINGS];
	json_t *status; /* owned: what the daemon said of itself, for the checks that follow; may be NULL */
};

/* One check. It says at least one thing. */
struct doctor_check {
	const char *name;
	void (*run)(struct doctor *doctor);
};

/* Runs the checks in order. Borrowed, as is root. */
void doctor_run(struct doctor *doctor, const char *root, const struct doctor_check *checks, size_t n);

/* Releases what it holds. */
void doctor_done(struct doctor *doctor);

/* Adds a finding of the check that runs; cure may be NULL. */
void doctor_say(struct doctor *doctor, enum doctor_state state, const char *cure, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The worst of the findings of that check; DOCTOR_OK if it said nothing. */
enum doctor_state doctor_worst_of(const struct doctor *doctor, const char *check);

/* 1 when something is wrong, else 0. */
int doctor_exit_status(const struct doctor *doctor);

/* A line each, the cure below it, the sum at the end. */
void doctor_print(const struct doctor *doctor, FILE *stream, bool is_coloured);

/* {"ok","software","findings":[{"check","state","text","cure"}]}; a new reference. */
json_t *doctor_to_json(const struct doctor *doctor);

/* "ok", "skipped", "note", "wrong". */
const char *doctor_state_to_string(enum doctor_state state);

/* ---- what checks look with ---- */

/* root and path together, in buffer. False if that is too long. */
bool doctor_path(const struct doctor *doctor, const char *path, char buffer[DOCTOR_PATH_SIZE]);

/* Whether there is such a file, directory or socket. */
bool doctor_exists(const struct doctor *doctor, const char *path);

/* The file's content, NUL-ended, at most max_size bytes (what is more is left out); the caller frees it. The length or a negative errno. */
ssize_t doctor_read(const struct doctor *doctor, const char *path, size_t max_size, char **ret_content);

/* The first line of a small file, without its newline. 0 or negative errno. */
int doctor_read_line(const struct doctor *doctor, const char *path, char *buffer, size_t size);

#define DOCTOR_OUTPUT_MAX ((size_t)1024 * 1024)

/* Runs a program (argv[0] below root; argv ends with NULL) for at most ten seconds, with input (may be NULL) on its standard input. Its output, stdout and stderr
 * together and NUL-ended, is the caller's: the first DOCTOR_OUTPUT_MAX bytes, what is more is left out. Its exit status (128 and the signal where one ended it), or a
 * negative errno: -ENOENT where there is none, -ETIMEDOUT where it was ended for taking longer, whether it still spoke or not. */
int doctor_command(const struct doctor *doctor, const char *const *argv, const char *input, char **ret_output);
