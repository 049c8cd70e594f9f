#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "log.h"

#define SESSION_MAX       16
#define SESSION_IDLE_USEC (UINT64_C(12) * 3600 * 1000000)
#define SESSION_LIFE_USEC (UINT64_C(7) * 24 * 3600 * 1000000)
#define SESSION_SAVE_USEC (UINT64_C(600) * 1000000) /* what is lost of a session's use if the portal is killed: it ends that much earlier */
#define SESSION_FILE_MAX  ((size_t)8192)
#define SESSION_BOOT_SIZE 48

struct place {
	char hash[SESSION_TOKEN_SIZE]; /* of the token; empty: a free place */
	struct session session;        /* token and csrf are empty until somebody shows the token */
};

struct session_table {
	struct place places[SESSION_MAX];
	char *path;                      /* owned; NULL: in memory only */
	char boot_id[SESSION_BOOT_SIZE]; /* the times are of this boot's clock */
	uint64_t saved_usec;
	bool is_unwritable; /* told once */
};

/* ---- secrets ---- */

static bool session_draw(char *token)
{
	uint8_t random[(SESSION_TOKEN_SIZE - 1) / 2];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return false;
	sodium_bin2hex(token, SESSION_TOKEN_SIZE, random, sizeof(random));
	return true;
}

/* SHA-256 is enough: a token has 256 bits, and nobody guesses it. purpose keeps the hash that is written and the csrf value apart. */
static void session_derive(const char *purpose, const char *token, char ret_hex[SESSION_TOKEN_SIZE])
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	crypto_hash_sha256_state state;

	crypto_hash_sha256_init(&state);
	crypto_hash_sha256_update(&state, (const unsigned char *)purpose, strlen(purpose) + 1);
	crypto_hash_sha256_update(&state, (const unsigned char *)token, strlen(token));
	crypto_hash_sha256_final(&state, hash);
	sodium_bin2hex(ret_hex, SESSION_TOKEN_SIZE, hash, sizeof(hash));
}

bool session_secret_equal(const char *a, const char *b)
{
	size_t size = strlen(a);
	uint8_t difference = 0;

	if (strlen(b) != size)
		return false;
	for (size_t i = 0; i < size; i++)
		difference |= (uint8_t)(a[i] ^ b[i]);
	return difference == 0;
}

static bool session_has_ended(const struct session *session, uint64_t generation, uint64_t now_usec)
{
	return session->generation != generation || now_usec - session->used_usec > SESSION_IDLE_USEC ||
	       now_usec - session->created_usec > SESSION_LIFE_USEC;
}

/* ---- the file ---- */

static void session_table_save(struct session_table *table, uint64_t now_usec)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_fclose_ FILE *stream = NULL;
	size_t size = 0;
	int r = -ENOMEM;

	table->saved_usec = now_usec;
	if (!table->path)
		return;
	stream = open_memstream(&text, &size);
	if (!stream)
		return;
	fprintf(stream, "boot %s\n", table->boot_id);
	for (size_t i = 0; i < ARRAY_SIZE(table->places); i++) {
		const struct place *place = &table->places[i];

		if (place->hash[0])
			fprintf(stream, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", place->hash, place->session.generation,
				place->session.created_usec, place->session.used_usec);
	}
	if (fflush(stream) == 0)
		r = file_write_atomic(table->path, text, size, 0600);
	if (r < 0 && !table->is_unwritable)
		log_warning("%s can't be written: %s. Whoever is logged in will have to log in again after a restart.", table->path,
			    strerror(-r));
	table->is_unwritable = r < 0;
}

/* A blank and a number, and where it ends; false without one. */
static bool number_parse(char **at, uint64_t *ret_number)
{
	const char *start = *at + 1;

	if (**at != ' ' || *start < '0' || *start > '9')
		return false;
	errno = 0;
	*ret_number = strtoull(start, at, 10);
	return errno == 0;
}

/* False for what this portal did not write, or what makes no sense now. */
static bool place_parse(char *line, uint64_t now_usec, struct place *ret_place)
{
	size_t length = strspn(line, "0123456789abcdef");
	struct place place = { 0 };
	struct session *session = &place.session;
	char *at = line + length;

	if (length != SESSION_TOKEN_SIZE - 1 || !number_parse(&at, &session->generation) || !number_parse(&at, &session->created_usec) ||
	    !number_parse(&at, &session->used_usec) || *at || session->created_usec > session->used_usec || session->used_usec > now_usec)
		return false;
	memcpy(place.hash, line, length);
	*ret_place = place;
	return true;
}

/* Of another boot nothing is taken over: its clock was another one. */
static void session_table_load(struct session_table *table, uint64_t now_usec)
{
	_cleanup_free_ char *content = NULL;
	char first[SESSION_BOOT_SIZE + 8], *rest = NULL, *line;
	size_t n = 0;

	if (!table->path || file_read(table->path, SESSION_FILE_MAX, &content) < 0)
		return;
	snprintf(first, sizeof(first), "boot %s", table->boot_id);
	line = strtok_r(content, "\n", &rest);
	if (!line || strcmp(line, first) != 0)
		return;
	while (n < ARRAY_SIZE(table->places) && (line = strtok_r(NULL, "\n", &rest)))
		if (place_parse(line, now_usec, &table->places[n]))
			n++;
}

struct session_table *session_table_new(const char *path, const char *boot_id, uint64_t now_usec)
{
	struct session_table *table = calloc(1, sizeof(*table));

	if (!table || sodium_init() < 0) {
		free(table);
		return NULL;
	}
	snprintf(table->boot_id, sizeof(table->boot_id), "%s", boot_id);
	table->saved_usec = now_usec;
	if (path) {
		table->path = strdup(path);
		if (!table->path)
			return session_table_free(table, now_usec);
	}
	session_table_load(table, now_usec);
	return table;
}

struct session_table *session_table_free(struct session_table *table, uint64_t now_usec)
{
	if (!table)
		return NULL;
	session_table_save(table, now_usec);
	free(table->path);
	explicit_bzero(table, sizeof(*table));
	free(table);
	return NULL;
}

/* ---- sessions ---- */

const struct session *session_open(struct session_table *table, uint64_t generation, uint64_t now_usec)
{
	struct place *place = &table->places[0];
	struct session *session;

	for (size_t i = 1; i < ARRAY_SIZE(table->places); i++)
		if (table->places[i].session.used_usec < place->session.used_usec)
			place = &table->places[i];
	session = &place->session;
	*session = (struct session){ .generation = generation, .created_usec = now_usec, .used_usec = now_usec };
	place->hash[0] = '\0';
	if (!session_draw(session->token)) {
		*session = (struct session){ 0 };
		return NULL;
	}
	session_derive("usbpush session", session->token, place->hash);
	session_derive("usbpush csrf", session->token, session->csrf);
	session_table_save(table, now_usec);
	return session;
}

static struct place *session_table_find(struct session_table *table, const char *token)
{
	char hash[SESSION_TOKEN_SIZE];
	struct place *found = NULL;

	if (strlen(token) != SESSION_TOKEN_SIZE - 1)
		return NULL;
	session_derive("usbpush session", token, hash);
	for (size_t i = 0; i < ARRAY_SIZE(table->places); i++)
		if (session_secret_equal(table->places[i].hash, hash))
			found = &table->places[i];
	return found;
}

static void session_table_remove(struct session_table *table, struct place *place, uint64_t now_usec)
{
	explicit_bzero(place, sizeof(*place));
	session_table_save(table, now_usec);
}

const struct session *session_find(struct session_table *table, const char *token, uint64_t generation, uint64_t now_usec)
{
	struct place *place = session_table_find(table, token);
	struct session *session;

	if (!place)
		return NULL;
	session = &place->session;
	if (session_has_ended(session, generation, now_usec)) {
		session_table_remove(table, place, now_usec);
		return NULL;
	}
	session->used_usec = now_usec;
	if (!session->token[0]) {
		memcpy(session->token, token, SESSION_TOKEN_SIZE);
		session_derive("usbpush csrf", token, session->csrf);
	}
	if (now_usec - table->saved_usec > SESSION_SAVE_USEC)
		session_table_save(table, now_usec);
	return session;
}

void session_close(struct session_table *table, const char *token, uint64_t now_usec)
{
	struct place *place = session_table_find(table, token);

	if (place)
		session_table_remove(table, place, now_usec);
}
