#pragma once

#include "portal_internal.h"

/* The page: one answer has all of it, what it shows first included, so that a browser asks once. */

struct page {
	const unsigned char *head;               /* up to where the state goes */
	const unsigned char *rest, *packed_rest; /* packed: gzip */
	size_t head_size, rest_size, packed_rest_size;
	const char *policy; /* of the Content-Security-Policy: what stands in rest, and nothing else, is its style and its script */
};

/* Made by cmake/Assets.cmake of assets/. */
extern const struct page PAGE;

/* GET / */
void api_get_page(const struct api_call *call);
