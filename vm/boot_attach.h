#pragma once

#define BOOT_ATTACH_TIMEOUT_S 90

/* Asks all paired Pis to push everything now, and waits until all is attached, at most timeout_s; then says what is missing. Returns the
 * program's exit code: 0 all there (or no Pi paired), 1 not. */
int boot_attach_run(const char *socket_path, unsigned timeout_s);

/* The program: `usbpush-boot-attach [--timeout SECONDS]`, also `usbpush-vm boot-attach`. */
int boot_attach_main(int argc, char **argv);
