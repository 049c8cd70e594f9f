#include "neighbours.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "identity.h"
#include "json_whole.h"
#include "pair_party.h"

#define NEIGHBOURS_MAX 64
#define ID_LENGTH      32

struct neighbours {
	size_t n;
	struct neighbour entries[NEIGHBOURS_MAX];
};

int neighbours_new(struct neighbours **ret_neighbours)
{
	*ret_neighbours = calloc(1, sizeof(**ret_neighbours));
	return *ret_neighbours ? 0 : -ENOMEM;
}

struct neighbours *neighbours_free(struct neighbours *neighbours)
{
	free(neighbours);
	return NULL;
}

static void read_text(const json_t *object, const char *field, char *buffer, size_t size)
{
	const char *text = json_string_value(json_object_get(object, field));

	identity_clean_string(text ? text : "", buffer, size);
}

static int neighbour_read(const json_t *object, struct neighbour *ret_neighbour, struct failure *failure)
{
	json_int_t port = json_integer_value(json_object_get(object, "port"));

	*ret_neighbour = (struct neighbour){ .port = port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0 };
	read_text(object, "key", ret_neighbour->key, sizeof(ret_neighbour->key));
	read_text(object, "id", ret_neighbour->id, sizeof(ret_neighbour->id));
	read_text(object, "name", ret_neighbour->name, sizeof(ret_neighbour->name));
	read_text(object, "host", ret_neighbour->host, sizeof(ret_neighbour->host));
	read_text(object, "address", ret_neighbour->address, sizeof(ret_neighbour->address));
	read_text(object, "fingerprint", ret_neighbour->fingerprint, sizeof(ret_neighbour->fingerprint));
	if (strlen(ret_neighbour->id) != ID_LENGTH || strspn(ret_neighbour->id, "0123456789abcdef") != ID_LENGTH)
		ret_neighbour->id[0] = '\0';
	if (!ret_neighbour->key[0] || ret_neighbour->port == 0 || !pair_party_is_host(ret_neighbour->address))
		return failure_set(failure, FAILURE_BAD_REQUEST, NULL, "a VM that is found needs a key, an address and a port");
	return 0;
}

static struct neighbour *neighbours_find(struct neighbours *neighbours, const char *key)
{
	for (size_t i = 0; i < neighbours->n; i++)
		if (strcmp(neighbours->entries[i].key, key) == 0)
			return &neighbours->entries[i];
	return NULL;
}

static bool neighbour_equal(const struct neighbour *a, const struct neighbour *b)
{
	return strcmp(a->id, b->id) == 0 && strcmp(a->name, b->name) == 0 && strcmp(a->host, b->host) == 0 &&
	       strcmp(a->address, b->address) == 0 && a->port == b->port && strcmp(a->fingerprint, b->fingerprint) == 0;
}

int neighbours_add(struct neighbours *neighbours, const json_t *object, const struct neighbour **ret_neighbour, struct failure *ret_failure)
{
	struct neighbour read, *entry;
	int r = neighbour_read(object, &read, ret_failure);

	if (r < 0)
		return r;
	entry = neighbours_find(neighbours, read.key);
	if (entry && neighbour_equal(entry, &read)) {
		*ret_neighbour = entry;
		return 0;
	}
	if (!entry && neighbours->n == NEIGHBOURS_MAX)
		return failure_set(ret_failure, FAILURE_TABLE_FULL, NULL, "more than %d announcements of VMs; this one is passed over",
				   NEIGHBOURS_MAX);
	if (!entry)
		entry = &neighbours->entries[neighbours->n++];
	*entry = read;
	*ret_neighbour = entry;
	return 1;
}

bool neighbours_remove(struct neighbours *neighbours, const char *key, char *ret_name, size_t size)
{
	struct neighbour *entry = neighbours_find(neighbours, key);

	if (!entry)
		return false;
	snprintf(ret_name, size, "%s", entry->name);
	*entry = neighbours->entries[--neighbours->n];
	return true;
}

void neighbours_clear(struct neighbours *neighbours)
{
	neighbours->n = 0;
}

bool neighbour_is_vm(const struct neighbour *neighbour, const struct vm_config *config)
{
	if (!vm_config_is_paired(config))
		return false;
	if (config->id[0] && neighbour->id[0])
		return strcmp(config->id, neighbour->id) == 0;
	return strcmp(config->host, neighbour->address) == 0 || strcasecmp(config->host, neighbour->host) == 0;
}

/* An address, not a name: names lead to a VM that moved by themselves. */
static bool is_literal(const char *host)
{
	char bare[80];
	struct in6_addr address;

	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(host, "%"), host);
	return inet_pton(AF_INET, bare, &address) == 1 || inet_pton(AF_INET6, bare, &address) == 1;
}

static bool is_link_local(const struct neighbour *neighbour)
{
	return strchr(neighbour->address, '%') != NULL;
}

static bool is_better(const struct neighbour *a, const struct neighbour *b)
{
	if (is_link_local(a) != is_link_local(b))
		return is_link_local(b);
	return !strchr(a->address, ':') && strchr(b->address, ':');
}

const struct neighbour *neighbours_find_moved(const struct neighbours *neighbours, const struct vm_config *config)
{
	const struct neighbour *best = NULL;

	if (!config->id[0] || !is_literal(config->host))
		return NULL;
	for (size_t i = 0; i < neighbours->n; i++) {
		const struct neighbour *one = &neighbours->entries[i];

		if (!neighbour_is_vm(one, config))
			continue;
		if (strcmp(one->address, config->host) == 0 && one->port == config->port)
			return NULL; /* it is still where it was, too */
		if (!best || is_better(one, best))
			best = one;
	}
	return best;
}

/* Another announcement of the same VM is to be shown instead. */
static bool is_shown_elsewhere(const struct neighbours *neighbours, size_t i)
{
	const struct neighbour *one = &neighbours->entries[i];

	for (size_t j = 0; j < neighbours->n; j++) {
		const struct neighbour *other = &neighbours->entries[j];
		bool is_same = one->id[0] ? strcmp(one->id, other->id) == 0 : strcmp(one->name, other->name) == 0;

		if (j != i && is_same && (is_better(other, one) || (!is_better(one, other) && j < i)))
			return true;
	}
	return false;
}

json_t *neighbours_to_json(const struct neighbours *neighbours, const struct vm_config *config)
{
	json_t *list = json_array();

	for (size_t i = 0; i < neighbours->n; i++) {
		const struct neighbour *one = &neighbours->entries[i];

		if (is_shown_elsewhere(neighbours, i))
			continue;
		json_whole_append(&list, json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:b}", "id", one->id, "name", one->name, "host",
						   one->host, "address", one->address, "port", one->port, "fingerprint", one->fingerprint,
						   "is_paired", neighbour_is_vm(one, config)));
	}
	return list;
}
