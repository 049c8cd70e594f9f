/* The owner's rules: what a line means, what is wrong with one, how a file is changed. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "atomic_file.h"
#include "check_program.h"
#include "cleanup.h"
#include "device_name.h"
#include "glob.h"
#include "rule_set.h"
#include "temp_tree.h"
#include "usb_sample.h"

static const char *const ACTIONS[] = { "share", "ignore", "ask", "default", NULL };
static const struct rule_syntax SYNTAX = { ACTIONS, RULE_KEY_SOCKET | RULE_KEY_NAME | RULE_KEY_RESET | RULE_KEY_TRANSPORT };
static const struct rule_syntax VM_SYNTAX = { ACTIONS, RULE_KEY_PI };

static struct temp_tree tree;
static char path[128], problems[4096];
static struct rule_set set;

static void setup(void)
{
	temp_tree_new(&tree);
	snprintf(path, sizeof(path), "%s/devices.conf", tree.path);
	problems[0] = '\0';
	set = (struct rule_set){ 0 };
}

static void teardown(void)
{
	rule_set_done(&set);
	temp_tree_free(&tree);
}

/* ---- wildcards ---- */

static const struct {
	const char *pattern, *text;
	bool fits;
} GLOBS[] = {
	{ "", "", true },
	{ "", "a", false },
	{ "*", "", true },
	{ "*", "anything", true },
	{ "a*", "abc", true },
	{ "*c", "abc", true },
	{ "a*c", "abcabc", true },
	{ "a*b*c", "a--b--b--c", true },
	{ "a*b*c", "a--c--b", false },
	{ "a?c", "abc", true },
	{ "a?c", "ac", false },
	{ "abc", "ABC", false },
	{ "abc", "abcd", false },
	{ "abcd", "abc", false },
	{ "a\\*c", "a*c", true },
	{ "a\\*c", "abc", false },
	{ "a\\?", "a?", true },
	{ "a\\\\", "a\\", true },
	{ "[ab]", "a", false },
	{ "[ab]", "[ab]", true },
	{ "\\", "\\", true }, /* nothing to take as it is */
	{ "*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
};

START_TEST(a_pattern_fits_the_whole_text_or_not)
{
	ck_assert_msg(glob_fits(GLOBS[_i].pattern, GLOBS[_i].text) == GLOBS[_i].fits, "\"%s\" and \"%s\"", GLOBS[_i].pattern,
		      GLOBS[_i].text);
}
END_TEST

START_TEST(an_escaped_text_fits_itself_alone)
{
	static const char *const texts[] = { "", "A50285BI", "*", "a?b", "c\\d", "say \"hi\"", "\\*" };
	char pattern[64];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		ck_assert_int_eq(glob_escape(texts[i], pattern, sizeof(pattern)), 0);
		for (size_t j = 0; j < ARRAY_SIZE(texts); j++)
			ck_assert_msg(glob_fits(pattern, texts[j]) == (i == j), "\"%s\" and \"%s\"", pattern, texts[j]);
	}
	ck_assert_int_eq(glob_escape("****", pattern, 8), -ENOSPC);
	ck_assert_int_eq(glob_escape("***", pattern, 8), 0);
}
END_TEST

/* ---- a line ---- */

static int parse(const struct rule_syntax *syntax, const char *text, struct rule *ret_rule, char *problem, size_t size)
{
	_cleanup_free_ char *line = strdup(text);

	return rule_parse(syntax, line, ret_rule, problem, size);
}

static bool line_fits(const char *line, const struct usb_sample *sample, const char *socket, const char *driver, const char *last_name)
{
	struct rule_subject subject = { .serial = sample->serial ? sample->serial : "", .socket = socket, .last_name = last_name };
	struct descriptors descriptors;
	char problem[256] = "";
	struct rule rule;

	usb_sample_parse(sample, &descriptors);
	subject.descriptors = &descriptors;
	if (driver)
		snprintf(subject.drivers[subject.n_drivers++], sizeof(subject.drivers[0]), "%s", driver);
	ck_assert_msg(parse(&SYNTAX, line, &rule, problem, sizeof(problem)) == 1, "\"%s\": %s", line, problem);
	return rule_fits(&rule, &subject);
}

static const struct {
	const char *line;
	const struct usb_sample *device;
	bool fits;
} LINES[] = {
	{ "share 0403:6001", &FT232R, true },
	{ "share 0403:6010", &FT232R, false },
	{ "share\t0403:*\t# all of FTDI's", &FT232R, true },
	{ "share 0403:60??", &FT232R, true },
	{ "share 04??:6001", &FT232R, true },
	{ "share *:6001", &FT232R, true },
	{ "share *:*", &KEYBOARD_DEVICE, true },
	{ "share 10C4:EA60", &CP2102, true },
	{ "share serial=A50285BI", &FT232R, true },
	{ "share serial=a50285bi", &FT232R, false },
	{ "share serial=A5*", &FT232R, true },
	{ "share serial=A5", &FT232R, false },
	{ "share serial=*", &CH340, true },   /* any serial number, none too */
	{ "share serial=?*", &CH340, false }, /* one at least */
	{ "share 0403:6001 serial=A50285BI", &FT232R, true },
	{ "share 0403:6001 serial=B", &FT232R, false },
	{ "share \"serial=A50285BI\"", &FT232R, true },
	{ "share serial=\"A50285BI\"", &FT232R, true },
	{ "share socket=1-1.4", &FT232R, true },
	{ "share socket=1-1", &FT232R, false }, /* a field, not its beginning */
	{ "share socket=1-1.*", &FT232R, true },
	{ "share driver=ftdi_sio", &FT232R, true },
	{ "share driver=ftdi-sio", &FT232R, true },
	{ "share driver=ftdi*", &FT232R, true },
	{ "share driver=cp210x", &FT232R, false },
	{ "share class=ff", &FT232R, true },
	{ "share class=FF:ff", &FT232R, true },
	{ "share class=ff:00", &FT232R, false },
	{ "share class=vendor", &FT232R, true },
	{ "share class=storage", &DISK, true },
	{ "share class=08:06:50", &DISK, true },
	{ "share class=08:*:50", &DISK, true },
	{ "share class=08:06:62", &DISK, false },
	{ "share class=keyboard", &KEYBOARD_DEVICE, true },
	{ "share class=mouse", &KEYBOARD_DEVICE, false },
	{ "share class=hid", &KEYBOARD_DEVICE, true }, /* its second interface */
	{ "share class=02", &ARDUINO_UNO, true },      /* the device's own class */
	{ "share class=storage serial=4C530001 driver=ftdi_sio", &DISK, true },
};

START_TEST(a_rule_is_about_devices_that_fit_all_of_it)
{
	ck_assert_msg(line_fits(LINES[_i].line, LINES[_i].device, "1-1.4", "ftdi_sio", NULL) == LINES[_i].fits, "%s", LINES[_i].line);
}
END_TEST

START_TEST(what_a_rule_asks_for_is_read)
{
	struct rule rule;
	char problem[256];

	ck_assert_int_eq(parse(&SYNTAX,
			       "  ask 2e8a:000a name=pico.1 also=2E8A:0003 also=2e8a:0004 reset-before-share recover=power  # mine", &rule,
			       problem, sizeof(problem)),
			 1);
	ck_assert_uint_eq(rule.action, 2);
	ck_assert_str_eq(rule.id, "2e8a:000a");
	ck_assert_str_eq(rule.name, "pico.1");
	ck_assert_str_eq(rule.also[0], "2e8a:0003");
	ck_assert_str_eq(rule.also[1], "2e8a:0004");
	ck_assert_str_eq(rule.also[2], "");
	ck_assert(rule.is_reset);
	ck_assert_int_eq(rule.recover, RULE_RECOVER_POWER);
}
END_TEST

START_TEST(blank_and_comment_lines_are_no_rules)
{
	static const char *const lines[] = { "", "   ", "\t", "#", "# share 0403:6001", "   # x", "#\"" };
	struct rule rule;
	char problem[256];

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		ck_assert_int_eq(parse(&SYNTAX, lines[i], &rule, problem, sizeof(problem)), 0);
}
END_TEST

static const struct {
	const char *line, *problem;
} WRONG[] = {
	{ "shar 0403:6001", "\"shar\" is no action; expected one of share, ignore, ask, default" },
	{ "0403:6001 share", "is no action" },
	{ "Share 0403:6001", "is no action" },
	{ "share", "it does not say which devices" },
	{ "share name=x", "it does not say which devices" },
	{ "ignore # everything", "it does not say which devices" },
	{ "share 0403", "neither VID:PID nor a match" },
	{ "share 403:6001", "neither VID:PID" },
	{ "share 0403:60011", "neither VID:PID" },
	{ "share 0403:6001:1", "neither VID:PID" },
	{ "share 04o3:6001", "neither VID:PID" },
	{ "share :6001", "neither VID:PID" },
	{ "share 0403:", "neither VID:PID" },
	{ "share 0403:6001 0403:6010", "expected one VID:PID" },
	{ "share 0403:6001, serial=A", "neither VID:PID" },
	{ "share serial=", "serial= has no value" },
	{ "share serial=A serial=B", "serial= stands there twice" },
	{ "share serial=\"A B", "not closed" },
	{ "share seriel=A", "\"seriel=\" is not known" },
	{ "share Serial=A", "\"Serial=\" is not known" },
	{ "share serial=A B", "neither VID:PID" },
	{ "share socket=usb1", "socket=usb1 is no bus id" },
	{ "share socket=../x", "is no bus id" },
	{ "share socket=", "has no value" },
	{ "share driver=a/b", "is no driver's name" },
	{ "share driver=", "has no value" },
	{ "share class=8", "is no USB class" },
	{ "share class=disk", "is no USB class" },
	{ "share class=08:06:50:01", "is no USB class" },
	{ "share class=08:", "is no USB class" },
	{ "share class=", "is no USB class" },
	{ "share 0403:6001 name=", "can't be a name" },
	{ "share 0403:6001 name=../../etc/passwd", "can't be a name" },
	{ "share 0403:6001 name=.hidden", "can't be a name" },
	{ "share 0403:6001 name=-x", "can't be a name" },
	{ "share 0403:6001 name=\"a b\"", "can't be a name" },
	{ "share 0403:6001 name=a%n", "can't be a name" },
	{ "share 0403:6001 name=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "can't be a name" },
	{ "share 0403:6001 also=2e8a:0003", "expected VID:PID and name= too" },
	{ "share serial=A name=x also=2e8a:0003", "expected VID:PID and name= too" },
	{ "share 0403:6001 name=x also=2e8a:*", "is no VID:PID" },
	{ "share 0403:6001 name=x also=1111:1111 also=1111:1112 also=1111:1113 also=1111:1114 also=1111:1115", "more than 4" },
	{ "share 0403:6001 reset-before-share=yes", "takes no value" },
	{ "share 0403:6001 reset-before-share reset-before-share", "twice" },
	{ "share 0403:6001 recover=", "expected recover=reset or" },
	{ "share 0403:6001 transport=", "expected transport=tunnel or" },
	{ "share 0403:6001 transport=udp", "expected transport=tunnel or" },
	{ "share 0403:6001 recover=pray", "expected recover=reset or" },
	{ "share 0403:6001 pi=x", "\"pi=\" is not known" },
	{ "share 0403:6001 serial=\x1b[2J", "control characters" },
	{ "share 0403:6001 serial=\xff", "no UTF-8" },
	{ "share 0403:6001 serial=\xc3", "no UTF-8" },
};

START_TEST(a_line_that_makes_no_sense_is_told)
{
	struct rule rule;
	char problem[256] = "";

	memset(&rule, 'x', sizeof(rule));
	ck_assert_int_eq(parse(&SYNTAX, WRONG[_i].line, &rule, problem, sizeof(problem)), -EINVAL);
	ck_assert_msg(strstr(problem, WRONG[_i].problem), "\"%s\": %s", WRONG[_i].line, problem);
	ck_assert_int_eq(((const char *)&rule)[0], 'x');
}
END_TEST

START_TEST(a_line_without_end_is_told)
{
	_cleanup_free_ char *line = malloc(100001);
	struct rule rule;
	char problem[256] = "";

	memset(line, 'a', 100000);
	line[100000] = '\0';
	ck_assert_int_eq(rule_parse(&SYNTAX, line, &rule, problem, sizeof(problem)), -EINVAL);
	ck_assert_msg(strstr(problem, "longer than"), "%s", problem);
}
END_TEST

START_TEST(each_file_has_its_own_words)
{
	struct rule rule;
	char problem[256];

	ck_assert_int_eq(parse(&VM_SYNTAX, "share 0403:6001 pi=desk-*", &rule, problem, sizeof(problem)), 1);
	ck_assert_str_eq(rule.pi, "desk-*");
	ck_assert_int_eq(parse(&VM_SYNTAX, "share 0403:6001 name=x", &rule, problem, sizeof(problem)), -EINVAL);
	ck_assert_int_eq(parse(&VM_SYNTAX, "share 0403:6001 socket=1-1", &rule, problem, sizeof(problem)), -EINVAL);
	ck_assert_int_eq(parse(&VM_SYNTAX, "share 0403:6001 reset-before-share", &rule, problem, sizeof(problem)), -EINVAL);
}
END_TEST

/* ---- a board that comes back as its boot loader ---- */

START_TEST(a_linked_boot_loader_is_told_by_its_serial_number_or_its_socket)
{
	static const char rule[] = "share 0403:6001 serial=A50285BI name=board also=10c4:ea60";
	struct usb_sample loader = CP2102;

	ck_assert(line_fits(rule, &loader, "1-1", NULL, NULL));     /* nothing is known of what was there */
	ck_assert(line_fits(rule, &loader, "1-1", NULL, "board"));  /* the board itself was there */
	ck_assert(!line_fits(rule, &loader, "1-1", NULL, "other")); /* another one's boot loader */
	ck_assert(!line_fits(rule, &loader, "1-1", NULL, ""));
	loader.serial = "A50285BI";
	ck_assert(line_fits(rule, &loader, "1-1", NULL, "other"));
	loader.pid++;
	ck_assert(!line_fits(rule, &loader, "1-1", NULL, "board"));
	ck_assert(!line_fits("share 0403:6001 socket=1-2 name=board also=10c4:ea60", &CP2102, "1-1", NULL, "board"));
}
END_TEST

/* ---- writing ---- */

START_TEST(a_rule_that_is_written_reads_the_same)
{
	static const char *const lines[] = {
		"share 0403:6001",
		("default 0403:* serial=A* socket=1-1.* driver=ftdi_sio class=03:01:01 name=x also=2e8a:0003 reset-before-share recover=reset "
		 "transport=direct"),
		"share 0403:6001 transport=tunnel",
		"ignore serial=\"a b\"",
		"ask serial=\"a \\\" b\\\\\"",
		"ask serial=#1",
	};
	struct rule rule, again;
	char problem[256], text[RULE_MAX_LINE];

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		ck_assert_int_eq(parse(&SYNTAX, lines[i], &rule, problem, sizeof(problem)), 1);
		ck_assert_int_eq(rule_format(&SYNTAX, &rule, text, sizeof(text)), 0);
		ck_assert_str_eq(text, lines[i]);
		ck_assert_int_eq(parse(&SYNTAX, text, &again, problem, sizeof(problem)), 1);
		ck_assert(rule_matches_equal(&rule, &again));
	}
}
END_TEST

START_TEST(any_serial_number_survives_the_file)
{
	static const char *const serials[] = { "A B", "\"", "\\", "a\\", "*", "#", "x#y", "a=b", " lead", "tail ", "\\\"*?", "Ümläut" };
	struct usb_sample device = FT232R;

	for (size_t i = 0; i < ARRAY_SIZE(serials); i++) {
		struct rule rule = { .action = 0 };
		char text[RULE_MAX_LINE];

		ck_assert_int_eq(glob_escape(serials[i], rule.serial, sizeof(rule.serial)), 0);
		ck_assert_int_eq(rule_format(&SYNTAX, &rule, text, sizeof(text)), 0);
		device.serial = serials[i];
		ck_assert_msg(line_fits(text, &device, "1-1", NULL, NULL), "%s: %s", serials[i], text);
		device.serial = "another";
		ck_assert_msg(!line_fits(text, &device, "1-1", NULL, NULL), "%s: %s", serials[i], text);
	}
}
END_TEST

/* ---- a file ---- */

static void on_problem(const struct config_problem *problem, void *userdata)
{
	size_t used = strlen(problems);

	(void)userdata;
	ck_assert_int_eq(strncmp(problem->text, path, strlen(path)), 0);
	snprintf(problems + used, sizeof(problems) - used, "%s\n", problem->text + strlen(path));
}

static int read_file(const char *content)
{
	if (content)
		temp_tree_put(&tree, "devices.conf", content);
	rule_set_done(&set);
	return rule_set_read(path, &SYNTAX, on_problem, NULL, &set);
}

static const struct rule *find(const struct usb_sample *sample)
{
	static struct descriptors descriptors;
	struct rule_subject subject = { .descriptors = &descriptors, .serial = sample->serial ? sample->serial : "", .socket = "1-1" };

	usb_sample_parse(sample, &descriptors);
	return rule_set_find(&set, &subject);
}

START_TEST(the_first_rule_that_fits_decides)
{
	ck_assert_int_eq(read_file("# mine\n\nignore 0403:6001 serial=X\nshare 0403:6001\r\nignore 0403:*\n"), 0);
	ck_assert_uint_eq(set.n, 3);
	ck_assert_uint_eq(find(&FT232R)->line, 4);
	ck_assert_ptr_null(find(&CP2102));
}
END_TEST

START_TEST(without_a_file_there_are_no_rules)
{
	ck_assert_int_eq(read_file(NULL), 0);
	ck_assert_uint_eq(set.n, 0);
	ck_assert_ptr_null(find(&FT232R));
	ck_assert_int_lt(rule_set_read(tree.path, &SYNTAX, on_problem, NULL, &set), 0); /* a directory */
}
END_TEST

START_TEST(what_is_below_a_broken_line_decides_nothing)
{
	ck_assert_int_eq(read_file("share 0403:6001\nignroe 10c4:ea60\nshare *:*\nshare 1\n"), 2);
	ck_assert_str_eq(problems, ":2: \"ignroe\" is no action; expected one of share, ignore, ask, default\n"
				   ":4: \"1\" is neither VID:PID nor a match; expected 0403:6001, 0403:*, serial=, driver= ...\n");
	ck_assert_uint_eq(find(&FT232R)->line, 1);
	ck_assert_ptr_eq(find(&CP2102), RULE_BROKEN);
	ck_assert_ptr_eq(find(&CH340), RULE_BROKEN);
	ck_assert_uint_eq(set.broken_line, 2);
}
END_TEST

START_TEST(a_name_is_given_once)
{
	ck_assert_int_eq(read_file("share 0403:6001 name=a\nshare 10c4:ea60 name=b\nshare 1a86:7523 name=a\n"), 1);
	ck_assert_str_eq(problems, ":3: the name a is given in line 1 already; expected another one\n");
}
END_TEST

START_TEST(a_file_that_is_no_text_breaks_all)
{
	_cleanup_free_ char *big = malloc(300001);

	temp_tree_put_bytes(&tree, "devices.conf", "share *:*\n\0", 11);
	ck_assert_int_eq(read_file(NULL), 1);
	ck_assert_ptr_eq(find(&FT232R), RULE_BROKEN);
	memset(big, '\n', 300000);
	big[300000] = '\0';
	ck_assert_int_eq(read_file(big), 1);
	ck_assert_ptr_eq(find(&FT232R), RULE_BROKEN);
}
END_TEST

START_TEST(too_many_rules_break_the_rest)
{
	_cleanup_free_ char *many = NULL;
	size_t size;
	FILE *stream = open_memstream(&many, &size);

	for (unsigned i = 0; i < RULE_SET_MAX + 1; i++)
		fprintf(stream, "share 1111:%04x\n", i);
	fclose(stream);
	ck_assert_int_eq(read_file(many), 1);
	ck_assert_ptr_eq(find(&FT232R), RULE_BROKEN);
}
END_TEST

/* ---- editing ---- */

static int edit_with(unsigned at_line, bool is_replacing, const struct rule *rule)
{
	_cleanup_(file_draft_done) struct file_draft draft = { .content = NULL };
	int r = rule_set_edit(path, &SYNTAX, at_line, is_replacing, rule, &draft);

	return r < 0 ? r : file_write_atomic(path, draft.content, draft.size, draft.mode);
}

static const char *edit(const char *content, unsigned at_line, bool is_replacing)
{
	static const struct rule rule = { .action = 1, .id = "0403:6001" };

	if (content)
		temp_tree_put(&tree, "devices.conf", content);
	ck_assert_int_eq(edit_with(at_line, is_replacing, &rule), 0);
	return temp_tree_get(&tree, "devices.conf");
}

START_TEST(a_new_rule_goes_to_the_end_or_before_another_and_its_comment)
{
	ck_assert_str_eq(edit(NULL, 0, false), "ignore 0403:6001\n");
	ck_assert_str_eq(edit("# a\nshare 1:1", 0, false), "# a\nshare 1:1\nignore 0403:6001\n");
	ck_assert_str_eq(edit("# top\n\n# all of FTDI's\n# stay here\nask 0403:*\n\n", 5, false),
			 "# top\n\nignore 0403:6001\n# all of FTDI's\n# stay here\nask 0403:*\n\n");
	ck_assert_str_eq(edit("ask 0403:*\n", 1, false), "ignore 0403:6001\nask 0403:*\n");
}
END_TEST

START_TEST(a_replaced_rule_keeps_its_comment_and_all_other_lines)
{
	ck_assert_str_eq(edit("# a\nshare 0403:6001 serial=\"a # b\"   # mine # really\n  # b\nnonsense\n", 2, true),
			 "# a\nignore 0403:6001  # mine # really\n  # b\nnonsense\n");
	ck_assert_str_eq(edit("share 0403:6001 serial=x#y", 1, true), "ignore 0403:6001\n");
}
END_TEST

START_TEST(a_line_that_is_not_there_is_not_edited)
{
	static const struct rule rule = { .action = 1, .id = "0403:6001" };

	temp_tree_put(&tree, "devices.conf", "# a\n");
	ck_assert_int_eq(edit_with(3, false, &rule), -EINVAL);
	ck_assert_int_eq(edit_with(0, true, &rule), -EINVAL);
	ck_assert_str_eq(temp_tree_get(&tree, "devices.conf"), "# a\n");
}
END_TEST

/* Found by fuzz_rule: written down it took the closing quotation mark with it. */
START_TEST(a_backslash_before_nothing_is_told)
{
	char line[] = "share serial=A\\ B\\", problem[256] = "";
	struct rule rule;

	ck_assert_int_eq(rule_parse(&SYNTAX, line, &rule, problem, sizeof(problem)), -EINVAL);
	ck_assert_ptr_nonnull(strstr(problem, "a backslash stands at the end"));
}
END_TEST

/* Found by fuzz_rule. */
START_TEST(a_file_with_a_nul_byte_is_not_edited)
{
	const struct rule rule = { .id = "303a:1001" };
	_cleanup_free_ char *content = NULL;

	temp_tree_put_bytes(&tree, "devices.conf", "# a\n\0# b\n", 9);
	ck_assert_int_eq(edit_with(0, false, &rule), -EBADMSG);
	ck_assert_int_eq(file_read(path, 100, &content), 9);
}
END_TEST

START_TEST(the_file_keeps_its_mode)
{
	struct stat status;

	temp_tree_put(&tree, "devices.conf", "# a\n");
	ck_assert_int_eq(chmod(path, 0600), 0);
	edit(NULL, 0, false);
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0600);
}
END_TEST

/* ---- names that nobody gave ---- */

static const struct {
	const char *product, *serial, *name;
} NAMES[] = {
	{ "FT232R USB UART", "A50285BI", "FT232R-USB-UART-A50285BI" },
	{ "USB JTAG/serial debug unit", "F4:12:FA:00:11:22", "USB-JTAG-serial-debug-un-F4-12-FA-00-11-22" },
	{ "", "A1", "usb-0403-6001-A1" },
	{ "USB Serial", "", "USB-Serial-at-1-1.4" },
	{ "../../etc/passwd", "../x", "etc-passwd-x" },
	{ "a", "0123456789012345678901234567890123456789", "a-01234567890123-21036095" },
	{ "\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5", "usb-0403-6001-80d4e4fd" },
	{ "$(reboot) `id`", "\"; rm -rf /", "reboot-id-rm-rf" },
};

START_TEST(a_made_name_is_stable_and_safe)
{
	struct identity identity = { .vid = 0x0403, .pid = 0x6001 };
	struct busid busid = { "1-1.4" };
	char name[RULE_NAME_SIZE];

	snprintf(identity.product, sizeof(identity.product), "%s", NAMES[_i].product);
	snprintf(identity.serial, sizeof(identity.serial), "%s", NAMES[_i].serial);
	device_name_make(&identity, &busid, name);
	ck_assert_str_eq(name, NAMES[_i].name);
	ck_assert(rule_is_name(name));
}
END_TEST

START_TEST(long_serial_numbers_that_differ_at_the_end_get_different_names)
{
	struct identity identity = { .product = "x", .serial = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1" };
	struct busid busid = { "1-1" };
	char a[RULE_NAME_SIZE], b[RULE_NAME_SIZE];

	device_name_make(&identity, &busid, a);
	identity.serial[strlen(identity.serial) - 1] = '2';
	device_name_make(&identity, &busid, b);
	ck_assert_str_ne(a, b);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("rule");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_loop_test(tests, a_pattern_fits_the_whole_text_or_not, 0, ARRAY_SIZE(GLOBS));
	tcase_add_test(tests, an_escaped_text_fits_itself_alone);
	tcase_add_loop_test(tests, a_rule_is_about_devices_that_fit_all_of_it, 0, ARRAY_SIZE(LINES));
	tcase_add_test(tests, what_a_rule_asks_for_is_read);
	tcase_add_test(tests, blank_and_comment_lines_are_no_rules);
	tcase_add_loop_test(tests, a_line_that_makes_no_sense_is_told, 0, ARRAY_SIZE(WRONG));
	tcase_add_test(tests, a_line_without_end_is_told);
	tcase_add_test(tests, each_file_has_its_own_words);
	tcase_add_test(tests, a_linked_boot_loader_is_told_by_its_serial_number_or_its_socket);
	tcase_add_test(tests, a_rule_that_is_written_reads_the_same);
	tcase_add_test(tests, any_serial_number_survives_the_file);
	tcase_add_test(tests, the_first_rule_that_fits_decides);
	tcase_add_test(tests, without_a_file_there_are_no_rules);
	tcase_add_test(tests, what_is_below_a_broken_line_decides_nothing);
	tcase_add_test(tests, a_name_is_given_once);
	tcase_add_test(tests, a_file_that_is_no_text_breaks_all);
	tcase_add_test(tests, too_many_rules_break_the_rest);
	tcase_add_test(tests, a_new_rule_goes_to_the_end_or_before_another_and_its_comment);
	tcase_add_test(tests, a_replaced_rule_keeps_its_comment_and_all_other_lines);
	tcase_add_test(tests, a_line_that_is_not_there_is_not_edited);
	tcase_add_test(tests, a_backslash_before_nothing_is_told);
	tcase_add_test(tests, a_file_with_a_nul_byte_is_not_edited);
	tcase_add_test(tests, the_file_keeps_its_mode);
	tcase_add_loop_test(tests, a_made_name_is_stable_and_safe, 0, ARRAY_SIZE(NAMES));
	tcase_add_test(tests, long_serial_numbers_that_differ_at_the_end_get_different_names);
	return check_program_run("common_rule", tests, NULL);
}
