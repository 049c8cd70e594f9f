/* Why something could not be done: codes, texts, and their way over the link. */

#include <errno.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "failure.h"

START_TEST(every_code_has_a_name_of_its_own_that_leads_back_to_it)
{
	for (enum failure_code code = FAILURE_NONE; code <= FAILURE_CANCELLED; code++) {
		const char *name = failure_code_to_string(code);

		ck_assert_int_eq(failure_code_from_string(name), code);
		ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
	}
}
END_TEST

START_TEST(an_unknown_name_is_an_internal_failure)
{
	ck_assert_int_eq(failure_code_from_string("moon-phase"), FAILURE_INTERNAL);
	ck_assert_int_eq(failure_code_from_string(""), FAILURE_INTERNAL);
}
END_TEST

START_TEST(every_code_but_none_is_a_negative_errno)
{
	ck_assert_int_eq(failure_set(NULL, FAILURE_NONE, NULL, "x"), 0);
	for (enum failure_code code = FAILURE_INTERNAL; code <= FAILURE_CANCELLED; code++)
		ck_assert_int_lt(failure_set(NULL, code, NULL, "x"), 0);
}
END_TEST

START_TEST(what_happened_and_the_cure_are_filled_in)
{
	struct failure failure;

	ck_assert_int_eq(failure_set(&failure, FAILURE_GONE, "Plug it in.", "%s: gone %d times", "1-1", 3), -ENODEV);
	ck_assert_int_eq(failure.code, FAILURE_GONE);
	ck_assert_str_eq(failure.text, "1-1: gone 3 times");
	ck_assert_str_eq(failure.cure, "Plug it in.");
	failure_set(&failure, FAILURE_GONE, NULL, "x");
	ck_assert_str_eq(failure.cure, "");
}
END_TEST

START_TEST(a_long_text_is_cut_between_two_characters)
{
	struct failure failure;
	char text[2000] = "";
	json_t *string;

	for (size_t i = 0; i + 3 < sizeof(text); i += 2)
		memcpy(text + i, "ü", 3);
	failure_set(&failure, FAILURE_KERNEL, text, "%s", text);
	ck_assert_uint_ge(strlen(failure.text), sizeof(failure.text) - 2);
	string = json_string(failure.text);
	ck_assert_ptr_nonnull(string);
	json_decref(string);
	string = json_string(failure.cure);
	ck_assert_ptr_nonnull(string);
	json_decref(string);
}
END_TEST

START_TEST(a_foreign_text_is_made_plain)
{
	struct failure failure;

	failure_set(&failure, FAILURE_KERNEL, NULL, "%s", "a\n\033[2Jb");
	ck_assert_str_eq(failure.text, "a??[2Jb");
}
END_TEST

START_TEST(a_failure_survives_the_way_over_json)
{
	struct failure failure, arrived;
	_cleanup_json_ json_t *object = NULL;

	failure_set(&failure, FAILURE_NO_FREE_PORT, "Detach \"one\".", "30 of 30 in use");
	object = failure_to_json(&failure);
	failure_from_json(object, &arrived);
	ck_assert_int_eq(arrived.code, failure.code);
	ck_assert_str_eq(arrived.text, failure.text);
	ck_assert_str_eq(arrived.cure, failure.cure);
}
END_TEST

START_TEST(whatever_json_is_read_becomes_a_whole_failure)
{
	static const char *const objects[] = { "{}", "[]", "null", "{\"code\":17,\"text\":[],\"cure\":{}}" };
	struct failure arrived;

	for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
		_cleanup_json_ json_t *object = json_loads(objects[i], JSON_DECODE_ANY, NULL);

		memset(&arrived, 'x', sizeof(arrived));
		failure_from_json(object, &arrived);
		ck_assert_int_eq(arrived.code, FAILURE_INTERNAL);
		ck_assert_str_eq(arrived.text, "");
		ck_assert_str_eq(arrived.cure, "");
	}
	failure_from_json(NULL, &arrived);
	ck_assert_int_eq(arrived.code, FAILURE_INTERNAL);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("failure");

	tcase_add_test(tests, every_code_has_a_name_of_its_own_that_leads_back_to_it);
	tcase_add_test(tests, an_unknown_name_is_an_internal_failure);
	tcase_add_test(tests, every_code_but_none_is_a_negative_errno);
	tcase_add_test(tests, what_happened_and_the_cure_are_filled_in);
	tcase_add_test(tests, a_long_text_is_cut_between_two_characters);
	tcase_add_test(tests, a_foreign_text_is_made_plain);
	tcase_add_test(tests, a_failure_survives_the_way_over_json);
	tcase_add_test(tests, whatever_json_is_read_becomes_a_whole_failure);
	return check_program_run("common_failure", tests, NULL);
}
