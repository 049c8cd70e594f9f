/* Whole files: read within a bound, replaced at once or not at all. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic_file.h"
#include "check_program.h"
#include "cleanup.h"
#include "temp_tree.h"

static struct temp_tree tree;
static char path[128];

static void setup(void)
{
	temp_tree_new(&tree);
	snprintf(path, sizeof(path), "%s/file", tree.path);
}

static void teardown(void)
{
	temp_tree_free(&tree);
}

static struct stat status_of(const char *which)
{
	struct stat status;

	ck_assert_int_eq(lstat(which, &status), 0);
	return status;
}

START_TEST(a_file_is_read_whole_and_ended)
{
	_cleanup_free_ char *content = NULL;

	temp_tree_put_bytes(&tree, "file", "a\0b", 3);
	ck_assert_int_eq(file_read(path, 3, &content), 3);
	ck_assert_mem_eq(content, "a\0b", 4);
}
END_TEST

START_TEST(one_byte_beyond_the_bound_is_too_many)
{
	_cleanup_free_ char *content = NULL;

	temp_tree_put(&tree, "file", "abcd");
	ck_assert_int_eq(file_read(path, 3, &content), -EFBIG);
	ck_assert_ptr_null(content);
}
END_TEST

START_TEST(an_empty_file_is_an_empty_string)
{
	_cleanup_free_ char *content = NULL;

	temp_tree_put(&tree, "file", "");
	ck_assert_int_eq(file_read(path, 0, &content), 0);
	ck_assert_str_eq(content, "");
}
END_TEST

START_TEST(what_can_not_be_read_is_told)
{
	_cleanup_free_ char *content = NULL;

	ck_assert_int_eq(file_read(path, 100, &content), -ENOENT);
	ck_assert_int_eq(file_read(tree.path, 100, &content), -EISDIR);
}
END_TEST

START_TEST(a_file_without_end_is_read_as_far_as_its_bound)
{
	_cleanup_free_ char *content = NULL;

	ck_assert_int_eq(file_read("/dev/zero", 100000, &content), -EFBIG);
}
END_TEST

START_TEST(a_new_file_has_content_and_mode_whatever_the_umask)
{
	umask(0077);
	ck_assert_int_eq(file_write_atomic(path, "secret\n", 7, 0644), 0);
	ck_assert_str_eq(temp_tree_get(&tree, "file"), "secret\n");
	ck_assert_uint_eq(status_of(path).st_mode & 07777, 0644);
}
END_TEST

START_TEST(who_has_the_old_file_open_still_reads_the_old)
{
	char content[8] = "";
	_cleanup_close_ int fd = -EBADF;

	temp_tree_put(&tree, "file", "old");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(file_write_atomic(path, "newer", 5, 0600), 0);
	ck_assert_int_eq(read(fd, content, sizeof(content) - 1), 3);
	ck_assert_str_eq(content, "old");
	ck_assert_str_eq(temp_tree_get(&tree, "file"), "newer");
	ck_assert_uint_eq(temp_tree_count(&tree, "."), 1);
}
END_TEST

START_TEST(a_replaced_file_keeps_its_owner)
{
	if (geteuid() != 0)
		return; /* only root may give a file away */
	temp_tree_put(&tree, "file", "old");
	ck_assert_int_eq(chown(path, 1234, 4321), 0);
	ck_assert_int_eq(file_write_atomic(path, "new", 3, 0600), 0);
	ck_assert_uint_eq(status_of(path).st_uid, 1234);
	ck_assert_uint_eq(status_of(path).st_gid, 4321);
}
END_TEST

START_TEST(a_symbolic_link_is_replaced_and_what_it_leads_to_untouched)
{
	temp_tree_put(&tree, "elsewhere", "precious");
	temp_tree_link(&tree, "file", "elsewhere");
	ck_assert_int_eq(file_write_atomic(path, "new", 3, 0600), 0);
	ck_assert(S_ISREG(status_of(path).st_mode));
	ck_assert_str_eq(temp_tree_get(&tree, "elsewhere"), "precious");
	ck_assert_str_eq(temp_tree_get(&tree, "file"), "new");
}
END_TEST

START_TEST(a_full_disk_leaves_the_old_file_and_no_other)
{
	const struct rlimit small = { 4096, 4096 };
	char content[8192];

	/* A limit on the file's size fails the write as a full disk does. */
	signal(SIGXFSZ, SIG_IGN);
	memset(content, 'x', sizeof(content));
	temp_tree_put(&tree, "file", "old");
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	ck_assert_int_eq(file_write_atomic(path, content, sizeof(content), 0600), -EFBIG);
	ck_assert_str_eq(temp_tree_get(&tree, "file"), "old");
	ck_assert_uint_eq(temp_tree_count(&tree, "."), 1);
}
END_TEST

START_TEST(a_target_that_can_not_be_replaced_leaves_no_temporary_file)
{
	temp_tree_make_dir(&tree, "file");
	ck_assert_int_eq(file_write_atomic(path, "new", 3, 0600), -EISDIR);
	ck_assert_uint_eq(temp_tree_count(&tree, "."), 1);
}
END_TEST

START_TEST(a_missing_directory_is_told)
{
	ck_assert_int_eq(file_write_atomic(temp_tree_path(&tree, "none/file"), "new", 3, 0600), -ENOENT);
}
END_TEST

START_TEST(a_path_too_long_is_told)
{
	char longest[5000];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	ck_assert_int_eq(file_write_atomic(longest, "new", 3, 0600), -ENAMETOOLONG);
}
END_TEST

static bool is_any_line(const char *line, size_t length, const void *userdata)
{
	(void)line;
	(void)length;
	(void)userdata;
	return true;
}

START_TEST(a_file_with_a_nul_byte_is_left_alone_for_what_is_behind_it)
{
	temp_tree_put_bytes(&tree, "file", "a\n\0b\n", 5);
	ck_assert_int_eq(file_replace_lines(path, 100, is_any_line, NULL, "new\n", 0644), -EBADMSG);
	ck_assert_int_eq(status_of(path).st_size, 5);
}
END_TEST

START_TEST(a_large_file_is_read_as_a_small_one_is)
{
	static char large[100000];
	_cleanup_free_ char *content = NULL;

	memset(large, 'x', sizeof(large));
	large[sizeof(large) - 1] = 'y';
	temp_tree_put_bytes(&tree, "file", large, sizeof(large));
	ck_assert_int_eq(file_read(path, sizeof(large), &content), sizeof(large));
	ck_assert_mem_eq(content, large, sizeof(large));
	ck_assert_int_eq(content[sizeof(large)], '\0');
	free(content);
	content = NULL;
	ck_assert_int_eq(file_read(path, sizeof(large) - 1, &content), -EFBIG);
	ck_assert_int_eq(file_read(path, 4096, &content), -EFBIG);
}
END_TEST

START_TEST(no_file_descriptor_is_left_behind)
{
	unsigned before = count_fds();
	char *content;

	for (unsigned i = 0; i < 20; i++) {
		ck_assert_int_eq(file_write_atomic(path, "new", 3, 0600), 0);
		ck_assert_int_eq(file_read(path, 100, &content), 3);
		free(content);
		ck_assert_int_lt(file_read(path, 1, &content), 0);
		ck_assert_int_lt(file_write_atomic(tree.path, "new", 3, 0600), 0);
	}
	ck_assert_uint_eq(count_fds(), before);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("file");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_file_is_read_whole_and_ended);
	tcase_add_test(tests, one_byte_beyond_the_bound_is_too_many);
	tcase_add_test(tests, an_empty_file_is_an_empty_string);
	tcase_add_test(tests, what_can_not_be_read_is_told);
	tcase_add_test(tests, a_file_without_end_is_read_as_far_as_its_bound);
	tcase_add_test(tests, a_new_file_has_content_and_mode_whatever_the_umask);
	tcase_add_test(tests, who_has_the_old_file_open_still_reads_the_old);
	tcase_add_test(tests, a_replaced_file_keeps_its_owner);
	tcase_add_test(tests, a_symbolic_link_is_replaced_and_what_it_leads_to_untouched);
	tcase_add_test(tests, a_full_disk_leaves_the_old_file_and_no_other);
	tcase_add_test(tests, a_target_that_can_not_be_replaced_leaves_no_temporary_file);
	tcase_add_test(tests, a_missing_directory_is_told);
	tcase_add_test(tests, a_path_too_long_is_told);
	tcase_add_test(tests, a_file_with_a_nul_byte_is_left_alone_for_what_is_behind_it);
	tcase_add_test(tests, a_large_file_is_read_as_a_small_one_is);
	tcase_add_test(tests, no_file_descriptor_is_left_behind);
	return check_program_run("common_file", tests, NULL);
}
