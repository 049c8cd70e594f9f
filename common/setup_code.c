#include "setup_code.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic_file.h"
#include "cleanup.h"

#define CODE_LENGTH 8

/* 32 letters and digits that nobody takes for another: 40 bits in all. */
static const char LETTERS[] = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

static int setup_code_write(const char *path, gid_t group, const char *code)
{
	_cleanup_close_ int fd = -EBADF;
	char temporary[256];
	int n = snprintf(temporary, sizeof(temporary), "%s.new", path), r = 0;

	if (n < 0 || (size_t)n >= sizeof(temporary))
		return -ENAMETOOLONG;
	unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* The group first: nobody of another one reads it for a moment. */
	if (fchown(fd, (uid_t)-1, group) < 0 || fchmod(fd, 0640) < 0 || dprintf(fd, "%s\n", code) < 0 || rename(temporary, path) < 0) {
		r = -errno;
		unlink(temporary);
	}
	return r;
}

int setup_code_make(const char *path, gid_t group, char *ret_code, size_t size)
{
	uint8_t random[CODE_LENGTH];
	char code[SETUP_CODE_SIZE];
	size_t at = 0;

	if (size < sizeof(code))
		return -ENOBUFS;
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -errno;
	for (size_t i = 0; i < CODE_LENGTH; i++) {
		if (i == CODE_LENGTH / 2)
			code[at++] = '-';
		code[at++] = LETTERS[random[i] % (sizeof(LETTERS) - 1)];
	}
	code[at] = '\0';
	memcpy(ret_code, code, sizeof(code));
	return setup_code_write(path, group, code);
}

/* The letters and digits alone, in upper case. Whether there are as many as a code has. */
static bool setup_code_reduce(const char *text, char *buffer)
{
	size_t n = 0;

	for (; *text; text++) {
		if (!isalnum((unsigned char)*text))
			continue;
		if (n == CODE_LENGTH)
			return false;
		buffer[n++] = (char)toupper((unsigned char)*text);
	}
	return n == CODE_LENGTH;
}

bool setup_code_fits(const char *path, const char *given)
{
	char wanted[CODE_LENGTH] = { 0 }, tried[CODE_LENGTH] = { 0 };
	_cleanup_free_ char *content = NULL;
	bool is_there = file_read(path, 64, &content) >= 0 && setup_code_reduce(content, wanted);
	bool is_code = setup_code_reduce(given, tried);
	uint8_t difference = 0;

	for (size_t i = 0; i < CODE_LENGTH; i++)
		difference |= (uint8_t)(wanted[i] ^ tried[i]);
	return is_there && is_code && difference == 0;
}

int setup_code_remove(const char *path)
{
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}
