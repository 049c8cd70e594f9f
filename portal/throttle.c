#include "throttle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "connection_table.h"

#define THROTTLE_ADDRESSES   64
#define THROTTLE_FREE        5
#define THROTTLE_FREE_ALL    50
#define THROTTLE_FIRST_USEC  1000000
#define THROTTLE_MAX_USEC    (UINT64_C(300) * 1000000)
#define THROTTLE_FORGET_USEC (UINT64_C(900) * 1000000) /* without another wrong try */

struct throttle_entry {
	char address[CONNECTION_ADDRESS_SIZE]; /* empty: free */
	unsigned n_wrong;
	uint64_t last_usec;
};

struct throttle {
	struct throttle_entry entries[THROTTLE_ADDRESSES];
	struct throttle_entry all;
};

struct throttle *throttle_new(void)
{
	return calloc(1, sizeof(struct throttle));
}

struct throttle *throttle_free(struct throttle *throttle)
{
	free(throttle);
	return NULL;
}

static struct throttle_entry *throttle_find(struct throttle *throttle, const char *address)
{
	for (size_t i = 0; i < ARRAY_SIZE(throttle->entries); i++)
		if (strcmp(throttle->entries[i].address, address) == 0)
			return &throttle->entries[i];
	return NULL;
}

/* A free place, or the one that was not heard of for the longest time. */
static struct throttle_entry *throttle_take(struct throttle *throttle)
{
	struct throttle_entry *oldest = &throttle->entries[0];

	for (size_t i = 1; i < ARRAY_SIZE(throttle->entries); i++)
		if (throttle->entries[i].last_usec < oldest->last_usec)
			oldest = &throttle->entries[i];
	return oldest;
}

static uint64_t throttle_entry_wait(const struct throttle_entry *entry, unsigned n_free, uint64_t now_usec)
{
	uint64_t delay = THROTTLE_FIRST_USEC, passed = now_usec - entry->last_usec;

	if (entry->n_wrong < n_free || passed > THROTTLE_FORGET_USEC)
		return 0;
	for (unsigned i = n_free; i < entry->n_wrong && delay < THROTTLE_MAX_USEC; i++)
		delay *= 2;
	if (delay > THROTTLE_MAX_USEC)
		delay = THROTTLE_MAX_USEC;
	return passed < delay ? delay - passed : 0;
}

uint64_t throttle_wait_usec(const struct throttle *throttle, const char *address, uint64_t now_usec)
{
	const struct throttle_entry *entry = throttle_find((struct throttle *)(uintptr_t)throttle, address);
	uint64_t all = throttle_entry_wait(&throttle->all, THROTTLE_FREE_ALL, now_usec);
	uint64_t own = entry ? throttle_entry_wait(entry, THROTTLE_FREE, now_usec) : 0;

	return own > all ? own : all;
}

static void throttle_entry_count(struct throttle_entry *entry, uint64_t now_usec)
{
	if (now_usec - entry->last_usec > THROTTLE_FORGET_USEC)
		entry->n_wrong = 0;
	entry->n_wrong++;
	entry->last_usec = now_usec;
}

void throttle_count(struct throttle *throttle, const char *address, uint64_t now_usec)
{
	struct throttle_entry *entry = throttle_find(throttle, address);

	if (!entry) {
		entry = throttle_take(throttle);
		*entry = (struct throttle_entry){ 0 };
		snprintf(entry->address, sizeof(entry->address), "%s", address);
	}
	throttle_entry_count(entry, now_usec);
	throttle_entry_count(&throttle->all, now_usec);
}

void throttle_forgive(struct throttle *throttle, const char *address)
{
	struct throttle_entry *entry = throttle_find(throttle, address);

	if (!entry)
		return;
	if (throttle->all.n_wrong >= entry->n_wrong)
		throttle->all.n_wrong -= entry->n_wrong;
	*entry = (struct throttle_entry){ 0 };
}
