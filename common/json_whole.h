#pragma once

#include <jansson.h>

/* Objects and lists that are whole or not there at all: what is put into one when memory has run out takes it away, so that half of it is never taken for all of it. */

/* Puts value (the reference is taken) into *object. Where that can't be, or value is NULL, *object is let go and NULL from then on, and stays so. */
void json_whole_set(json_t **object, const char *key, json_t *value);

/* The same at the end of *list. */
void json_whole_append(json_t **list, json_t *value);
