#include "identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sysfs.h"

/* The length of the UTF-8 sequence at text if it is whole and valid (RFC 3629), else 0. */
static size_t utf8_length(const unsigned char *text)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t value;
	size_t length;

	if (text[0] < 0x80)
		return 1;
	if ((text[0] & 0xe0) == 0xc0)
		length = 2, value = text[0] & 0x1f;
	else if ((text[0] & 0xf0) == 0xe0)
		length = 3, value = text[0] & 0x0f;
	else if ((text[0] & 0xf8) == 0xf0)
		length = 4, value = text[0] & 0x07;
	else
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (text[i] & 0x3f);
	}
	if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
		return 0;
	return value >= 0x80 && value < 0xa0 ? 0 : length; /* C1 controls are controls too */
}

void identity_clean_string(const char *text, char *buffer, size_t size)
{
	const unsigned char *from = (const unsigned char *)text;
	size_t at = 0;

	while (*from) {
		size_t length = utf8_length(from);
		bool is_plain = length > 0 && *from >= 0x20 && *from != 0x7f;

		if (at + (is_plain ? length : 1) >= size)
			break;
		if (is_plain) {
			memcpy(buffer + at, from, length);
			at += length;
			from += length;
		} else {
			buffer[at++] = '?';
			from++;
		}
	}
	buffer[at] = '\0';
}

/* A string that the device does not have has no file. */
static int identity_read_string(int device_fd, const char *attribute, char *ret_text)
{
	char text[IDENTITY_STRING_SIZE + 16];
	int r = sysfs_read(device_fd, attribute, text, sizeof(text));

	if (r == -ENOENT) {
		ret_text[0] = '\0';
		return 0;
	}
	if (r < 0)
		return r;
	identity_clean_string(text, ret_text, IDENTITY_STRING_SIZE);
	return 0;
}

static int identity_read_number(int device_fd, const char *attribute, uint16_t *ret_value)
{
	uint32_t value;
	int r = sysfs_read_uint(device_fd, attribute, 16, &value);

	if (r < 0)
		return r;
	if (value > UINT16_MAX)
		return -EINVAL;
	*ret_value = (uint16_t)value;
	return 0;
}

int identity_read(int device_fd, struct identity *ret_identity)
{
	struct identity identity = { 0 };
	int r;

	r = identity_read_number(device_fd, "idVendor", &identity.vid);
	if (r < 0)
		return r;
	r = identity_read_number(device_fd, "idProduct", &identity.pid);
	if (r < 0)
		return r;
	r = identity_read_number(device_fd, "bcdDevice", &identity.bcd_device);
	if (r < 0)
		return r;
	r = identity_read_string(device_fd, "serial", identity.serial);
	if (r < 0)
		return r;
	r = identity_read_string(device_fd, "manufacturer", identity.manufacturer);
	if (r < 0)
		return r;
	r = identity_read_string(device_fd, "product", identity.product);
	if (r < 0)
		return r;
	*ret_identity = identity;
	return 0;
}

static bool identity_string_equal(const char *part, const char *offered, const char *seen, char *ret_why, size_t why_size)
{
	if (strcmp(offered, seen) == 0)
		return true;
	if (ret_why)
		snprintf(ret_why, why_size, "%s is \"%.60s\", offered was \"%.60s\"", part, seen, offered);
	return false;
}

static bool identity_number_equal(const char *part, uint16_t offered, uint16_t seen, char *ret_why, size_t why_size)
{
	if (offered == seen)
		return true;
	if (ret_why)
		snprintf(ret_why, why_size, "%s is %04x, offered was %04x", part, seen, offered);
	return false;
}

bool identity_equal(const struct identity *offered, const struct identity *seen, char *ret_why, size_t why_size)
{
	return identity_number_equal("the vendor id", offered->vid, seen->vid, ret_why, why_size) &&
	       identity_number_equal("the product id", offered->pid, seen->pid, ret_why, why_size) &&
	       identity_number_equal("the device release", offered->bcd_device, seen->bcd_device, ret_why, why_size) &&
	       identity_string_equal("the serial number", offered->serial, seen->serial, ret_why, why_size) &&
	       identity_string_equal("the manufacturer", offered->manufacturer, seen->manufacturer, ret_why, why_size) &&
	       identity_string_equal("the product", offered->product, seen->product, ret_why, why_size);
}

int identity_to_json(const struct identity *identity, json_t *object)
{
	int r = 0;

	r |= json_object_set_new(object, "vid", json_integer(identity->vid));
	r |= json_object_set_new(object, "pid", json_integer(identity->pid));
	r |= json_object_set_new(object, "bcd", json_integer(identity->bcd_device));
	r |= json_object_set_new(object, "serial", json_string(identity->serial));
	r |= json_object_set_new(object, "manufacturer", json_string(identity->manufacturer));
	r |= json_object_set_new(object, "product", json_string(identity->product));
	return r ? -ENOMEM : 0;
}

static int identity_number_from_json(const json_t *object, const char *key, uint16_t *ret_value)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > UINT16_MAX)
		return -EBADMSG;
	*ret_value = (uint16_t)json_integer_value(value);
	return 0;
}

static int identity_string_from_json(const json_t *object, const char *key, char *ret_text)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_string(value) || json_string_length(value) >= IDENTITY_STRING_SIZE)
		return -EBADMSG;
	identity_clean_string(json_string_value(value), ret_text, IDENTITY_STRING_SIZE);
	return 0;
}

int identity_from_json(const json_t *object, struct identity *ret_identity)
{
	struct identity identity = { 0 };

	if (identity_number_from_json(object, "vid", &identity.vid) < 0 || identity_number_from_json(object, "pid", &identity.pid) < 0 ||
	    identity_number_from_json(object, "bcd", &identity.bcd_device) < 0 ||
	    identity_string_from_json(object, "serial", identity.serial) < 0 ||
	    identity_string_from_json(object, "manufacturer", identity.manufacturer) < 0 ||
	    identity_string_from_json(object, "product", identity.product) < 0)
		return -EBADMSG;
	*ret_identity = identity;
	return 0;
}
