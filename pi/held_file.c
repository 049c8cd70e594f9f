#include "held_file.h"

#include <string.h>
#include <sys/types.h>

#include "atomic_file.h"
#include "cleanup.h"

#define HELD_MAX_SIZE ((size_t)64 * 1024)

int held_file_write(const char *path, const char *lines, size_t size)
{
	return file_write_atomic(path, lines, size, 0644);
}

bool held_file_has(const char *path, const struct busid *busid)
{
	_cleanup_free_ char *content = NULL;
	char *rest, *line;

	if (file_read(path, HELD_MAX_SIZE, &content) < 0)
		return false;
	rest = content;
	while ((line = strsep(&rest, "\n")))
		if (strcmp(line, busid->text) == 0)
			return true;
	return false;
}
