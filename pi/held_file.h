#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "busid.h"

/* /run/usbpush/held: the bus ids that this exporter has given to usbip-host, one a line. It dies with the boot, as the bindings do; only what sysfs confirms
 * is believed. */

/* Replaces the file atomically. 0 or negative errno. */
int held_file_write(const char *path, const char *lines, size_t size);

/* What the file at path says: the caller's, "" without the file. 0 or negative errno. */
int held_file_read(const char *path, char **ret_lines);

/* Whether it names that bus id. */
bool held_lines_have(const char *lines, const struct busid *busid);
