#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "in_use.h"
#include "policy_internal.h"

/* Class codes of usb.org/defined-class-codes. */
enum { CLASS_COMMUNICATIONS = 0x02, CLASS_STORAGE = 0x08, CLASS_HUB = 0x09, CLASS_WIRELESS = 0xe0, CLASS_MISCELLANEOUS = 0xef };

static const char *const ACTIONS[] = {
	[POLICY_SHARE] = "share", [POLICY_IGNORE] = "ignore", [POLICY_ASK] = "ask", [POLICY_DEFAULT] = "default", NULL
};

const struct rule_syntax POLICY_SYNTAX = { ACTIONS,
					   RULE_KEY_SOCKET | RULE_KEY_NAME | RULE_KEY_RESET | RULE_KEY_TRANSPORT | RULE_KEY_BACKEND };

/* The first look-up reads the module index from the disk: better now than when a device waits for it. */
static void policy_warm_up(struct policy *policy)
{
	const struct descriptors ftdi = { .vid = 0x0403, .pid = 0x6001, .n_interfaces = 1, .interfaces = { { .class = 0xff } } };
	char driver[64];

	(void)serial_driver_lookup(policy->drivers, &ftdi, &ftdi.interfaces[0], driver, sizeof(driver));
}

/* ---- the rules ---- */

/* At the start there are no rules from before: a broken line then stands for what nobody knows (rule_set_find). */
static int policy_load(struct policy *policy, bool is_start, config_problem_fn on_problem, void *userdata)
{
	struct rule_set set;
	int r = rule_set_read(policy->options->rules_path, &POLICY_SYNTAX, on_problem, userdata, &set);

	policy->is_unread = r < 0;
	if (r < 0)
		return r;
	policy->problem = set.broken;
	if (r > 0 && !is_start) {
		rule_set_done(&set);
		return r;
	}
	rule_set_done(&policy->rules);
	policy->rules = set;
	return r;
}

/* A file that can't be read may say anything: as a broken first line. */
static void policy_load_unreadable(struct policy *policy, int error, config_problem_fn on_problem, void *userdata)
{
	policy->rules.broken_line = 1;
	snprintf(policy->problem.text, sizeof(policy->problem.text), "%.200s can't be read: %s", policy->options->rules_path,
		 strerror(-error));
	policy->rules.broken = policy->problem;
	if (on_problem)
		on_problem(&policy->problem, userdata);
}

int policy_new(const struct policy_options *options, config_problem_fn on_problem, void *userdata, struct policy **ret_policy)
{
	struct policy *policy = calloc(1, sizeof(*policy));
	int r;

	if (!policy)
		return -ENOMEM;
	policy->options = options;
	r = serial_driver_index_new(options->modules_dir, &policy->drivers);
	if (r < 0) {
		free(policy);
		return r;
	}
	policy_warm_up(policy);
	r = policy_load(policy, true, on_problem, userdata);
	if (r < 0)
		policy_load_unreadable(policy, r, on_problem, userdata);
	*ret_policy = policy;
	return 0;
}

struct policy *policy_free(struct policy *policy)
{
	if (!policy)
		return NULL;
	rule_set_done(&policy->rules);
	serial_driver_index_free(policy->drivers);
	free(policy);
	return NULL;
}

int policy_reload(struct policy *policy, config_problem_fn on_problem, void *userdata)
{
	return policy_load(policy, false, on_problem, userdata);
}

bool policy_is_unread(const struct policy *policy)
{
	return policy->is_unread;
}

const struct config_problem *policy_get_problem(const struct policy *policy, bool *ret_is_in_force)
{
	*ret_is_in_force = policy->rules.broken_line != 0;
	return policy->problem.text[0] ? &policy->problem : NULL;
}

void policy_set_direct(struct policy *policy, bool is_direct)
{
	policy->is_direct = is_direct;
}

bool policy_may_be_direct(const struct policy *policy)
{
	for (size_t i = 0; i < policy->rules.n; i++)
		if (policy->rules.rules[i].transport == RULE_TRANSPORT_DIRECT)
			return true;
	return policy->is_direct;
}

/* ---- what is known of devices ---- */

static struct policy_place *policy_find_place(const struct policy *policy, const struct busid *busid)
{
	for (size_t i = 0; i < policy->n_places; i++)
		if (busid_equal(&policy->places[i].busid, busid))
			return (struct policy_place *)&policy->places[i];
	return NULL;
}

void policy_note_place(struct policy *policy, const struct busid *busid, const char *name)
{
	struct policy_place *place = policy_find_place(policy, busid);

	if (!place) {
		place = &policy->places[policy->next_place];
		policy->next_place = (policy->next_place + 1) % POLICY_MAX_PLACES;
		policy->n_places += policy->n_places < POLICY_MAX_PLACES;
		place->busid = *busid;
	}
	snprintf(place->name, sizeof(place->name), "%s", name);
}

static bool reply_is_about(const struct policy_reply *reply, const struct policy_device *device)
{
	const struct identity *identity = device->identity;

	return reply->vid == identity->vid && reply->pid == identity->pid && strcmp(reply->serial, identity->serial) == 0 &&
	       (identity->serial[0] || busid_equal(&reply->busid, device->busid));
}

static struct policy_reply *policy_find_answer(const struct policy *policy, const struct policy_device *device)
{
	for (size_t i = 0; i < policy->n_answers; i++)
		if (reply_is_about(&policy->answers[i], device))
			return (struct policy_reply *)&policy->answers[i];
	return NULL;
}

void policy_answer(struct policy *policy, const struct policy_device *device, bool is_yes)
{
	struct policy_reply *reply = policy_find_answer(policy, device);

	if (!reply) {
		reply = &policy->answers[policy->next_answer];
		policy->next_answer = (policy->next_answer + 1) % POLICY_MAX_ANSWERS;
		policy->n_answers += policy->n_answers < POLICY_MAX_ANSWERS;
		*reply = (struct policy_reply){ .busid = *device->busid, .vid = device->identity->vid, .pid = device->identity->pid };
		memcpy(reply->serial, device->identity->serial, sizeof(reply->serial));
	}
	reply->is_yes = is_yes;
}

void policy_fill_subject(const struct policy *policy, const struct policy_device *device, bool with_drivers,
			 struct rule_subject *ret_subject)
{
	const struct policy_place *place = policy_find_place(policy, device->busid);

	*ret_subject = (struct rule_subject){ .descriptors = device->descriptors,
					      .serial = device->identity->serial,
					      .socket = device->busid->text,
					      .last_name = place ? place->name : NULL };
	for (size_t i = 0; with_drivers && i < device->descriptors->n_interfaces; i++)
		(void)serial_driver_list(policy->drivers, device->descriptors, &device->descriptors->interfaces[i], ret_subject->drivers,
					 RULE_MAX_DRIVERS, &ret_subject->n_drivers);
}

/* ---- never ---- */

/* Network functions that a class code tells: CDC Ethernet, NCM, MBIM, and RNDIS in its three spellings. */
static bool policy_is_network(const struct usb_interface *interface)
{
	switch (interface->class) {
	case CLASS_COMMUNICATIONS:
		return interface->subclass == 0x06 || interface->subclass == 0x0d || interface->subclass == 0x0e ||
		       (interface->subclass == 0x02 && interface->protocol == 0xff);
	case CLASS_WIRELESS:
		return interface->subclass == 0x01 && interface->protocol == 0x03;
	case CLASS_MISCELLANEOUS:
		return interface->subclass == 0x04 && interface->protocol == 0x01;
	default:
		return false;
	}
}

static int policy_say(char *reason, size_t size, const char *text)
{
	snprintf(reason, size, "%s", text);
	return 1;
}

int policy_find_taboo_kind(const struct policy *policy, const struct policy_device *device, char *ret_reason, size_t size)
{
	const struct descriptors *descriptors = device->descriptors;

	if (descriptors->class == CLASS_HUB)
		return policy_say(ret_reason, size, "a hub");
	if (strstr(device->syspath, "/vhci_hcd."))
		return policy_say(ret_reason, size, "itself attached over the network");
	for (size_t i = 0; i < descriptors->n_interfaces; i++) {
		const struct usb_interface *interface = &descriptors->interfaces[i];

		if (interface->class == CLASS_HUB)
			return policy_say(ret_reason, size, "a hub");
		if (policy_is_network(interface) || serial_driver_is_network(policy->drivers, descriptors, interface) == 1)
			return policy_say(ret_reason, size, "has a network interface");
	}
	return 0;
}

int policy_find_taboo(const struct policy *policy, const struct policy_device *device, char *ret_reason, size_t size)
{
	if (policy_find_taboo_kind(policy, device, ret_reason, size) == 1)
		return 1;
	return in_use_find(policy->options->sysfs_root, policy->options->proc_root, device->syspath, ret_reason, size);
}

/* ---- deciding ---- */

/* cdc_acm binds by class (drivers/usb/class/cdc-acm.c, acm_ids): that needs no index. */
static bool policy_has_acm(const struct descriptors *descriptors)
{
	for (size_t i = 0; i < descriptors->n_interfaces; i++) {
		const struct usb_interface *interface = &descriptors->interfaces[i];

		if (interface->class == CLASS_COMMUNICATIONS && interface->subclass == 0x02 && interface->protocol <= 0x06)
			return true;
	}
	return false;
}

static void policy_decide_without_index(const struct descriptors *descriptors, int error, struct policy_decision *decision)
{
	decision->is_shared = policy_has_acm(descriptors);
	decision->is_unsure = !decision->is_shared && error != -ENOENT;
	if (decision->is_shared)
		snprintf(decision->reason, sizeof(decision->reason), "serial driver cdc_acm, by its USB class");
	else
		snprintf(decision->reason, sizeof(decision->reason),
			 "the kernel's module index can't be read (modules.alias.bin: %s): run depmod, or write a rule that shares it",
			 strerror(-error));
}

static void policy_decide_default(struct policy *policy, const struct descriptors *descriptors, struct policy_decision *decision)
{
	char driver[64];
	int r = 0;

	for (size_t i = 0; i < descriptors->n_interfaces && r == 0; i++)
		r = serial_driver_lookup(policy->drivers, descriptors, &descriptors->interfaces[i], driver, sizeof(driver));
	decision->is_shared = r == 1;
	if (r < 0)
		policy_decide_without_index(descriptors, r, decision);
	else if (r == 1)
		snprintf(decision->reason, sizeof(decision->reason), "serial driver %s", driver);
	else
		snprintf(decision->reason, sizeof(decision->reason), "no serial driver fits it");
}

static void policy_ask(const struct policy *policy, const struct policy_device *device, struct policy_decision *decision)
{
	const struct policy_reply *reply = policy_find_answer(policy, device);

	decision->is_shared = reply && reply->is_yes;
	decision->is_asking = !reply;
	if (reply)
		snprintf(decision->reason, sizeof(decision->reason), reply->is_yes ? "you said yes" : "you said no");
	else
		snprintf(decision->reason, sizeof(decision->reason),
			 "it waits for your yes: usbpush attach %s, or for good usbpush share %s", device->busid->text,
			 device->busid->text);
}

/* Nobody knows whether that line is about this device: so it is asked for. */
static void policy_decide_broken(const struct policy *policy, const struct policy_device *device, struct policy_decision *decision)
{
	policy_ask(policy, device, decision);
	identity_clean_string(policy->rules.broken.text, decision->rule, sizeof(decision->rule));
}

static void policy_apply(struct policy *policy, const struct rule *rule, const struct policy_device *device,
			 struct policy_decision *decision)
{
	char text[RULE_MAX_LINE] = "", shown[111];

	(void)rule_format(&POLICY_SYNTAX, rule, text, sizeof(text));
	identity_clean_string(text, shown, sizeof(shown)); /* cut at a character: JSON takes nothing else */
	snprintf(decision->rule, sizeof(decision->rule), "%.120s:%u: %s", policy->options->rules_path, rule->line, shown);
	memcpy(decision->name, rule->name, sizeof(decision->name));
	decision->is_reset = rule->is_reset;
	decision->recover = rule->recover;
	decision->backend = rule->backend;
	if (rule->transport != RULE_TRANSPORT_DEFAULT)
		decision->is_direct = rule->transport == RULE_TRANSPORT_DIRECT;
	switch ((enum policy_action)rule->action) {
	case POLICY_SHARE:
		decision->is_shared = true;
		snprintf(decision->reason, sizeof(decision->reason), "a rule shares it");
		break;
	case POLICY_IGNORE:
		snprintf(decision->reason, sizeof(decision->reason), "a rule keeps it here");
		break;
	case POLICY_ASK:
		policy_ask(policy, device, decision);
		break;
	case POLICY_DEFAULT:
		policy_decide_default(policy, device->descriptors, decision);
		break;
	}
}

void policy_decide(struct policy *policy, const struct policy_device *device, struct policy_decision *ret_decision)
{
	struct policy_decision decision = { .is_direct = policy->is_direct };
	struct rule_subject subject;
	const struct rule *rule;

	policy_fill_subject(policy, device, policy->rules.n > 0, &subject);
	rule = rule_set_find(&policy->rules, &subject);
	if (rule == RULE_BROKEN)
		policy_decide_broken(policy, device, &decision);
	else if (rule)
		policy_apply(policy, rule, device, &decision);
	else
		policy_decide_default(policy, device->descriptors, &decision);
	if (policy_find_taboo(policy, device, decision.reason, sizeof(decision.reason)) == 1) {
		decision.is_never = true;
		decision.is_shared = decision.is_asking = false;
	}
	*ret_decision = decision;
}

/* ---- foreseeing ---- */

/* What a disk is used for is seen when its nodes are there. */
static bool policy_has_storage(const struct descriptors *descriptors)
{
	for (size_t i = 0; i < descriptors->n_interfaces; i++)
		if (descriptors->interfaces[i].class == CLASS_STORAGE)
			return true;
	return false;
}

static bool rule_shares_plainly(const struct policy *policy, const struct rule *rule)
{
	bool is_direct = rule->transport == RULE_TRANSPORT_DEFAULT ? policy->is_direct : rule->transport == RULE_TRANSPORT_DIRECT;

	return (rule->action == POLICY_SHARE || rule->action == POLICY_DEFAULT) && !rule->is_reset && !is_direct;
}

/* Whichever of the rules that may fit it will be. */
static bool policy_rules_share(const struct policy *policy, const struct rule_subject *subject)
{
	const struct rule_set *set = &policy->rules;

	for (size_t i = 0; i < set->n; i++) {
		const struct rule *rule = &set->rules[i];
		enum rule_fit fit = rule_fits_unread(rule, subject);

		if (set->broken_line && rule->line > set->broken_line)
			return false;
		if (fit != RULE_FIT_NO && !rule_shares_plainly(policy, rule))
			return false;
		if (fit == RULE_FIT_YES)
			return true;
	}
	return !set->broken_line && !policy->is_direct;
}

bool policy_foresees_sharing(struct policy *policy, const struct policy_device *device)
{
	struct policy_decision decision = { 0 };
	struct rule_subject subject;

	if (policy_has_storage(device->descriptors))
		return false;
	policy_decide_default(policy, device->descriptors, &decision);
	if (!decision.is_shared || policy_find_taboo_kind(policy, device, decision.reason, sizeof(decision.reason)) == 1)
		return false;
	policy_fill_subject(policy, device, policy->rules.n > 0, &subject);
	return policy_rules_share(policy, &subject);
}
