#include "glob.h"

#include <errno.h>
#include <string.h>

/* Whether the pattern's first element, no '*', fits the byte. *ret_next is the element after it. */
static bool glob_fits_byte(const char *pattern, char byte, const char **ret_next)
{
	bool is_literal = pattern[0] == '\\' && pattern[1];

	if (is_literal)
		pattern++;
	*ret_next = pattern + 1;
	if (!*pattern || (!is_literal && *pattern == '*'))
		return false;
	return (!is_literal && *pattern == '?') || *pattern == byte;
}

/* On a mismatch the last '*' takes one byte more; what an earlier one took never matters. */
bool glob_fits(const char *pattern, const char *text)
{
	const char *star = NULL, *star_text = NULL, *next;

	while (*text) {
		if (*pattern == '*') {
			star = ++pattern;
			star_text = text;
		} else if (glob_fits_byte(pattern, *text, &next)) {
			pattern = next;
			text++;
		} else if (star) {
			pattern = star;
			text = ++star_text;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

int glob_escape(const char *text, char *buffer, size_t size)
{
	size_t at = 0;

	for (; *text; text++) {
		bool is_special = strchr("*?\\\"", *text) != NULL;

		if (at + is_special + 1 >= size)
			return -ENOSPC;
		if (is_special)
			buffer[at++] = '\\';
		buffer[at++] = *text;
	}
	if (at >= size)
		return -ENOSPC;
	buffer[at] = '\0';
	return 0;
}
