#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "busid.h"

/* /run/usbpush/kept: the devices that were detached by hand, one a line: bus id and device number, which is another one at the next plug. It dies with the boot; only what
 * is still plugged in under that number is believed. */

/* Prints a device's line to stream; none for the number 0, which nobody has. */
void kept_file_print(FILE *stream, const struct busid *busid, uint32_t devnum);

/* Replaces the file atomically. 0 or negative errno. */
int kept_file_write(const char *path, const char *lines, size_t size);

/* What the file at path says: the caller's, "" without the file. 0 or negative errno. */
int kept_file_read(const char *path, char **ret_lines);

/* Whether it names the device of that number in that socket. NULL: no lines. */
bool kept_lines_have(const char *lines, const struct busid *busid, uint32_t devnum);
