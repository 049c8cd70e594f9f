#pragma once

#include <stddef.h>

#include "failure.h"

/* One ssh-ed25519 public key as OpenSSH writes it (RFC 8709, RFC 4253 section 6.6). */

#define PI_KEY_BLOB_SIZE  51 /* "ssh-ed25519" and 32 bytes, each with its length before it */
#define PI_KEY_TEXT_SIZE  69 /* base64 of that, and a NUL */
#define PI_KEY_PI_ID_SIZE 33

struct pi_key {
	char text[PI_KEY_TEXT_SIZE];   /* the base64 part */
	char pi_id[PI_KEY_PI_ID_SIZE]; /* the id of the Pi whose key it is: the first 32 hex digits of the blob's SHA-256 */
};

/* Reads the content of a .pub file: exactly one key line, comments and empty lines beside it. where stands in the error. 0 or a negative
 * errno. */
int pi_key_parse(const char *content, const char *where, struct pi_key *ret_key, struct failure *ret_failure);
