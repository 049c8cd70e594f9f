#include "pair_exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define LABEL           "usbpush pairing"
#define SHARE_TEXT_SIZE (2 * CPACE_POINT_SIZE + 1)
#define TAG_TEXT_SIZE   (2 * CPACE_HASH_SIZE + 1)
#define CODE_LIMIT      1000000

enum pair_step {
	PAIR_STEP_NEW,
	PAIR_STEP_BEGUN,     /* begin was sent, or answered */
	PAIR_STEP_SHARED,    /* the VM's share is sent, or there */
	PAIR_STEP_ANSWERED,  /* the Pi's: share and tag made */
	PAIR_STEP_CONFIRMED, /* the other side knows the digits */
	PAIR_STEP_UP,
	PAIR_STEP_PAIRED,
	PAIR_STEP_FAILED,
};

struct pair_exchange {
	enum pair_step step;
	struct pair_party vm, pi;
	char code[PAIR_CODE_SIZE]; /* the VM's; the Pi has them only for a moment */
	char session[PAIR_SESSION_TEXT_SIZE];
	uint8_t vm_nonce[PAIR_NONCE_SIZE], pi_nonce[PAIR_NONCE_SIZE];
	uint8_t sid[CPACE_HASH_SIZE];
	uint8_t scalar[CPACE_SCALAR_SIZE];
	uint8_t vm_share[CPACE_POINT_SIZE], pi_share[CPACE_POINT_SIZE];
	uint8_t mac_key[CPACE_HASH_SIZE];
};

/* The one writer of the step. What is secret goes as soon as nothing needs it. */
static void exchange_enter(struct pair_exchange *exchange, enum pair_step step)
{
	exchange->step = step;
	switch (step) {
	case PAIR_STEP_NEW:
	case PAIR_STEP_BEGUN:
	case PAIR_STEP_SHARED:
		break;
	case PAIR_STEP_ANSWERED:
	case PAIR_STEP_CONFIRMED:
	case PAIR_STEP_UP:
		cpace_wipe(exchange->scalar, sizeof(exchange->scalar));
		cpace_wipe(exchange->code, sizeof(exchange->code));
		break;
	case PAIR_STEP_PAIRED:
	case PAIR_STEP_FAILED:
		cpace_wipe(exchange->scalar, sizeof(exchange->scalar));
		cpace_wipe(exchange->code, sizeof(exchange->code));
		cpace_wipe(exchange->mac_key, sizeof(exchange->mac_key));
		break;
	}
}

static int exchange_fail(struct pair_exchange *exchange, struct failure *failure, enum failure_code code, const char *cure,
			 const char *text)
{
	exchange_enter(exchange, PAIR_STEP_FAILED);
	return failure_set(failure, code, cure, "%s", text);
}

static int exchange_fail_foul(struct pair_exchange *exchange, struct failure *failure, const char *text)
{
	return exchange_fail(exchange, failure, FAILURE_BAD_REQUEST, "Start again; have both machines the same version of usbpush?", text);
}

static int exchange_expect(struct pair_exchange *exchange, enum pair_step step, struct failure *failure)
{
	return exchange->step == step ? 0 : exchange_fail_foul(exchange, failure, "pairing: a step out of turn");
}

int pair_exchange_new(struct pair_exchange **ret_exchange)
{
	struct pair_exchange *exchange;

	if (cpace_init() < 0)
		return -EIO;
	exchange = calloc(1, sizeof(*exchange));
	if (!exchange)
		return -ENOMEM;
	*ret_exchange = exchange;
	return 0;
}

struct pair_exchange *pair_exchange_free(struct pair_exchange *exchange)
{
	if (!exchange)
		return NULL;
	cpace_wipe(exchange, sizeof(*exchange));
	free(exchange);
	return NULL;
}

const struct pair_party *pair_exchange_vm(const struct pair_exchange *exchange)
{
	return &exchange->vm;
}

const struct pair_party *pair_exchange_pi(const struct pair_exchange *exchange)
{
	return &exchange->pi;
}

const char *pair_exchange_session(const struct pair_exchange *exchange)
{
	return exchange->session;
}

void pair_code_draw(char ret_code[PAIR_CODE_SIZE])
{
	snprintf(ret_code, PAIR_CODE_SIZE, "%06u", (unsigned)(cpace_draw_below(CODE_LIMIT) % CODE_LIMIT));
}

int pair_code_parse(const char *text, char ret_code[PAIR_CODE_SIZE])
{
	char code[PAIR_CODE_SIZE] = "";
	size_t n = 0;

	for (; *text; text++) {
		if (*text == ' ' || *text == '-')
			continue;
		if (*text < '0' || *text > '9' || n == PAIR_CODE_DIGITS)
			return -EINVAL;
		code[n++] = *text;
	}
	if (n != PAIR_CODE_DIGITS)
		return -EINVAL;
	memcpy(ret_code, code, sizeof(code));
	return 0;
}

/* ---- what both compute ---- */

static int exchange_make_session_id(struct pair_exchange *exchange)
{
	struct cpace_text text = { .size = 0 };

	cpace_text_add_string(&text, LABEL);
	cpace_text_add(&text, exchange->vm_nonce, sizeof(exchange->vm_nonce));
	cpace_text_add(&text, exchange->pi_nonce, sizeof(exchange->pi_nonce));
	return cpace_hash(&text, exchange->sid);
}

/* lv(first, what the side says of itself). */
static void exchange_add_side(struct cpace_text *text, const void *first, size_t size, const struct cpace_text *side)
{
	cpace_text_add(text, first, size);
	cpace_text_add(text, side->bytes, side->size);
	text->is_overrun |= side->is_overrun;
}

/* Draws this side's scalar and computes its share. */
static int exchange_make_share(struct pair_exchange *exchange, const char *code, uint8_t ret_share[CPACE_POINT_SIZE])
{
	struct cpace_text channel = { .size = 0 }, vm = { .size = 0 }, pi = { .size = 0 };
	uint8_t generator[CPACE_POINT_SIZE];
	int r;

	pair_party_vm_to_text(&exchange->vm, &vm);
	pair_party_pi_to_text(&exchange->pi, &pi);
	exchange_add_side(&channel, LABEL, strlen(LABEL), &vm);
	cpace_text_add(&channel, pi.bytes, pi.size);
	channel.is_overrun |= pi.is_overrun;
	r = cpace_generator(code, &channel, exchange->sid, sizeof(exchange->sid), generator);
	cpace_draw_scalar(exchange->scalar);
	if (r == 0)
		r = cpace_share(exchange->scalar, generator, ret_share);
	cpace_wipe(generator, sizeof(generator));
	return r;
}

/* From both shares the key of the tags. */
static int exchange_make_mac_key(struct pair_exchange *exchange, const uint8_t peer_share[CPACE_POINT_SIZE])
{
	struct cpace_text transcript = { .size = 0 }, vm = { .size = 0 }, pi = { .size = 0 };
	uint8_t secret[CPACE_POINT_SIZE], key[CPACE_HASH_SIZE];
	int r = cpace_equal(exchange->vm_share, exchange->pi_share, CPACE_POINT_SIZE) ? -EBADMSG :
											cpace_secret(exchange->scalar, peer_share, secret);

	pair_party_vm_to_text(&exchange->vm, &vm);
	pair_party_pi_to_text(&exchange->pi, &pi);
	exchange_add_side(&transcript, exchange->vm_share, CPACE_POINT_SIZE, &vm);
	exchange_add_side(&transcript, exchange->pi_share, CPACE_POINT_SIZE, &pi);
	if (r == 0)
		r = cpace_key(exchange->sid, sizeof(exchange->sid), secret, &transcript, key);
	if (r == 0)
		r = cpace_mac_key(exchange->sid, sizeof(exchange->sid), key, exchange->mac_key);
	cpace_wipe(secret, sizeof(secret));
	cpace_wipe(key, sizeof(key));
	return r;
}

/* The confirmation of one side: over its share and what it said of itself. */
static int exchange_side_tag(const struct pair_exchange *exchange, bool is_vm, uint8_t ret_tag[CPACE_HASH_SIZE])
{
	struct cpace_text text = { .size = 0 }, side = { .size = 0 };

	if (is_vm)
		pair_party_vm_to_text(&exchange->vm, &side);
	else
		pair_party_pi_to_text(&exchange->pi, &side);
	exchange_add_side(&text, is_vm ? exchange->vm_share : exchange->pi_share, CPACE_POINT_SIZE, &side);
	return cpace_mac(exchange->mac_key, &text, ret_tag);
}

static int exchange_word_tag(const struct pair_exchange *exchange, const char *word, uint8_t ret_tag[CPACE_HASH_SIZE])
{
	struct cpace_text text = { .size = 0 };

	cpace_text_add_string(&text, LABEL);
	cpace_text_add_string(&text, word);
	return cpace_mac(exchange->mac_key, &text, ret_tag);
}

/* Whether the message's "tag" is that one. */
static bool exchange_tag_is(const json_t *message, const uint8_t expected[CPACE_HASH_SIZE])
{
	uint8_t tag[CPACE_HASH_SIZE];

	return cpace_from_hex(json_string_value(json_object_get(message, "tag")), tag, sizeof(tag)) == 0 &&
	       cpace_equal(tag, expected, sizeof(tag));
}

static bool exchange_word_is_tagged(const struct pair_exchange *exchange, const json_t *message, const char *word)
{
	uint8_t expected[CPACE_HASH_SIZE];

	return exchange_word_tag(exchange, word, expected) == 0 && exchange_tag_is(message, expected);
}

static bool exchange_is_state(const json_t *message, const char *state)
{
	const char *is = json_string_value(json_object_get(message, "state"));

	return is && strcmp(is, state) == 0;
}

/* {"session", "state" (maybe NULL), "tag"} */
static int exchange_make_tagged(const struct pair_exchange *exchange, const char *state, const uint8_t tag[CPACE_HASH_SIZE],
				json_t **ret_message)
{
	char text[TAG_TEXT_SIZE];
	json_t *message;

	cpace_to_hex(tag, CPACE_HASH_SIZE, text);
	message = state ? json_pack("{s:s, s:s}", "state", state, "tag", text) :
			  json_pack("{s:s, s:s}", "session", exchange->session, "tag", text);
	if (!message)
		return -ENOMEM;
	*ret_message = message;
	return 0;
}

static int exchange_make_word(const struct pair_exchange *exchange, const char *word, const char *state, json_t **ret_message)
{
	uint8_t tag[CPACE_HASH_SIZE];
	int r = exchange_word_tag(exchange, word, tag);

	return r < 0 ? r : exchange_make_tagged(exchange, state, tag, ret_message);
}

static int exchange_fail_code(struct pair_exchange *exchange, struct failure *failure)
{
	return exchange_fail(
		exchange, failure, FAILURE_WRONG_CODE,
		"Start again with a new code. If you are sure of the digits, somebody on the network is between the two machines.",
		"the digits typed on the Pi are not those that the VM shows");
}

/* ---- the VM's side ---- */

int pair_vm_begin(struct pair_exchange *exchange, const struct pair_party *vm, const char *pi_host, uint16_t pi_port, const char *code,
		  json_t **ret_message)
{
	char nonce[2 * PAIR_NONCE_SIZE + 1];
	json_t *message;

	if (exchange->step != PAIR_STEP_NEW || pair_code_parse(code, exchange->code) < 0 || !pair_party_is_host(pi_host))
		return -EINVAL;
	exchange->vm = *vm;
	snprintf(exchange->pi.host, sizeof(exchange->pi.host), "%s", pi_host);
	exchange->pi.port = pi_port;
	cpace_draw(exchange->vm_nonce, sizeof(exchange->vm_nonce));
	cpace_to_hex(exchange->vm_nonce, sizeof(exchange->vm_nonce), nonce);
	message = json_pack("{s:i, s:s, s:o, s:s, s:i}", "protocol", PROTOCOL_VERSION, "nonce", nonce, "vm", pair_party_vm_to_json(vm),
			    "pi_address", pi_host, "pi_port", pi_port);
	if (!message)
		return -ENOMEM;
	exchange_enter(exchange, PAIR_STEP_BEGUN);
	*ret_message = message;
	return 0;
}

static int exchange_check_version(struct pair_exchange *exchange, const json_t *message, struct failure *failure)
{
	const json_t *protocol = json_object_get(message, "protocol");

	if (!json_is_integer(protocol))
		return exchange_fail_foul(exchange, failure, "pairing: \"protocol\" is missing");
	if (json_integer_value(protocol) != PROTOCOL_VERSION)
		return exchange_fail(exchange, failure, FAILURE_VERSION, "Install the same version of usbpush on both machines.",
				     "the other machine speaks another version of the protocol");
	return 0;
}

static int exchange_make_vm_share(struct pair_exchange *exchange, json_t **ret_message)
{
	char share[SHARE_TEXT_SIZE];
	int r = exchange_make_session_id(exchange);

	if (r == 0)
		r = exchange_make_share(exchange, exchange->code, exchange->vm_share);
	if (r < 0)
		return r;
	cpace_to_hex(exchange->vm_share, sizeof(exchange->vm_share), share);
	*ret_message = json_pack("{s:s, s:s}", "session", exchange->session, "share", share);
	return *ret_message ? 0 : -ENOMEM;
}

int pair_vm_handle_begun(struct pair_exchange *exchange, const json_t *answer, json_t **ret_message, struct failure *ret_failure)
{
	const char *session = json_string_value(json_object_get(answer, "session"));
	uint8_t session_bytes[PAIR_SESSION_SIZE];
	int r = exchange_expect(exchange, PAIR_STEP_BEGUN, ret_failure);

	if (r == 0)
		r = exchange_check_version(exchange, answer, ret_failure);
	if (r < 0)
		return r;
	r = pair_party_pi_from_json(json_object_get(answer, "pi"), &exchange->pi, ret_failure);
	if (r < 0) {
		exchange_enter(exchange, PAIR_STEP_FAILED);
		return r;
	}
	if (cpace_from_hex(session, session_bytes, sizeof(session_bytes)) < 0 ||
	    cpace_from_hex(json_string_value(json_object_get(answer, "nonce")), exchange->pi_nonce, sizeof(exchange->pi_nonce)) < 0)
		return exchange_fail_foul(exchange, ret_failure, "pairing: the Pi's \"session\" or \"nonce\" makes no sense");
	memcpy(exchange->session, session, sizeof(exchange->session));
	if (exchange_make_vm_share(exchange, ret_message) < 0)
		return exchange_fail(exchange, ret_failure, FAILURE_INTERNAL, NULL, "pairing: the exchange could not be computed");
	exchange_enter(exchange, PAIR_STEP_SHARED);
	return 0;
}

int pair_vm_handle_answered(struct pair_exchange *exchange, const json_t *answer, json_t **ret_message, struct failure *ret_failure)
{
	uint8_t tag[CPACE_HASH_SIZE];
	int r = exchange_expect(exchange, PAIR_STEP_SHARED, ret_failure);

	if (r < 0)
		return r;
	if (!exchange_is_state(answer, "answered") ||
	    cpace_from_hex(json_string_value(json_object_get(answer, "share")), exchange->pi_share, sizeof(exchange->pi_share)) < 0 ||
	    exchange_make_mac_key(exchange, exchange->pi_share) < 0)
		return exchange_fail_foul(exchange, ret_failure, "pairing: the Pi's \"share\" makes no sense");
	if (exchange_side_tag(exchange, false, tag) < 0 || !exchange_tag_is(answer, tag))
		return exchange_fail_code(exchange, ret_failure);
	if (exchange_side_tag(exchange, true, tag) < 0 || exchange_make_tagged(exchange, NULL, tag, ret_message) < 0)
		return exchange_fail(exchange, ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	exchange_enter(exchange, PAIR_STEP_CONFIRMED);
	return 0;
}

int pair_vm_handle_up(struct pair_exchange *exchange, const json_t *answer, json_t **ret_message, struct failure *ret_failure)
{
	int r = exchange_expect(exchange, PAIR_STEP_CONFIRMED, ret_failure);

	if (r < 0)
		return r;
	if (!exchange_is_state(answer, "up") || !exchange_word_is_tagged(exchange, answer, "up"))
		return exchange_fail_foul(exchange, ret_failure, "pairing: that the link is up was not said by the Pi");
	if (exchange_make_word(exchange, "finish", NULL, ret_message) < 0)
		return exchange_fail(exchange, ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	exchange_enter(exchange, PAIR_STEP_UP);
	return 0;
}

int pair_vm_handle_paired(struct pair_exchange *exchange, const json_t *answer, struct failure *ret_failure)
{
	int r = exchange_expect(exchange, PAIR_STEP_UP, ret_failure);

	if (r < 0)
		return r;
	if (!exchange_is_state(answer, "paired") || !exchange_word_is_tagged(exchange, answer, "paired"))
		return exchange_fail_foul(exchange, ret_failure, "pairing: the end was not said by the Pi");
	exchange_enter(exchange, PAIR_STEP_PAIRED);
	return 0;
}

/* ---- the Pi's side ---- */

static int exchange_read_begin(struct pair_exchange *exchange, const json_t *message, struct failure *failure)
{
	const char *host = json_string_value(json_object_get(message, "pi_address"));
	const json_t *port = json_object_get(message, "pi_port");
	int r = exchange_check_version(exchange, message, failure);

	if (r < 0)
		return r;
	r = pair_party_vm_from_json(json_object_get(message, "vm"), &exchange->vm, failure);
	if (r < 0) {
		exchange_enter(exchange, PAIR_STEP_FAILED);
		return r;
	}
	if (!host || !pair_party_is_host(host) || !json_is_integer(port) || json_integer_value(port) < 1 ||
	    json_integer_value(port) > UINT16_MAX)
		return exchange_fail_foul(exchange, failure, "pairing: \"pi_address\" or \"pi_port\" makes no sense");
	snprintf(exchange->pi.host, sizeof(exchange->pi.host), "%s", host);
	exchange->pi.port = (uint16_t)json_integer_value(port);
	if (cpace_from_hex(json_string_value(json_object_get(message, "nonce")), exchange->vm_nonce, sizeof(exchange->vm_nonce)) < 0)
		return exchange_fail_foul(exchange, failure, "pairing: the VM's \"nonce\" makes no sense");
	return 0;
}

int pair_pi_begin(struct pair_exchange *exchange, const struct pair_party *pi, const json_t *message, json_t **ret_answer,
		  struct failure *ret_failure)
{
	uint8_t session[PAIR_SESSION_SIZE];
	char nonce[2 * PAIR_NONCE_SIZE + 1];
	int r = exchange_expect(exchange, PAIR_STEP_NEW, ret_failure);

	if (r < 0)
		return r;
	exchange->pi = *pi;
	r = exchange_read_begin(exchange, message, ret_failure);
	if (r < 0)
		return r;
	cpace_draw(session, sizeof(session));
	cpace_to_hex(session, sizeof(session), exchange->session);
	cpace_draw(exchange->pi_nonce, sizeof(exchange->pi_nonce));
	cpace_to_hex(exchange->pi_nonce, sizeof(exchange->pi_nonce), nonce);
	*ret_answer = json_pack("{s:i, s:s, s:s, s:o}", "protocol", PROTOCOL_VERSION, "session", exchange->session, "nonce", nonce, "pi",
				pair_party_pi_to_json(&exchange->pi));
	if (exchange_make_session_id(exchange) < 0 || !*ret_answer)
		return exchange_fail(exchange, ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	exchange_enter(exchange, PAIR_STEP_BEGUN);
	return 0;
}

/* That it is a point is seen when it is used: a share that is none costs whoever sends it a guess. */
int pair_pi_handle_share(struct pair_exchange *exchange, const json_t *message, struct failure *ret_failure)
{
	int r = exchange_expect(exchange, PAIR_STEP_BEGUN, ret_failure);

	if (r < 0)
		return r;
	if (cpace_from_hex(json_string_value(json_object_get(message, "share")), exchange->vm_share, sizeof(exchange->vm_share)) < 0)
		return exchange_fail_foul(exchange, ret_failure, "pairing: the VM's \"share\" makes no sense");
	exchange_enter(exchange, PAIR_STEP_SHARED);
	return 0;
}

int pair_pi_use_code(struct pair_exchange *exchange, const char *code, json_t **ret_answer, struct failure *ret_failure)
{
	char digits[PAIR_CODE_SIZE], share[SHARE_TEXT_SIZE];
	uint8_t tag[CPACE_HASH_SIZE];
	int r;

	if (pair_code_parse(code, digits) < 0)
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Type the digits that usbpush-vm pair shows.",
				   "a code has six digits"); /* no guess: the exchange goes on */
	r = exchange_expect(exchange, PAIR_STEP_SHARED, ret_failure);
	if (r == 0 &&
	    (exchange_make_share(exchange, digits, exchange->pi_share) < 0 || exchange_make_mac_key(exchange, exchange->vm_share) < 0))
		r = exchange_fail_foul(exchange, ret_failure, "pairing: the VM's \"share\" makes no sense");
	cpace_wipe(digits, sizeof(digits));
	if (r < 0)
		return r;
	if (exchange_side_tag(exchange, false, tag) < 0 || exchange_make_tagged(exchange, "answered", tag, ret_answer) < 0)
		return exchange_fail(exchange, ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	cpace_to_hex(exchange->pi_share, sizeof(exchange->pi_share), share);
	json_object_set_new(*ret_answer, "share", json_string(share));
	exchange_enter(exchange, PAIR_STEP_ANSWERED);
	return 0;
}

int pair_pi_handle_confirm(struct pair_exchange *exchange, const json_t *message, struct failure *ret_failure)
{
	uint8_t tag[CPACE_HASH_SIZE];
	int r = exchange_expect(exchange, PAIR_STEP_ANSWERED, ret_failure);

	if (r < 0)
		return r;
	if (exchange_side_tag(exchange, true, tag) < 0 || !exchange_tag_is(message, tag))
		return exchange_fail_code(exchange, ret_failure);
	exchange_enter(exchange, PAIR_STEP_CONFIRMED);
	return 0;
}

int pair_pi_up(struct pair_exchange *exchange, json_t **ret_answer)
{
	int r = exchange_expect(exchange, PAIR_STEP_CONFIRMED, NULL);

	if (r == 0)
		r = exchange_make_word(exchange, "up", "up", ret_answer);
	if (r == 0)
		exchange_enter(exchange, PAIR_STEP_UP);
	return r;
}

int pair_pi_handle_finish(struct pair_exchange *exchange, const json_t *message, json_t **ret_answer, struct failure *ret_failure)
{
	int r = exchange_expect(exchange, PAIR_STEP_UP, ret_failure);

	if (r < 0)
		return r;
	if (!exchange_word_is_tagged(exchange, message, "finish"))
		return exchange_fail_foul(exchange, ret_failure, "pairing: the end was not said by the VM");
	if (exchange_make_word(exchange, "paired", "paired", ret_answer) < 0)
		return exchange_fail(exchange, ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	exchange_enter(exchange, PAIR_STEP_PAIRED);
	return 0;
}
