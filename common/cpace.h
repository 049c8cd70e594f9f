#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* CPace on ristretto255 with SHA-512, initiator-responder (draft-irtf-cfrg-cpace-21, suite CPACE-RISTR255-SHA512): two sides that know the same
 * short password get the same strong key, and whoever is between them gets one guess. The one file that computes with libsodium for pairing. */

#define CPACE_POINT_SIZE  32
#define CPACE_SCALAR_SIZE 32
#define CPACE_HASH_SIZE   64
#define CPACE_TEXT_SIZE   8192

/* Values with their lengths before them: the draft's lv_cat (A.1.1). */
struct cpace_text {
	uint8_t bytes[CPACE_TEXT_SIZE];
	size_t size;
	bool is_overrun; /* a value did not fit: nothing may be computed from it */
};

/* Gets libsodium ready; as often as wanted. 0 or -EIO. */
int cpace_init(void);

/* Adds a value behind its length in LEB128. */
void cpace_text_add(struct cpace_text *text, const void *value, size_t size);

/* Adds a NUL-ended string in the same way. */
void cpace_text_add_string(struct cpace_text *text, const char *value);

/* calculate_generator of section 7.3: from the password, the channel's identifier and the session's. 0, or -EMSGSIZE where these are too long. */
int cpace_generator(const char *password, const struct cpace_text *channel, const uint8_t *session, size_t session_size,
		    uint8_t ret_generator[CPACE_POINT_SIZE]);

/* A secret scalar, drawn anew. */
void cpace_draw_scalar(uint8_t ret_scalar[CPACE_SCALAR_SIZE]);

/* What is sent: the scalar times the generator. 0 or -EBADMSG. */
int cpace_share(const uint8_t scalar[CPACE_SCALAR_SIZE], const uint8_t generator[CPACE_POINT_SIZE], uint8_t ret_share[CPACE_POINT_SIZE]);

/* scalar_mult_vfy: the scalar times the peer's share. -EBADMSG for what is no point and for the neutral element: the exchange must end then. */
int cpace_secret(const uint8_t scalar[CPACE_SCALAR_SIZE], const uint8_t share[CPACE_POINT_SIZE], uint8_t ret_secret[CPACE_POINT_SIZE]);

/* The key that both get, from the secret point and the transcript of both messages (lv_cat(Ya, ADa, Yb, ADb)). 0 or -EMSGSIZE. */
int cpace_key(const uint8_t *session, size_t session_size, const uint8_t secret[CPACE_POINT_SIZE], const struct cpace_text *transcript,
	      uint8_t ret_key[CPACE_HASH_SIZE]);

/* The key of the confirmations (section 9.4): SHA-512("CPaceMac" || session || key). */
int cpace_mac_key(const uint8_t *session, size_t session_size, const uint8_t key[CPACE_HASH_SIZE], uint8_t ret_mac_key[CPACE_HASH_SIZE]);

/* HMAC-SHA-512 of a text. 0 or -EMSGSIZE. */
int cpace_mac(const uint8_t mac_key[CPACE_HASH_SIZE], const struct cpace_text *text, uint8_t ret_tag[CPACE_HASH_SIZE]);

/* SHA-512 of a text. 0 or -EMSGSIZE. */
int cpace_hash(const struct cpace_text *text, uint8_t ret_hash[CPACE_HASH_SIZE]);

/* Random bytes. */
void cpace_draw(uint8_t *bytes, size_t size);

/* A number below limit, each as likely as any other. */
uint32_t cpace_draw_below(uint32_t limit);

/* Compares in a time that does not tell where they differ. */
bool cpace_equal(const uint8_t *a, const uint8_t *b, size_t size);

/* Overwrites what must not stay in memory. */
void cpace_wipe(void *bytes, size_t size);

/* Lower-case hex into text (2 * size + 1 bytes). */
void cpace_to_hex(const uint8_t *bytes, size_t size, char *text);

/* Exactly size bytes from lower-case hex; text may be NULL. 0 or -EBADMSG. */
int cpace_from_hex(const char *text, uint8_t *ret_bytes, size_t size);
