#pragma once

#include "temp_tree.h"

/* A module index as depmod makes it, of modules that have nothing but their aliases. */

struct fake_module {
	const char *path;       /* "drivers/usb/serial/ftdi_sio.ko" */
	const char *aliases[8]; /* NULL-ended */
};

/* The drivers that matter here, with the aliases that the kernel's own have. */
extern const struct fake_module SERIAL_AND_OTHER_MODULES[];

/* Makes DIR/lib/modules/1.0 of these (ended by one without a path) and indexes it. modinfo, where it is not NULL, is what is built into the kernel:
 * "cdc_acm.alias=usb:...\n" lines. Returns the path of the index' directory, in a buffer of its own. */
const char *fake_modules_make(const struct temp_tree *tree, const struct fake_module *modules, const char *builtin_modinfo);

/* The same of a file's lines, "drivers/usb/serial/ftdi_sio.ko usb:...", those of one module together, behind comment lines. */
const char *fake_modules_make_from_file(const struct temp_tree *tree, const char *path);
