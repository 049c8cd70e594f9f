#pragma once

#include <jansson.h>

#include "pair_party.h"

/* Both sides' state machines of the exchange in PROTOCOL.md, "Pairing by six digits": messages in, messages out, no I/O and no clock. A call out of turn
 * and a message that makes no sense end the exchange: every later call fails. The messages made are new references. */
struct pair_exchange;

#define PAIR_CODE_DIGITS       6
#define PAIR_CODE_SIZE         7
#define PAIR_NONCE_SIZE        32
#define PAIR_SESSION_SIZE      16
#define PAIR_SESSION_TEXT_SIZE (2 * PAIR_SESSION_SIZE + 1)

/* The object is the caller's; 0 or negative errno. */
int pair_exchange_new(struct pair_exchange **ret_exchange);

/* Wipes it. Takes NULL, returns NULL. */
struct pair_exchange *pair_exchange_free(struct pair_exchange *exchange);

/* The VM as far as it is known: what it said of itself; borrowed. */
const struct pair_party *pair_exchange_vm(const struct pair_exchange *exchange);

/* The Pi as far as it is known, with the host and port where the VM found it; borrowed. */
const struct pair_party *pair_exchange_pi(const struct pair_exchange *exchange);

/* The session that the Pi drew, in hex; "" before. */
const char *pair_exchange_session(const struct pair_exchange *exchange);

/* Six digits, each code as likely as any other. */
void pair_code_draw(char ret_code[PAIR_CODE_SIZE]);

/* What a person typed: six digits, blanks and dashes between them are passed over. -EINVAL for anything else. */
int pair_code_parse(const char *text, char ret_code[PAIR_CODE_SIZE]);

/* ---- the VM's side, in this order ---- */

/* The body of `begin`. pi_host and pi_port: where the Pi was found. */
int pair_vm_begin(struct pair_exchange *exchange, const struct pair_party *vm, const char *pi_host, uint16_t pi_port, const char *code,
		  json_t **ret_message);

/* The answer to `begin`; makes the body of `exchange`. FAILURE_VERSION, FAILURE_BAD_REQUEST. */
int pair_vm_handle_begun(struct pair_exchange *exchange, const json_t *answer, json_t **ret_message, struct failure *ret_failure);

/* The answer to `exchange` in state `answered`; makes the body of `confirm`. FAILURE_WRONG_CODE: other digits, or somebody in between. After success the Pi's key
 * is the key of the one whose owner typed the digits. */
int pair_vm_handle_answered(struct pair_exchange *exchange, const json_t *answer, json_t **ret_message, struct failure *ret_failure);

/* The answer to `confirm` in state `up`; makes the body of `finish`. */
int pair_vm_handle_up(struct pair_exchange *exchange, const json_t *answer, json_t **ret_message, struct failure *ret_failure);

/* The answer to `finish`. */
int pair_vm_handle_paired(struct pair_exchange *exchange, const json_t *answer, struct failure *ret_failure);

/* ---- the Pi's side, in this order ---- */

/* The body of `begin`; makes the answer's fields but expires_ms. pi: id, name and key. */
int pair_pi_begin(struct pair_exchange *exchange, const struct pair_party *pi, const json_t *message, json_t **ret_answer,
		  struct failure *ret_failure);

/* The body of `exchange`. */
int pair_pi_handle_share(struct pair_exchange *exchange, const json_t *message, struct failure *ret_failure);

/* The digits that the owner typed; makes the answer to `exchange`. They are used up. */
int pair_pi_use_code(struct pair_exchange *exchange, const char *code, json_t **ret_answer, struct failure *ret_failure);

/* The body of `confirm`. FAILURE_WRONG_CODE. After success the VM's host key is the key of the one who showed the digits. */
int pair_pi_handle_confirm(struct pair_exchange *exchange, const json_t *message, struct failure *ret_failure);

/* The link is up: the answer to `confirm`. */
int pair_pi_up(struct pair_exchange *exchange, json_t **ret_answer);

/* The body of `finish`; makes its answer, to be sent when vm.conf is written. */
int pair_pi_handle_finish(struct pair_exchange *exchange, const json_t *message, json_t **ret_answer, struct failure *ret_failure);
