#include "pi_key.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define KEY_TYPE "ssh-ed25519"

static const unsigned char BLOB_START[] = "\0\0\0\013" KEY_TYPE "\0\0\0\040";
#define BLOB_START_SIZE (sizeof(BLOB_START) - 1)

static int fail(struct failure *failure, const char *where, const char *what)
{
	return failure_set(failure, FAILURE_BAD_REQUEST, "Give the one line that `usbpush key` prints on the Pi", "%s: %s", where, what);
}

/* The base64 part of a line; decoded, it must be an ed25519 key and nothing else. */
static int key_decode(const char *text, size_t length, struct pi_key *ret_key)
{
	unsigned char blob[PI_KEY_BLOB_SIZE], hash[crypto_hash_sha256_BYTES];
	const char *end;
	size_t size;

	if (length != PI_KEY_TEXT_SIZE - 1 ||
	    sodium_base642bin(blob, sizeof(blob), text, length, NULL, &size, &end, sodium_base64_VARIANT_ORIGINAL) < 0)
		return -EBADMSG;
	if (end != text + length || size != sizeof(blob) || memcmp(blob, BLOB_START, BLOB_START_SIZE) != 0)
		return -EBADMSG;
	memcpy(ret_key->text, text, length);
	ret_key->text[length] = '\0';
	crypto_hash_sha256(hash, blob, sizeof(blob));
	sodium_bin2hex(ret_key->pi_id, sizeof(ret_key->pi_id), hash, (PI_KEY_PI_ID_SIZE - 1) / 2);
	return 0;
}

static int line_parse(const char *line, size_t length, const char *where, struct pi_key *ret_key, struct failure *ret_failure)
{
	size_t type_length = strcspn(line, " \t\n"), key_length;
	const char *key;

	if (length > strlen("-----BEGIN") && strncmp(line, "-----BEGIN", strlen("-----BEGIN")) == 0)
		return fail(ret_failure, where, "that is a private key; it must never leave the Pi");
	if (type_length != strlen(KEY_TYPE) || strncmp(line, KEY_TYPE, type_length) != 0)
		return fail(ret_failure, where, "not an ssh-ed25519 public key; the line must begin with " KEY_TYPE);
	key = line + type_length + strspn(line + type_length, " \t");
	key_length = strcspn(key, " \t\r\n");
	if (key_decode(key, key_length, ret_key) < 0)
		return fail(ret_failure, where, "the key is damaged: it is no base64 of an ed25519 key");
	return 0;
}

int pi_key_parse(const char *content, const char *where, struct pi_key *ret_key, struct failure *ret_failure)
{
	struct pi_key key;
	bool is_found = false;

	for (const char *line = content; *line;) {
		size_t length = strcspn(line, "\n");
		size_t blank = strspn(line, " \t\r");

		if (blank < length && line[blank] != '#') {
			int err;

			if (is_found)
				return fail(ret_failure, where, "more than one key; a Pi has one");
			err = line_parse(line + blank, length - blank, where, &key, ret_failure);
			if (err < 0)
				return err;
			is_found = true;
		}
		line += length + (line[length] == '\n');
	}
	if (!is_found)
		return fail(ret_failure, where, "no key in it");
	*ret_key = key;
	return 0;
}
