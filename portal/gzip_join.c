#include "gzip_join.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GZIP_HEADER_SIZE  ((size_t)10)
#define GZIP_TRAILER_SIZE ((size_t)8) /* CRC32 and size of the plain text, little-endian */
#define STORED_MAX        ((size_t)65535)
#define STORED_HEAD_SIZE  ((size_t)5)

/* The CRC of RFC 1952, section 8, four bits at a time. crc: of what came before, 0 at first. */
static uint32_t gzip_crc(uint32_t crc, const unsigned char *data, size_t size)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};

	crc = ~crc;
	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		crc = (crc >> 4) ^ table[crc & 15];
		crc = (crc >> 4) ^ table[crc & 15];
	}
	return ~crc;
}

static unsigned char *gzip_put_le32(unsigned char *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		*at++ = (unsigned char)(value >> 8 * i);
	return at;
}

/* data in stored blocks, none of them the last one of the file. */
static unsigned char *gzip_store(unsigned char *at, const unsigned char *data, size_t size)
{
	while (size > 0) {
		size_t n = size < STORED_MAX ? size : STORED_MAX;

		*at++ = 0; /* not the last; stored */
		at = gzip_put_le32(at, (uint32_t)n | (uint32_t)(~n & STORED_MAX) << 16);
		memcpy(at, data, n);
		at += n;
		data += n;
		size -= n;
	}
	return at;
}

char *gzip_join(const void *first, size_t first_size, const unsigned char *packed, size_t packed_size, const unsigned char *plain,
		size_t *ret_size)
{
	size_t stored_size = first_size + (first_size / STORED_MAX + 1) * STORED_HEAD_SIZE;
	unsigned char *text, *at;
	uint32_t plain_size;

	if (packed_size < GZIP_HEADER_SIZE + GZIP_TRAILER_SIZE || packed[0] != 0x1f || packed[1] != 0x8b || packed[2] != 8 ||
	    packed[3] != 0)
		return NULL;
	at = text = malloc(stored_size + packed_size);
	if (!text)
		return NULL;
	memcpy(at, packed, GZIP_HEADER_SIZE);
	at = gzip_store(at + GZIP_HEADER_SIZE, first, first_size);
	packed += GZIP_HEADER_SIZE;
	packed_size -= GZIP_HEADER_SIZE + GZIP_TRAILER_SIZE;
	memcpy(at, packed, packed_size);
	at += packed_size;
	packed += packed_size + 4;
	plain_size = packed[0] | (uint32_t)packed[1] << 8 | (uint32_t)packed[2] << 16 | (uint32_t)packed[3] << 24;
	at = gzip_put_le32(at, gzip_crc(gzip_crc(0, first, first_size), plain, plain_size));
	at = gzip_put_le32(at, (uint32_t)first_size + plain_size);
	*ret_size = (size_t)(at - text);
	return (char *)text;
}
