/* The owner's rules: devices.conf and accept.conf (common/rule, rule_set). What is understood can be written, and is understood as the same; a rule that is put into a
 * file leaves every other line as it was. First byte: which file it is. */

#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "fuzz.h"
#include "rule_set.h"

static const char *const PI_ACTIONS[] = { "share", "ignore", "ask", NULL };
static const char *const VM_ACTIONS[] = { "accept", "refuse", NULL };
static const struct rule_syntax PI_SYNTAX = { PI_ACTIONS, RULE_KEY_SOCKET | RULE_KEY_NAME | RULE_KEY_RESET };
static const struct rule_syntax VM_SYNTAX = { VM_ACTIONS, RULE_KEY_PI };

static void on_problem(const struct config_problem *problem, void *userdata)
{
	(void)userdata;
	FUZZ_CHECK(problem->text[0] && strchr(problem->text, ':'));
}

static void check_line(const struct rule_syntax *syntax, const char *text)
{
	char line[RULE_MAX_LINE], written[RULE_MAX_LINE], copy[RULE_MAX_LINE], problem[256] = "";
	struct rule rule = { 0 }, again = { 0 };

	if (strlen(text) >= sizeof(line) || strchr(text, '\n'))
		return;
	memcpy(line, text, strlen(text) + 1);
	if (rule_parse(syntax, line, &rule, problem, sizeof(problem)) != 1)
		return;
	FUZZ_CHECK(!rule.name[0] || rule_is_name(rule.name));
	FUZZ_CHECK(rule_format(syntax, &rule, written, sizeof(written)) == 0 && !strchr(written, '\n'));
	memcpy(copy, written, sizeof(copy));
	FUZZ_CHECK(rule_parse(syntax, copy, &again, problem, sizeof(problem)) == 1);
	FUZZ_CHECK(rule_matches_equal(&rule, &again) && rule.action == again.action && rule.is_reset == again.is_reset);
	FUZZ_CHECK(strcmp(rule.name, again.name) == 0 && memcmp(rule.also, again.also, sizeof(rule.also)) == 0);
}

/* No device is decided about by a rule that comes behind a line that makes no sense. */
static void check_find(const struct rule_set *set)
{
	static const struct descriptors descriptors = {
		.vid = 0x0403, .pid = 0x6001, .n_interfaces = 1, .interfaces = { { .class = 0xff } }
	};
	const struct rule_subject subject = {
		.descriptors = &descriptors, .serial = "A1", .socket = "1-1.2", .pi = "garage", .n_drivers = 1, .drivers = { "ftdi_sio" }
	};
	const struct rule *found = rule_set_find(set, &subject);

	if (found && found != RULE_BROKEN)
		FUZZ_CHECK(rule_fits(found, &subject) && (!set->broken_line || found->line < set->broken_line));
	if (found == RULE_BROKEN)
		FUZZ_CHECK(set->broken_line > 0);
}

static void check_file(const struct rule_syntax *syntax, const char *path, const uint8_t *data, size_t size)
{
	const struct rule rule = { .action = 0, .id = "303a:1001" };
	_cleanup_(file_draft_done) struct file_draft after = { .content = NULL };
	struct rule_set set, edited;
	int n_problems = rule_set_read(path, syntax, on_problem, NULL, &set);

	if (n_problems < 0)
		return;
	FUZZ_CHECK(set.n <= RULE_SET_MAX && (n_problems > 0) == (set.broken_line > 0));
	check_find(&set);
	if (rule_set_edit(path, syntax, 0, false, &rule, &after) == 0) {
		FUZZ_CHECK(after.size > size && memcmp(after.content, data, size) == 0);
		FUZZ_CHECK(file_write_atomic(path, after.content, after.size, after.mode) == 0);
		FUZZ_CHECK(rule_set_read(path, syntax, on_problem, NULL, &edited) >= 0);
		FUZZ_CHECK(edited.n == set.n + 1 && edited.broken_line == set.broken_line);
		FUZZ_CHECK(rule_matches_equal(&edited.rules[edited.n - 1], &rule));
		rule_set_done(&edited);
	}
	rule_set_done(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct rule_syntax *syntax;
	_cleanup_free_ char *text = NULL;

	if (size < 1)
		return 0;
	syntax = data[0] & 1 ? &VM_SYNTAX : &PI_SYNTAX;
	text = fuzz_text(data + 1, size - 1);
	check_line(syntax, text);
	check_file(syntax, fuzz_put("rules.conf", data + 1, size - 1), data + 1, size - 1);
	return 0;
}
