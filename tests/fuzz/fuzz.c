#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

void fuzz_check(bool is_true, const char *condition, const char *file, int line)
{
	if (is_true)
		return;
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}

char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	FUZZ_CHECK(text != NULL);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

static char directory[64];

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
	(void)info;
	(void)kind;
	(void)walk;
	return remove(path);
}

static void remove_directory(void)
{
	(void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_directory(void)
{
	if (!directory[0]) {
		/* In memory where that can be had: nothing waits for a disk. */
		snprintf(directory, sizeof(directory), "%s/usbpush-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
		FUZZ_CHECK(mkdtemp(directory) != NULL);
		atexit(remove_directory);
	}
	return directory;
}

const char *fuzz_path(const char *name)
{
	static char paths[4][256];
	static unsigned next;
	char *path = paths[next++ % ARRAY_SIZE(paths)];

	FUZZ_CHECK(snprintf(path, sizeof(paths[0]), "%s/%s", fuzz_directory(), name) < (int)sizeof(paths[0]));
	return path;
}

static void make_parents(const char *path)
{
	char parent[256];

	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
		FUZZ_CHECK(mkdir(parent, 0755) == 0 || errno == EEXIST);
	}
}

const char *fuzz_put(const char *name, const void *content, size_t size)
{
	const char *path = fuzz_path(name);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0) {
		make_parents(path);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	}
	FUZZ_CHECK(fd >= 0 && write(fd, content, size) == (ssize_t)size);
	return path;
}

/* By another road than identity.c: mbrtowc-like, byte by byte, by RFC 3629's table. */
static size_t sequence_length(const unsigned char *text)
{
	static const struct {
		unsigned char low, high, second_low, second_high;
		size_t length;
	} table[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	if (*text < 0x80)
		return *text >= 0x20 && *text != 0x7f;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (*text < table[i].low || *text > table[i].high || text[1] < table[i].second_low || text[1] > table[i].second_high)
			continue;
		for (size_t j = 2; j < table[i].length; j++)
			if ((text[j] & 0xc0) != 0x80)
				return 0;
		return *text == 0xc2 && text[1] < 0xa0 ? 0 : table[i].length; /* C1 controls */
	}
	return 0;
}

bool fuzz_is_clean(const char *text)
{
	while (*text) {
		size_t length = sequence_length((const unsigned char *)text);

		if (length == 0)
			return false;
		text += length;
	}
	return true;
}
