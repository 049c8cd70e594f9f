/* Tables for people. */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "table.h"

/* What the table prints; the caller frees it. */
static char *print(const struct table *table, bool is_coloured)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(stream);
	table_print(table, stream, is_coloured);
	ck_assert_int_eq(fclose(stream), 0);
	return text;
}

static void expect_text(struct table *table, bool is_coloured, const char *expected)
{
	_cleanup_free_ char *text = print(table, is_coloured);

	ck_assert_str_eq(text, expected);
	table_free(table);
}

static struct table *table_of(unsigned n_columns, const char *const *cells, size_t n)
{
	struct table *table = table_new(n_columns);

	ck_assert_ptr_nonnull(table);
	for (size_t i = 0; i < n; i++)
		table_add(table, TABLE_PLAIN, "%s", cells[i]);
	return table;
}

START_TEST(columns_are_as_wide_as_their_widest_cell)
{
	static const char *const cells[] = { "BUS ID", "STATE", "1-1", "ATTACHED", "1-1.4.2", "READY" };

	expect_text(table_of(2, cells, ARRAY_SIZE(cells)), false, "BUS ID   STATE\n1-1      ATTACHED\n1-1.4.2  READY\n");
}
END_TEST

START_TEST(a_character_of_several_bytes_takes_one_column)
{
	static const char *const cells[] = { "Gerät", "a", "№ — 5", "b", "plain", "c" };

	expect_text(table_of(2, cells, ARRAY_SIZE(cells)), false, "Gerät  a\n№ — 5  b\nplain  c\n");
}
END_TEST

START_TEST(no_line_ends_with_spaces)
{
	static const char *const cells[] = { "a", "", "", "b", "cc", "", "", "", "" };

	expect_text(table_of(3, cells, ARRAY_SIZE(cells)), false, "a\nb  cc\n\n");
}
END_TEST

START_TEST(an_empty_cell_in_the_middle_keeps_its_column)
{
	static const char *const cells[] = { "a", "", "c", "a", "bb", "c" };

	expect_text(table_of(3, cells, ARRAY_SIZE(cells)), false, "a      c\na  bb  c\n");
}
END_TEST

START_TEST(a_row_that_was_not_finished_is_printed_as_far_as_it_goes)
{
	static const char *const cells[] = { "a", "b", "c" };

	expect_text(table_of(2, cells, ARRAY_SIZE(cells)), false, "a  b\nc\n");
}
END_TEST

START_TEST(an_empty_table_prints_nothing)
{
	expect_text(table_new(3), false, "");
}
END_TEST

START_TEST(colour_takes_no_column)
{
	struct table *table = table_new(2);

	table_add(table, TABLE_RED, "x");
	table_add(table, TABLE_PLAIN, "1");
	table_add(table, TABLE_PLAIN, "yy");
	table_add(table, TABLE_GREEN, "2");
	expect_text(table, true, "\033[1;31mx\033[0m   1\nyy  \033[32m2\033[0m\n");
}
END_TEST

START_TEST(without_a_terminal_there_is_no_escape)
{
	struct table *table = table_new(1);
	_cleanup_free_ char *text = NULL;

	for (enum table_color color = TABLE_PLAIN; color <= TABLE_BOLD; color++)
		table_add(table, color, "x");
	text = print(table, false);
	ck_assert_ptr_null(strchr(text, '\033'));
	table_free(table);
}
END_TEST

START_TEST(many_cells_fit)
{
	struct table *table = table_new(2);
	_cleanup_free_ char *text = NULL;
	size_t n_lines = 0;

	for (unsigned i = 0; i < 1000; i++)
		table_add(table, TABLE_PLAIN, "%u", i);
	text = print(table, false);
	for (const char *c = text; *c; c++)
		n_lines += *c == '\n';
	ck_assert_uint_eq(n_lines, 500);
	ck_assert_ptr_nonnull(strstr(text, "998  999\n"));
	table_free(table);
}
END_TEST

START_TEST(a_pipe_wants_no_colours)
{
	int fds[2];
	FILE *stream;

	ck_assert_int_eq(pipe(fds), 0);
	stream = fdopen(fds[1], "w");
	setenv("TERM", "xterm", 1);
	ck_assert(!table_wants_color(stream));
	fclose(stream);
	close(fds[0]);
}
END_TEST

START_TEST(a_terminal_wants_colours_unless_it_is_told_not_to)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY);
	FILE *stream;

	ck_assert_int_ge(fd, 0);
	stream = fdopen(fd, "w");
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	ck_assert(table_wants_color(stream));
	setenv("NO_COLOR", "1", 1);
	ck_assert(!table_wants_color(stream));
	setenv("NO_COLOR", "", 1);
	ck_assert(table_wants_color(stream));
	setenv("TERM", "dumb", 1);
	ck_assert(!table_wants_color(stream));
	unsetenv("TERM");
	ck_assert(!table_wants_color(stream));
	fclose(stream);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("table");

	tcase_add_test(tests, columns_are_as_wide_as_their_widest_cell);
	tcase_add_test(tests, a_character_of_several_bytes_takes_one_column);
	tcase_add_test(tests, no_line_ends_with_spaces);
	tcase_add_test(tests, an_empty_cell_in_the_middle_keeps_its_column);
	tcase_add_test(tests, a_row_that_was_not_finished_is_printed_as_far_as_it_goes);
	tcase_add_test(tests, an_empty_table_prints_nothing);
	tcase_add_test(tests, colour_takes_no_column);
	tcase_add_test(tests, without_a_terminal_there_is_no_escape);
	tcase_add_test(tests, many_cells_fit);
	tcase_add_test(tests, a_pipe_wants_no_colours);
	tcase_add_test(tests, a_terminal_wants_colours_unless_it_is_told_not_to);
	return check_program_run("common_table", tests, NULL);
}
