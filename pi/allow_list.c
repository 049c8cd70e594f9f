#include "allow_list.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ADDRESS_BITS 128
#define IPV4_AT      12 /* where an IPv4 address stands in an IPv6 one */
#define ENTRY_MAX    80

/* ::ffff:0:0/96, RFC 4291 section 2.5.5.2 */
static const uint8_t MAPPED_PREFIX[IPV4_AT] = { [10] = 0xff, [11] = 0xff };

static bool is_mapped(const uint8_t address[16])
{
	return memcmp(address, MAPPED_PREFIX, IPV4_AT) == 0;
}

static int parse_bits(const char *text, unsigned max, unsigned *ret_bits)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)*text) || strlen(text) > 3)
		return -EINVAL;
	value = strtoul(text, &end, 10);
	if (*end || value > max)
		return -EINVAL;
	*ret_bits = (unsigned)value;
	return 0;
}

/* "%eth0", or "%2": whose name is not there yet, or no more, fits nobody. */
static int parse_scope(const char *text, uint32_t *ret_scope)
{
	uint32_t index = if_nametoindex(text);
	unsigned bits;

	if (index == 0 && parse_bits(text, 999, &bits) == 0)
		index = bits;
	if (index == 0)
		return -EINVAL;
	*ret_scope = index;
	return 0;
}

static bool has_bits_behind(const struct allow_entry *entry)
{
	for (unsigned bit = entry->n_bits; bit < ADDRESS_BITS; bit++)
		if (entry->address[bit / 8] & (0x80U >> bit % 8))
			return true;
	return false;
}

static int parse_address(char *text, struct allow_entry *entry, unsigned *ret_family_bits)
{
	char *scope = strchr(text, '%');

	if (!scope && inet_pton(AF_INET, text, entry->address + IPV4_AT) == 1) {
		memcpy(entry->address, MAPPED_PREFIX, IPV4_AT);
		*ret_family_bits = 32;
		return 0;
	}
	if (scope)
		*scope++ = '\0';
	if (inet_pton(AF_INET6, text, entry->address) != 1)
		return -EINVAL;
	*ret_family_bits = ADDRESS_BITS;
	return scope ? parse_scope(scope, &entry->scope) : 0;
}

int allow_entry_parse(const char *text, struct allow_entry *ret_entry)
{
	struct allow_entry entry = { 0 };
	unsigned family_bits, bits;
	char copy[ENTRY_MAX], *slash;
	int r;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	snprintf(copy, sizeof(copy), "%s", text);
	slash = strchr(copy, '/');
	if (slash)
		*slash++ = '\0';
	r = parse_address(copy, &entry, &family_bits);
	if (r < 0)
		return r;
	bits = family_bits;
	if (slash)
		r = parse_bits(slash, family_bits, &bits);
	if (r < 0)
		return r;
	entry.n_bits = (uint8_t)(ADDRESS_BITS - family_bits + bits);
	if (has_bits_behind(&entry))
		return -EINVAL;
	*ret_entry = entry;
	return 0;
}

int allow_list_parse(const char *text, struct allow_list *ret_list)
{
	struct allow_list list = { 0 };

	for (text += strspn(text, ", \t"); *text; text += strspn(text, ", \t")) {
		size_t length = strcspn(text, ", \t");
		char word[ENTRY_MAX];
		int r;

		if (list.n == ALLOW_LIST_MAX)
			return -E2BIG;
		if (length >= sizeof(word))
			return -EINVAL;
		snprintf(word, sizeof(word), "%.*s", (int)length, text);
		r = allow_entry_parse(word, &list.entries[list.n++]);
		if (r < 0)
			return r;
		text += length;
	}
	*ret_list = list;
	return 0;
}

/* Every address as an IPv6 one, and the scope of a link-local one. False for another family. */
static bool address_normalize(const struct sockaddr_storage *address, uint8_t ret_bytes[16], uint32_t *ret_scope)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

	*ret_scope = 0;
	if (address->ss_family == AF_INET) {
		memcpy(ret_bytes, MAPPED_PREFIX, IPV4_AT);
		memcpy(ret_bytes + IPV4_AT, &v4->sin_addr, 4);
		return true;
	}
	if (address->ss_family != AF_INET6)
		return false;
	memcpy(ret_bytes, &v6->sin6_addr, 16);
	*ret_scope = v6->sin6_scope_id;
	return true;
}

bool allow_entry_has(const struct allow_entry *entry, const struct sockaddr_storage *address)
{
	unsigned n_bytes = entry->n_bits / 8, n_rest = entry->n_bits % 8;
	uint8_t bytes[16];
	uint32_t scope;

	if (!address_normalize(address, bytes, &scope))
		return false;
	if (is_mapped(bytes) != is_mapped(entry->address))
		return false; /* "::/0" is IPv6 alone */
	if (entry->scope && entry->scope != scope)
		return false;
	if (memcmp(entry->address, bytes, n_bytes) != 0)
		return false;
	return n_rest == 0 || (entry->address[n_bytes] ^ bytes[n_bytes]) >> (8 - n_rest) == 0;
}

bool allow_list_has(const struct allow_list *list, const struct sockaddr_storage *address)
{
	for (size_t i = 0; i < list->n; i++)
		if (allow_entry_has(&list->entries[i], address))
			return true;
	return false;
}
