#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "log_journal.h"
#include "log_limit.h"

static const char *log_program = "usbpush";
static bool log_is_debug;
static bool log_is_journal;     /* who reads our stderr knows levels */
static bool log_is_journal_own; /* and is journald itself */

void log_init(const char *program, bool is_debug)
{
	log_program = program;
	log_is_debug = is_debug;
	log_is_journal = getenv("JOURNAL_STREAM") != NULL;
	log_is_journal_own = log_journal_is_there();
}

/* journald splits at newlines, and a terminal obeys escapes: a line stays one plain line. UTF-8 passes. */
static void log_flatten(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

static void log_write_line(enum log_level level, const char *text)
{
	char line[1200];
	int length;

	if (log_is_journal)
		length = snprintf(line, sizeof(line), "<%d>%s\n", (int)level, text);
	else
		length = snprintf(line, sizeof(line), "%s: %s\n", log_program, text);
	if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0)
		return; /* there is nowhere left to tell it */
}

static uint64_t log_now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void log_tell_left_out(const char *text, unsigned n)
{
	char line[256];

	snprintf(line, sizeof(line), "%.*s: %u lines more were left out", log_limit_subject(text), text, n);
	log_write_line(LOG_LEVEL_WARNING, line);
}

static void log_write_text(enum log_level level, const struct log_about *about, const char *text)
{
	unsigned n_left_out = 0;

	if (!log_is_debug && !log_limit_take(text, level <= LOG_LEVEL_WARNING, log_now_usec(), &n_left_out))
		return;
	if (n_left_out)
		log_tell_left_out(text, n_left_out);
	if (!about || !log_is_journal_own || !log_journal_send(log_program, level, about, text))
		log_write_line(level, text);
}

static void log_write_arguments(enum log_level level, const struct log_about *about, const char *format, va_list arguments)
	__attribute__((format(printf, 3, 0)));

static void log_write_arguments(enum log_level level, const struct log_about *about, const char *format, va_list arguments)
{
	char text[1024];

	if (level == LOG_LEVEL_DEBUG && !log_is_debug)
		return;
	vsnprintf(text, sizeof(text), format, arguments);
	log_flatten(text);
	log_write_text(level, about, text);
}

void log_write(enum log_level level, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_write_arguments(level, NULL, format, arguments);
	va_end(arguments);
}

void log_write_about(enum log_level level, const struct log_about *about, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_write_arguments(level, about, format, arguments);
	va_end(arguments);
}
