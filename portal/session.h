#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Who is logged in. Sessions end after 12 hours without a request and after 7 days in any case, with the password that opened them, and with the boot. They outlast a restart of
 * the portal: a file has the hash of each token and its times, and nothing that opens anything. */
struct session_table;

#define SESSION_TOKEN_SIZE 65 /* 256 bits in hex */

struct session {
	char token[SESSION_TOKEN_SIZE]; /* in the cookie */
	char csrf[SESSION_TOKEN_SIZE];  /* in a header of each change */
	uint64_t generation;            /* of the password */
	uint64_t created_usec, used_usec;
};

/* path: the file, taken over if it is of this boot (NULL: none). Times are of a clock that runs from boot. The object is the caller's; NULL without memory. */
struct session_table *session_table_new(const char *path, const char *boot_id, uint64_t now_usec);

/* Takes NULL, returns NULL. */
struct session_table *session_table_free(struct session_table *table, uint64_t now_usec);

/* Opens one; where there are too many, the one that was used least recently ends. Borrowed until the next call; NULL without random numbers. */
const struct session *session_open(struct session_table *table, uint64_t generation, uint64_t now_usec);

/* The session of a token, NULL if there is none (any more). generation: of the password that is valid now. It counts as used. */
const struct session *session_find(struct session_table *table, const char *token, uint64_t generation, uint64_t now_usec);

/* Ends it. Takes a token that means none. */
void session_close(struct session_table *table, const char *token, uint64_t now_usec);

/* Whether two secrets are the same, in a time that does not tell where they differ. */
bool session_secret_equal(const char *a, const char *b);
