#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "busid.h"

/* /run/usbpush/held: the bus ids that this exporter has given to usbip-host, one a line. It dies with the boot, as the bindings do; only what sysfs confirms
 * is believed. */

/* Replaces the file atomically. 0 or negative errno. */
int held_file_write(const char *path, const char *lines, size_t size);

/* Whether the file has that bus id as a whole line. */
bool held_file_has(const char *path, const struct busid *busid);
