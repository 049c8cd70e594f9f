#pragma once

#include <jansson.h>
#include <stdint.h>

#include "cpace.h"
#include "failure.h"
#include "message.h"

/* What one side of a pairing says of itself. All of it is bound into the exchange: PROTOCOL.md, "Pairing by six digits". */

#define PAIR_HOST_SIZE 256
#define PAIR_USER_SIZE 64
#define PAIR_KEY_SIZE  1024

struct pair_party {
	char id[MESSAGE_ID_SIZE]; /* 32 hex digits */
	char name[MESSAGE_NAME_SIZE];
	char host[PAIR_HOST_SIZE]; /* the VM: where the Pi connects to; the Pi: where the VM found it */
	uint16_t port;
	char user[PAIR_USER_SIZE]; /* the VM only */
	char key[PAIR_KEY_SIZE];   /* "TYPE BASE64": the VM's host key, the Pi's own */
};

/* The object "vm" of `begin`; a new reference, or NULL without memory. */
json_t *pair_party_vm_to_json(const struct pair_party *vm);

/* Reads it (foreign): every field in its form, nothing that could break a line of a file. -EBADMSG with ret_failure filled. */
int pair_party_vm_from_json(const json_t *object, struct pair_party *ret_vm, struct failure *ret_failure);

/* The object "pi" of its answer. */
json_t *pair_party_pi_to_json(const struct pair_party *pi);

/* Reads id, name and key; host and port of ret_pi stay as they are. */
int pair_party_pi_from_json(const json_t *object, struct pair_party *ret_pi, struct failure *ret_failure);

/* Whether text can be a host: letters, digits and ".-_:%". */
bool pair_party_is_host(const char *text);

/* Appends AD_vm: every field of the VM, each with its length before it. */
void pair_party_vm_to_text(const struct pair_party *vm, struct cpace_text *text);

/* Appends AD_pi: the same of the Pi, which has no user. */
void pair_party_pi_to_text(const struct pair_party *pi, struct cpace_text *text);
