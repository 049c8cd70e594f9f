#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inject_internal.h"

INJECT_SIMPLE(INJECT_MEMORY, void *, malloc, (size_t size), (size), NULL)
INJECT_SIMPLE(INJECT_MEMORY, void *, calloc, (size_t n, size_t size), (n, size), NULL)
INJECT_SIMPLE(INJECT_MEMORY, void *, realloc, (void *memory, size_t size), (memory, size), NULL)
INJECT_SIMPLE(INJECT_MEMORY, void *, reallocarray, (void *memory, size_t n, size_t size), (memory, n, size), NULL)
INJECT_SIMPLE(INJECT_MEMORY, char *, strdup, (const char *text), (text), NULL)
INJECT_SIMPLE(INJECT_MEMORY, char *, strndup, (const char *text, size_t size), (text, size), NULL)
INJECT_SIMPLE(INJECT_MEMORY, FILE *, open_memstream, (char **text, size_t *size), (text, size), NULL)

int inject_vasprintf(char **text, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
int inject_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));

int inject_vasprintf(char **text, const char *format, va_list arguments)
{
	return inject_hits(INJECT_MEMORY, "vasprintf") ? -1 : vasprintf(text, format, arguments);
}

int inject_asprintf(char **text, const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = inject_vasprintf(text, format, arguments);
	va_end(arguments);
	return n;
}
