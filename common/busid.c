#include "busid.h"

#include <errno.h>
#include <string.h>

/* A number from 1 to 255 without leading zeros; moves *text behind it. */
static bool busid_skip_number(const char **text)
{
	unsigned value = 0;

	if (**text < '1' || **text > '9')
		return false;
	while (**text >= '0' && **text <= '9') {
		value = value * 10 + (unsigned)(**text - '0');
		if (value > 255)
			return false;
		(*text)++;
	}
	return true;
}

int busid_parse(const char *text, struct busid *ret_busid)
{
	const char *rest = text;
	char separator = '-';

	if (strlen(text) >= BUSID_SIZE || !busid_skip_number(&rest))
		return -EINVAL;
	do {
		if (*rest++ != separator || !busid_skip_number(&rest))
			return -EINVAL;
		separator = '.';
	} while (*rest);
	*ret_busid = (struct busid){ 0 };
	memcpy(ret_busid->text, text, strlen(text));
	return 0;
}

bool busid_equal(const struct busid *a, const struct busid *b)
{
	return strcmp(a->text, b->text) == 0;
}
