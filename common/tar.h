#pragma once

#include <stdio.h>

/* A tar archive as POSIX has it (ustar), of small files made in memory. */

/* Adds a file. 0, or a negative errno (-ENAMETOOLONG above 99 characters). */
int tar_add(FILE *stream, const char *name, const void *content, size_t size, long long mtime);

/* The archive's end. 0 or negative errno. */
int tar_end(FILE *stream);
