#pragma once

#include <stdint.h>

#define BOOT_ATTACH_TIMEOUT_S 90

struct boot_attach_options {
	const char *socket_path;    /* the handler's */
	const char *addresses_path; /* whereabouts.h */
	uint16_t pi_port;           /* of each Pi's portal */
	unsigned timeout_s;
};

/* Knocks at the Pis that are not connected, asks the others to push everything now, and waits until all is attached, at most timeout_s; then says what is missing. Returns the
 * program's exit code: 0 all there (or no Pi paired), 1 not. */
int boot_attach_run(const struct boot_attach_options *options);

/* The program: `usbpush-boot-attach [--timeout SECONDS]`, also `usbpush-vm boot-attach`. */
int boot_attach_main(int argc, char **argv);
