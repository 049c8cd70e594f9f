/* What a daemon says, and what it calls its machine. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "log.h"
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
	tcase_add_test(tests, a_long_log_line_is_cut_and_ended);
	tcase_add_test(tests, a_machine_has_a_name_and_a_boot);
	return check_program_run("common_log", tests, NULL);
}
