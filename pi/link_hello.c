#include <stdio.h>
#include <string.h>

#include "link_internal.h"
#include "machine.h"

int link_make_hello(const struct link *link, struct message *ret_message)
{
	struct hello *hello = &ret_message->hello;
	int r;

	*ret_message = (struct message){ .type = MESSAGE_HELLO };
	hello->protocol = PROTOCOL_VERSION;
	hello->patience_ms = link->config.patience_ms;
	snprintf(hello->software, sizeof(hello->software), "%s", USBPUSH_VERSION);
	snprintf(hello->role, sizeof(hello->role), "pi");
	machine_name(hello->name, sizeof(hello->name));
	r = machine_id(hello->id, sizeof(hello->id));
	return r < 0 ? r : machine_boot_id(hello->boot_id, sizeof(hello->boot_id));
}

const char *link_find_misplaced(const struct link *link, const struct message *message)
{
	if (message->type == MESSAGE_HELLO)
		return link->is_greeted ? "the VM said hello twice" : NULL;
	if (!link->is_greeted && message->type != MESSAGE_REFUSED)
		return "the VM did not say hello first";
	if (message->type == MESSAGE_SYNCED && message->seq - 1 >= link->sync_seq) /* 0 is none, too */
		return "the VM answered a sync that there was not";
	return NULL;
}
