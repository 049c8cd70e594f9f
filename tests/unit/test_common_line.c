/* Lines out of a byte stream, within a bound. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "line.h"

static struct line_buffer buffer;

static void setup(void)
{
	buffer = (struct line_buffer){ 0 };
}

static void teardown(void)
{
	line_buffer_done(&buffer);
}

static void add(const char *text)
{
	ck_assert_int_eq(line_buffer_add(&buffer, text, strlen(text)), 0);
}

static void expect_line(const char *expected)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	ck_assert_int_eq(line_buffer_take(&buffer, &line, &size), 1);
	ck_assert_str_eq(line, expected);
	ck_assert_uint_eq(size, strlen(expected));
}

static int take(void)
{
	_cleanup_free_ char *line = NULL;
	size_t size;

	return line_buffer_take(&buffer, &line, &size);
}

START_TEST(nothing_added_is_no_line)
{
	ck_assert_int_eq(take(), 0);
}
END_TEST

START_TEST(a_line_comes_whole_however_it_was_split)
{
	static const char text[] = "{\"type\":\"ping\"}\nrest";

	for (size_t split = 0; split <= strlen(text); split++) {
		ck_assert_int_eq(line_buffer_add(&buffer, text, split), 0);
		if (split < strlen("{\"type\":\"ping\"}\n"))
			ck_assert_int_eq(take(), 0);
		add(text + split);
		expect_line("{\"type\":\"ping\"}");
		ck_assert_int_eq(take(), 0);
		line_buffer_done(&buffer);
	}
}
END_TEST

START_TEST(byte_by_byte_is_as_good_as_at_once)
{
	static const char text[] = "one\ntwo\n\nfour\n";

	for (const char *c = text; *c; c++)
		ck_assert_int_eq(line_buffer_add(&buffer, c, 1), 0);
	expect_line("one");
	expect_line("two");
	expect_line("");
	expect_line("four");
	ck_assert_int_eq(take(), 0);
}
END_TEST

START_TEST(many_lines_at_once_come_in_order)
{
	char line[16];

	for (unsigned i = 0; i < 1000; i++) {
		snprintf(line, sizeof(line), "%u\n", i);
		add(line);
	}
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(line, sizeof(line), "%u", i);
		expect_line(line);
	}
	ck_assert_int_eq(take(), 0);
}
END_TEST

START_TEST(a_carriage_return_is_part_of_the_line)
{
	add("a\r\n");
	expect_line("a\r");
}
END_TEST

START_TEST(the_longest_line_passes)
{
	_cleanup_free_ char *text = malloc(LINE_MAX_SIZE);
	_cleanup_free_ char *line = NULL;
	size_t size;

	memset(text, 'x', LINE_MAX_SIZE - 1);
	text[LINE_MAX_SIZE - 1] = '\n';
	ck_assert_int_eq(line_buffer_add(&buffer, text, LINE_MAX_SIZE - 1), 0);
	ck_assert_int_eq(take(), 0);
	ck_assert_int_eq(line_buffer_add(&buffer, text + LINE_MAX_SIZE - 1, 1), 0);
	ck_assert_int_eq(line_buffer_take(&buffer, &line, &size), 1);
	ck_assert_uint_eq(size, LINE_MAX_SIZE - 1);
}
END_TEST

START_TEST(a_line_of_one_byte_more_is_refused_with_its_end_or_without)
{
	_cleanup_free_ char *text = malloc(LINE_MAX_SIZE + 1);

	memset(text, 'x', LINE_MAX_SIZE);
	text[LINE_MAX_SIZE] = '\n';
	ck_assert_int_eq(line_buffer_add(&buffer, text, LINE_MAX_SIZE), 0);
	ck_assert_int_eq(take(), -EMSGSIZE);
	ck_assert_int_eq(line_buffer_add(&buffer, text + LINE_MAX_SIZE, 1), 0);
	ck_assert_int_eq(take(), -EMSGSIZE);
}
END_TEST

START_TEST(a_line_without_end_does_not_grow_without_end)
{
	char chunk[4096];
	int r = 0;
	unsigned i;

	memset(chunk, 'x', sizeof(chunk));
	for (i = 0; i < 1000 && r == 0; i++)
		r = line_buffer_add(&buffer, chunk, sizeof(chunk));
	ck_assert_int_eq(r, -EMSGSIZE);
	ck_assert_uint_le(buffer.allocated, 4 * LINE_MAX_SIZE);
}
END_TEST

START_TEST(a_nul_byte_is_refused_and_nothing_is_cut_short_there)
{
	ck_assert_int_eq(line_buffer_add(&buffer, "a\0b\n", 4), 0);
	ck_assert_int_eq(take(), -EBADMSG);
}
END_TEST

START_TEST(a_nul_byte_in_the_next_line_does_not_harm_this_one)
{
	ck_assert_int_eq(line_buffer_add(&buffer, "good\na\0b\n", 9), 0);
	expect_line("good");
	ck_assert_int_eq(take(), -EBADMSG);
}
END_TEST

START_TEST(an_empty_buffer_keeps_no_memory)
{
	add("a line\n");
	expect_line("a line");
	ck_assert_ptr_null(buffer.data);
	add("used again\n");
	expect_line("used again");
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("line");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, nothing_added_is_no_line);
	tcase_add_test(tests, a_line_comes_whole_however_it_was_split);
	tcase_add_test(tests, byte_by_byte_is_as_good_as_at_once);
	tcase_add_test(tests, many_lines_at_once_come_in_order);
	tcase_add_test(tests, a_carriage_return_is_part_of_the_line);
	tcase_add_test(tests, the_longest_line_passes);
	tcase_add_test(tests, a_line_of_one_byte_more_is_refused_with_its_end_or_without);
	tcase_add_test(tests, a_line_without_end_does_not_grow_without_end);
	tcase_add_test(tests, a_nul_byte_is_refused_and_nothing_is_cut_short_there);
	tcase_add_test(tests, a_nul_byte_in_the_next_line_does_not_harm_this_one);
	tcase_add_test(tests, an_empty_buffer_keeps_no_memory);
	return check_program_run("common_line", tests, NULL);
}
