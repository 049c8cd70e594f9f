#include "tar.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_SIZE 512

/* pax(1), "ustar Interchange Format". */
struct tar_header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6], version[2], user[32],
		group[32], major[8], minor[8], prefix[155], padding[12];
};

_Static_assert(sizeof(struct tar_header) == BLOCK_SIZE, "a header is a block");

static int tar_write(FILE *stream, const void *bytes, size_t size)
{
	return size == 0 || fwrite(bytes, size, 1, stream) == 1 ? 0 : -EIO;
}

int tar_add(FILE *stream, const char *name, const void *content, size_t size, long long mtime)
{
	static const char zeros[BLOCK_SIZE];
	struct tar_header header = { .type = '0', .magic = "ustar", .version = { '0', '0' } };
	unsigned sum = 0;
	int r;

	if (strlen(name) >= sizeof(header.name))
		return -ENAMETOOLONG;
	if (size > UINT32_MAX)
		return -EFBIG;
	memcpy(header.name, name, strlen(name));
	memcpy(header.mode, "0000600", 8);
	memcpy(header.uid, "0000000", 8);
	memcpy(header.gid, "0000000", 8);
	snprintf(header.size, sizeof(header.size), "%011llo", (unsigned long long)size);
	snprintf(header.mtime, sizeof(header.mtime), "%011llo", (unsigned long long)(mtime > 0 ? mtime : 0) & 077777777777ULL);
	memset(header.checksum, ' ', sizeof(header.checksum));
	for (size_t i = 0; i < sizeof(header); i++)
		sum += ((const unsigned char *)&header)[i];
	snprintf(header.checksum, sizeof(header.checksum), "%06o", sum & 0777777);
	r = tar_write(stream, &header, sizeof(header));
	if (r == 0)
		r = tar_write(stream, content, size);
	if (r == 0 && size % BLOCK_SIZE)
		r = tar_write(stream, zeros, BLOCK_SIZE - size % BLOCK_SIZE);
	return r;
}

int tar_end(FILE *stream)
{
	static const char zeros[2 * BLOCK_SIZE];

	return tar_write(stream, zeros, sizeof(zeros));
}
