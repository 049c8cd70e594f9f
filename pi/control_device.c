#include "control_device.h"

#include "boot_loader.h"
#include "json_whole.h"
#include "rulebook.h"

static void reply_or_fail(struct local_client *client, int result, json_t *answer, const struct failure *failure)
{
	if (result < 0) {
		json_decref(answer);
		local_client_fail(client, failure);
	} else {
		local_client_reply(client, answer);
	}
}

static json_t *answer_about(const struct device *device)
{
	return json_pack("{s:s, s:s, s:s}", "busid", device_busid(device)->text, "policy", device_decision(device)->reason, "rule",
			 device_decision(device)->rule);
}

/* ---- what is written into the rules ---- */

static void control_on_written(const struct rule_result *result, const struct failure *failure, void *userdata)
{
	const struct identity *identity = result->device->identity;
	const char *loader = boot_loader_find(identity->vid, identity->pid);
	json_t *answer;

	if (failure) {
		local_client_fail(userdata, failure);
		return;
	}
	answer = json_pack("{s:s, s:s, s:s}", "busid", result->device->busid->text, "policy", result->decision.reason, "rule",
			   result->decision.rule);
	if (result->wish->name[0]) {
		json_whole_set(&answer, "name", json_string(result->wish->name));
		json_whole_set(&answer, "loader", loader && !result->wish->also[0] ? json_string(loader) : json_null());
	}
	local_client_reply(userdata, answer);
}

void control_device_name(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments)
{
	const char *name = json_string_value(json_object_get(arguments, "name"));
	const char *also = json_string_value(json_object_get(arguments, "also"));
	struct failure failure;
	int r = name ? rulebook_set_name(exporter_rulebook(exporter), device, name, also, control_on_written, client, &failure) :
		       failure_set(&failure, FAILURE_BAD_REQUEST, NULL, "which name?");

	if (r < 0)
		local_client_fail(client, &failure);
}

static void control_set_action(struct exporter *exporter, struct device *device, struct local_client *client, enum policy_action action)
{
	struct failure failure;

	if (rulebook_set_action(exporter_rulebook(exporter), device, action, control_on_written, client, &failure) < 0)
		local_client_fail(client, &failure);
}

void control_device_share(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments)
{
	(void)arguments;
	control_set_action(exporter, device, client, POLICY_SHARE);
}

void control_device_ignore(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments)
{
	(void)arguments;
	control_set_action(exporter, device, client, POLICY_IGNORE);
}

/* ---- what is done at once ---- */

void control_device_answer(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments)
{
	const json_t *yes = json_object_get(arguments, "yes");
	struct failure failure;
	int r = json_is_boolean(yes) ? rulebook_answer(exporter_rulebook(exporter), device, json_is_true(yes), &failure) :
				       failure_set(&failure, FAILURE_BAD_REQUEST, NULL, "yes must be true or false");

	reply_or_fail(client, r, answer_about(device), &failure);
}

void control_device_reset(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments)
{
	struct failure failure;
	int r = exporter_recover(exporter, device, json_is_true(json_object_get(arguments, "hard")), &failure);

	reply_or_fail(client, r, answer_about(device), &failure);
}

void control_device_attach(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments)
{
	const struct policy_decision *decision = device_decision(device);
	struct policy_device asked;
	struct failure failure;
	int r = 0;

	(void)arguments;
	if (decision->is_asking)
		r = rulebook_answer(exporter_rulebook(exporter), device, true, &failure);
	else if (device_to_policy(device, &asked) && !decision->is_shared && device_get_state(device) == DEVICE_IGNORED)
		r = failure_set(&failure, FAILURE_NOT_ALLOWED,
				decision->is_never ? "No rule can share it." : "A rule shares it: usbpush share DEVICE.",
				"%s is not shared: %s", device_busid(device)->text, decision->reason);
	if (r == 0)
		device_share(device);
	reply_or_fail(client, r, answer_about(device), &failure);
}
