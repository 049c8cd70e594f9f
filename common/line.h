#pragma once

#include <stdbool.h>
#include <stddef.h>

#define LINE_MAX_SIZE 65536 /* with the newline; PROTOCOL.md, "Lines" */

/* Cuts a byte stream into lines, within a bound. */
struct line_buffer {
	char *data; /* owned */
	size_t used, allocated;
	size_t scanned; /* bytes already known to hold no newline */
};

/* Frees what it holds; the buffer can be used again. */
void line_buffer_done(struct line_buffer *buffer);

/* Adds bytes. -EMSGSIZE when the lines that nobody took, and one without end, would fill more than four of LINE_MAX_SIZE; -ENOMEM. */
int line_buffer_add(struct line_buffer *buffer, const char *data, size_t size);

/* Takes the next whole line, without its newline, NUL-ended. 1 and the line (the caller frees it), 0 if there is none yet, -ENOMEM,
 * -EMSGSIZE for one that is too long, -EBADMSG for one with a NUL byte in it. */
int line_buffer_take(struct line_buffer *buffer, char **ret_line, size_t *ret_size);
