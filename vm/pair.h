#pragma once

/* `usbpush-vm pair [PI]`: the VM's side of PROTOCOL.md, "Pairing by six digits", from finding the Pi to 'paired'. Says each step. SIGINT, SIGTERM and SIGHUP end it
 * and roll it back. argv[0] is "pair". The exit status. */
int pair_main(int argc, char **argv);
