#pragma once

#include <stdbool.h>

#include "piconf.h"

/* Pis that ended their pairing themselves. The handler may not write where keys and pi.conf are: it notes the Pi in RUNTIME_DIR/revoked, which shuts it out from
 * that moment on, also for the handler's successor, and asks in RUNTIME_DIR/unpair, which starts usbpush-unpair.service: that takes the lines out, as root. A
 * request that could not be carried out is not tried again by itself; the Pi stays shut out. */

#define REVOCATION_RUNTIME_DIR "/run/usbpush"

typedef void (*revocation_fn)(const char *pi_id, void *userdata);

/* Shuts the Pi out and asks for its lines to be taken out. 0 or negative errno. */
int revocation_add(const char *runtime_dir, const char *pi_id);

/* Whether the Pi is shut out. */
bool revocation_has(const char *runtime_dir, const char *pi_id);

/* The Pi is paired anew, or its lines are gone: nothing stands of it here any more. */
void revocation_lift(const char *runtime_dir, const char *pi_id);

/* Lifts those of Pis that are not in piconf any more. */
void revocation_prune(const char *runtime_dir, const struct piconf *piconf);

/* Calls fn for each request and withdraws it, whatever became of it. How many, or negative errno. */
int revocation_take_requests(const char *runtime_dir, revocation_fn fn, void *userdata);
