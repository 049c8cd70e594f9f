#pragma once

#include "portal_internal.h"

/* Files that are built into the program. */

struct asset {
	const char *path, *type;
	const unsigned char *plain, *packed; /* packed: gzip */
	size_t plain_size, packed_size;
	const char *tag; /* its ETag: another one for other bytes */
};

/* All of them; made by cmake/Assets.cmake. */
extern const struct asset ASSETS[];
extern const size_t ASSETS_COUNT;

/* GET of a path of theirs. */
void api_get_asset(const struct api_call *call);
