#pragma once

#include <jansson.h>
#include <stdio.h>

/* The text of a value, the caller's, in JSON's flags; without JSON_INDENT it is compact. Whole, or NULL without memory (or for NULL). json_dumps() and
 * json_dumpf() lose parts when memory runs out (jansson 2.14 ignores that within a key), and what they then give is no JSON. There is room for a newline
 * behind it. */
char *json_text(const json_t *json, size_t flags);

/* Writes that text and a newline, and flushes. 0; -ENOMEM with nothing written; the errno of a stream that does not take it. */
int json_print(const json_t *json, FILE *stream, size_t flags);
