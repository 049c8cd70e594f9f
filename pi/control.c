#include "control.h"

#include <errno.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "control_device.h"
#include "follow.h"
#include "local_server.h"
#include "login_pair.h"
#include "machine.h"
#include "own_key.h"
#include "pair_desk.h"
#include "rulebook.h"
#include "setup_code.h"

#define CONTROL_MAX_CLIENTS 64
#define SELECTION_LIST      8

struct control {
	struct exporter *exporter;   /* borrowed: outlives us */
	struct local_server *server; /* owned */
	struct local_client *pairer; /* borrowed: who waits for a pairing, or its end, and may have gone */
	const char *portal_user;     /* borrowed: outlives us */
};

static void control_refuse(struct local_client *client, enum failure_code code, const char *cure, const char *text)
{
	struct failure failure;

	failure_set(&failure, code, cure, "%s", text);
	local_client_fail(client, &failure);
}

static void control_status(struct control *control, struct local_client *client, const json_t *arguments)
{
	(void)arguments;
	local_client_reply(client, exporter_to_json(control->exporter));
}

static void control_watch(struct control *control, struct local_client *client, const json_t *arguments)
{
	(void)control;
	(void)arguments;
	local_client_subscribe(client);
	local_client_done(client);
}

static void control_events(struct control *control, struct local_client *client, const json_t *arguments)
{
	if (json_is_true(json_object_get(arguments, "follow")))
		local_client_subscribe(client);
	local_client_reply(client, json_pack("{s:o}", "events", event_log_to_json(exporter_events(control->exporter))));
}

/* "1-1 (0403:6001 A1), 1-2 (...)": what a selection fits. */
static void control_list_devices(struct device *const *devices, size_t n, char *buffer, size_t size)
{
	size_t at = 0;

	buffer[0] = '\0';
	for (size_t i = 0; i < n && at < size; i++) {
		const struct identity *identity = device_identity(devices[i]);
		int written = snprintf(buffer + at, size - at, "%s%s (%04x:%04x%s%s)", i ? ", " : "", device_busid(devices[i])->text,
				       identity->vid, identity->pid, identity->serial[0] ? " " : "", identity->serial);
		at += written > 0 ? (size_t)written : 0;
	}
}

/* The one device that the request's "device" means; else the client has been told why there is none. */
static struct device *control_select(struct control *control, struct local_client *client, const json_t *arguments)
{
	const char *selection = json_string_value(json_object_get(arguments, "device"));
	struct device *devices[SELECTION_LIST];
	struct failure failure;
	char list[200];
	size_t n;

	if (!selection) {
		control_refuse(client, FAILURE_BAD_REQUEST, NULL, "which device?");
		return NULL;
	}
	n = exporter_select(control->exporter, selection, devices, SELECTION_LIST);
	if (n == 1)
		return devices[0];
	if (n == 0) {
		failure_set(&failure, FAILURE_NOT_FOUND, "usbpush devices lists what is plugged in.", "%s: no such device", selection);
	} else {
		control_list_devices(devices, n < SELECTION_LIST ? n : SELECTION_LIST, list, sizeof(list));
		failure_set(&failure, FAILURE_AMBIGUOUS, "Give one of the bus ids.", "%s fits %zu devices: %s", selection, n, list);
	}
	local_client_fail(client, &failure);
	return NULL;
}

/* A request about the device that it names. */
static void control_on_device(struct control *control, struct local_client *client, const json_t *arguments,
			      void (*handle)(struct exporter *, struct device *, struct local_client *, const json_t *))
{
	struct device *device = control_select(control, client, arguments);

	if (device)
		handle(control->exporter, device, client, arguments);
}

static void control_share(struct control *control, struct local_client *client, const json_t *arguments)
{
	control_on_device(control, client, arguments, control_device_share);
}

static void control_ignore(struct control *control, struct local_client *client, const json_t *arguments)
{
	control_on_device(control, client, arguments, control_device_ignore);
}

static void control_name(struct control *control, struct local_client *client, const json_t *arguments)
{
	control_on_device(control, client, arguments, control_device_name);
}

static void control_answer(struct control *control, struct local_client *client, const json_t *arguments)
{
	control_on_device(control, client, arguments, control_device_answer);
}

static void control_reset(struct control *control, struct local_client *client, const json_t *arguments)
{
	control_on_device(control, client, arguments, control_device_reset);
}

static void control_attach_one(struct device *device, void *userdata)
{
	(void)userdata;
	device_share(device);
}

static void control_attach(struct control *control, struct local_client *client, const json_t *arguments)
{
	if (link_get_state(exporter_link(control->exporter)) == LINK_UNPAIRED) {
		control_refuse(client, FAILURE_NOT_PAIRED, "Pair first: usbpush pair.", "this Pi is not paired with a VM");
		return;
	}
	link_kick(exporter_link(control->exporter), true);
	if (json_is_true(json_object_get(arguments, "all"))) {
		exporter_for_each(control->exporter, control_attach_one, NULL);
		local_client_done(client);
		return;
	}
	control_on_device(control, client, arguments, control_device_attach);
}

static void control_detach(struct control *control, struct local_client *client, const json_t *arguments)
{
	struct device *device = control_select(control, client, arguments);

	if (!device)
		return;
	if (device_get_state(device) == DEVICE_IGNORED) {
		control_refuse(client, FAILURE_BAD_REQUEST, NULL, "it is not shared: it stays with this Pi already");
		return;
	}
	device_detach(device, DETACHED_HERE);
	local_client_reply(client, json_pack("{s:s}", "busid", device_busid(device)->text));
}

static void control_key(struct control *control, struct local_client *client, const json_t *arguments)
{
	_cleanup_free_ char *line = NULL;
	struct failure failure;
	char name[64], comment[96];

	(void)arguments;
	machine_name(name, sizeof(name));
	snprintf(comment, sizeof(comment), "usbpush@%s", name);
	if (own_key_ensure(exporter_own_key(control->exporter), &failure) < 0 ||
	    transport_key_public(exporter_key_path(control->exporter), comment, &line, &failure) < 0)
		local_client_fail(client, &failure);
	else
		local_client_reply(client, json_pack("{s:s}", "key", line));
}

/* Fills config from the request; what is left out has its default. False when the client was told what is wrong. */
static bool control_read_pairing(struct local_client *client, const json_t *arguments, struct vm_config *ret_config)
{
	const char *host = json_string_value(json_object_get(arguments, "host"));
	const char *user = json_string_value(json_object_get(arguments, "user"));
	const char *host_key = json_string_value(json_object_get(arguments, "host_key"));
	json_int_t port = json_object_get(arguments, "port") ? json_integer_value(json_object_get(arguments, "port")) : 22;
	struct failure failure = { 0 };

	*ret_config = (struct vm_config){ .patience_ms = DEFAULT_PATIENCE_MS };
	if (!host || !host_key || strlen(host) >= sizeof(ret_config->host) || strlen(host_key) >= sizeof(ret_config->host_key) ||
	    (user && strlen(user) >= sizeof(ret_config->user))) {
		control_refuse(client, FAILURE_BAD_REQUEST, NULL, "pairing needs a host and its host key");
		return false;
	}
	snprintf(ret_config->host, sizeof(ret_config->host), "%s", host);
	snprintf(ret_config->user, sizeof(ret_config->user), "%s", user ? user : "usbpush");
	snprintf(ret_config->host_key, sizeof(ret_config->host_key), "%s", host_key);
	ret_config->port = port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
	if (vm_config_check(ret_config, &failure) < 0 ||
	    transport_key_parse(host_key, ret_config->host_key, sizeof(ret_config->host_key), NULL, &failure) < 0) {
		local_client_fail(client, &failure);
		return false;
	}
	return true;
}

static void control_on_paired(const struct failure *failure, void *userdata)
{
	struct local_client *client = userdata;

	if (failure)
		local_client_fail(client, failure);
	else
		local_client_done(client);
}

static void control_pair(struct control *control, struct local_client *client, const json_t *arguments)
{
	struct vm_config config;

	if (!control_read_pairing(client, arguments, &config))
		return;
	if (exporter_pair(control->exporter, &config, control_on_paired, client) < 0)
		control_refuse(client, FAILURE_BUSY, "Wait for its end, 20 s at most.", "another pairing is under way");
	else
		control->pairer = client;
}

/* This Pi has no VM any more, or nothing was done; whether the VM knows that is in the answer. */
static void control_on_unpaired(bool is_ended, const struct failure *failure, void *userdata)
{
	if (!is_ended) {
		local_client_fail(userdata, failure);
		return;
	}
	local_client_reply(userdata,
			   json_pack("{s:b, s:o}", "vm_cleaned", !failure, "left", failure ? failure_to_json(failure) : json_null()));
}

static void control_unpair(struct control *control, struct local_client *client, const json_t *arguments)
{
	struct failure failure;

	(void)arguments;
	if (exporter_unpair(control->exporter, control_on_unpaired, client, &failure) < 0)
		local_client_fail(client, &failure);
	else
		control->pairer = client;
}

/* ---- pairing by six digits ---- */

static void control_on_pair_answer(json_t *answer, const struct failure *failure, void *userdata)
{
	if (failure)
		local_client_fail(userdata, failure);
	else
		local_client_reply(userdata, answer);
}

/* What a VM said to the portal: foreign. */
static void control_pairing(struct control *control, struct local_client *client, const json_t *arguments)
{
	const char *step = json_string_value(json_object_get(arguments, "step"));
	const char *from = json_string_value(json_object_get(arguments, "from"));
	json_t *message = json_object_get(arguments, "message");

	if (!step || !json_is_object(message))
		control_refuse(client, FAILURE_BAD_REQUEST, NULL, "pairing takes a step and a message, an object");
	else
		pair_desk_handle(exporter_pair_desk(control->exporter), step, from ? from : "", message, control_on_pair_answer, client);
}

static void control_pairings(struct control *control, struct local_client *client, const json_t *arguments)
{
	(void)arguments;
	local_client_reply(client, pair_desk_to_json(exporter_pair_desk(control->exporter)));
}

static void control_pairing_code(struct control *control, struct local_client *client, const json_t *arguments)
{
	const char *session = json_string_value(json_object_get(arguments, "session"));
	const char *code = json_string_value(json_object_get(arguments, "code"));

	if (!session || !code)
		control_refuse(client, FAILURE_BAD_REQUEST, NULL, "pairing-code takes a session and the code");
	else
		pair_desk_use_code(exporter_pair_desk(control->exporter), session, code, control_on_pair_answer, client);
}

static void control_pairing_cancel(struct control *control, struct local_client *client, const json_t *arguments)
{
	struct failure failure;

	if (pair_desk_cancel(exporter_pair_desk(control->exporter), json_string_value(json_object_get(arguments, "session")), &failure) < 0)
		local_client_fail(client, &failure);
	else
		local_client_done(client);
}

/* ---- pairing by a login of the VM ---- */

static struct login_pair_request control_read_login(const json_t *arguments)
{
	const json_t *password = json_object_get(arguments, "password"), *port = json_object_get(arguments, "port");
	const char *text = json_string_value(password);

	return (struct login_pair_request){
		.host = json_string_value(json_object_get(arguments, "host")),
		.user = json_string_value(json_object_get(arguments, "user")),
		.password = text && strlen(text) == json_string_length(password) ? text : NULL,
		.host_key = json_string_value(json_object_get(arguments, "host_key")),
		.port = port ? json_integer_value(port) : 22,
	};
}

static void control_login_look(struct control *control, struct local_client *client, const json_t *arguments)
{
	const struct login_pair_request request = control_read_login(arguments);
	struct failure failure;

	if (login_pair_look(exporter_login_pair(control->exporter), &request, control_on_pair_answer, client, &failure) < 0)
		local_client_fail(client, &failure);
}

static void control_login_pair(struct control *control, struct local_client *client, const json_t *arguments)
{
	const struct login_pair_request request = control_read_login(arguments);
	struct failure failure;

	if (login_pair_start(exporter_login_pair(control->exporter), &request, control_on_pair_answer, client, &failure) < 0)
		local_client_fail(client, &failure);
}

/* ---- what usbpush-mdns tells ---- */

static void control_vm_found(struct control *control, struct local_client *client, const json_t *arguments)
{
	struct failure failure;

	if (!follow_is_teller(local_client_uid(client))) {
		control_refuse(client, FAILURE_NOT_ALLOWED, NULL, "only usbpush-mdns may tell of VMs");
		return;
	}
	local_client_set_data(client, control); /* what it told goes with it */
	if (follow_vm_found(exporter_follow(control->exporter), arguments, &failure) < 0)
		local_client_fail(client, &failure);
	else
		local_client_done(client);
}

static void control_vm_lost(struct control *control, struct local_client *client, const json_t *arguments)
{
	const char *key = json_string_value(json_object_get(arguments, "key"));

	if (!follow_is_teller(local_client_uid(client))) {
		control_refuse(client, FAILURE_NOT_ALLOWED, NULL, "only usbpush-mdns may tell of VMs");
		return;
	}
	if (key)
		follow_vm_lost(exporter_follow(control->exporter), key);
	local_client_done(client);
}

/* The link, end to end: a try now if it is down, a ping if it is up. The caller watches the status for what comes of it. */
static void control_test(struct control *control, struct local_client *client, const json_t *arguments)
{
	struct link *link = exporter_link(control->exporter);

	(void)arguments;
	link_kick(link, true);
	link_ping(link);
	local_client_reply(client, json_pack("{s:o}", "link", link_to_json(link)));
}

/* A VM that has just booted says so to the portal; or anybody else does. */
static void control_knock(struct control *control, struct local_client *client, const json_t *arguments)
{
	(void)arguments;
	link_knock(exporter_link(control->exporter));
	local_client_done(client);
}

static const struct {
	const char *name;
	bool is_change; /* for root and the portal */
	void (*handle)(struct control *control, struct local_client *client, const json_t *arguments);
} REQUESTS[] = {
	{ "status", false, control_status },
	{ "watch", false, control_watch },
	{ "events", false, control_events },
	{ "attach", true, control_attach },
	{ "detach", true, control_detach },
	{ "share", true, control_share },
	{ "ignore", true, control_ignore },
	{ "name", true, control_name },
	{ "answer", true, control_answer },
	{ "reset", true, control_reset },
	{ "key", true, control_key },
	{ "pair", true, control_pair },
	{ "unpair", true, control_unpair },
	{ "login-look", true, control_login_look },
	{ "login-pair", true, control_login_pair },
	{ "test", true, control_test },
	{ "knock", true, control_knock },
	{ "vm-found", false, control_vm_found },
	{ "vm-lost", false, control_vm_lost },
	{ "pairing", true, control_pairing },
	{ "pairings", true, control_pairings },
	{ "pairing-code", true, control_pairing_code },
	{ "pairing-cancel", true, control_pairing_cancel },
};

/* The portal has asked its visitor for a password. Its user is looked up each time: the package makes it, maybe after our start. */
static bool control_may_change(const struct control *control, uid_t uid)
{
	struct passwd entry, *found = NULL;
	char buffer[1024];

	if (uid == 0)
		return true;
	return getpwnam_r(control->portal_user, &entry, buffer, sizeof(buffer), &found) == 0 && found && found->pw_uid == uid;
}

/* Root, as whom we run, the portal and usbpush-mdns. */
static bool control_is_own(uid_t uid, void *userdata)
{
	const struct control *control = userdata;

	return uid == geteuid() || control_may_change(control, uid) || follow_is_teller(uid);
}

static void control_on_request(struct local_client *client, const char *request, json_t *arguments, void *userdata)
{
	struct control *control = userdata;
	struct failure failure;

	for (size_t i = 0; i < ARRAY_SIZE(REQUESTS); i++) {
		if (strcmp(REQUESTS[i].name, request) != 0)
			continue;
		if (REQUESTS[i].is_change && !control_may_change(control, local_client_uid(client)))
			control_refuse(client, FAILURE_NOT_ALLOWED, "Run it with sudo.", "only root may do that");
		else
			REQUESTS[i].handle(control, client, arguments);
		return;
	}
	failure_set(&failure, FAILURE_BAD_REQUEST, "Are usbpush and usbpush-exporter of one version?",
		    "the exporter knows no request \"%.40s\"", request);
	local_client_fail(client, &failure);
}

static void control_on_gone(struct local_client *client, void *userdata)
{
	struct control *control = userdata;

	exporter_pair_forget(control->exporter, client);
	rulebook_forget(exporter_rulebook(control->exporter), client);
	login_pair_forget(exporter_login_pair(control->exporter), client);
	pair_desk_forget(exporter_pair_desk(control->exporter), client);
	if (local_client_get_data(client))
		follow_forget(exporter_follow(control->exporter));
}

static void control_on_event(json_t *event, void *userdata)
{
	struct control *control = userdata;
	_cleanup_json_ json_t *line = NULL;

	if (!local_server_has_subscribers(control->server))
		return;
	line = json_pack("{s:O}", "event", event);
	if (line)
		local_server_publish(control->server, line);
}

int control_new(sd_event *event, const char *path, struct exporter *exporter, struct control **ret_control)
{
	struct control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return -ENOMEM;
	control->exporter = exporter;
	control->portal_user = PORTAL_USER;
	r = local_server_new(event, path, 0666, CONTROL_MAX_CLIENTS, control_on_request, control_on_gone, control, &control->server);
	if (r < 0) {
		free(control);
		return r;
	}
	local_server_share_places(control->server, control_is_own);
	event_log_set_listener(exporter_events(exporter), control_on_event, control);
	*ret_control = control;
	return 0;
}

void control_set_portal_user(struct control *control, const char *name)
{
	control->portal_user = name;
}

struct control *control_free(struct control *control)
{
	if (!control)
		return NULL;
	event_log_set_listener(exporter_events(control->exporter), NULL, NULL);
	login_pair_forget(exporter_login_pair(control->exporter), NULL);
	rulebook_forget(exporter_rulebook(control->exporter), NULL);
	pair_desk_forget(exporter_pair_desk(control->exporter), NULL); /* all who wait are clients of ours */
	if (control->pairer)
		exporter_pair_forget(control->exporter, control->pairer); /* of a pairing others may wait, too */
	local_server_free(control->server);
	free(control);
	return NULL;
}
