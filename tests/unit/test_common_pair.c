/* The exchange of a pairing, both sides, with somebody in between. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "pair_exchange.h"

#define VM_KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKRLTqsr+VDRr3Z+JgfhkTONdBJrWAIFimEo+uqa6M1u"
#define PI_KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFQkRtRcvgvo09XRN2UfsAyHUzKxz+lxkBdVNys0V335"

static const struct pair_party VM = {
	.id = "00112233445566778899aabbccddeeff", .name = "bench", .host = "10.0.0.2", .port = 22, .user = "usbpush", .key = VM_KEY
};
static const struct pair_party PI = { .id = "ffeeddccbbaa99887766554433221100", .name = "raspberrypi", .key = PI_KEY };

static struct pair_exchange *vm, *pi;
static struct failure failure;
/* All messages, as they pass between the two; owned. */
static json_t *begin, *begun, *exchange, *answered, *confirm, *up, *finish, *paired;
static json_t **const MESSAGES[] = { &begin, &begun, &exchange, &answered, &confirm, &up, &finish, &paired };

static void forget_messages(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(MESSAGES); i++) {
		json_decref(*MESSAGES[i]);
		*MESSAGES[i] = NULL;
	}
}

static void setup(void)
{
	failure = (struct failure){ 0 };
	ck_assert_int_eq(pair_exchange_new(&vm), 0);
	ck_assert_int_eq(pair_exchange_new(&pi), 0);
}

static void teardown(void)
{
	forget_messages();
	vm = pair_exchange_free(vm);
	pi = pair_exchange_free(pi);
}

/* Each step returns what the side that heard the message says to it. */
static int step_begin(void)
{
	ck_assert_int_eq(pair_vm_begin(vm, &VM, "10.0.0.7", 8080, "123456", &begin), 0);
	return pair_pi_begin(pi, &PI, begin, &begun, &failure);
}

static int step_begun(void)
{
	return pair_vm_handle_begun(vm, begun, &exchange, &failure);
}

static int step_share(void)
{
	return pair_pi_handle_share(pi, exchange, &failure);
}

static int step_code(const char *code)
{
	return pair_pi_use_code(pi, code, &answered, &failure);
}

static int step_answered(void)
{
	return pair_vm_handle_answered(vm, answered, &confirm, &failure);
}

static int step_confirm(void)
{
	return pair_pi_handle_confirm(pi, confirm, &failure);
}

static void come_to_code(void)
{
	ck_assert_int_eq(step_begin(), 0);
	ck_assert_int_eq(step_begun(), 0);
	ck_assert_int_eq(step_share(), 0);
}

static void come_to_confirm(void)
{
	come_to_code();
	ck_assert_int_eq(step_code("123456"), 0);
	ck_assert_int_eq(step_answered(), 0);
}

static void come_to_up(void)
{
	come_to_confirm();
	ck_assert_int_eq(step_confirm(), 0);
	ck_assert_int_eq(pair_pi_up(pi, &up), 0);
}

static void come_to_finish(void)
{
	come_to_up();
	ck_assert_int_eq(pair_vm_handle_up(vm, up, &finish, &failure), 0);
}

START_TEST(the_right_digits_pair_both_and_each_knows_the_others_key)
{
	come_to_finish();
	ck_assert_int_eq(pair_pi_handle_finish(pi, finish, &paired, &failure), 0);
	ck_assert_int_eq(pair_vm_handle_paired(vm, paired, &failure), 0);
	ck_assert_str_eq(pair_exchange_vm(pi)->key, VM_KEY);
	ck_assert_str_eq(pair_exchange_vm(pi)->host, "10.0.0.2");
	ck_assert_str_eq(pair_exchange_pi(vm)->key, PI_KEY);
	ck_assert_str_eq(pair_exchange_session(vm), pair_exchange_session(pi));
}
END_TEST

START_TEST(digits_may_be_typed_in_groups)
{
	come_to_code();
	ck_assert_int_eq(step_code(" 123-456 "), 0);
	ck_assert_int_eq(step_answered(), 0);
}
END_TEST

static const char *const BAD_CODES[] = { "", "12345", "1234567", "12345a", "123 45", "١٢٣٤٥٦", "123456\n", "+12345", "0x1234" };

START_TEST(what_is_no_code_is_no_guess)
{
	come_to_code();
	ck_assert_int_lt(step_code(BAD_CODES[_i]), 0);
	ck_assert_int_eq(failure.code, FAILURE_BAD_REQUEST);
	ck_assert_int_eq(step_code("123456"), 0);
	ck_assert_int_eq(step_answered(), 0);
}
END_TEST

static const char *const WRONG_CODES[] = { "123457", "023456", "654321", "000000" };

START_TEST(a_wrong_digit_fails_on_the_vm_and_then_on_the_pi)
{
	come_to_code();
	ck_assert_int_eq(step_code(WRONG_CODES[_i]), 0);
	ck_assert_int_lt(step_answered(), 0);
	ck_assert_int_eq(failure.code, FAILURE_WRONG_CODE);
	ck_assert_ptr_null(confirm);
	/* Whatever a VM that does not know it sends, the Pi does not take. */
	confirm = json_pack("{s:s, s:O}", "session", pair_exchange_session(pi), "tag", json_object_get(answered, "tag"));
	ck_assert_int_lt(step_confirm(), 0);
	ck_assert_int_eq(failure.code, FAILURE_WRONG_CODE);
}
END_TEST

START_TEST(a_code_is_good_for_one_guess)
{
	json_t *second = NULL;

	come_to_code();
	ck_assert_int_eq(step_code("123457"), 0);
	ck_assert_int_lt(pair_pi_use_code(pi, "123456", &second, &failure), 0);
	ck_assert_ptr_null(second);
	ck_assert_int_lt(step_answered(), 0);
	/* The VM does not look at another answer to the same digits either. */
	ck_assert_int_lt(step_answered(), 0);
	ck_assert_int_eq(failure.code, FAILURE_BAD_REQUEST);
}
END_TEST

/* What somebody in between changes in what passes: message, path, and the new value. The one who finds out is the VM, at the Pi's tag. */
static const struct {
	json_t **message;
	const char *object, *field, *value;
} CHANGES[] = {
	{ &begin, "vm", "host_key", PI_KEY },
	{ &begin, "vm", "host", "10.0.0.66" },
	{ &begin, "vm", "name", "other" },
	{ &begin, "vm", "id", "00112233445566778899aabbccddeef0" },
	{ &begin, "vm", "user", "root" },
	{ &begin, NULL, "pi_address", "10.0.0.8" },
	{ &begin, NULL, "nonce", "00000000000000000000000000000000000000000000000000000000000000ff" },
	{ &begun, "pi", "key", VM_KEY },
	{ &begun, "pi", "name", "other" },
	{ &begun, "pi", "id", "ffeeddccbbaa99887766554433221101" },
	{ &begun, NULL, "nonce", "00000000000000000000000000000000000000000000000000000000000000ff" },
	{ &exchange, NULL, "share", "d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157" },
	{ &answered, NULL, "share", "3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258" },
};

/* One that leaves the other side's own idea of itself as it is: it hands on a changed copy. */
static void tamper(json_t **message, size_t change)
{
	json_t *copy, *object;

	if (CHANGES[change].message != message)
		return;
	copy = json_deep_copy(*message);
	object = CHANGES[change].object ? json_object_get(copy, CHANGES[change].object) : copy;
	json_object_set_new(object, CHANGES[change].field, json_string(CHANGES[change].value));
	json_decref(*message);
	*message = copy;
}

START_TEST(a_man_in_the_middle_who_changes_anything_is_found_out_before_anything_is_written)
{
	ck_assert_int_eq(pair_vm_begin(vm, &VM, "10.0.0.7", 8080, "123456", &begin), 0);
	tamper(&begin, (size_t)_i);
	ck_assert_int_eq(pair_pi_begin(pi, &PI, begin, &begun, &failure), 0);
	tamper(&begun, (size_t)_i);
	ck_assert_int_eq(step_begun(), 0);
	tamper(&exchange, (size_t)_i);
	ck_assert_int_eq(step_share(), 0);
	ck_assert_int_eq(step_code("123456"), 0);
	tamper(&answered, (size_t)_i);
	ck_assert_int_lt(step_answered(), 0);
	ck_assert_int_eq(failure.code, FAILURE_WRONG_CODE);
}
END_TEST

/* Two exchanges, one with each, and both keys his own. He does not know the digits. */
START_TEST(a_man_in_the_middle_who_plays_both_sides_gets_nothing)
{
	struct pair_exchange *to_vm, *to_pi;
	_cleanup_json_ json_t *his_begun = NULL, *his_begin = NULL, *his_exchange = NULL, *his_answer = NULL, *his_confirm = NULL;

	ck_assert_int_eq(pair_exchange_new(&to_vm), 0);
	ck_assert_int_eq(pair_exchange_new(&to_pi), 0);
	ck_assert_int_eq(pair_vm_begin(vm, &VM, "10.0.0.7", 8080, "123456", &begin), 0);
	ck_assert_int_eq(pair_pi_begin(to_vm, &PI, begin, &his_begun, &failure), 0);
	ck_assert_int_eq(pair_vm_handle_begun(vm, his_begun, &exchange, &failure), 0);
	ck_assert_int_eq(pair_pi_handle_share(to_vm, exchange, &failure), 0);
	ck_assert_int_eq(pair_vm_begin(to_pi, &VM, "10.0.0.7", 8080, "000000", &his_begin), 0);
	ck_assert_int_eq(pair_pi_begin(pi, &PI, his_begin, &begun, &failure), 0);
	ck_assert_int_eq(pair_vm_handle_begun(to_pi, begun, &his_exchange, &failure), 0);
	ck_assert_int_eq(pair_pi_handle_share(pi, his_exchange, &failure), 0);
	ck_assert_int_eq(step_code("123456"), 0);
	ck_assert_int_lt(pair_vm_handle_answered(to_pi, answered, &his_confirm, &failure), 0);
	ck_assert_int_eq(pair_pi_use_code(to_vm, "000000", &his_answer, &failure), 0);
	ck_assert_int_lt(pair_vm_handle_answered(vm, his_answer, &confirm, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_WRONG_CODE);
	pair_exchange_free(to_vm);
	pair_exchange_free(to_pi);
}
END_TEST

START_TEST(what_was_heard_once_is_worth_nothing_another_time)
{
	_cleanup_json_ json_t *old_begun = NULL, *old_answered = NULL, *old_confirm = NULL, *old_exchange = NULL;

	come_to_confirm();
	old_begun = json_incref(begun);
	old_exchange = json_incref(exchange);
	old_answered = json_incref(answered);
	old_confirm = json_incref(confirm);
	teardown();
	setup();
	/* To the Pi: the old share and confirmation. */
	ck_assert_int_eq(step_begin(), 0);
	ck_assert_int_eq(pair_pi_handle_share(pi, old_exchange, &failure), 0);
	ck_assert_int_eq(step_code("123456"), 0);
	ck_assert_int_lt(pair_pi_handle_confirm(pi, old_confirm, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_WRONG_CODE);
	/* To the VM: the old Pi's answers. */
	ck_assert_int_eq(pair_vm_handle_begun(vm, old_begun, &exchange, &failure), 0);
	ck_assert_int_lt(pair_vm_handle_answered(vm, old_answered, &confirm, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_WRONG_CODE);
}
END_TEST

START_TEST(a_share_sent_back_to_its_sender_is_refused)
{
	come_to_code();
	answered =
		json_pack("{s:s, s:O, s:s}", "state", "answered", "share", json_object_get(exchange, "share"), "tag",
			  "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
			  "00000000000000000000");
	ck_assert_int_lt(step_answered(), 0);
	ck_assert_int_eq(failure.code, FAILURE_BAD_REQUEST);
}
END_TEST

START_TEST(the_neutral_element_as_a_share_is_refused)
{
	ck_assert_int_eq(step_begin(), 0);
	ck_assert_int_eq(step_begun(), 0);
	json_object_set_new(exchange, "share", json_string("0000000000000000000000000000000000000000000000000000000000000000"));
	ck_assert_int_eq(step_share(), 0);
	ck_assert_int_lt(step_code("123456"), 0);
	ck_assert_ptr_null(answered);
}
END_TEST

START_TEST(up_finish_and_paired_are_each_said_by_the_one_who_knows)
{
	come_to_finish();
	/* What was said for one is no word for another. */
	paired = json_pack("{s:s, s:O}", "state", "paired", "tag", json_object_get(up, "tag"));
	ck_assert_int_lt(pair_vm_handle_paired(vm, paired, &failure), 0);
	json_object_set(finish, "tag", json_object_get(up, "tag"));
	ck_assert_int_lt(pair_pi_handle_finish(pi, finish, &begun, &failure), 0);
}
END_TEST

START_TEST(a_step_out_of_turn_ends_the_exchange)
{
	json_t *none = NULL;

	ck_assert_int_eq(step_begin(), 0);
	ck_assert_int_lt(pair_pi_handle_confirm(pi, begin, &failure), 0);
	ck_assert_int_lt(pair_pi_handle_share(pi, begin, &failure), 0);
	ck_assert_int_lt(pair_pi_up(pi, &none), 0);
	ck_assert_int_lt(pair_pi_handle_finish(pi, begin, &none, &failure), 0);
	ck_assert_int_lt(pair_vm_handle_up(vm, begin, &none, &failure), 0);
	ck_assert_int_lt(pair_vm_handle_begun(vm, begun, &none, &failure), 0);
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(another_version_is_told_as_such_by_both)
{
	ck_assert_int_eq(step_begin(), 0);
	json_object_set_new(begun, "protocol", json_integer(2));
	ck_assert_int_lt(step_begun(), 0);
	ck_assert_int_eq(failure.code, FAILURE_VERSION);
	json_object_set_new(begin, "protocol", json_integer(2));
	pair_exchange_free(pi);
	ck_assert_int_eq(pair_exchange_new(&pi), 0);
	ck_assert_int_lt(pair_pi_begin(pi, &PI, begin, &begun, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_VERSION);
}
END_TEST

/* JSON that stands in for a field of the VM's `begin`. */
static const struct {
	const char *object, *field, *value;
} FOUL[] = {
	{ NULL, "protocol", "null" },
	{ NULL, "protocol", "\"1\"" },
	{ NULL, "nonce", "\"\"" },
	{ NULL, "nonce", "\"zz\"" },
	{ NULL, "nonce", "7" },
	{ NULL, "vm", "null" },
	{ NULL, "vm", "[]" },
	{ NULL, "pi_address", "\"10.0.0.1 x\"" },
	{ NULL, "pi_address", "\"-oProxyCommand=x\"" },
	{ NULL, "pi_port", "0" },
	{ NULL, "pi_port", "65536" },
	{ "vm", "id", "\"short\"" },
	{ "vm", "id", "\"../../../../../../etc/passwd/aaaa\"" },
	{ "vm", "name", "\"\"" },
	{ "vm", "name", "\"a\\nb\"" },
	{ "vm", "name", "\"a\\u0000b\"" },
	{ "vm", "name", "\"a\\u001b[31m\"" },
	{ "vm", "host", "\"-v\"" },
	{ "vm", "host", "\"a b\"" },
	{ "vm", "host", "\"a\\nVM_USER=root\"" },
	{ "vm", "port", "0" },
	{ "vm", "port", "-1" },
	{ "vm", "port", "70000" },
	{ "vm", "port", "\"22\"" },
	{ "vm", "user", "\"a b\"" },
	{ "vm", "user", "null" },
	{ "vm", "host_key", "\"ssh-ed25519\"" },
	{ "vm", "host_key", "\"ssh-ed25519  AAAA\"" },
	{ "vm", "host_key", "\"ssh-ed25519 AAAA comment\"" },
	{ "vm", "host_key", "\"ssh-ed25519 AA\\nAA\"" },
	{ "vm", "host_key", "\" AAAA\"" },
};

START_TEST(what_makes_no_sense_is_refused_at_the_door)
{
	json_t *object;

	ck_assert_int_eq(pair_vm_begin(vm, &VM, "10.0.0.7", 8080, "123456", &begin), 0);
	object = FOUL[_i].object ? json_object_get(begin, FOUL[_i].object) : begin;
	json_object_set_new(object, FOUL[_i].field, json_loads(FOUL[_i].value, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
	ck_assert_msg(pair_pi_begin(pi, &PI, begin, &begun, &failure) < 0, "%s = %s passed", FOUL[_i].field, FOUL[_i].value);
	ck_assert_int_eq(failure.code, FAILURE_BAD_REQUEST);
	ck_assert_ptr_null(begun);
}
END_TEST

START_TEST(codes_are_six_digits_and_not_the_same)
{
	char first[PAIR_CODE_SIZE], other[PAIR_CODE_SIZE];
	unsigned n_same = 0;

	pair_code_draw(first);
	for (unsigned i = 0; i < 100; i++) {
		pair_code_draw(other);
		ck_assert_uint_eq(strlen(other), PAIR_CODE_DIGITS);
		ck_assert_uint_eq(strspn(other, "0123456789"), PAIR_CODE_DIGITS);
		n_same += strcmp(first, other) == 0;
	}
	ck_assert_uint_lt(n_same, 3);
}
END_TEST

int main(void)
{
	TCase *good = tcase_create("good"), *bad = tcase_create("bad");

	tcase_add_checked_fixture(good, setup, teardown);
	tcase_add_checked_fixture(bad, setup, teardown);
	tcase_add_test(good, the_right_digits_pair_both_and_each_knows_the_others_key);
	tcase_add_test(good, digits_may_be_typed_in_groups);
	tcase_add_test(good, codes_are_six_digits_and_not_the_same);
	tcase_add_loop_test(bad, what_is_no_code_is_no_guess, 0, ARRAY_SIZE(BAD_CODES));
	tcase_add_loop_test(bad, a_wrong_digit_fails_on_the_vm_and_then_on_the_pi, 0, ARRAY_SIZE(WRONG_CODES));
	tcase_add_test(bad, a_code_is_good_for_one_guess);
	tcase_add_loop_test(bad, a_man_in_the_middle_who_changes_anything_is_found_out_before_anything_is_written, 0, ARRAY_SIZE(CHANGES));
	tcase_add_test(bad, a_man_in_the_middle_who_plays_both_sides_gets_nothing);
	tcase_add_test(bad, what_was_heard_once_is_worth_nothing_another_time);
	tcase_add_test(bad, a_share_sent_back_to_its_sender_is_refused);
	tcase_add_test(bad, the_neutral_element_as_a_share_is_refused);
	tcase_add_test(bad, up_finish_and_paired_are_each_said_by_the_one_who_knows);
	tcase_add_test(bad, a_step_out_of_turn_ends_the_exchange);
	tcase_add_test(bad, another_version_is_told_as_such_by_both);
	tcase_add_loop_test(bad, what_makes_no_sense_is_refused_at_the_door, 0, ARRAY_SIZE(FOUL));
	return check_program_run("common_pair", good, bad, NULL);
}
