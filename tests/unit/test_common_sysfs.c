/* Attributes below a directory. */

#include <errno.h>

#include "check_program.h"
#include "cleanup.h"
#include "sysfs.h"
#include "temp_tree.h"

static struct temp_tree tree;

static void setup(void)
{
	temp_tree_new(&tree);
}

static void teardown(void)
{
	temp_tree_free(&tree);
}

START_TEST(an_attribute_is_read_without_its_newline)
{
	char text[8];

	temp_tree_put(&tree, "speed", "480\n");
	ck_assert_int_eq(sysfs_read(tree.fd, "speed", text, sizeof(text)), 3);
	ck_assert_str_eq(text, "480");
	temp_tree_put(&tree, "serial", "\n");
	ck_assert_int_eq(sysfs_read(tree.fd, "serial", text, sizeof(text)), 0);
	ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(an_attribute_that_does_not_fit_is_told)
{
	char text[4];

	temp_tree_put(&tree, "speed", "480");
	ck_assert_int_eq(sysfs_read(tree.fd, "speed", text, sizeof(text)), 3);
	temp_tree_put(&tree, "speed", "5000");
	ck_assert_int_eq(sysfs_read(tree.fd, "speed", text, sizeof(text)), -E2BIG);
	ck_assert_int_eq(sysfs_read(tree.fd, "none", text, sizeof(text)), -ENOENT);
}
END_TEST

START_TEST(only_a_whole_number_of_32_bits_is_one)
{
	static const char *const bad[] = { "", "\n", "x", "12x", "1 2", "4294967296", "-1", "1.5", "99999999999999999999999" };
	uint32_t value = 7;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		temp_tree_put(&tree, "devnum", bad[i]);
		ck_assert_msg(sysfs_read_uint(tree.fd, "devnum", 10, &value) == -EINVAL, "\"%s\"", bad[i]);
		ck_assert_uint_eq(value, 7);
	}
	temp_tree_put(&tree, "devnum", "4294967295\n");
	ck_assert_int_eq(sysfs_read_uint(tree.fd, "devnum", 10, &value), 0);
	ck_assert_uint_eq(value, UINT32_MAX);
	temp_tree_put(&tree, "idVendor", "303a\n");
	ck_assert_int_eq(sysfs_read_uint(tree.fd, "idVendor", 16, &value), 0);
	ck_assert_uint_eq(value, 0x303a);
}
END_TEST

START_TEST(a_value_is_written_in_one_piece_without_a_newline)
{
	temp_tree_put(&tree, "bind", "");
	ck_assert_int_eq(sysfs_write(tree.fd, "bind", "1-1.4"), 0);
	ck_assert_str_eq(temp_tree_get(&tree, "bind"), "1-1.4");
	ck_assert_int_eq(sysfs_write(tree.fd, "none", "x"), -ENOENT);
}
END_TEST

START_TEST(a_refused_write_is_told)
{
	temp_tree_link(&tree, "full", "/dev/full");
	ck_assert_int_eq(sysfs_write(tree.fd, "full", "x"), -ENOSPC);
}
END_TEST

START_TEST(a_link_is_named_by_where_it_leads)
{
	char name[16];

	temp_tree_link(&tree, "driver", "../../../bus/usb/drivers/usbip-host");
	ck_assert_int_eq(sysfs_link_name(tree.fd, "driver", name, sizeof(name)), 0);
	ck_assert_str_eq(name, "usbip-host");
	ck_assert_int_eq(sysfs_link_name(tree.fd, "driver", name, 5), -E2BIG);
	ck_assert_int_eq(sysfs_link_name(tree.fd, "none", name, sizeof(name)), -ENOENT);
	temp_tree_put(&tree, "file", "");
	ck_assert_int_eq(sysfs_link_name(tree.fd, "file", name, sizeof(name)), -ENOENT);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("sysfs");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, an_attribute_is_read_without_its_newline);
	tcase_add_test(tests, an_attribute_that_does_not_fit_is_told);
	tcase_add_test(tests, only_a_whole_number_of_32_bits_is_one);
	tcase_add_test(tests, a_value_is_written_in_one_piece_without_a_newline);
	tcase_add_test(tests, a_refused_write_is_told);
	tcase_add_test(tests, a_link_is_named_by_where_it_leads);
	return check_program_run("common_sysfs", tests, NULL);
}
