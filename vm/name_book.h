#pragma once

#include <stdbool.h>

#include "busid.h"
#include "descriptor.h"
#include "message.h"

/* How the nodes of attached devices are called: /dev/usbpush/NAME. It is written into RUNTIME_DIR/names before a driver sees the device, a file for each of its
 * interfaces; udev's rule (udev/usbpush-vm.rules) reads it there, so that the link comes in the same moment as the node. */
struct name_book;

#define NAME_BOOK_SIZE 112 /* a name with what makes it unique, and a NUL */

/* What is to be named. All borrowed. */
struct name_claim {
	const struct busid *busid; /* on this machine */
	const char *pi;            /* the Pi's name */
	const struct offer *offer;
	const struct descriptors *descriptors;
	unsigned main_interface; /* whose node has the name alone; those of the others have -ifN behind it */
};

/* What a predecessor wrote is taken out, and remembered: a device that is still there keeps its name. The object is the caller's. 0 or negative errno. */
int name_book_new(const char *runtime_dir, struct name_book **ret_book);

/* Leaves the files as they are. Takes NULL, returns NULL. */
struct name_book *name_book_free(struct name_book *book);

/* Names the device, or renames it: by what its owner calls it, else by its product and serial number. Where another device has that name, something is added to it.
 * Whether its name is another one now; failures are logged. */
bool name_book_enter(struct name_book *book, const struct name_claim *claim);

/* It is gone: its name is free. */
void name_book_leave(struct name_book *book, const struct busid *busid);

/* Its name, or "". Borrowed until the book changes. */
const char *name_book_get(const struct name_book *book, const struct busid *busid);
