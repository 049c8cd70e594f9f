#include <stdio.h>

#include "daemon.h"
#include "device_internal.h"
#include "job.h"
#include "json_whole.h"

static const char *const STATE_NAMES[] = {
	[DEVICE_SEEN] = "SEEN",       [DEVICE_IGNORED] = "IGNORED",   [DEVICE_BINDING] = "BINDING", [DEVICE_READY] = "READY",
	[DEVICE_OFFERED] = "OFFERED", [DEVICE_ATTACHED] = "ATTACHED", [DEVICE_FAILED] = "FAILED",   [DEVICE_GONE] = "GONE",
};

const char *device_state_to_string(enum device_state state)
{
	return STATE_NAMES[state];
}

void device_describe(const struct device *device, char *buffer, size_t size)
{
	const struct attached *attached = device->attached;
	struct job_step step;

	if (job_is_long(device->job, &step)) {
		snprintf(buffer, size, "the Pi's kernel has not returned from \"%s\" for %llu s", step.step,
			 (unsigned long long)(step.usec / USEC_PER_SEC));
		return;
	}
	switch (device->state) {
	case DEVICE_SEEN:
		if (device->n_short_lives)
			snprintf(buffer, size, "comes and goes, %u times in a row; shared once it stays", device->n_short_lives);
		else
			snprintf(buffer, size, "plugged in");
		return;
	case DEVICE_IGNORED:
		snprintf(buffer, size, "stays here: %s", device->reason);
		return;
	case DEVICE_BINDING:
		snprintf(buffer, size, device->hold.device_fd >= 0 ? "waiting for the kernel" : "taking it from its driver");
		return;
	case DEVICE_READY:
		if (device->is_lent)
			snprintf(buffer, size, "in use by %s, which imported it", direct_session_get_peer(device->session));
		else
			snprintf(buffer, size, "waiting for the VM");
		return;
	case DEVICE_OFFERED:
		snprintf(buffer, size, "being attached");
		return;
	case DEVICE_ATTACHED:
		if (attached && attached->n_nodes)
			snprintf(buffer, size, "attached as %s", attached->nodes[0]);
		else
			snprintf(buffer, size, "attached, no device node on the VM (is its driver missing there?)");
		return;
	case DEVICE_FAILED:
		snprintf(buffer, size, "%s %s", device->failure.text, device->failure.cure);
		return;
	case DEVICE_GONE:
		snprintf(buffer, size, "unplugged");
		return;
	}
}

static void add_step(json_t **steps, const char *name, uint64_t from, uint64_t to)
{
	if (from && to >= from)
		json_whole_set(steps, name, json_real((double)(to - from) / 1000));
}

static json_t *device_steps_to_json(const struct device *device)
{
	json_t *steps = json_object();

	add_step(&steps, "enumerate", device->seen_usec, device->look_usec);
	add_step(&steps, "bind", device->look_usec, device->bound_usec);
	add_step(&steps, "wait", device->bound_usec, device->offered_usec);
	add_step(&steps, "stream", device->offered_usec, device->started_usec);
	if (device->state == DEVICE_ATTACHED)
		add_step(&steps, "attach", device->started_usec, device->attached_usec);
	return steps;
}

static json_t *names_to_json(const char names[][MESSAGE_NODE_SIZE], size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_whole_append(&list, json_string(names[i]));
	return list;
}

static json_t *device_vm_to_json(const struct device *device)
{
	const struct attached *attached = device->attached;

	if (!attached)
		return json_null();
	return json_pack("{s:I, s:s, s:o, s:o, s:o}", "port", (json_int_t)attached->port, "busid", attached->busid.text, "nodes",
			 names_to_json(attached->nodes, attached->n_nodes), "links", names_to_json(attached->links, attached->n_links),
			 "steps_ms", attached->steps_ms ? json_incref(attached->steps_ms) : json_object());
}

json_t *device_to_json(const struct device *device)
{
	const struct identity *identity = &device->identity;
	char vid[8], pid[8], text[640];
	uint64_t now = clock_now_usec();
	json_t *object;

	snprintf(vid, sizeof(vid), "%04x", identity->vid);
	snprintf(pid, sizeof(pid), "%04x", identity->pid);
	device_describe(device, text, sizeof(text));
	object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "busid", device->busid.text, "vid", vid, "pid", pid,
			   "serial", identity->serial, "manufacturer", identity->manufacturer, "product", identity->product, "name",
			   device->decision.name, "state", STATE_NAMES[device->state], "reason", text, "policy", device->decision.reason);
	json_whole_set(&object, "transport", json_string(device->decision.is_direct ? "direct" : "tunnel"));
	json_whole_set(&object, "backend", json_string(device_get_carrier(device)));
	json_whole_set(&object, "rule", json_string(device->decision.rule));
	json_whole_set(&object, "is_asking", json_boolean(device->decision.is_asking && device->state == DEVICE_IGNORED));
	json_whole_set(&object, "vm", device_vm_to_json(device));
	json_whole_set(&object, "steps_ms", device_steps_to_json(device));
	json_whole_set(&object, "error", device->state == DEVICE_FAILED ? failure_to_json(&device->failure) : json_null());
	json_whole_set(&object, "next_try_ms",
		       device->state == DEVICE_FAILED && device->next_try_usec > now ?
			       json_integer((json_int_t)((device->next_try_usec - now) / 1000)) :
			       json_null());
	json_whole_set(&object, "attached_count", json_integer(device->n_attached));
	json_whole_set(&object, "failed_count", json_integer(device->n_failed));
	json_whole_set(&object, "reset_count", json_integer(device->n_resets));
	return object;
}
