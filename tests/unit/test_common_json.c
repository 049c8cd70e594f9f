/* JSON that is whole or not there, whatever memory there is. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "inject.h"
#include "json_text.h"
#include "json_whole.h"

#define WHOLE "{\"name\":\"scope\",\"nodes\":[\"/dev/ttyUSB0\",\"/dev/ttyUSB1\"]}"

static json_t *make(void)
{
	json_t *nodes = json_array(), *object = json_object();

	json_whole_append(&nodes, json_string("/dev/ttyUSB0"));
	json_whole_append(&nodes, json_string("/dev/ttyUSB1"));
	json_whole_set(&object, "name", json_string("scope"));
	json_whole_set(&object, "nodes", nodes);
	return object;
}

static FILE *open_text(char **ret_text, size_t *ret_size)
{
	FILE *stream = open_memstream(ret_text, ret_size);

	ck_assert_ptr_nonnull(stream);
	return stream;
}

START_TEST(with_any_one_allocation_failing_the_text_is_whole_or_not_there)
{
	unsigned n_whole = 0, n = 1;

	for (bool is_reached = true; is_reached; n++) {
		_cleanup_json_ json_t *object = NULL;
		_cleanup_free_ char *text = NULL;

		inject_arm(INJECT_MEMORY, n, 1, 0);
		object = make();
		text = json_text(object, 0);
		is_reached = inject_count() >= n;
		inject_disarm();
		if (!text)
			continue;
		ck_assert_str_eq(text, WHOLE);
		n_whole++;
	}
	ck_assert_uint_ge(n_whole, 1); /* at least the last, which failed nothing */
	ck_assert_uint_gt(n, 10);
}
END_TEST

START_TEST(what_was_let_go_stays_so)
{
	json_t *object = json_object();

	json_whole_set(&object, "a", NULL);
	ck_assert_ptr_null(object);
	json_whole_set(&object, "b", json_true());
	ck_assert_ptr_null(object);
	json_whole_append(&object, json_true());
	ck_assert_ptr_null(object);
}
END_TEST

START_TEST(nothing_is_written_where_the_text_can_not_be_made)
{
	_cleanup_json_ json_t *object = make();
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	FILE *stream = open_text(&text, &size);

	inject_arm(INJECT_MEMORY, 1, 1000, 0);
	ck_assert_int_eq(json_print(object, stream, 0), -ENOMEM);
	inject_disarm();
	fclose(stream);
	ck_assert_uint_eq(size, 0);
}
END_TEST

START_TEST(an_indented_text_has_spaces_and_a_compact_one_none)
{
	_cleanup_json_ json_t *object = json_pack("{s:i}", "port", 3);
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	FILE *stream = open_text(&text, &size);

	ck_assert_int_eq(json_print(object, stream, JSON_INDENT(2)), 0);
	ck_assert_int_eq(json_print(object, stream, 0), 0);
	fclose(stream);
	ck_assert_str_eq(text, "{\n  \"port\": 3\n}\n{\"port\":3}\n");
}
END_TEST

START_TEST(a_full_disk_is_told)
{
	_cleanup_json_ json_t *object = make();
	_cleanup_fclose_ FILE *stream = fopen("/dev/full", "w");

	ck_assert_ptr_nonnull(stream);
	ck_assert_int_eq(json_print(object, stream, 0), -ENOSPC);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("json");

	tcase_add_test(tests, with_any_one_allocation_failing_the_text_is_whole_or_not_there);
	tcase_add_test(tests, what_was_let_go_stays_so);
	tcase_add_test(tests, nothing_is_written_where_the_text_can_not_be_made);
	tcase_add_test(tests, an_indented_text_has_spaces_and_a_compact_one_none);
	tcase_add_test(tests, a_full_disk_is_told);
	return check_program_run("common_json", tests, NULL);
}
