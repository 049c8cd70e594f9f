#include "direct_road.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon.h"
#include "import_server.h"
#include "log.h"
#include "tcp_socket.h"

#define AGAIN_USEC (5 * UINT64_C(1000000)) /* until the port is tried again that another program has */

struct direct_road {
	sd_event *event;             /* borrowed: outlives us */
	struct policy *policy;       /* borrowed: outlives us */
	struct link *link;           /* borrowed: outlives us */
	struct device_list *devices; /* borrowed; NULL before and after */
	uint16_t port;
	struct import_server *server; /* owned; NULL while it is closed */
	sd_event_source *again;       /* owned */
	struct failure failure;       /* why it is closed although it should be open */
	bool is_direct;               /* of vm.conf */
	struct allow_list allow;
	uint32_t patience_ms;
	bool has_vm;
	struct allow_entry vm; /* where it proved who it is */
};

/* ---- what the server asks ---- */

static bool road_is_vm(const struct direct_road *road, const struct sockaddr_storage *address)
{
	return road->has_vm && allow_entry_has(&road->vm, address);
}

static bool road_is_allowed(const struct sockaddr_storage *address, void *userdata)
{
	const struct direct_road *road = userdata;

	return road_is_vm(road, address) || allow_list_has(&road->allow, address);
}

static size_t road_on_list(struct usbip_device *ret_devices, size_t max, void *userdata)
{
	const struct direct_road *road = userdata;
	size_t n = 0;

	if (!road->devices)
		return 0;
	DEVICE_LIST_FOREACH(road->devices, device)
		if (n < max && device_to_usbip(device, &ret_devices[n]))
			n++;
	return n;
}

static enum usbip_status road_on_import(const struct busid *busid, int fd, const struct sockaddr_storage *address,
					struct usbip_device *ret_device, void *userdata)
{
	const struct direct_road *road = userdata;
	struct device *device = road->devices ? device_list_find(road->devices, busid) : NULL;
	enum usbip_status status;
	char peer[64];

	import_server_name_address(address, peer, sizeof(peer));
	status = device ? device_import(device, fd, peer, road_is_vm(road, address), ret_device) : USBIP_NO_DEVICE;
	if (status == USBIP_OK)
		log_info("%s: imported by %s", busid->text, peer);
	else
		log_info("%s: not given to %s: %s", busid->text, peer, usbip_status_to_string(status));
	return status;
}

/* ---- open and closed ---- */

static int road_on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	direct_road_update(userdata);
	return 0;
}

static void road_open(struct direct_road *road)
{
	static const struct import_server_handlers handlers = { .is_allowed = road_is_allowed,
								.on_list = road_on_list,
								.on_import = road_on_import };
	bool was_told = road->failure.code != FAILURE_NONE;

	if (import_server_new(road->event, road->port, tcp_socket_patience(road->patience_ms), &handlers, road, &road->server,
			      &road->failure) >= 0) {
		road->failure = (struct failure){ 0 };
		log_notice("direct road: devices are given out on TCP port %u", import_server_get_port(road->server));
		return;
	}
	if (!was_told)
		log_error("direct road: %s. %s", road->failure.text, road->failure.cure);
	timer_arm(road->event, &road->again, AGAIN_USEC, road_on_again, road);
}

static void road_close(struct direct_road *road)
{
	if (road->server)
		log_notice("direct road: closed");
	road->server = import_server_free(road->server);
	road->failure = (struct failure){ 0 };
	timer_disarm(road->again);
}

static void road_note_vm(struct direct_road *road)
{
	enum link_state state = link_get_state(road->link);

	if (state == LINK_UNPAIRED || state == LINK_REFUSED)
		road->has_vm = false;
	else if (state == LINK_SYNCING || state == LINK_UP)
		road->has_vm = allow_entry_parse(link_get_address(road->link), &road->vm) == 0;
}

void direct_road_update(struct direct_road *road)
{
	bool is_wanted = link_get_state(road->link) != LINK_UNPAIRED && policy_may_be_direct(road->policy);

	road_note_vm(road);
	if (!is_wanted)
		road_close(road);
	else if (!road->server)
		road_open(road);
}

/* What is with a machine that ALLOW= has no more. */
static void road_take_back(struct direct_road *road)
{
	struct sockaddr_storage address;

	if (!road->devices)
		return;
	DEVICE_LIST_FOREACH(road->devices, device)
		if (device_get_borrower(device, &address) && !road_is_allowed(&address, road))
			device_end_lending(device);
}

bool direct_road_configure(struct direct_road *road, const struct vm_config *config)
{
	bool is_changed = road->is_direct != config->is_direct;

	road->is_direct = config->is_direct;
	road->allow = config->allow;
	road->patience_ms = config->patience_ms;
	policy_set_direct(road->policy, config->is_direct);
	road_take_back(road);
	direct_road_update(road);
	return is_changed;
}

/* ---- for devices ---- */

int direct_road_check(const struct direct_road *road, struct failure *ret_failure)
{
	if (!link_can_direct(road->link))
		return failure_set(ret_failure, FAILURE_VERSION,
				   "Install this version of usbpush on the VM and let its handler use TCP, or set TRANSPORT=tunnel.",
				   "the VM can't import devices on the direct road");
	if (road->server)
		return 0;
	if (road->failure.code == FAILURE_NONE)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "the direct road is closed");
	return failure_set(ret_failure, road->failure.code, road->failure.cure, "%s", road->failure.text);
}

uint16_t direct_road_get_port(const struct direct_road *road)
{
	return road->server ? import_server_get_port(road->server) : 0;
}

json_t *direct_road_to_json(const struct direct_road *road)
{
	return road->server ? json_integer(direct_road_get_port(road)) : json_null();
}

json_t *direct_road_problem_to_json(const struct direct_road *road)
{
	return road->failure.code == FAILURE_NONE ? json_null() : failure_to_json(&road->failure);
}

uint32_t direct_road_get_patience(const struct direct_road *road)
{
	return road->patience_ms;
}

/* ---- life ---- */

int direct_road_new(sd_event *event, struct policy *policy, struct link *link, uint16_t port, struct direct_road **ret_road)
{
	struct direct_road *road = calloc(1, sizeof(*road));
	int r;

	if (!road)
		return -ENOMEM;
	*road = (struct direct_road){ .event = event, .policy = policy, .link = link, .port = port, .patience_ms = DEFAULT_PATIENCE_MS };
	r = timer_new(event, &road->again, road_on_again, road);
	if (r < 0) {
		free(road);
		return r;
	}
	*ret_road = road;
	return 0;
}

void direct_road_set_devices(struct direct_road *road, struct device_list *devices)
{
	if (road)
		road->devices = devices;
}

struct direct_road *direct_road_free(struct direct_road *road)
{
	if (!road)
		return NULL;
	import_server_free(road->server);
	sd_event_source_disable_unref(road->again);
	free(road);
	return NULL;
}
