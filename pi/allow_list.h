#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which machines may import devices on the direct road: addresses and prefixes, IPv4 and IPv6. */

struct sockaddr_storage;

#define ALLOW_LIST_MAX 32

struct allow_entry {
	uint8_t address[16]; /* an IPv4 one as ::ffff:a.b.c.d */
	uint8_t n_bits;      /* that must be equal */
	uint32_t scope;      /* of a link-local address; 0: any */
};

struct allow_list {
	size_t n;
	struct allow_entry entries[ALLOW_LIST_MAX];
};

/* Understands "192.168.1.7", "10.0.0.0/8", "2001:db8::/32", "fe80::1%eth0". No names: who they mean is decided by others. -EINVAL; bits behind the prefix that
 * are set are one too ("10.0.0.1/8" is a mistake more often than not). */
int allow_entry_parse(const char *text, struct allow_entry *ret_entry);

/* A list of them, with commas or blanks between. -EINVAL for a bad one, -E2BIG for too many; *ret_list is untouched then. */
int allow_list_parse(const char *text, struct allow_list *ret_list);

/* Whether the address of a peer (AF_INET, AF_INET6) is in it. */
bool allow_entry_has(const struct allow_entry *entry, const struct sockaddr_storage *address);

/* Whether one of its entries has it. An empty list has nobody. */
bool allow_list_has(const struct allow_list *list, const struct sockaddr_storage *address);
