#include "session.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>

#include "cleanup.h"

#define SESSION_MAX       16
#define SESSION_IDLE_USEC (UINT64_C(12) * 3600 * 1000000)
#define SESSION_LIFE_USEC (UINT64_C(7) * 24 * 3600 * 1000000)

struct session_table {
	struct session sessions[SESSION_MAX];
};

struct session_table *session_table_new(void)
{
	return calloc(1, sizeof(struct session_table));
}

struct session_table *session_table_free(struct session_table *table)
{
	if (table)
		explicit_bzero(table, sizeof(*table));
	free(table);
	return NULL;
}

static bool session_draw(char *token)
{
	uint8_t random[(SESSION_TOKEN_SIZE - 1) / 2];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return false;
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(token + 2 * i, 3, "%02x", random[i]);
	return true;
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

const struct session *session_open(struct session_table *table, uint64_t generation, uint64_t now_usec)
{
	struct session *place = &table->sessions[0];

	for (size_t i = 1; i < ARRAY_SIZE(table->sessions); i++)
		if (table->sessions[i].used_usec < place->used_usec)
			place = &table->sessions[i];
	*place = (struct session){ .generation = generation, .created_usec = now_usec, .used_usec = now_usec };
	if (session_draw(place->token) && session_draw(place->csrf))
		return place;
	*place = (struct session){ 0 };
	return NULL;
}

static struct session *session_table_find(struct session_table *table, const char *token)
{
	struct session *found = NULL;

	if (strlen(token) != SESSION_TOKEN_SIZE - 1)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(table->sessions); i++)
		if (session_secret_equal(table->sessions[i].token, token))
			found = &table->sessions[i];
	return found;
}

const struct session *session_find(struct session_table *table, const char *token, uint64_t generation, uint64_t now_usec)
{
	struct session *session = session_table_find(table, token);

	if (!session)
		return NULL;
	if (session_has_ended(session, generation, now_usec)) {
		explicit_bzero(session, sizeof(*session));
		return NULL;
	}
	session->used_usec = now_usec;
	return session;
}

void session_close(struct session_table *table, const char *token)
{
	struct session *session = session_table_find(table, token);

	if (session)
		explicit_bzero(session, sizeof(*session));
}
