#include "device_name.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PRODUCT_MAX 24
#define SERIAL_MAX  23
#define CUT_MAX     (SERIAL_MAX - 9) /* what stays of a longer serial number, before its hash */

/* Letters, digits, '.' and '_' stay, any run of others becomes one '-'; none at the start and the end. The length. */
static size_t slug(const char *text, char *buffer, size_t max)
{
	size_t length = 0;

	for (; *text && length < max; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x80 && (isalnum(c) || c == '_' || (c == '.' && length > 0)))
			buffer[length++] = (char)c;
		else if (length > 0 && buffer[length - 1] != '-')
			buffer[length++] = '-';
	}
	while (length > 0 && buffer[length - 1] == '-')
		length--;
	buffer[length] = '\0';
	return length;
}

/* FNV-1a, 32 bits: to tell long serial numbers apart, no more. */
static uint32_t hash(const char *text)
{
	uint32_t value = 2166136261U;

	for (; *text; text++)
		value = (value ^ (unsigned char)*text) * 16777619U;
	return value;
}

/* One that is too long, or has nothing that may stand in a name, is told by its hash. */
static void serial_part(const char *serial, char buffer[SERIAL_MAX + 1])
{
	char start[SERIAL_MAX + 1];
	bool is_long = strlen(serial) > SERIAL_MAX;
	size_t length = slug(serial, start, is_long ? CUT_MAX : SERIAL_MAX);

	if (!is_long && length > 0)
		memcpy(buffer, start, length + 1);
	else
		snprintf(buffer, SERIAL_MAX + 1, "%.*s%s%08x", CUT_MAX, start, length ? "-" : "", hash(serial));
}

void device_name_make(const struct identity *identity, const struct busid *busid, char ret_name[RULE_NAME_SIZE])
{
	char product[PRODUCT_MAX + 1], serial[SERIAL_MAX + 1];

	if (slug(identity->product, product, PRODUCT_MAX) == 0)
		snprintf(product, sizeof(product), "usb-%04x-%04x", identity->vid, identity->pid);
	if (identity->serial[0])
		serial_part(identity->serial, serial);
	else
		snprintf(serial, sizeof(serial), "at-%.*s", SERIAL_MAX - 3, busid->text);
	snprintf(ret_name, RULE_NAME_SIZE, "%s-%s", product, serial);
}
