#pragma once

#include <stddef.h>

/* A gzip file (RFC 1952) of first, and behind it what packed is the gzip file of, without packing anything: first stands in it as it is, in stored blocks (RFC 1951,
 * 3.2.4), and packed's own blocks follow. packed: one member without optional fields, as `gzip -n` makes it; plain: what it unpacks to. The caller's; NULL without memory,
 * or if packed is no such file. */
char *gzip_join(const void *first, size_t first_size, const unsigned char *packed, size_t packed_size, const unsigned char *plain,
		size_t *ret_size);
