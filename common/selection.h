#pragma once

#include <stdbool.h>

#include "busid.h"
#include "identity.h"

/* How a person names a device: a bus id, VID:PID, a serial number or the owner's name. Whole fields only: "1-1" is not "1-1.2". */

/* Whether a device fits the selection. name may be empty. */
bool selection_fits(const char *selection, const struct busid *busid, const struct identity *identity, const char *name);
