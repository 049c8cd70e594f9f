#pragma once

/* The subcommands of `usbpush` about the portal's owner. They are root's alone, and work without the exporter. Exit status as in command.h. */

/* setup-code: makes and prints the code that makes its bearer the portal's owner. */
int command_setup_code(int argc, char **argv);

/* reset-password: takes the owner's password away, ends all logins, and prints a new setup code. */
int command_reset_password(int argc, char **argv);
