#include "flap.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define USEC_PER_SEC  UINT64_C(1000000)
#define SHORT_USEC    (2 * USEC_PER_SEC)  /* a life that ends sooner, and without use, is one of a flapping device */
#define FORGET_USEC   (15 * USEC_PER_SEC) /* after the last of them */
#define FREE_LIVES    3                   /* in a row, before one is held up */
#define HOLD_USEC     USEC_PER_SEC        /* doubles with each further life */
#define MAX_DOUBLINGS 2
#define KEY_SIZE      64

struct flap {
	char key[KEY_SIZE]; /* "" is unused */
	unsigned n_lives;
	uint64_t last_usec;
};

struct flap_list {
	struct flap flaps[32]; /* the one that is quiet for longest gives way */
};

int flap_list_new(struct flap_list **ret_list)
{
	*ret_list = calloc(1, sizeof(**ret_list));
	return *ret_list ? 0 : -ENOMEM;
}

struct flap_list *flap_list_free(struct flap_list *list)
{
	free(list);
	return NULL;
}

/* A long serial number is cut: what matters is that the same device has the same key. */
static void flap_make_key(const struct busid *busid, const struct identity *identity, char key[static KEY_SIZE])
{
	if (identity->vid || identity->pid)
		snprintf(key, KEY_SIZE, "%04x:%04x %.50s", identity->vid, identity->pid, identity->serial);
	else
		snprintf(key, KEY_SIZE, "%s", busid->text);
}

static const struct flap *flap_list_find(const struct flap_list *list, const char *key, uint64_t now_usec)
{
	for (size_t i = 0; i < ARRAY_SIZE(list->flaps); i++)
		if (strcmp(list->flaps[i].key, key) == 0 && now_usec - list->flaps[i].last_usec < FORGET_USEC)
			return &list->flaps[i];
	return NULL;
}

/* The one of that key, or the one to be used for it. */
static struct flap *flap_list_choose(struct flap_list *list, const char *key)
{
	struct flap *chosen = &list->flaps[0];

	for (size_t i = 0; i < ARRAY_SIZE(list->flaps); i++) {
		if (strcmp(list->flaps[i].key, key) == 0)
			return &list->flaps[i];
		if (list->flaps[i].last_usec < chosen->last_usec)
			chosen = &list->flaps[i];
	}
	return chosen;
}

void flap_list_note(struct flap_list *list, const struct busid *busid, const struct identity *identity, uint64_t lived_usec,
		    bool was_attached, uint64_t now_usec)
{
	char key[KEY_SIZE];
	const struct flap *known;
	struct flap *flap;
	unsigned n_lives;

	flap_make_key(busid, identity, key);
	known = flap_list_find(list, key, now_usec);
	if (was_attached || lived_usec >= SHORT_USEC) {
		flap = flap_list_choose(list, key);
		if (strcmp(flap->key, key) == 0)
			*flap = (struct flap){ 0 };
		return;
	}
	n_lives = known ? known->n_lives + 1 : 1;
	flap = flap_list_choose(list, key);
	*flap = (struct flap){ .n_lives = n_lives, .last_usec = now_usec };
	memcpy(flap->key, key, sizeof(key));
}

static unsigned flap_list_count(const struct flap_list *list, const struct busid *busid, const struct identity *identity, uint64_t now_usec)
{
	char key[KEY_SIZE];
	const struct flap *flap;

	flap_make_key(busid, identity, key);
	flap = flap_list_find(list, key, now_usec);
	return flap ? flap->n_lives : 0;
}

uint64_t flap_list_get_hold(const struct flap_list *list, const struct busid *busid, const struct identity *identity, uint64_t now_usec,
			    unsigned *ret_lives)
{
	static const struct identity UNREAD;
	unsigned n = flap_list_count(list, busid, identity, now_usec) + flap_list_count(list, busid, &UNREAD, now_usec), doublings;

	*ret_lives = n;
	if (n <= FREE_LIVES)
		return 0;
	doublings = n - FREE_LIVES - 1;
	return HOLD_USEC << (doublings < MAX_DOUBLINGS ? doublings : MAX_DOUBLINGS);
}

bool flap_list_may_hold(const struct flap_list *list, const struct busid *busid, uint16_t vid, uint16_t pid, uint64_t now_usec)
{
	static const struct identity UNREAD;
	char kind[16];
	unsigned most = 0;

	snprintf(kind, sizeof(kind), "%04x:%04x ", vid, pid);
	for (size_t i = 0; i < ARRAY_SIZE(list->flaps); i++) {
		const struct flap *flap = &list->flaps[i];

		if (strncmp(flap->key, kind, strlen(kind)) == 0 && now_usec - flap->last_usec < FORGET_USEC && flap->n_lives > most)
			most = flap->n_lives;
	}
	return most + flap_list_count(list, busid, &UNREAD, now_usec) > FREE_LIVES;
}
