#include "handler_request.h"

#include <string.h>

#include "cleanup.h"
#include "handler.h"
#include "local_server.h"
#include "log.h"
#include "piconf.h"

/* Who may ask. */
enum permission { PERMISSION_ALL, PERMISSION_ROOT, PERMISSION_RELAY };

static void refuse(struct local_client *client, enum failure_code code, const char *cure, const char *text)
{
	struct failure failure;

	failure_set(&failure, code, cure, "%s", text);
	local_client_fail(client, &failure);
}

static void on_relay(struct local_client *client, json_t *arguments, struct handler *handler)
{
	const char *pi_id = json_string_value(json_object_get(arguments, "pi"));
	const char *address = json_string_value(json_object_get(arguments, "from"));

	if (!pi_id || !piconf_is_id(pi_id)) {
		refuse(client, FAILURE_BAD_REQUEST, NULL, "relay: \"pi\" must be a Pi's id");
		return;
	}
	handler_accept_relay(handler, pi_id, address ? address : "", local_client_take_fd(client));
}

static void on_status(struct local_client *client, json_t *arguments, struct handler *handler)
{
	(void)arguments;
	local_client_reply(client, handler_status_to_json(handler));
}

static void on_watch(struct local_client *client, json_t *arguments, struct handler *handler)
{
	(void)arguments;
	local_client_subscribe(client);
	local_client_reply(client, handler_status_to_json(handler));
}

static void on_detach(struct local_client *client, json_t *arguments, struct handler *handler)
{
	const char *device = json_string_value(json_object_get(arguments, "device"));
	struct failure failure;
	json_t *offers;

	if (!device)
		refuse(client, FAILURE_BAD_REQUEST, NULL, "detach: \"device\" is missing");
	else if (handler_detach(handler, device, &offers, &failure) < 0)
		local_client_fail(client, &failure);
	else
		local_client_reply(client, json_pack("{s:o}", "offers", offers));
}

static void on_find(struct local_client *client, json_t *arguments, struct handler *handler)
{
	const char *device = json_string_value(json_object_get(arguments, "device"));
	struct failure failure;
	json_t *found;

	if (!device)
		refuse(client, FAILURE_BAD_REQUEST, NULL, "find: \"device\" is missing");
	else if (handler_find(handler, device, &found, &failure) < 0)
		local_client_fail(client, &failure);
	else
		local_client_reply(client, json_pack("{s:o}", "device", found));
}

static void on_reload(struct local_client *client, json_t *arguments, struct handler *handler)
{
	(void)arguments;
	handler_reload(handler);
	local_client_done(client);
}

static void on_resync(struct local_client *client, json_t *arguments, struct handler *handler)
{
	(void)arguments;
	local_client_reply(client, json_pack("{s:i}", "asked", (int)handler_resync(handler)));
}

static const struct {
	const char *name;
	enum permission permission;
	void (*handle)(struct local_client *client, json_t *arguments, struct handler *handler);
} REQUESTS[] = {
	{ "relay", PERMISSION_RELAY, on_relay },  { "status", PERMISSION_ALL, on_status },  { "watch", PERMISSION_ALL, on_watch },
	{ "find", PERMISSION_ALL, on_find },      { "detach", PERMISSION_ROOT, on_detach }, { "reload", PERMISSION_ROOT, on_reload },
	{ "resync", PERMISSION_ROOT, on_resync },
};

static bool client_is_permitted(const struct local_client *client, enum permission permission, const struct handler *handler)
{
	uid_t uid = local_client_uid(client);

	switch (permission) {
	case PERMISSION_ALL:
		return true;
	case PERMISSION_ROOT:
		return uid == 0;
	case PERMISSION_RELAY:
		return uid == 0 || uid == handler_get_relay_uid(handler);
	}
	return false;
}

void handler_on_request(struct local_client *client, const char *request, json_t *arguments, void *handler)
{
	for (size_t i = 0; i < ARRAY_SIZE(REQUESTS); i++) {
		if (strcmp(REQUESTS[i].name, request) != 0)
			continue;
		if (client_is_permitted(client, REQUESTS[i].permission, handler)) {
			REQUESTS[i].handle(client, arguments, handler);
			return;
		}
		log_notice("uid %u was refused the request %s", (unsigned)local_client_uid(client), REQUESTS[i].name);
		refuse(client, FAILURE_NOT_ALLOWED, "Ask as root: sudo usbpush-vm ...", "only root may do that");
		return;
	}
	refuse(client, FAILURE_BAD_REQUEST, "Install the same version of all parts of usbpush",
	       "a request that this handler does not know");
}
