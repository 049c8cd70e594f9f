/* The messages of a pairing, read by either side from a peer that does not know the digits: common/pair_party, pair_exchange. Every line of the input is one message.
 * Whatever it says, nobody is paired by it. */

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fuzz.h"
#include "pair_exchange.h"

#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static const struct pair_party VM = {
	.id = "0123456789abcdef0123456789abcdef", .name = "vm", .host = "192.0.2.1", .port = 22, .user = "usbpush", .key = KEY
};
static const struct pair_party PI = { .id = "fedcba9876543210fedcba9876543210", .name = "pi", .key = KEY };

static json_t *next_message(char **rest)
{
	const char *line = strsep(rest, "\n");

	return line ? json_loads(line, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

static void check_failure(const struct failure *failure)
{
	FUZZ_CHECK(failure->code != FAILURE_NONE && failure->text[0] && fuzz_is_clean(failure->text) && fuzz_is_clean(failure->cure));
}

/* What a party says reads back as it was said. */
static void check_party(const json_t *object)
{
	struct pair_party vm = { 0 }, pi = { 0 }, again = { 0 };
	struct failure failure;

	if (pair_party_vm_from_json(object, &vm, &failure) == 0) {
		_cleanup_json_ json_t *written = pair_party_vm_to_json(&vm);

		FUZZ_CHECK(pair_party_vm_from_json(written, &again, &failure) == 0 && memcmp(&vm, &again, sizeof(vm)) == 0);
		FUZZ_CHECK(pair_party_is_host(vm.host) && fuzz_is_clean(vm.name) && !strpbrk(vm.key, "\n\"") && vm.port > 0);
	} else {
		check_failure(&failure);
	}
	memset(&again, 0, sizeof(again));
	if (pair_party_pi_from_json(object, &pi, &failure) == 0) {
		_cleanup_json_ json_t *written = pair_party_pi_to_json(&pi);

		FUZZ_CHECK(pair_party_pi_from_json(written, &again, &failure) == 0 && strcmp(pi.key, again.key) == 0);
	} else {
		check_failure(&failure);
	}
}

/* The VM talks to somebody who says what the input says. */
static void play_vm(char *text)
{
	struct pair_exchange *exchange;
	struct failure failure;
	_cleanup_json_ json_t *begin = NULL, *share = NULL, *confirm = NULL;
	_cleanup_json_ json_t *begun = next_message(&text), *answered = next_message(&text);

	FUZZ_CHECK(pair_exchange_new(&exchange) == 0);
	FUZZ_CHECK(pair_vm_begin(exchange, &VM, "192.0.2.7", 8080, "123456", &begin) == 0);
	check_party(begun);
	check_party(json_object_get(begun, "pi"));
	if (pair_vm_handle_begun(exchange, begun, &share, &failure) == 0) {
		FUZZ_CHECK(share && strlen(pair_exchange_session(exchange)) == PAIR_SESSION_TEXT_SIZE - 1);
		FUZZ_CHECK(pair_vm_handle_answered(exchange, answered, &confirm, &failure) < 0 && !confirm);
	}
	check_failure(&failure);
	/* Once failed, failed for good. */
	FUZZ_CHECK(pair_vm_handle_up(exchange, answered, &confirm, &failure) < 0 &&
		   pair_vm_handle_paired(exchange, answered, &failure) < 0);
	pair_exchange_free(exchange);
}

/* The Pi, whose owner types digits that the peer can't know. */
static void play_pi(char *text)
{
	struct pair_exchange *exchange;
	struct failure failure;
	_cleanup_json_ json_t *answer = NULL, *typed = NULL, *up = NULL, *paired = NULL;
	_cleanup_json_ json_t *begin = next_message(&text), *share = next_message(&text), *confirm = next_message(&text);
	int r;

	FUZZ_CHECK(pair_exchange_new(&exchange) == 0);
	check_party(json_object_get(begin, "vm"));
	r = pair_pi_begin(exchange, &PI, begin, &answer, &failure);
	if (r == 0)
		r = pair_pi_handle_share(exchange, share, &failure);
	if (r == 0)
		r = pair_pi_use_code(exchange, "123 456", &typed, &failure);
	if (r == 0)
		r = pair_pi_handle_confirm(exchange, confirm, &failure);
	FUZZ_CHECK(r < 0);
	check_failure(&failure);
	FUZZ_CHECK(pair_pi_up(exchange, &up) < 0 && pair_pi_handle_finish(exchange, confirm, &paired, &failure) < 0 && !up && !paired);
	pair_exchange_free(exchange);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size), *copy = fuzz_text(data, size);
	char code[PAIR_CODE_SIZE];

	FUZZ_CHECK(cpace_init() == 0);
	if (pair_code_parse(text, code) == 0)
		FUZZ_CHECK(strlen(code) == PAIR_CODE_DIGITS && strspn(code, "0123456789") == PAIR_CODE_DIGITS);
	play_vm(text);
	play_pi(copy);
	return 0;
}
