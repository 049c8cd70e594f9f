#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *log_program = "usbpush";
static bool log_is_debug;
static bool log_is_journal;

void log_init(const char *program, bool is_debug)
{
	log_program = program;
	log_is_debug = is_debug;
	log_is_journal = getenv("JOURNAL_STREAM") != NULL;
}

/* journald splits at newlines, and a terminal obeys escapes: a line stays one plain line. UTF-8 passes. */
static void log_flatten(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

void log_write(enum log_level level, const char *format, ...)
{
	char text[1024], line[1200];
	va_list arguments;
	int length;

	if (level == LOG_LEVEL_DEBUG && !log_is_debug)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	log_flatten(text);
	if (log_is_journal)
		length = snprintf(line, sizeof(line), "<%d>%s\n", (int)level, text);
	else
		length = snprintf(line, sizeof(line), "%s: %s\n", log_program, text);
	if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0)
		return; /* there is nowhere left to tell it */
}
