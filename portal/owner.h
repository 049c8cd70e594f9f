#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "job.h"

/* The portal's one owner: a password, hashed with yescrypt, in a file of the portal's own. Hashing takes long by intent, and is done beside the event loop. */
struct owner;

#define OWNER_PASSWORD_MIN 8
#define OWNER_PASSWORD_MAX 256

enum owner_result {
	OWNER_RIGHT,   /* the password is right, or is set now */
	OWNER_WRONG,   /* the password or the code is wrong */
	OWNER_BUSY,    /* too many tries at once */
	OWNER_CLAIMED, /* there is an owner already */
	OWNER_BROKEN,  /* the file can't be written, or no memory; it was logged */
};

/* From the event loop, once. */
typedef void (*owner_fn)(enum owner_result result, void *userdata);

/* state_dir has the owner's file; code_path is where `usbpush setup-code` writes. The object is the caller's; NULL without memory. */
struct owner *owner_new(sd_event *event, const char *state_dir, const char *code_path);

/* Whoever waits is not called any more. Takes NULL, returns NULL. */
struct owner *owner_free(struct owner *owner);

/* Which password is valid: another number after each change of the file, by whomever; 0 without an owner. */
uint64_t owner_generation(const struct owner *owner);

/* Sets the password if code is right and there is no owner. on_done tells. */
void owner_claim(struct owner *owner, const char *code, const char *password, owner_fn on_done, void *userdata);

/* Whether the password is the owner's. on_done tells. */
void owner_check(struct owner *owner, const char *password, owner_fn on_done, void *userdata);
