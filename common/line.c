#include "line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void line_buffer_done(struct line_buffer *buffer)
{
	if (buffer->data)
		explicit_bzero(buffer->data, buffer->allocated); /* there may have been a password in it */
	free(buffer->data);
	*buffer = (struct line_buffer){ 0 };
}

int line_buffer_add(struct line_buffer *buffer, const char *data, size_t size)
{
	if (size == 0)
		return 0;
	if (size > buffer->allocated - buffer->used) {
		size_t wanted = buffer->used + size + 512;
		char *grown;

		if (wanted > 4 * (size_t)LINE_MAX_SIZE)
			return -EMSGSIZE;
		grown = realloc(buffer->data, wanted);
		if (!grown)
			return -ENOMEM;
		buffer->data = grown;
		buffer->allocated = wanted;
	}
	memcpy(buffer->data + buffer->used, data, size);
	buffer->used += size;
	return 0;
}

/* An idle connection keeps no memory for the largest line it ever saw. */
static void line_buffer_shrink(struct line_buffer *buffer)
{
	if (buffer->used == 0)
		line_buffer_done(buffer);
}

int line_buffer_take(struct line_buffer *buffer, char **ret_line, size_t *ret_size)
{
	char *end, *line;
	size_t size;

	if (buffer->used == buffer->scanned)
		return buffer->used >= LINE_MAX_SIZE ? -EMSGSIZE : 0;
	end = memchr(buffer->data + buffer->scanned, '\n', buffer->used - buffer->scanned);
	if (!end) {
		buffer->scanned = buffer->used;
		return buffer->used >= LINE_MAX_SIZE ? -EMSGSIZE : 0;
	}
	size = (size_t)(end - buffer->data);
	if (size + 1 > LINE_MAX_SIZE)
		return -EMSGSIZE;
	if (memchr(buffer->data, '\0', size))
		return -EBADMSG;
	line = malloc(size + 1);
	if (!line)
		return -ENOMEM;
	memcpy(line, buffer->data, size);
	line[size] = '\0';
	buffer->used -= size + 1;
	memmove(buffer->data, end + 1, buffer->used);
	buffer->scanned = 0;
	line_buffer_shrink(buffer);
	*ret_line = line;
	if (ret_size)
		*ret_size = size;
	return 1;
}
