#include "kept_file.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "atomic_file.h"

#define KEPT_MAX_SIZE ((size_t)64 * 1024)

void kept_file_print(FILE *stream, const struct busid *busid, uint32_t devnum)
{
	if (devnum != 0)
		fprintf(stream, "%s %u\n", busid->text, devnum);
}

int kept_file_write(const char *path, const char *lines, size_t size)
{
	return file_write_atomic(path, lines, size, 0644);
}

int kept_file_read(const char *path, char **ret_lines)
{
	ssize_t size = file_read(path, KEPT_MAX_SIZE, ret_lines);

	if (size >= 0)
		return 0;
	if (size != -ENOENT && size != -EFBIG)
		return (int)size;
	*ret_lines = strdup(""); /* none, or not written by us */
	return *ret_lines ? 0 : -ENOMEM;
}

bool kept_lines_have(const char *lines, const struct busid *busid, uint32_t devnum)
{
	char wanted[sizeof(busid->text) + 16];
	size_t length = (size_t)snprintf(wanted, sizeof(wanted), "%s %u\n", busid->text, devnum);

	while (lines && *lines && devnum != 0) {
		const char *end = strchr(lines, '\n');

		if (strncmp(lines, wanted, length) == 0)
			return true;
		lines = end ? end + 1 : NULL;
	}
	return false;
}
