#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/* A program of the build tree, run beside the test's own loop. */
struct program {
	sd_event *event; /* borrowed */
	pid_t pid;
	int in_fd, out_fd;
	char out[65536]; /* what it wrote, stdout and stderr */
	size_t used;
	int status;
	bool has_ended;
};

/* Starts USBPUSH_BUILD_DIR/NAME; arguments end with NULL. */
void program_start(struct program *program, sd_event *event, const char *name, const char *const *arguments);

/* Writes text to its stdin. */
void program_type(struct program *program, const char *text);

/* Runs the loop until it has written text. Where it stands. */
const char *program_wait_for(struct program *program, const char *text);

/* Runs the loop until it ended; its exit status. */
int program_finish(struct program *program);

/* Sends it a signal. */
void program_signal(struct program *program, int number);
