#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Wildcards as a person writes them into a rule: '*' is any text, '?' any one byte, '\' takes the next character as it is. Nothing else is special (no
 * brackets: serial numbers have them). The time is bounded by the product of both lengths. */

/* Whether the whole of text fits the pattern. */
bool glob_fits(const char *pattern, const char *text);

/* Writes text as a pattern that fits it alone, and that may stand in quotation marks. 0, or -ENOSPC. */
int glob_escape(const char *text, char *buffer, size_t size);
