#include "vm_status.h"

#include <stdio.h>

#include "cleanup.h"
#include "json_whole.h"
#include "vhci.h"

static json_t *hex_to_json(uint16_t value)
{
	char text[5];

	snprintf(text, sizeof(text), "%04x", value);
	return json_string(text);
}

json_t *vm_status_device(const struct attachment *attachment)
{
	const struct attachment_info *info = attachment_get_info(attachment);
	const struct identity *identity = &info->offer.identity;
	json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "offer", info->offer.id, "busid", info->busid.text,
				   "pi_busid", info->offer.busid.text, "serial", identity->serial, "manufacturer", identity->manufacturer,
				   "product", identity->product, "name", attachment_get_name(attachment), "state",
				   attachment_state_to_string(info->state), "reason", info->reason);

	json_whole_set(&object, "vid", hex_to_json(identity->vid));
	json_whole_set(&object, "pid", hex_to_json(identity->pid));
	json_whole_set(&object, "port", info->has_port ? json_integer(info->port) : json_null());
	json_whole_set(&object, "nodes", node_list_paths_to_json(&info->nodes));
	json_whole_set(&object, "links", node_list_links_to_json(&info->nodes));
	json_whole_set(&object, "transport", json_string(info->offer.direct_port ? "direct" : "tunnel"));
	json_whole_set(&object, "steps_ms", attachment_steps_to_json(attachment));
	json_whole_set(&object, "error", info->failure.code != FAILURE_NONE ? failure_to_json(&info->failure) : json_null());
	return object;
}

json_t *vm_status_pi(const struct peer *peer)
{
	const struct attachment_set *set = peer_get_attachments(peer);
	json_t *devices = json_array();

	for (size_t i = 0; i < set->n; i++)
		if (attachment_get_info(set->items[i])->state != ATTACHMENT_STATE_GONE)
			json_whole_append(&devices, vm_status_device(set->items[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:o}", "id", peer_get_id(peer), "name", peer_get_name(peer), "address",
			 peer_get_address(peer), "state", peer_state_to_string(peer_get_state(peer)), "reason", peer_get_reason(peer),
			 "awaited", (json_int_t)peer_count_awaited(peer), "devices", devices);
}

json_t *vm_status_vhci(struct vhci *vhci)
{
	_cleanup_free_ struct vhci_port *ports = NULL;
	struct failure failure = { 0 };
	size_t n = 0, n_used = 0;
	int err = vhci_check(vhci, &failure);

	if (err >= 0 && vhci_read_ports(vhci, &ports, &n) < 0)
		err = failure_set(&failure, FAILURE_KERNEL, "See the kernel's log: dmesg", "the state of vhci_hcd's ports can't be read");
	for (size_t i = 0; i < n; i++)
		n_used += ports[i].state != VHCI_PORT_FREE;
	return json_pack("{s:I, s:I, s:o}", "ports", (json_int_t)vhci_count_ports(vhci), "used", (json_int_t)n_used, "error",
			 err < 0 ? failure_to_json(&failure) : json_null());
}
