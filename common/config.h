#pragma once

#include <stddef.h>

/* Configuration files of KEY=VALUE lines. '#' starts a comment line; values may stand in single or double quotes; white space around
 * key and value does not count. */

struct config_problem {
	char text[384]; /* "FILE:LINE: what was found, what was expected" */
};

/* Called for each setting. Returns 0; -EINVAL after filling ret_expected ("a port from 1 to 65535") for a value that makes no sense;
 * -ENOENT for a key that it does not know. */
typedef int (*config_setting_fn)(const char *key, const char *value, unsigned line, char *ret_expected, size_t expected_size,
				 void *userdata);

/* Called for each line that makes no sense, so that all are told, not only the first. */
typedef void (*config_problem_fn)(const struct config_problem *problem, void *userdata);

/* Reads the file at path. Returns the number of problems, each of which was passed to on_problem; -ENOENT without the file, other negative errno
 * if it can't be read. A file above 256 KiB is a problem and nothing of it is used. */
int config_read(const char *path, config_setting_fn on_setting, config_problem_fn on_problem, void *userdata);

/* Splits one line in place, as config_read() does it: for who looks for lines of a file. -ENODATA for a comment or an empty one, -EINVAL for what is no setting;
 * ret_key is the line without white space around it then. */
int config_split_line(char *text, char **ret_key, char **ret_value);

struct config_setting {
	const char *key;
	const char *value; /* NULL takes the setting out */
};

/* Writes n settings into the file at path: a line that has the key is replaced, further ones of that key are dropped, a new key goes to the end, every other line stays as it
 * is. The file is replaced once and atomically, with its old mode (mode when new). 0 or negative errno (-EINVAL: a line break in a value; -EBADMSG: the file
 * has a NUL byte and is no text). */
int config_set(const char *path, const struct config_setting *settings, size_t n, unsigned mode);
