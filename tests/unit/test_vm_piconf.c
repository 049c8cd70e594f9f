/* /etc/usbpush/pi.conf */

#include <stdio.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "piconf.h"
#include "temp_tree.h"

static struct temp_tree tree;
static char path[96];
static struct piconf piconf;
static char problem_text[400];

static void setup(void)
{
	temp_tree_new(&tree);
	snprintf(path, sizeof(path), "%s/pi.conf", tree.path);
	problem_text[0] = '\0';
}

static void teardown(void)
{
	temp_tree_free(&tree);
}

static void put(const char *content)
{
	temp_tree_put(&tree, "pi.conf", content);
}

static void note_problem(const struct config_problem *problem, void *userdata)
{
	(void)userdata;
	snprintf(problem_text, sizeof(problem_text), "%s", problem->text);
}

static void read_conf(void)
{
	ck_assert_int_eq(piconf_read(path, note_problem, &piconf), 0);
}

static void expect_content(const char *expected)
{
	ck_assert_str_eq(temp_tree_get(&tree, "pi.conf"), expected);
}

START_TEST(without_a_file_no_pi_is_known)
{
	read_conf();
	ck_assert_uint_eq(piconf.n, 0);
}
END_TEST

START_TEST(a_pi_is_found_by_its_id_and_by_its_name)
{
	put("# the garage\nPI = 0a1b garage 10.0.0.7\nPI=\"ff attic\"\nDEFAULT_PI_HOST=garage.local\n");
	read_conf();
	ck_assert_uint_eq(piconf.n, 2);
	ck_assert_str_eq(piconf_find(&piconf, "garage")->address, "10.0.0.7");
	ck_assert_str_eq(piconf_find(&piconf, "ff")->name, "attic");
	ck_assert_str_eq(piconf.default_host, "garage.local");
	ck_assert_ptr_null(piconf_find(&piconf, "gar"));
	ck_assert_str_eq(problem_text, "");
}
END_TEST

static const char *const BAD_LINES[] = {
	"PI=XYZ name\n",
	"PI=0a\n",
	"PI=0a na/me\n",
	"PI=0a name address more\n",
	"PI=00112233445566778899aabbccddeeff0 name\n",
	"PI=0a name a'b\n",
	"DEFAULT_PI_HOST=a b\n",
	"COLOUR=red\n",
	"garage\n",
};

START_TEST(a_line_that_makes_no_sense_is_told_and_the_rest_is_used)
{
	char content[200];

	snprintf(content, sizeof(content), "%sPI=ff attic\n", BAD_LINES[_i]);
	put(content);
	read_conf();
	ck_assert_ptr_nonnull(strstr(problem_text, "pi.conf:1: "));
	ck_assert_ptr_nonnull(piconf_find(&piconf, "attic"));
	ck_assert_uint_eq(piconf.n, 1);
}
END_TEST

START_TEST(two_pis_of_one_name_are_told)
{
	put("PI=0a garage\nPI=0b garage\n");
	read_conf();
	ck_assert_uint_eq(piconf.n, 1);
	ck_assert_ptr_nonnull(strstr(problem_text, "pi.conf:2: "));
}
END_TEST

START_TEST(an_entry_is_added_and_every_other_line_stays)
{
	struct piconf_entry entry = { "0a", "garage", "10.0.0.7" };

	put("# mine\nPI=ff attic\n");
	ck_assert_int_eq(piconf_write_entry(path, &entry), 0);
	expect_content("# mine\nPI=ff attic\nPI=0a garage 10.0.0.7\nDEFAULT_PI_HOST=10.0.0.7\n");
}
END_TEST

START_TEST(writing_an_entry_twice_changes_nothing)
{
	struct piconf_entry entry = { "0a", "garage", "" };

	ck_assert_int_eq(piconf_write_entry(path, &entry), 0);
	ck_assert_int_eq(piconf_write_entry(path, &entry), 0);
	expect_content("PI=0a garage\n");
}
END_TEST

START_TEST(a_new_key_under_an_old_name_replaces_the_old_entry)
{
	struct piconf_entry old = { "0a", "garage", "" }, new = { "0b", "garage", "" };

	ck_assert_int_eq(piconf_write_entry(path, &old), 0);
	ck_assert_int_eq(piconf_write_entry(path, &new), 0);
	expect_content("PI=0b garage\n");
}
END_TEST

static const char *const ODD_LINES[] = { "PI=\r0a garage\n", " PI = '0a garage' \r\n", "PI=\v\"0a\tgarage  desk.local\"\f\n",
					 "\tPI\t=0a garage" };

/* What is an entry to the reader is one to the writer. */
START_TEST(an_entry_is_replaced_however_it_was_typed)
{
	struct piconf_entry new = { "0a", "garage", "attic.local" };

	temp_tree_put(&tree, "pi.conf", ODD_LINES[_i]);
	read_conf();
	ck_assert_uint_eq(piconf.n, 1);
	ck_assert_int_eq(piconf_remove_entry(path, "0a"), 0);
	expect_content("");
	temp_tree_put(&tree, "pi.conf", ODD_LINES[_i]);
	ck_assert_int_eq(piconf_write_entry(path, &new), 0);
	read_conf();
	ck_assert_uint_eq(piconf.n, 1);
	ck_assert_str_eq(piconf.entries[0].address, "attic.local");
}
END_TEST

START_TEST(the_first_default_host_stays)
{
	struct piconf_entry first = { "0a", "garage", "a.local" }, second = { "0b", "attic", "b.local" };

	ck_assert_int_eq(piconf_write_entry(path, &first), 0);
	ck_assert_int_eq(piconf_write_entry(path, &second), 0);
	read_conf();
	ck_assert_str_eq(piconf.default_host, "a.local");
}
END_TEST

START_TEST(removing_an_entry_leaves_ids_that_only_begin_like_it)
{
	put("PI=0a garage\nPI=0ab attic\n");
	ck_assert_int_eq(piconf_remove_entry(path, "0a"), 0);
	expect_content("PI=0ab attic\n");
}
END_TEST

#define ANOTHER_ID "0123456789abcdef0123456789abcdef"

START_TEST(no_pi_is_called_by_what_is_anothers_id)
{
	const struct piconf_entry other = { ANOTHER_ID, "attic", "" };
	char name[MESSAGE_NAME_SIZE];

	put("PI=0a " ANOTHER_ID "\nPI=0b added\n");
	read_conf();
	ck_assert_uint_eq(piconf.n, 1); /* such a line is told */
	ck_assert_ptr_null(piconf_find(&piconf, ANOTHER_ID));
	ck_assert_int_eq(piconf_write_entry(path, &other), 0);
	read_conf();
	ck_assert_str_eq(piconf_find(&piconf, ANOTHER_ID)->name, "attic");
	ck_assert_int_eq(piconf_choose_name(&piconf, ANOTHER_ID, NULL, "0c", name), 0); /* what a Pi in foreign hands calls itself */
	ck_assert_str_eq(name, "pi-" ANOTHER_ID);
}
END_TEST

START_TEST(an_id_that_is_anothers_name_is_an_id)
{
	put("PI=0a ff\nPI=ff attic\n");
	read_conf();
	ck_assert_uint_eq(piconf.n, 2);
	ck_assert_str_eq(piconf_find(&piconf, "ff")->name, "attic");
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("piconf");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, without_a_file_no_pi_is_known);
	tcase_add_test(tests, a_pi_is_found_by_its_id_and_by_its_name);
	tcase_add_loop_test(tests, a_line_that_makes_no_sense_is_told_and_the_rest_is_used, 0, ARRAY_SIZE(BAD_LINES));
	tcase_add_test(tests, two_pis_of_one_name_are_told);
	tcase_add_test(tests, an_entry_is_added_and_every_other_line_stays);
	tcase_add_test(tests, writing_an_entry_twice_changes_nothing);
	tcase_add_test(tests, a_new_key_under_an_old_name_replaces_the_old_entry);
	tcase_add_loop_test(tests, an_entry_is_replaced_however_it_was_typed, 0, ARRAY_SIZE(ODD_LINES));
	tcase_add_test(tests, the_first_default_host_stays);
	tcase_add_test(tests, removing_an_entry_leaves_ids_that_only_begin_like_it);
	tcase_add_test(tests, no_pi_is_called_by_what_is_anothers_id);
	tcase_add_test(tests, an_id_that_is_anothers_name_is_an_id);
	return check_program_run("vm_piconf", tests, NULL);
}
