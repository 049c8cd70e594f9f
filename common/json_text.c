#include "json_text.h"

#include <stdlib.h>

#include "cleanup.h"

char *json_text(const json_t *json, size_t flags)
{
	size_t size = json ? json_dumpb(json, NULL, 0, flags | JSON_COMPACT) : 0;
	_cleanup_free_ char *text = size > 0 ? malloc(size + 2) : NULL;

	if (!text || json_dumpb(json, text, size, flags | JSON_COMPACT) != size)
		return NULL;
	text[size] = '\0';
	return TAKE_PTR(text);
}
