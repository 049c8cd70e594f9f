/* What a daemon says, and what it calls its machine. */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_program.h"
#include "log.h"
#include "log_journal.h"
#include "log_limit.h"
#include "machine.h"

/* What one line looks like on stderr. */
static const char *logged(const char *text)
{
	static char line[2048];
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_ge(dup2(fds[1], STDERR_FILENO), 0);
	log_warning("%s", text);
	ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
	close(fds[1]);
	n = read(fds[0], line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	close(saved);
	return line;
}

START_TEST(a_log_line_is_one_line_whatever_is_in_it)
{
	unsetenv("JOURNAL_STREAM");
	log_init("test", false);
	ck_assert_str_eq(logged("a\nb\033[2Jc\x7f ü"), "test: a?b?[2Jc? ü\n");
	setenv("JOURNAL_STREAM", "8:1", 1);
	log_init("test", false);
	ck_assert_str_eq(logged("a\n<0>b"), "<4>a?<0>b\n");
}
END_TEST

START_TEST(a_subject_that_storms_is_held_up_and_no_other)
{
	uint64_t now = 1000000;
	unsigned n_left_out = 0, n_written = 0;

	for (unsigned i = 0; i < 5000; i++)
		n_written += log_limit_take("pi1: offers 1 device", false, now, &n_left_out);
	ck_assert_uint_eq(n_written, LOG_LIMIT_BURST);
	ck_assert(log_limit_take("pi2: offers 1 device", false, now, &n_left_out));
	ck_assert(log_limit_take("without a subject", false, now, &n_left_out));
	ck_assert_uint_eq(n_left_out, 0);
	ck_assert(!log_limit_take("pi1: gone", false, now + 99999, &n_left_out));
	ck_assert(log_limit_take("pi1: gone", false, now + 200000, &n_left_out));
	ck_assert_uint_eq(n_left_out, 5000 - LOG_LIMIT_BURST + 1);
	ck_assert(log_limit_take("pi1: gone", false, now + 400000, &n_left_out));
	ck_assert_uint_eq(n_left_out, 0);
}
END_TEST

START_TEST(a_device_is_a_subject_of_its_own_and_so_is_trouble)
{
	unsigned n_left_out = 0;

	for (unsigned i = 0; i < LOG_LIMIT_BURST; i++)
		ck_assert(log_limit_take("pi1: 1-1.4: attached", false, 7000000, &n_left_out));
	ck_assert(!log_limit_take("pi1: 1-1.4: gone", false, 7000000, &n_left_out));
	ck_assert(log_limit_take("pi1: 1-1.3: gone", false, 7000000, &n_left_out));
	ck_assert(log_limit_take("pi1: offers: 1", false, 7000000, &n_left_out));
	ck_assert(log_limit_take("pi1: 1-1.4: it is not what was offered", true, 7000000, &n_left_out));
	ck_assert_int_eq(log_limit_subject("pi1: 1-1.4: gone"), 10);
	ck_assert_int_eq(log_limit_subject("1-1.4: 0403:6001: gone"), 5);
}
END_TEST

START_TEST(a_new_subject_takes_the_place_of_the_one_that_is_silent_for_longest)
{
	unsigned n_left_out = 0;
	char line[40], endless[120] = "";

	for (unsigned i = 0; i < LOG_LIMIT_BURST; i++)
		ck_assert(log_limit_take("pi1: x", false, 5000000, &n_left_out));
	ck_assert(!log_limit_take("pi1: x", false, 5000000, &n_left_out));
	for (unsigned i = 0; i < LOG_LIMIT_SUBJECTS - 1; i++) {
		snprintf(line, sizeof(line), "subject %u: x", i);
		ck_assert(log_limit_take(line, false, 5000001 + i, &n_left_out));
	}
	ck_assert(!log_limit_take("pi1: x", false, 5000300, &n_left_out));
	ck_assert(log_limit_take("one more: x", false, 5000301, &n_left_out));
	ck_assert(!log_limit_take("pi1: x", false, 5000302, &n_left_out));                               /* it was not silent */
	ck_assert(log_limit_take(strcat(memset(endless, 'e', 99), ": x"), false, 5000303, &n_left_out)); /* only its beginning counts */
}
END_TEST

START_TEST(what_was_left_out_is_told_with_the_next_line)
{
	unsetenv("JOURNAL_STREAM");
	log_init("test", false);
	for (unsigned i = 0; i < LOG_LIMIT_BURST + 7; i++)
		(void)logged("storm: x");
	ck_assert_str_eq(logged("storm: x"), "");
	ck_assert_str_eq(logged("calm: x"), "test: calm: x\n");
	poll(NULL, 0, 1200 / LOG_LIMIT_PER_SEC);
	ck_assert_ptr_nonnull(strstr(logged("storm: y"), "lines more were left out\ntest: storm: y\n"));
	log_init("test", true);
	for (unsigned i = 0; i < 2 * LOG_LIMIT_BURST; i++)
		ck_assert_str_eq(logged("storm: x"), "test: storm: x\n");
}
END_TEST

/* There it is one of journald's, with fields; tests/lab/test_names.py asks journalctl for it. */
START_TEST(what_is_about_a_device_is_a_line_like_others_where_there_is_no_journal)
{
	const struct log_about about = { .busid = "1-1.4", .name = "bench" };
	char line[64] = "";
	int fds[2], saved = dup(STDERR_FILENO);

	unsetenv("JOURNAL_STREAM");
	log_init("test", false);
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_ge(dup2(fds[1], STDERR_FILENO), 0);
	log_write_about(LOG_LEVEL_DEBUG, &about, "not told");
	log_write_about(LOG_LEVEL_NOTICE, &about, "%s: \033 attached", about.busid);
	ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
	ck_assert_int_gt(read(fds[0], line, sizeof(line) - 1), 0);
	ck_assert_str_eq(line, "test: 1-1.4: ? attached\n");
	close(fds[0]);
	close(fds[1]);
	close(saved);
}
END_TEST

START_TEST(the_journal_is_only_there_where_stderr_leads_to_it)
{
	char stream[64];
	struct stat info;

	unsetenv("JOURNAL_STREAM");
	ck_assert(!log_journal_is_there());
	setenv("JOURNAL_STREAM", "8:1", 1);
	ck_assert(!log_journal_is_there());
	ck_assert_int_eq(fstat(STDERR_FILENO, &info), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)info.st_dev, (unsigned long long)info.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	ck_assert(log_journal_is_there());
}
END_TEST

START_TEST(a_long_log_line_is_cut_and_ended)
{
	char text[3000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	unsetenv("JOURNAL_STREAM");
	log_init("test", false);
	ck_assert_uint_lt(strlen(logged(text)), 1200);
	ck_assert_int_eq(logged(text)[strlen(logged(text)) - 1], '\n');
}
END_TEST

START_TEST(a_machine_has_a_name_and_a_boot)
{
	char name[64], boot[64], small[8];

	machine_name(name, sizeof(name));
	ck_assert_str_ne(name, "");
	machine_name(small, sizeof(small));
	ck_assert_uint_lt(strlen(small), sizeof(small));
	ck_assert_int_eq(machine_boot_id(boot, sizeof(boot)), 0);
	ck_assert_uint_eq(strspn(boot, "0123456789abcdef"), 32);
	ck_assert_int_eq(machine_boot_id(small, sizeof(small)), -ENOSPC);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("log and machine");

	tcase_add_test(tests, a_log_line_is_one_line_whatever_is_in_it);
	tcase_add_test(tests, a_subject_that_storms_is_held_up_and_no_other);
	tcase_add_test(tests, a_device_is_a_subject_of_its_own_and_so_is_trouble);
	tcase_add_test(tests, a_new_subject_takes_the_place_of_the_one_that_is_silent_for_longest);
	tcase_add_test(tests, what_was_left_out_is_told_with_the_next_line);
	tcase_add_test(tests, what_is_about_a_device_is_a_line_like_others_where_there_is_no_journal);
	tcase_add_test(tests, the_journal_is_only_there_where_stderr_leads_to_it);
	tcase_add_test(tests, a_long_log_line_is_cut_and_ended);
	tcase_add_test(tests, a_machine_has_a_name_and_a_boot);
	return check_program_run("common_log", tests, NULL);
}
