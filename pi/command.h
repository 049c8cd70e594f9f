#pragma once

/* The subcommands of `usbpush`. Each takes its own arguments (argv[0] is its name), asks the exporter over its control socket, says what it did or why it
 * could not, and returns the exit status: 0 done, 1 failed, 2 usage. */

/* status [--json] [--watch]: the link and the devices; --watch draws them anew at each change until interrupted. */
int command_status(int argc, char **argv);

/* devices [--explain] [--json]: all USB devices of this Pi; --explain says why each is shared or not. */
int command_devices(int argc, char **argv);

/* attach DEVICE|--all */
int command_attach(int argc, char **argv);

/* detach DEVICE */
int command_detach(int argc, char **argv);

/* reset DEVICE [--hard] */
int command_reset(int argc, char **argv);

/* share DEVICE: a rule in devices.conf shares it from now on. */
int command_share(int argc, char **argv);

/* ignore DEVICE: a rule keeps it here. */
int command_ignore(int argc, char **argv);

/* name DEVICE NAME [--also VID:PID]: what it is called; --also: it comes back under that VID:PID when its boot loader runs. */
int command_name(int argc, char **argv);

/* key: prints the public key that the VM has to authorize. */
int command_key(int argc, char **argv);

/* pair [VM]: waits for a VM (on which usbpush-vm pair runs), asks for its six digits. pair --host H --host-key K [--user U] [--port N]: no questions. Both
 * return when the link is up, or the old pairing is back. */
int command_pair(int argc, char **argv);

/* unpair */
int command_unpair(int argc, char **argv);

/* events [--follow] [--json] */
int command_events(int argc, char **argv);

/* test: the link end to end, step by step. */
int command_test(int argc, char **argv);
