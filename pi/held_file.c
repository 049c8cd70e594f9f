#include "held_file.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "atomic_file.h"
#include "cleanup.h"

#define HELD_MAX_SIZE ((size_t)64 * 1024)

int held_file_write(const char *path, const char *lines, size_t size)
{
	return file_write_atomic(path, lines, size, 0644);
}

int held_file_read(const char *path, char **ret_lines)
{
	ssize_t size = file_read(path, HELD_MAX_SIZE, ret_lines);

	if (size >= 0)
		return 0;
	if (size != -ENOENT && size != -EFBIG)
		return (int)size;
	*ret_lines = strdup(""); /* none, or not written by us */
	return *ret_lines ? 0 : -ENOMEM;
}

bool held_lines_have(const char *lines, const struct busid *busid)
{
	size_t length = strlen(busid->text);

	while (*lines) {
		size_t line = strcspn(lines, "\n");

		if (line == length && memcmp(lines, busid->text, length) == 0)
			return true;
		lines += line + (lines[line] == '\n');
	}
	return false;
}
