/* A file that is watched while others write, replace, rename and remove it. */

#include <stdio.h>
#include <unistd.h>

#include "check_program.h"
#include "file_watch.h"
#include "temp_tree.h"

#define GONE_USEC UINT64_C(1000000) /* so long a file must be away until that is told */

static struct temp_tree tree;
static sd_event *event;
static struct file_watch *watch;
static unsigned n_told;

static void on_change(void *userdata)
{
	ck_assert_ptr_eq(userdata, &n_told);
	n_told++;
}

static void setup(void)
{
	temp_tree_new(&tree);
	temp_tree_put(&tree, "etc/file", "old");
	n_told = 0;
	ck_assert_int_ge(sd_event_new(&event), 0);
	ck_assert_int_eq(file_watch_new(event, temp_tree_path(&tree, "etc/file"), on_change, &n_told, &watch), 0);
}

static void teardown(void)
{
	watch = file_watch_free(watch);
	event = sd_event_unref(event);
	temp_tree_free(&tree);
}

static void rename_file(const char *from, const char *to)
{
	ck_assert_int_eq(rename(temp_tree_path(&tree, from), temp_tree_path(&tree, to)), 0);
}

static bool is_told(void *userdata)
{
	(void)userdata;
	return n_told > 0;
}

/* It is told, and only once. */
static void expect_told(void)
{
	ck_assert(loop_until(event, is_told, NULL));
	loop_for(event, GONE_USEC + 200000);
	ck_assert_uint_eq(n_told, 1);
	n_told = 0;
}

static void expect_nothing_told(uint64_t usec)
{
	loop_for(event, usec);
	ck_assert_uint_eq(n_told, 0);
}

START_TEST(a_new_content_is_told_at_once_however_it_comes)
{
	temp_tree_put(&tree, "etc/file", "new");
	expect_told();
	temp_tree_put(&tree, "etc/other", "newer");
	expect_nothing_told(100000);
	rename_file("etc/other", "etc/file");
	expect_told();
}
END_TEST

START_TEST(a_file_that_is_renamed_away_and_written_anew_is_not_told_as_gone)
{
	rename_file("etc/file", "etc/file~");
	expect_nothing_told(100000);
	temp_tree_put(&tree, "etc/file", "new");
	expect_told();
}
END_TEST

START_TEST(a_file_that_is_renamed_away_and_back_is_not_told_as_gone)
{
	rename_file("etc/file", "etc/file~");
	expect_nothing_told(100000);
	rename_file("etc/file~", "etc/file");
	expect_told();
}
END_TEST

START_TEST(a_file_that_stays_away_is_told_once)
{
	rename_file("etc/file", "etc/file~");
	expect_told();
	temp_tree_put(&tree, "etc/file", "new");
	expect_told();
	temp_tree_remove(&tree, "etc/file");
	expect_told();
}
END_TEST

START_TEST(a_file_that_goes_with_its_directory_is_told)
{
	temp_tree_remove(&tree, "etc");
	expect_told();
}
END_TEST

START_TEST(who_has_ended_the_watch_is_told_nothing_more)
{
	unsigned before = count_fds();

	temp_tree_remove(&tree, "etc/file");
	expect_nothing_told(100000);
	watch = file_watch_free(watch);
	expect_nothing_told(GONE_USEC + 200000);
	ck_assert_uint_le(count_fds(), before);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("file watch");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_new_content_is_told_at_once_however_it_comes);
	tcase_add_test(tests, a_file_that_is_renamed_away_and_written_anew_is_not_told_as_gone);
	tcase_add_test(tests, a_file_that_is_renamed_away_and_back_is_not_told_as_gone);
	tcase_add_test(tests, a_file_that_stays_away_is_told_once);
	tcase_add_test(tests, a_file_that_goes_with_its_directory_is_told);
	tcase_add_test(tests, who_has_ended_the_watch_is_told_nothing_more);
	return check_program_run("common_file_watch", tests, NULL);
}
