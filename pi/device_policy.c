#include <stdio.h>
#include <string.h>

#include "device_internal.h"

void device_decide(struct device *device)
{
	struct policy_device asked;

	if (!device_to_policy(device, &asked))
		return;
	policy_decide(device->context->policy, &asked, &device->decision);
	policy_note_place(device->context->policy, &device->busid, device->decision.name);
}

static void device_keep_here(struct device *device)
{
	bool is_news = strcmp(device->reason, device->decision.reason) != 0;

	if (device->state != DEVICE_IGNORED) {
		device_let_go(device, device->decision.reason, true);
		return;
	}
	snprintf(device->reason, sizeof(device->reason), "%s", device->decision.reason);
	if (is_news)
		device->context->on_change(device, device->context->userdata);
}

/* It is shared as before, but maybe by another road, another carrier or another name. What is offered anew has its new name with that. */
static void device_follow_rules(struct device *device, const struct policy_decision *old)
{
	bool is_other_road = old->is_direct != device->decision.is_direct;

	if (is_other_road)
		device_change_road(device);
	if (old->backend != device->decision.backend && device_change_carrier(device))
		return;
	if (strcmp(old->name, device->decision.name) == 0)
		return;
	if (!is_other_road)
		device_send_name(device);
	device->context->on_change(device, device->context->userdata);
}

/* The rule that kept it here, too, is gone: what is left is that a person wants it here. */
static void device_tell_detached(struct device *device, const struct policy_decision *old)
{
	if (!device->is_detached || !device->decision.is_shared || device->state != DEVICE_IGNORED ||
	    strcmp(device->reason, old->reason) != 0)
		return;
	snprintf(device->reason, sizeof(device->reason), "%s", DETACHED_HERE);
	device->context->on_change(device, device->context->userdata);
}

void device_reconsider(struct device *device)
{
	const struct policy_decision old = device->decision;

	if (!device->has_looked || device->state == DEVICE_GONE)
		return; /* the look that is under way will ask the new rules */
	device_decide(device);
	if (device->goal == GOAL_RELEASE && !device->is_by_rule) {
		device_tell_detached(device, &old);
		return;
	}
	if (!device->decision.is_shared)
		device_keep_here(device);
	else if (device->state == DEVICE_IGNORED || device->goal == GOAL_RELEASE) {
		if (link_get_state(device->context->link) != LINK_UNPAIRED && !device_is_foreign(device))
			device_share(device);
	} else {
		device_follow_rules(device, &old);
	}
}

const struct policy_decision *device_decision(const struct device *device)
{
	return &device->decision;
}

bool device_to_policy(const struct device *device, struct policy_device *ret_asked)
{
	*ret_asked = (struct policy_device){
		.syspath = device->syspath, .busid = &device->busid, .identity = &device->identity, .descriptors = &device->descriptors
	};
	return device->has_looked;
}
