#pragma once

#include "failure.h"

/* The command line of the VM: usbpush-vm. */

#define VM_CLI_SOCKET_PATH "/run/usbpush/handler.sock"
#define VM_CLI_EXIT_USAGE  2

/* Runs a command. The exit code: 0 done, 1 failed, 2 usage. */
int vm_cli_main(int argc, char **argv);

/* "usbpush-vm: WHERE: TEXT. CURE" on stderr; where may be NULL. Returns 1, the exit code of a failure. */
int vm_cli_print_failure(const char *where, const struct failure *failure);

/* "usbpush-vm: TEXT. See ..." on stderr. Returns 2. */
int vm_cli_usage(const char *text);
