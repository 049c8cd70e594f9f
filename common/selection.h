#pragma once

#include "busid.h"
#include "identity.h"

/* How a person names a device: a bus id, the owner's name, VID:PID or a serial number. Whole fields only: "1-1" is not "1-1.2". */

/* How well a device fits. Where several devices fit, those that fit best count: what a device says of itself must not put itself in the way of a socket or a name. */
enum selection_fit {
	SELECTION_NONE,
	SELECTION_IDENTITY, /* VID:PID, serial number, or the name made of them: what the device says */
	SELECTION_NAME,     /* the owner's */
	SELECTION_PLACE,    /* the bus id */
};

/* How the device fits the selection. name may be empty. */
enum selection_fit selection_fit(const char *selection, const struct busid *busid, const struct identity *identity, const char *name);
