#include "secret.h"

#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void *secret_free(void *memory)
{
	if (memory)
		explicit_bzero(memory, malloc_usable_size(memory));
	free(memory);
	return NULL;
}

static void free_json(void *memory)
{
	secret_free(memory);
}

void secret_wipe_json(void)
{
	json_set_alloc_funcs(malloc, free_json);
}
