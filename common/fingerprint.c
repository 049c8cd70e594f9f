#include "fingerprint.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define BLOB_MAX_SIZE 2048

int fingerprint_of(const char *content, char ret_fingerprint[FINGERPRINT_SIZE])
{
	const char *base64 = content + strcspn(content, " \t\n");
	unsigned char blob[BLOB_MAX_SIZE], hash[crypto_hash_sha256_BYTES];
	char text[sodium_base64_ENCODED_LEN(crypto_hash_sha256_BYTES, sodium_base64_VARIANT_ORIGINAL_NO_PADDING)];
	const char *end;
	size_t length, size = 0;

	base64 += strspn(base64, " \t");
	length = strcspn(base64, " \t\r\n");
	if (length == 0 || sodium_base642bin(blob, sizeof(blob), base64, length, NULL, &size, &end, sodium_base64_VARIANT_ORIGINAL) < 0 ||
	    end != base64 + length)
		return -EBADMSG;
	crypto_hash_sha256(hash, blob, size);
	sodium_bin2base64(text, sizeof(text), hash, sizeof(hash), sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
	snprintf(ret_fingerprint, FINGERPRINT_SIZE, "SHA256:%s", text);
	return 0;
}
