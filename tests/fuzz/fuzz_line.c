/* Bytes in pieces of any size, cut into lines: common/line. The first byte says how large the pieces are. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fuzz.h"
#include "line.h"

/* What must come out, computed at leisure. */
static int expect(const uint8_t **rest, const uint8_t *end, const uint8_t **ret_line, size_t *ret_size)
{
	const uint8_t *newline = memchr(*rest, '\n', (size_t)(end - *rest));
	size_t size = newline ? (size_t)(newline - *rest) : (size_t)(end - *rest);

	if (size >= LINE_MAX_SIZE)
		return -EMSGSIZE;
	if (!newline)
		return 0;
	if (memchr(*rest, '\0', size))
		return -EBADMSG;
	*ret_line = *rest;
	*ret_size = size;
	*rest = newline + 1;
	return 1;
}

/* Takes all lines that are there. False once the stream is of no more use. */
static bool take_all(struct line_buffer *buffer, const uint8_t **rest, const uint8_t *end)
{
	for (;;) {
		_cleanup_free_ char *line = NULL;
		const uint8_t *expected;
		size_t size, expected_size;
		int wanted = expect(rest, end, &expected, &expected_size), r = line_buffer_take(buffer, &line, &size);

		FUZZ_CHECK(r == wanted);
		if (r <= 0)
			return r == 0;
		FUZZ_CHECK(size == expected_size && memcmp(line, expected, size) == 0 && line[size] == '\0');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct line_buffer buffer = { 0 };
	const uint8_t *rest = data + 1, *end = data + 1;
	size_t piece;

	if (size < 2)
		return 0;
	/* 1 to 127 bytes, or thousands, so that the bound is met. */
	piece = data[0] < 128 ? (size_t)data[0] + 1 : (size_t)(data[0] - 127) * 1024;
	data++, size--;
	while (size > 0) {
		size_t n = size < piece ? size : piece;

		FUZZ_CHECK(line_buffer_add(&buffer, (const char *)data, n) == 0);
		data += n, size -= n, end += n;
		if (!take_all(&buffer, &rest, end))
			break;
	}
	line_buffer_done(&buffer);
	return 0;
}
