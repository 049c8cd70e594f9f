#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "glob.h"
#include "policy_internal.h"

/* A rule about this very device: by VID:PID and serial number, else by VID:PID and socket. */
static int edit_describe(const struct policy_device *device, struct rule *rule)
{
	const struct identity *identity = device->identity;

	*rule = (struct rule){ .action = POLICY_DEFAULT };
	snprintf(rule->id, sizeof(rule->id), "%04x:%04x", identity->vid, identity->pid);
	if (identity->serial[0])
		return glob_escape(identity->serial, rule->serial, sizeof(rule->serial));
	return glob_escape(device->busid->text, rule->socket, sizeof(rule->socket));
}

/* The file as it is now, without a line that makes no sense: an edit behind such a line would have no effect. */
static int edit_read(const struct policy *policy, struct rule_set *ret_set, struct failure *ret_failure)
{
	const char *path = policy->options->rules_path;
	int r = rule_set_read(path, &POLICY_SYNTAX, NULL, NULL, ret_set);

	if (r < 0)
		return failure_set(ret_failure, FAILURE_NO_PERMISSION, NULL, "%s can't be read: %s", path, strerror(-r));
	if (r > 0) {
		failure_set(ret_failure, FAILURE_BAD_REQUEST, "Mend that line first.", "%s", ret_set->broken.text);
		rule_set_done(ret_set);
		return -EBADMSG;
	}
	return 0;
}

int policy_fail_to_write(const struct policy *policy, int error, struct failure *ret_failure)
{
	return failure_set(ret_failure, FAILURE_NO_PERMISSION, "Look at the file's directory and free space.", "%s can't be written: %s",
			   policy->options->rules_path, strerror(-error));
}

static const struct rule *edit_find_name(const struct rule_set *set, const char *name)
{
	for (size_t i = 0; i < set->n; i++)
		if (strcmp(set->rules[i].name, name) == 0)
			return &set->rules[i];
	return NULL;
}

static void edit_add_also(struct rule *rule, const char *also)
{
	for (size_t i = 0; i < RULE_MAX_ALSO; i++) {
		if (strcasecmp(rule->also[i], also) == 0)
			return;
		if (rule->also[i][0])
			continue;
		for (size_t j = 0; j < sizeof(rule->also[i]) - 1; j++)
			rule->also[i][j] = (char)(also[j] >= 'A' && also[j] <= 'F' ? also[j] + 'a' - 'A' : also[j]);
		return;
	}
}

/* What is to be written over, or before, the rule that decides now. */
struct edit {
	struct rule_set set; /* owned */
	struct rule rule;
	unsigned line; /* of the rule that decides now; 0: none does */
	bool is_replacing;
};

static void edit_done(struct edit *edit)
{
	rule_set_done(&edit->set);
}

static int edit_draw_up(const struct policy *policy, const struct edit *edit, struct file_draft *ret_draft, struct failure *ret_failure)
{
	int r = rule_set_edit(policy->options->rules_path, &POLICY_SYNTAX, edit->line, edit->is_replacing, &edit->rule, ret_draft);

	return r < 0 ? policy_fail_to_write(policy, r, ret_failure) : 0;
}

/* The device's own rule as it is, or a new one that does what decides now. */
static int edit_prepare(const struct policy *policy, const struct policy_device *device, struct edit *ret_edit, struct failure *ret_failure)
{
	struct edit edit = { 0 };
	struct rule_subject subject;
	const struct rule *decides;
	struct rule own;
	int r = edit_describe(device, &own) < 0 ? failure_set(ret_failure, FAILURE_INTERNAL, NULL, "its serial number is too long") :
						  edit_read(policy, &edit.set, ret_failure);

	if (r < 0)
		return r;
	policy_fill_subject(policy, device, true, &subject);
	decides = rule_set_find(&edit.set, &subject);
	if (decides) {
		edit.line = decides->line;
		/* A rule with a name is about one device, be it here as its boot loader. */
		edit.is_replacing = rule_matches_equal(decides, &own) || decides->name[0];
		own.action = decides->action;
		own.is_reset = decides->is_reset;
		own.recover = decides->recover;
		own.transport = decides->transport;
		own.backend = decides->backend;
	}
	edit.rule = decides && edit.is_replacing ? *decides : own;
	*ret_edit = edit;
	return 0;
}

int policy_draft_action(const struct policy *policy, const struct policy_device *device, enum policy_action action,
			struct file_draft *ret_draft, struct failure *ret_failure)
{
	_cleanup_(edit_done) struct edit edit = { 0 };
	char reason[192];
	int r;

	if (action == POLICY_SHARE && policy_find_taboo(policy, device, reason, sizeof(reason)) == 1)
		return failure_set(ret_failure, FAILURE_NOT_ALLOWED, "No rule can share it.", "%s is never shared: %s", device->busid->text,
				   reason);
	r = edit_prepare(policy, device, &edit, ret_failure);
	if (r < 0)
		return r;
	edit.rule.action = action;
	return edit_draw_up(policy, &edit, ret_draft, ret_failure);
}

int policy_check_name(const char *name, const char *also, struct failure *ret_failure)
{
	if (!rule_is_name(name))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Use letters, digits, '.', '_' and '-', at most 48 of them.",
				   "\"%.60s\" can't be a name", name);
	if (also && !rule_is_id(also))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Give four and four hex digits, 2e8a:0003.", "\"%.40s\" is no VID:PID",
				   also);
	return 0;
}

int policy_draft_name(const struct policy *policy, const struct policy_device *device, const char *name, const char *also,
		      struct file_draft *ret_draft, struct failure *ret_failure)
{
	_cleanup_(edit_done) struct edit edit = { 0 };
	const struct rule *same;
	int r = policy_check_name(name, also, ret_failure);

	if (r == 0)
		r = edit_prepare(policy, device, &edit, ret_failure);
	if (r < 0)
		return r;
	same = edit_find_name(&edit.set, name);
	if (same && !(edit.is_replacing && same->line == edit.line))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Take another name, or change that line.",
				   "%s is another device's name (%s:%u)", name, policy->options->rules_path, same->line);
	snprintf(edit.rule.name, sizeof(edit.rule.name), "%s", name);
	if (also)
		edit_add_also(&edit.rule, also);
	return edit_draw_up(policy, &edit, ret_draft, ret_failure);
}
