/* What the machines log, is told with the failing run and nowhere else. And a backoff without chance. */

#include <stdarg.h>
#include <stdio.h>

#include "backoff.h"
#include "log.h"
#include "property.h"

void log_write(enum log_level level, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	(void)level;
	if (!property_is_told())
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	property_tell("        %s", text);
}

void log_write_about(enum log_level level, const struct log_about *about, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	(void)level;
	(void)about;
	if (!property_is_told())
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	property_tell("        %s", text);
}

uint64_t backoff_next(struct backoff *backoff)
{
	backoff->step_usec = backoff->step_usec ? 2 * backoff->step_usec : backoff->min_usec;
	if (backoff->step_usec > backoff->max_usec)
		backoff->step_usec = backoff->max_usec;
	return backoff->step_usec;
}

void backoff_reset(struct backoff *backoff)
{
	backoff->step_usec = 0;
}
