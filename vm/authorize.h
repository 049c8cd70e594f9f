#pragma once

#include <stdio.h>

#include "failure.h"
#include "pi_key.h"
#include "piconf.h"

/* Pairing by hand, VM side: which Pis may log in, and what they are called. root is put before every path; "" on a real system. */

/* Lets the Pi with the public key in key_file ("-": stdin) in, under name; address may be NULL. Doing it again changes nothing; a new key
 * under an old name replaces the old one. Needs root. 0 and what was written, or a negative errno with ret_failure filled. */
int authorize_pi(const char *root, const char *name, const char *address, const char *key_file, struct piconf_entry *ret_entry,
		 struct failure *ret_failure);

/* The same with a key that is there already. Two Pis of one name: the former is replaced. */
int authorize_pi_key(const char *root, const char *name, const char *address, const struct pi_key *key, struct piconf_entry *ret_entry,
		     struct failure *ret_failure);

/* This machine's ed25519 host key. FAILURE_NOT_FOUND with the cure if there is none. */
int authorize_read_host_key(const char *root, struct pi_key *ret_key, struct failure *ret_failure);

/* Takes back what authorize_pi() did for the Pi with this id or name. 0 or a negative errno with ret_failure filled (FAILURE_NOT_FOUND). */
int authorize_remove(const char *root, const char *id_or_name, struct piconf_entry *ret_entry, struct failure *ret_failure);

/* The same for a Pi that ended its pairing itself (revocation.h). One that was let in again since is left alone: FAILURE_NOT_FOUND. */
int authorize_remove_revoked(const char *root, const char *pi_id, struct piconf_entry *ret_entry, struct failure *ret_failure);

/* Prints what to do on the Pi next: `usbpush pair` with this machine's address and host key. */
void authorize_print_next_step(const char *root, FILE *stream);
