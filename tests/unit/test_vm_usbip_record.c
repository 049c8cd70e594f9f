#include "check_program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "temp_tree.h"
#include "usbip_record.h"

static struct temp_tree tree;

static void setup(void)
{
	temp_tree_new(&tree);
}

static void teardown(void)
{
	temp_tree_free(&tree);
}

/* NULL: it is not there. */
static void expect_file(const char *name, const char *expected)
{
	_cleanup_free_ char *content = NULL;
	char path[512];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", tree.path, name);
	n = file_read(path, 1024, &content);
	if (expected)
		ck_assert_str_eq(n >= 0 ? content : "(no file)", expected);
	else
		ck_assert_int_eq(n, -ENOENT);
}

static const struct usbip_record TWO[] = {
	{ .port = 0, .host = "desk", .busid = "1-1.4" },
	{ .port = 31, .host = "lab.local", .direct_port = 3240, .busid = "2-1" },
};

START_TEST(each_port_says_where_its_device_is)
{
	ck_assert_int_eq(usbip_records_write(tree.path, TWO, 2), 0);
	expect_file("port0", "desk ssh 1-1.4 usbpush\n");
	expect_file("port31", "lab.local 3240 2-1 usbpush\n");
}
END_TEST

START_TEST(what_is_detached_goes)
{
	ck_assert_int_eq(usbip_records_write(tree.path, TWO, 2), 0);
	ck_assert_int_eq(usbip_records_write(tree.path, TWO, 1), 0);
	expect_file("port0", "desk ssh 1-1.4 usbpush\n");
	expect_file("port31", NULL);
	ck_assert_int_eq(usbip_records_write(tree.path, NULL, 0), 0);
	expect_file("port0", NULL);
}
END_TEST

START_TEST(a_port_with_another_device_says_so)
{
	const struct usbip_record other = { .port = 0, .host = "desk", .busid = "3-2" };

	ck_assert_int_eq(usbip_records_write(tree.path, TWO, 1), 0);
	ck_assert_int_eq(usbip_records_write(tree.path, &other, 1), 0);
	expect_file("port0", "desk ssh 3-2 usbpush\n");
}
END_TEST

START_TEST(records_of_the_stock_tools_stay)
{
	temp_tree_put(&tree, "port7", "elsewhere 3240 1-1\n");
	temp_tree_put(&tree, "port8", "");
	temp_tree_put(&tree, "notes", "mine usbpush\n");
	ck_assert_int_eq(usbip_records_write(tree.path, TWO, 1), 0);
	ck_assert_int_eq(usbip_records_write(tree.path, NULL, 0), 0);
	expect_file("port7", "elsewhere 3240 1-1\n");
	expect_file("port8", "");
	expect_file("notes", "mine usbpush\n");
	expect_file("port0", NULL);
}
END_TEST

START_TEST(without_the_directory_nothing_is_done)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/none", tree.path);
	ck_assert_int_eq(usbip_records_write(path, TWO, 2), 0);
	expect_file("none", NULL);
}
END_TEST

START_TEST(what_can_not_be_written_is_told_and_the_rest_is_written)
{
	temp_tree_put(&tree, "port0/in-the-way", "");
	ck_assert_int_lt(usbip_records_write(tree.path, TWO, 2), 0);
	expect_file("port31", "lab.local 3240 2-1 usbpush\n");
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("usbip record");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, each_port_says_where_its_device_is);
	tcase_add_test(tests, what_is_detached_goes);
	tcase_add_test(tests, a_port_with_another_device_says_so);
	tcase_add_test(tests, records_of_the_stock_tools_stay);
	tcase_add_test(tests, without_the_directory_nothing_is_done);
	tcase_add_test(tests, what_can_not_be_written_is_told_and_the_rest_is_written);
	return check_program_run("vm_usbip_record", tests, NULL);
}
