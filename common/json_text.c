#include "json_text.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"

char *json_text(const json_t *json, size_t flags)
{
	size_t style = flags & JSON_INDENT(JSON_MAX_INDENT) ? flags : flags | JSON_COMPACT;
	size_t size = json ? json_dumpb(json, NULL, 0, style) : 0;
	_cleanup_free_ char *text = size > 0 ? malloc(size + 2) : NULL;

	if (!text || json_dumpb(json, text, size, style) != size)
		return NULL;
	text[size] = '\0';
	return TAKE_PTR(text);
}

int json_print(const json_t *json, FILE *stream, size_t flags)
{
	_cleanup_free_ char *text = json_text(json, flags);

	if (!text)
		return -ENOMEM;
	errno = EIO;
	return fprintf(stream, "%s\n", text) < 0 || fflush(stream) != 0 ? -errno : 0;
}
