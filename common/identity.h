#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IDENTITY_STRING_SIZE 384 /* 126 UTF-16 units as UTF-8, and a NUL */

/* What a USB device says it is. The strings are valid UTF-8 without control characters (others became '?'), empty where the
 * device has none. They come from the device: never trust them in a shell, a path or HTML. */
struct identity {
	uint16_t vid, pid, bcd_device;
	char serial[IDENTITY_STRING_SIZE];
	char manufacturer[IDENTITY_STRING_SIZE];
	char product[IDENTITY_STRING_SIZE];
};

/* Reads the identity of the device whose sysfs directory device_fd is. May wait for the kernel's device lock.
 * -ENOENT or -ENODEV if the device went away. */
int identity_read(int device_fd, struct identity *ret_identity);

/* Whether seen is what was offered, in every part. If not, ret_why (may be NULL) says which part differs. */
bool identity_equal(const struct identity *offered, const struct identity *seen, char *ret_why, size_t why_size);

/* Adds vid, pid, bcd, serial, manufacturer, product to object. 0 or -ENOMEM. */
int identity_to_json(const struct identity *identity, json_t *object);

/* Reads them from object; -EBADMSG if one is missing, out of range or of the wrong type. Strings are made safe as above. */
int identity_from_json(const json_t *object, struct identity *ret_identity);

/* Copies text, turning control characters and broken UTF-8 into '?' and cutting at a character's border. */
void identity_clean_string(const char *text, char *buffer, size_t size);
