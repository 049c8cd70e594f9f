#pragma once

#include <jansson.h>

/* The text of a value, the caller's, with JSON_COMPACT and the other flags: whole, or NULL without memory (or for NULL). json_dumps() loses parts when memory
 * runs out (jansson 2.14 ignores that within a key), and what it then returns is no JSON. There is room for a newline behind it. */
char *json_text(const json_t *json, size_t flags);
