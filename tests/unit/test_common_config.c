/* Configuration files: read with every problem told, changed without touching what is not ours. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "config.h"
#include "temp_tree.h"

static struct temp_tree tree;
static char path[128], read_settings[4096], problems[8192];

static void setup(void)
{
	temp_tree_new(&tree);
	snprintf(path, sizeof(path), "%s/vm.conf", tree.path);
	read_settings[0] = problems[0] = '\0';
}

static void teardown(void)
{
	temp_tree_free(&tree);
}

/* Knows PORT (a number) and NAME. Notes "LINE KEY=[VALUE]\n". */
static int on_setting(const char *key, const char *value, unsigned line, char *expected, size_t size, void *userdata)
{
	size_t used = strlen(read_settings);

	ck_assert_ptr_eq(userdata, &tree);
	if (strcmp(key, "PORT") != 0 && strcmp(key, "NAME") != 0)
		return -ENOENT;
	if (strcmp(key, "PORT") == 0 && strspn(value, "0123456789") != strlen(value)) {
		snprintf(expected, size, "a port from 1 to 65535");
		return -EINVAL;
	}
	snprintf(read_settings + used, sizeof(read_settings) - used, "%u %s=[%s]\n", line, key, value);
	return 0;
}

static void on_problem(const struct config_problem *problem, void *userdata)
{
	size_t used = strlen(problems);

	(void)userdata;
	/* The path is the test's own: what follows it counts. */
	ck_assert_int_eq(strncmp(problem->text, path, strlen(path)), 0);
	snprintf(problems + used, sizeof(problems) - used, "%s\n", problem->text + strlen(path));
}

static int read_it(void)
{
	return config_read(path, on_setting, on_problem, &tree);
}

static void expect_settings(const char *content, const char *expected)
{
	temp_tree_put(&tree, "vm.conf", content);
	ck_assert_int_eq(read_it(), 0);
	ck_assert_str_eq(read_settings, expected);
}

/* ---- reading ---- */

START_TEST(settings_come_in_order_with_their_lines)
{
	expect_settings("# comment\n\nNAME=a\n  # indented comment\nPORT=22\nNAME=b", "3 NAME=[a]\n5 PORT=[22]\n6 NAME=[b]\n");
}
END_TEST

START_TEST(white_space_around_key_and_value_does_not_count)
{
	expect_settings("  NAME \t=  a b  \r\n\tPORT=1\t\n", "1 NAME=[a b]\n2 PORT=[1]\n");
}
END_TEST

START_TEST(quotes_come_off_in_pairs_only)
{
	expect_settings("NAME=\" a \"\nNAME='b'\nNAME=\"c'\nNAME=\"\nNAME=\"\"\nNAME=d\"e\"\nNAME='\"f\"'\n",
			"1 NAME=[ a ]\n2 NAME=[b]\n3 NAME=[\"c']\n4 NAME=[\"]\n5 NAME=[]\n6 NAME=[d\"e\"]\n7 NAME=[\"f\"]\n");
}
END_TEST

START_TEST(a_value_may_be_empty_or_hold_an_equals_sign_or_a_hash)
{
	expect_settings("NAME=\nNAME=a=b==\nNAME=a # b\n", "1 NAME=[]\n2 NAME=[a=b==]\n3 NAME=[a # b]\n");
}
END_TEST

START_TEST(an_empty_file_sets_nothing)
{
	expect_settings("", "");
}
END_TEST

START_TEST(every_bad_line_is_told_with_file_line_and_what_was_expected)
{
	temp_tree_put(&tree, "vm.conf", "NAME=a\nnonsense\nPORT=many\nCOLOUR=red\n\nPORT=22\n=x\n");
	ck_assert_int_eq(read_it(), 4);
	ck_assert_str_eq(problems, ":2: \"nonsense\" is no setting; expected KEY=VALUE\n"
				   ":3: PORT=many makes no sense; expected a port from 1 to 65535\n"
				   ":4: unknown setting \"COLOUR\"; known are those that the comments of this file and its man page list\n"
				   ":7: unknown setting \"\"; known are those that the comments of this file and its man page list\n");
	ck_assert_str_eq(read_settings, "1 NAME=[a]\n6 PORT=[22]\n");
}
END_TEST

START_TEST(a_bad_line_is_told_without_what_a_terminal_obeys)
{
	temp_tree_put(&tree, "vm.conf", "\033[31mred\xff\n");
	ck_assert_int_eq(read_it(), 1);
	ck_assert_str_eq(problems, ":1: \"?[31mred?\" is no setting; expected KEY=VALUE\n");
}
END_TEST

START_TEST(a_long_bad_line_is_told_in_short)
{
	char content[3000];

	memset(content, 'x', sizeof(content) - 1);
	content[sizeof(content) - 1] = '\0';
	temp_tree_put(&tree, "vm.conf", content);
	ck_assert_int_eq(read_it(), 1);
	ck_assert_uint_lt(strlen(problems), 200);
	ck_assert_ptr_nonnull(strstr(problems, "expected KEY=VALUE"));
}
END_TEST

START_TEST(nothing_of_a_file_with_a_nul_byte_is_used)
{
	temp_tree_put_bytes(&tree, "vm.conf", "NAME=a\nPORT=2\0002\n", 16);
	ck_assert_int_eq(read_it(), 1);
	ck_assert_str_eq(read_settings, "");
	ck_assert_str_ne(problems, "");
}
END_TEST

START_TEST(nothing_of_a_file_that_is_too_large_is_used)
{
	size_t size = 256 * 1024 + 1;
	_cleanup_free_ char *content = malloc(size);

	memset(content, '\n', size);
	memcpy(content, "NAME=a", 6);
	temp_tree_put_bytes(&tree, "vm.conf", content, size - 1);
	ck_assert_int_eq(read_it(), 0);
	ck_assert_str_eq(read_settings, "1 NAME=[a]\n");
	read_settings[0] = '\0';
	temp_tree_put_bytes(&tree, "vm.conf", content, size);
	ck_assert_int_eq(read_it(), 1);
	ck_assert_str_eq(read_settings, "");
}
END_TEST

START_TEST(a_missing_file_and_a_directory_are_told_apart)
{
	ck_assert_int_eq(read_it(), -ENOENT);
	temp_tree_make_dir(&tree, "vm.conf");
	ck_assert_int_eq(read_it(), -EISDIR);
}
END_TEST

/* ---- changing ---- */

static int set(const char *key, const char *value)
{
	const struct config_setting setting = { key, value };

	return config_set(path, &setting, 1, 0600);
}

static void expect_content(const char *expected)
{
	ck_assert_str_eq(temp_tree_get(&tree, "vm.conf"), expected);
}

START_TEST(a_setting_is_replaced_where_it_stands_and_all_else_stays)
{
	temp_tree_put(&tree, "vm.conf", "# the VM\nNAME = old  \n\n  # its port\nPORT=22\nODD LINE\n");
	ck_assert_int_eq(set("NAME", "new"), 0);
	expect_content("# the VM\nNAME=new\n\n  # its port\nPORT=22\nODD LINE\n");
}
END_TEST

START_TEST(a_new_setting_goes_to_the_end_also_without_a_last_newline)
{
	temp_tree_put(&tree, "vm.conf", "# the VM\nPORT=22");
	ck_assert_int_eq(set("NAME", "new"), 0);
	expect_content("# the VM\nPORT=22\nNAME=new\n");
}
END_TEST

START_TEST(further_lines_of_the_same_key_are_dropped)
{
	temp_tree_put(&tree, "vm.conf", "NAME=a\nPORT=1\n NAME=b\nNAME =c\n");
	ck_assert_int_eq(set("NAME", "new"), 0);
	expect_content("NAME=new\nPORT=1\n");
}
END_TEST

START_TEST(a_key_that_only_begins_like_it_and_a_comment_of_it_stay)
{
	temp_tree_put(&tree, "vm.conf", "#NAME=x\nNAMES=a\nNAME_OF=b\nMY NAME=c\n");
	ck_assert_int_eq(set("NAME", "new"), 0);
	expect_content("#NAME=x\nNAMES=a\nNAME_OF=b\nMY NAME=c\nNAME=new\n");
}
END_TEST

START_TEST(a_setting_is_taken_out)
{
	temp_tree_put(&tree, "vm.conf", "# the VM\nNAME=a\nPORT=1\nNAME=b\n");
	ck_assert_int_eq(set("NAME", NULL), 0);
	expect_content("# the VM\nPORT=1\n");
	ck_assert_int_eq(set("NAME", NULL), 0);
	expect_content("# the VM\nPORT=1\n");
}
END_TEST

START_TEST(several_settings_are_written_at_once)
{
	const struct config_setting settings[] = { { "NAME", "n" }, { "PORT", "1" }, { "GONE", NULL } };

	temp_tree_put(&tree, "vm.conf", "GONE=1\nPORT=22\n");
	ck_assert_int_eq(config_set(path, settings, ARRAY_SIZE(settings), 0600), 0);
	expect_content("PORT=1\nNAME=n\n");
}
END_TEST

START_TEST(what_was_written_is_read_back)
{
	static const char *const values[] = {
		"plain", "", " spaces around ", "\"quoted\"", "'", "\"", "a\"", "it's", "tab\t", "a # b", "ü"
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		char expected[64];

		snprintf(expected, sizeof(expected), "1 NAME=[%s]\n", values[i]);
		read_settings[0] = '\0';
		ck_assert_int_eq(set("NAME", values[i]), 0);
		ck_assert_int_eq(read_it(), 0);
		ck_assert_str_eq(read_settings, expected);
	}
}
END_TEST

START_TEST(a_line_break_in_a_value_is_refused_and_the_file_untouched)
{
	temp_tree_put(&tree, "vm.conf", "NAME=a\n");
	ck_assert_int_eq(set("NAME", "b\nPORT=1"), -EINVAL);
	ck_assert_int_eq(set("NAME", "b\r"), -EINVAL);
	expect_content("NAME=a\n");
}
END_TEST

START_TEST(a_file_with_a_nul_byte_is_not_cut_there)
{
	struct stat status;

	temp_tree_put_bytes(&tree, "vm.conf", "NAME=a\n\0PORT=1\n", 15);
	ck_assert_int_eq(set("NAME", "b"), -EBADMSG);
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_int_eq(status.st_size, 15);
}
END_TEST

static unsigned mode_of_file(void)
{
	struct stat status;

	ck_assert_int_eq(stat(path, &status), 0);
	return status.st_mode & 07777;
}

START_TEST(a_new_file_gets_the_mode_and_an_old_one_keeps_its_own)
{
	ck_assert_int_eq(set("NAME", "a"), 0);
	ck_assert_uint_eq(mode_of_file(), 0600);
	ck_assert_int_eq(chmod(path, 0640), 0);
	ck_assert_int_eq(set("NAME", "b"), 0);
	ck_assert_uint_eq(mode_of_file(), 0640);
}
END_TEST

START_TEST(a_failed_change_leaves_file_and_directory_as_they_were)
{
	temp_tree_make_dir(&tree, "vm.conf");
	ck_assert_int_eq(set("NAME", "a"), -EISDIR);
	ck_assert_uint_eq(temp_tree_count(&tree, "."), 1);
}
END_TEST

int main(void)
{
	TCase *reading = tcase_create("reading"), *changing = tcase_create("changing");

	tcase_add_checked_fixture(reading, setup, teardown);
	tcase_add_test(reading, settings_come_in_order_with_their_lines);
	tcase_add_test(reading, white_space_around_key_and_value_does_not_count);
	tcase_add_test(reading, quotes_come_off_in_pairs_only);
	tcase_add_test(reading, a_value_may_be_empty_or_hold_an_equals_sign_or_a_hash);
	tcase_add_test(reading, an_empty_file_sets_nothing);
	tcase_add_test(reading, every_bad_line_is_told_with_file_line_and_what_was_expected);
	tcase_add_test(reading, a_bad_line_is_told_without_what_a_terminal_obeys);
	tcase_add_test(reading, a_long_bad_line_is_told_in_short);
	tcase_add_test(reading, nothing_of_a_file_with_a_nul_byte_is_used);
	tcase_add_test(reading, nothing_of_a_file_that_is_too_large_is_used);
	tcase_add_test(reading, a_missing_file_and_a_directory_are_told_apart);
	tcase_add_checked_fixture(changing, setup, teardown);
	tcase_add_test(changing, a_setting_is_replaced_where_it_stands_and_all_else_stays);
	tcase_add_test(changing, a_new_setting_goes_to_the_end_also_without_a_last_newline);
	tcase_add_test(changing, further_lines_of_the_same_key_are_dropped);
	tcase_add_test(changing, a_key_that_only_begins_like_it_and_a_comment_of_it_stay);
	tcase_add_test(changing, a_setting_is_taken_out);
	tcase_add_test(changing, several_settings_are_written_at_once);
	tcase_add_test(changing, what_was_written_is_read_back);
	tcase_add_test(changing, a_line_break_in_a_value_is_refused_and_the_file_untouched);
	tcase_add_test(changing, a_file_with_a_nul_byte_is_not_cut_there);
	tcase_add_test(changing, a_new_file_gets_the_mode_and_an_old_one_keeps_its_own);
	tcase_add_test(changing, a_failed_change_leaves_file_and_directory_as_they_were);
	return check_program_run("common_config", reading, changing, NULL);
}
