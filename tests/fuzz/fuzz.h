#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the fuzz targets share. Each target is one decoder of foreign bytes: it must neither break nor believe what makes no sense, and what it took it must be able
 * to write down and read again as the same (tests/fuzz/README.md). */

/* libFuzzer's entry: one input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property of every input: where it does not hold the target ends here, and libFuzzer keeps the input. */
#define FUZZ_CHECK(condition) fuzz_check((condition), #condition, __FILE__, __LINE__)
void fuzz_check(bool is_true, const char *condition, const char *file, int line);

/* The input as text with a NUL behind it, in memory of just that size, so that a byte too far is seen. The caller frees it. */
char *fuzz_text(const uint8_t *data, size_t size);

/* A directory of this process that goes with it. */
const char *fuzz_directory(void);

/* Writes a file below it (directories on the way are made) and returns its path, in one of four buffers that are used in turn. */
const char *fuzz_put(const char *name, const void *content, size_t size);

/* The path alone. */
const char *fuzz_path(const char *name);

/* Whether text is what may stand on a screen, in a log line and in JSON: valid UTF-8 without control characters. */
bool fuzz_is_clean(const char *text);
