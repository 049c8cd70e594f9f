#include "cpace.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#define SUITE_NAME       "CPaceRistretto255"
#define HASH_BLOCK_SIZE  128 /* H.s_in_bytes of SHA-512 */
#define LENGTH_BYTE_BITS 7

_Static_assert(CPACE_POINT_SIZE == crypto_core_ristretto255_BYTES, "point");
_Static_assert(CPACE_SCALAR_SIZE == crypto_core_ristretto255_SCALARBYTES, "scalar");
_Static_assert(CPACE_HASH_SIZE == crypto_hash_sha512_BYTES && CPACE_HASH_SIZE == crypto_core_ristretto255_HASHBYTES, "hash");
_Static_assert(CPACE_HASH_SIZE == crypto_auth_hmacsha512_BYTES, "tag");

int cpace_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

static void text_append(struct cpace_text *text, const void *bytes, size_t size)
{
	if (text->is_overrun || size > sizeof(text->bytes) - text->size) {
		text->is_overrun = true;
		return;
	}
	if (size > 0)
		memcpy(text->bytes + text->size, bytes, size);
	text->size += size;
}

void cpace_text_add(struct cpace_text *text, const void *value, size_t size)
{
	size_t left = size;

	do {
		uint8_t byte = left & ((1U << LENGTH_BYTE_BITS) - 1);

		left >>= LENGTH_BYTE_BITS;
		if (left > 0)
			byte |= 1U << LENGTH_BYTE_BITS;
		text_append(text, &byte, 1);
	} while (left > 0);
	text_append(text, value, size);
}

void cpace_text_add_string(struct cpace_text *text, const char *value)
{
	cpace_text_add(text, value, strlen(value));
}

int cpace_hash(const struct cpace_text *text, uint8_t ret_hash[CPACE_HASH_SIZE])
{
	if (text->is_overrun)
		return -EMSGSIZE;
	crypto_hash_sha512(ret_hash, text->bytes, text->size);
	return 0;
}

/* The padding fills the first block of the hash with the password, so that how long hashing takes does not depend on the rest. */
static void text_add_padding(struct cpace_text *text)
{
	static const uint8_t zeros[HASH_BLOCK_SIZE];
	size_t used = text->size + 1; /* with the padding's own length */

	cpace_text_add(text, zeros, used < HASH_BLOCK_SIZE ? HASH_BLOCK_SIZE - used : 0);
}

int cpace_generator(const char *password, const struct cpace_text *channel, const uint8_t *session, size_t session_size,
		    uint8_t ret_generator[CPACE_POINT_SIZE])
{
	struct cpace_text text = { .size = 0 };
	uint8_t hash[CPACE_HASH_SIZE];
	int r;

	cpace_text_add_string(&text, SUITE_NAME);
	cpace_text_add_string(&text, password);
	text_add_padding(&text);
	cpace_text_add(&text, channel->bytes, channel->size);
	cpace_text_add(&text, session, session_size);
	r = channel->is_overrun ? -EMSGSIZE : cpace_hash(&text, hash);
	if (r == 0)
		crypto_core_ristretto255_from_hash(ret_generator, hash);
	cpace_wipe(&text, sizeof(text));
	cpace_wipe(hash, sizeof(hash));
	return r;
}

void cpace_draw_scalar(uint8_t ret_scalar[CPACE_SCALAR_SIZE])
{
	crypto_core_ristretto255_scalar_random(ret_scalar);
}

/* Refuses what is no canonical point and a product that is the neutral element. */
static int multiply(const uint8_t *scalar, const uint8_t *point, uint8_t *ret_product)
{
	uint8_t product[CPACE_POINT_SIZE];

	if (!crypto_core_ristretto255_is_valid_point(point) || crypto_scalarmult_ristretto255(product, scalar, point) < 0)
		return -EBADMSG;
	memcpy(ret_product, product, sizeof(product));
	cpace_wipe(product, sizeof(product));
	return 0;
}

int cpace_share(const uint8_t scalar[CPACE_SCALAR_SIZE], const uint8_t generator[CPACE_POINT_SIZE], uint8_t ret_share[CPACE_POINT_SIZE])
{
	return multiply(scalar, generator, ret_share);
}

int cpace_secret(const uint8_t scalar[CPACE_SCALAR_SIZE], const uint8_t share[CPACE_POINT_SIZE], uint8_t ret_secret[CPACE_POINT_SIZE])
{
	return multiply(scalar, share, ret_secret);
}

int cpace_key(const uint8_t *session, size_t session_size, const uint8_t secret[CPACE_POINT_SIZE], const struct cpace_text *transcript,
	      uint8_t ret_key[CPACE_HASH_SIZE])
{
	struct cpace_text text = { .size = 0 };
	int r;

	cpace_text_add_string(&text, SUITE_NAME "_ISK");
	cpace_text_add(&text, session, session_size);
	cpace_text_add(&text, secret, CPACE_POINT_SIZE);
	text_append(&text, transcript->bytes, transcript->size);
	r = transcript->is_overrun ? -EMSGSIZE : cpace_hash(&text, ret_key);
	cpace_wipe(&text, sizeof(text));
	return r;
}

int cpace_mac_key(const uint8_t *session, size_t session_size, const uint8_t key[CPACE_HASH_SIZE], uint8_t ret_mac_key[CPACE_HASH_SIZE])
{
	struct cpace_text text = { .size = 0 };
	int r;

	text_append(&text, "CPaceMac", strlen("CPaceMac"));
	text_append(&text, session, session_size);
	text_append(&text, key, CPACE_HASH_SIZE);
	r = cpace_hash(&text, ret_mac_key);
	cpace_wipe(&text, sizeof(text));
	return r;
}

int cpace_mac(const uint8_t mac_key[CPACE_HASH_SIZE], const struct cpace_text *text, uint8_t ret_tag[CPACE_HASH_SIZE])
{
	crypto_auth_hmacsha512_state state;

	if (text->is_overrun)
		return -EMSGSIZE;
	crypto_auth_hmacsha512_init(&state, mac_key, CPACE_HASH_SIZE);
	crypto_auth_hmacsha512_update(&state, text->bytes, text->size);
	crypto_auth_hmacsha512_final(&state, ret_tag);
	cpace_wipe(&state, sizeof(state));
	return 0;
}

void cpace_draw(uint8_t *bytes, size_t size)
{
	randombytes_buf(bytes, size);
}

uint32_t cpace_draw_below(uint32_t limit)
{
	return randombytes_uniform(limit);
}

bool cpace_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
	return sodium_memcmp(a, b, size) == 0;
}

void cpace_wipe(void *bytes, size_t size)
{
	sodium_memzero(bytes, size);
}

void cpace_to_hex(const uint8_t *bytes, size_t size, char *text)
{
	sodium_bin2hex(text, 2 * size + 1, bytes, size);
}

int cpace_from_hex(const char *text, uint8_t *ret_bytes, size_t size)
{
	size_t read = 0;

	if (!text || strlen(text) != 2 * size || strspn(text, "0123456789abcdef") != 2 * size)
		return -EBADMSG;
	return sodium_hex2bin(ret_bytes, size, text, 2 * size, NULL, &read, NULL) < 0 || read != size ? -EBADMSG : 0;
}
