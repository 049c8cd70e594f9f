#include "json_whole.h"

static void json_whole_drop(json_t **value)
{
	json_decref(*value);
	*value = NULL;
}

void json_whole_set(json_t **object, const char *key, json_t *value)
{
	if (json_object_set_new(*object, key, value) < 0) /* takes NULL, and the reference then too */
		json_whole_drop(object);
}

void json_whole_append(json_t **list, json_t *value)
{
	if (json_array_append_new(*list, value) < 0)
		json_whole_drop(list);
}
