#include "exporter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blocked.h"
#include "cleanup.h"
#include "device_list.h"
#include "direct_road.h"
#include "follow.h"
#include "inventory.h"
#include "json_whole.h"
#include "log.h"
#include "login_pair.h"
#include "machine.h"
#include "offers.h"
#include "own_key.h"
#include "pair_desk.h"
#include "pairing.h"
#include "rulebook.h"
#include "vm_config_reader.h"

#define EXPORTER_MAX_JOBS 64
#define EXPORTER_EVENTS   256
#define STOP_LIMIT_USEC   (8 * UINT64_C(1000000))

struct exporter {
	struct daemon *daemon; /* borrowed: outlives us */
	struct exporter_options options;
	char key_path[256];
	struct job_runner *jobs;   /* owned */
	struct job_runner *writes; /* owned: of the files in /etc/usbpush, one after the other */
	struct usbip_host *host;   /* owned */
	struct policy *policy;     /* owned */
	struct rulebook *rulebook; /* owned */
	struct policy_options policy_options;
	struct own_key *own_key;         /* owned */
	struct link *link;               /* owned */
	struct pairing *pairing;         /* owned */
	struct follow *follow;           /* owned */
	struct pair_desk *desk;          /* owned */
	struct login_pair *login_pair;   /* owned */
	struct event_log *events;        /* owned */
	struct vm_config_reader *reader; /* owned */
	struct vm_config config;         /* in force */
	struct device_context context;
	struct spare *spare;         /* owned */
	struct flap_list *flaps;     /* owned */
	struct usbfs_memory *memory; /* owned */
	struct device_list *devices; /* owned */
	struct offers *offers;       /* owned */
	struct direct_road *road;    /* owned */
	struct inventory *inventory; /* owned */
	sd_event_source *stop_timer; /* owned */
	bool is_stopping;
};

static int exporter_on_stop_timeout(sd_event_source *source, uint64_t usec, void *userdata);

/* ---- what devices say ---- */

static bool exporter_is_writing(const struct exporter *exporter)
{
	return job_runner_count(exporter->writes) > 0 || rulebook_is_writing(exporter->rulebook);
}

static void exporter_check_stop(struct exporter *exporter)
{
	if (exporter->is_stopping && device_list_is_settled(exporter->devices) && !exporter_is_writing(exporter))
		daemon_exit(exporter->daemon, 0);
}

/* All that was to be written is, and who waited for it has been told. */
static void exporter_on_written(void *userdata)
{
	exporter_check_stop(userdata);
}

static void exporter_count_attached(struct exporter *exporter)
{
	unsigned n_attached = 0;

	DEVICE_LIST_FOREACH(exporter->devices, device)
		n_attached += device_get_state(device) == DEVICE_ATTACHED;
	link_set_carrying(exporter->link, n_attached > 0);
	daemon_status("link %s, %u device%s attached", link_state_to_string(link_get_state(exporter->link)), n_attached,
		      n_attached == 1 ? "" : "s");
}

static void exporter_on_device_change(struct device *device, void *userdata)
{
	struct exporter *exporter = userdata;
	char text[600];

	device_describe(device, text, sizeof(text));
	event_log_add(exporter->events, "device", device_busid(device)->text, device_state_to_string(device_get_state(device)), text);
	inventory_note(exporter->inventory);
	exporter_count_attached(exporter);
	exporter_check_stop(exporter);
}

static void exporter_on_device_finished(struct device *device, void *userdata)
{
	struct exporter *exporter = userdata;

	device_list_finish(exporter->devices, device);
	inventory_note(exporter->inventory);
	exporter_check_stop(exporter);
}

static void exporter_make_offer_id(char *buffer, size_t size, void *userdata)
{
	struct exporter *exporter = userdata;

	offers_make_id(exporter->offers, buffer, size);
}

/* ---- what the link says ---- */

static void exporter_on_link_state(enum link_state state, void *userdata)
{
	struct exporter *exporter = userdata;
	_cleanup_json_ json_t *link = link_to_json(exporter->link);
	const char *why = json_string_value(json_object_get(json_object_get(link, "error"), "text"));

	direct_road_update(exporter->road);
	if (state == LINK_SYNCING)
		offers_prepare(exporter->offers);
	if (state == LINK_UP)
		spare_fill(exporter->spare, link_get_transport(exporter->link));
	if (!link_is_repeating(exporter->link))
		event_log_add(exporter->events, "link", NULL, link_state_to_string(state), why ? why : "");
	exporter_count_attached(exporter);
	pairing_handle_link_state(exporter->pairing, state, link);
	follow_handle_link_state(exporter->follow, state);
}

static void exporter_on_sync_wanted(void *userdata)
{
	struct exporter *exporter = userdata;

	offers_sync(exporter->offers);
}

static void exporter_on_message(const struct message *message, void *userdata)
{
	struct exporter *exporter = userdata;

	if (message->type == MESSAGE_UNPAIRED || message->type == MESSAGE_UNKNOWN)
		pairing_handle_message(exporter->pairing, message);
	else
		offers_handle_message(exporter->offers, message);
}

static void exporter_on_link_lost(void *userdata)
{
	struct exporter *exporter = userdata;

	spare_drop(exporter->spare);
	offers_lose_link(exporter->offers);
}

/* ---- what the kernel says ---- */

static void exporter_on_plug(void *userdata)
{
	struct exporter *exporter = userdata;

	link_kick(exporter->link, false);
}

void exporter_handle_uevent(struct exporter *exporter, const struct uevent *uevent)
{
	inventory_handle_uevent(exporter->inventory, uevent);
}

/* ---- what the files in /etc/usbpush say ---- */

static void exporter_share_all(void *userdata)
{
	struct exporter *exporter = userdata;

	if (exporter->is_stopping)
		return;
	DEVICE_LIST_FOREACH(exporter->devices, device)
		if (!device_is_foreign(device))
			device_share(device);
}

static void exporter_release_all(void *userdata)
{
	struct exporter *exporter = userdata;

	DEVICE_LIST_FOREACH(exporter->devices, device)
		device_release(device, "not paired with a VM");
}

static void exporter_reconsider_all(struct exporter *exporter)
{
	DEVICE_LIST_FOREACH(exporter->devices, device)
		device_reconsider(device);
}

static void exporter_on_config(const struct vm_config *config, void *userdata)
{
	struct exporter *exporter = userdata;
	bool is_other_road = direct_road_configure(exporter->road, config);
	bool is_same_vm = vm_config_is_same_vm(config, &exporter->config);

	if (vm_config_equal(config, &exporter->config) || pairing_is_own(exporter->pairing, config)) {
		if (is_other_road)
			exporter_reconsider_all(exporter);
		return;
	}
	exporter->config = *config;
	pairing_cancel(exporter->pairing);
	/* Devices are let go while the link can still tell the VM. */
	if (!vm_config_is_paired(config))
		exporter_release_all(exporter);
	link_configure(exporter->link, config);
	if (is_other_road)
		exporter_reconsider_all(exporter);
	if (vm_config_is_paired(config) && !is_same_vm) /* else what was detached by hand stays so */
		exporter_share_all(exporter);
}

static void exporter_on_rules(void *userdata)
{
	struct exporter *exporter = userdata;

	if (exporter->is_stopping)
		return;
	direct_road_update(exporter->road);
	exporter_reconsider_all(exporter);
}

void exporter_reload(struct exporter *exporter)
{
	vm_config_reader_read(exporter->reader);
	rulebook_reload(exporter->rulebook);
}

static void exporter_on_back(void *userdata)
{
	struct exporter *exporter = userdata;

	vm_config_reader_read(exporter->reader);
}

/* ---- start and end ---- */

static int exporter_init_link(struct exporter *exporter)
{
	static const struct link_handlers handlers = {
		.on_state = exporter_on_link_state,
		.on_sync_wanted = exporter_on_sync_wanted,
		.on_message = exporter_on_message,
		.on_lost = exporter_on_link_lost,
	};
	static const struct pairing_handlers pairing_handlers = { .on_paired = exporter_share_all,
								  .on_ended = exporter_release_all,
								  .on_back = exporter_on_back };
	int r = own_key_new(exporter->jobs, exporter->key_path, &exporter->own_key);

	if (r == 0)
		r = link_new(exporter->daemon->event, exporter->jobs, exporter->key_path, &handlers, exporter, &exporter->link);
	if (r == 0)
		r = pairing_new(exporter->daemon->event, exporter->link, exporter->writes, exporter->options.config_path, &exporter->config,
				&pairing_handlers, exporter, &exporter->pairing);
	if (r == 0)
		r = follow_new(exporter->daemon->event, exporter->link, exporter->pairing, exporter->events, exporter->writes,
			       &exporter->config, exporter->options.config_path, &exporter->follow);
	if (r == 0)
		r = pair_desk_new(exporter->daemon->event, exporter->pairing, exporter->events, exporter->key_path,
				  exporter->options.pair_limits, &exporter->desk);
	if (r == 0)
		r = login_pair_new(exporter->daemon->event, exporter->jobs, exporter->pairing, exporter->events, exporter->key_path,
				   exporter->own_key, &exporter->login_pair);
	return r;
}

static int exporter_init_devices(struct exporter *exporter)
{
	sd_event *event = exporter->daemon->event;
	int r = spare_new(event, &exporter->spare);

	if (r == 0)
		r = flap_list_new(&exporter->flaps);
	if (r == 0)
		r = direct_road_new(event, exporter->policy, exporter->link, exporter->options.is_any_port ? 0 : USBIP_PORT,
				    &exporter->road);
	if (r == 0)
		r = usbfs_memory_new(event, usbfs_memory_get_limit(exporter->options.sysfs_root), &exporter->memory);
	if (r < 0)
		return r;
	exporter->context = (struct device_context){
		.event = event,
		.jobs = exporter->jobs,
		.host = exporter->host,
		.policy = exporter->policy,
		.link = exporter->link,
		.spare = exporter->spare,
		.flaps = exporter->flaps,
		.road = exporter->road,
		.usbfs = { .event = event, .jobs = exporter->jobs, .memory = exporter->memory, .max_held_usec = USBFS_MAX_HELD_USEC },
		.on_change = exporter_on_device_change,
		.on_finished = exporter_on_device_finished,
		.make_offer_id = exporter_make_offer_id,
		.userdata = exporter,
	};
	r = device_list_new(&exporter->context, &exporter->devices);
	if (r == 0)
		direct_road_set_devices(exporter->road, exporter->devices);
	if (r == 0)
		r = offers_new(exporter->link, exporter->devices, &exporter->offers);
	if (r == 0)
		r = inventory_new(event, exporter->host, exporter->devices, exporter->options.holds, exporter->options.run_dir,
				  exporter_on_plug, exporter, &exporter->inventory);
	return r;
}

static int exporter_init(struct exporter *exporter)
{
	static const struct rulebook_handlers rulebook_handlers = { .on_change = exporter_on_rules, .on_written = exporter_on_written };
	const struct exporter_options *options = &exporter->options;
	sd_event *event = exporter->daemon->event;
	struct failure failure;
	int r;

	r = timer_new(event, &exporter->stop_timer, exporter_on_stop_timeout, exporter);
	if (r < 0)
		return r;
	r = event_log_new(EXPORTER_EVENTS, &exporter->events);
	if (r == 0)
		r = job_runner_new(event, EXPORTER_MAX_JOBS, &exporter->jobs);
	if (r == 0)
		r = job_runner_new(event, 1, &exporter->writes);
	if (r == 0)
		r = usbip_host_new(options->sysfs_root, options->dev_root, &exporter->host);
	if (r == 0)
		r = policy_new(&exporter->policy_options, rulebook_tell, exporter->events, &exporter->policy);
	if (r == 0)
		r = rulebook_new(event, exporter->writes, exporter->policy, exporter->events, exporter->policy_options.rules_path,
				 &rulebook_handlers, exporter, &exporter->rulebook);
	if (r == 0)
		r = vm_config_reader_new(event, options->config_path, exporter->events, exporter_on_config, exporter, &exporter->reader);
	if (r == 0)
		r = exporter_init_link(exporter);
	if (r == 0)
		r = exporter_init_devices(exporter);
	if (r < 0)
		return r;
	job_runner_set_idle(exporter->writes, exporter_on_written, exporter);
	if (usbip_host_check(exporter->host, &failure) < 0)
		log_error("%s. %s", failure.text, failure.cure);
	if (transport_key_ensure(exporter->key_path, &failure) < 0)
		log_error("%s. %s", failure.text, failure.cure);
	return 0;
}

int exporter_new(struct daemon *daemon, const struct exporter_options *options, struct exporter **ret_exporter)
{
	struct exporter *exporter = calloc(1, sizeof(*exporter));
	int r;

	if (!exporter)
		return -ENOMEM;
	exporter->daemon = daemon;
	exporter->options = *options;
	exporter->policy_options = (struct policy_options){ .modules_dir = options->modules_dir,
							    .rules_path = options->rules_path ? options->rules_path : DEVICES_CONFIG_PATH,
							    .sysfs_root = options->sysfs_root,
							    .proc_root = options->proc_root ? options->proc_root : "/proc" };
	snprintf(exporter->key_path, sizeof(exporter->key_path), "%s/id_ed25519", options->state_dir);
	r = exporter_init(exporter);
	if (r == 0) {
		vm_config_reader_read(exporter->reader);
		r = inventory_start(exporter->inventory);
	}
	if (r < 0) {
		exporter_free(exporter);
		return r;
	}
	*ret_exporter = exporter;
	return 0;
}

struct exporter *exporter_free(struct exporter *exporter)
{
	if (!exporter)
		return NULL;
	login_pair_free(exporter->login_pair);
	pair_desk_free(exporter->desk); /* a try that ends goes back over the link */
	inventory_free(exporter->inventory);
	offers_free(exporter->offers);
	direct_road_set_devices(exporter->road, NULL);
	device_list_free(exporter->devices);
	usbfs_memory_free(exporter->memory);
	spare_free(exporter->spare);
	flap_list_free(exporter->flaps);
	follow_free(exporter->follow);
	pairing_free(exporter->pairing);
	link_free(exporter->link);
	own_key_free(exporter->own_key);
	direct_road_free(exporter->road);
	job_runner_free(exporter->jobs);
	usbip_host_unref(exporter->host); /* a thread that is stuck in the kernel has its own reference */
	rulebook_free(exporter->rulebook);
	job_runner_free(exporter->writes);
	policy_free(exporter->policy);
	vm_config_reader_free(exporter->reader);
	event_log_free(exporter->events);
	sd_event_source_disable_unref(exporter->stop_timer);
	free(exporter);
	return NULL;
}

static int exporter_on_stop_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct exporter *exporter = userdata;

	(void)source;
	(void)usec;
	if (!device_list_is_settled(exporter->devices))
		log_warning("not all devices could be given back in time; they stay as they are");
	if (exporter_is_writing(exporter))
		log_warning("the disk did not take in time what was to be written; the file is the old or the new one, whole");
	daemon_exit(exporter->daemon, 0);
	return 0;
}

void exporter_stop(struct exporter *exporter)
{
	exporter->is_stopping = true;
	inventory_stop(exporter->inventory);
	DEVICE_LIST_FOREACH(exporter->devices, device)
		device_release(device, "usbpush-exporter is stopped");
	timer_arm(exporter->daemon->event, &exporter->stop_timer, STOP_LIMIT_USEC, exporter_on_stop_timeout, exporter);
	exporter_check_stop(exporter);
}

/* ---- for the control socket ---- */

int exporter_pair(struct exporter *exporter, const struct vm_config *config, exporter_pair_fn on_done, void *userdata)
{
	return pairing_start(exporter->pairing, config, on_done, userdata);
}

void exporter_pair_forget(struct exporter *exporter, void *userdata)
{
	pairing_forget(exporter->pairing, userdata);
}

int exporter_unpair(struct exporter *exporter, exporter_unpair_fn on_ended, void *userdata, struct failure *ret_failure)
{
	return pairing_end(exporter->pairing, on_ended, userdata, ret_failure);
}

size_t exporter_select(struct exporter *exporter, const char *selection, struct device **ret_devices, size_t n)
{
	return device_list_select(exporter->devices, selection, ret_devices, n);
}

int exporter_recover(struct exporter *exporter, struct device *device, bool is_hard, struct failure *ret_failure)
{
	return device_list_recover(exporter->devices, device, is_hard, ret_failure);
}

void exporter_for_each(struct exporter *exporter, void (*fn)(struct device *device, void *userdata), void *userdata)
{
	DEVICE_LIST_FOREACH(exporter->devices, device)
		fn(device, userdata);
}

struct follow *exporter_follow(struct exporter *exporter)
{
	return exporter->follow;
}

struct pair_desk *exporter_pair_desk(struct exporter *exporter)
{
	return exporter->desk;
}

struct login_pair *exporter_login_pair(struct exporter *exporter)
{
	return exporter->login_pair;
}

struct rulebook *exporter_rulebook(struct exporter *exporter)
{
	return exporter->rulebook;
}

struct link *exporter_link(struct exporter *exporter)
{
	return exporter->link;
}

struct event_log *exporter_events(struct exporter *exporter)
{
	return exporter->events;
}

struct own_key *exporter_own_key(struct exporter *exporter)
{
	return exporter->own_key;
}

const char *exporter_key_path(const struct exporter *exporter)
{
	return exporter->key_path;
}

static void exporter_append_device(struct device *device, void *userdata)
{
	json_whole_append(userdata, device_to_json(device));
}

static json_t *exporter_problem_to_json(struct exporter *exporter)
{
	struct failure failure;
	json_t *problem =
		usbip_host_check(exporter->host, &failure) < 0 ? failure_to_json(&failure) : rulebook_problem_to_json(exporter->rulebook);

	return problem ? problem : direct_road_problem_to_json(exporter->road);
}

static json_t *exporter_blocked_to_json(const struct exporter *exporter)
{
	json_t *blocked = blocked_to_json(exporter->jobs);

	blocked_append(&blocked, exporter->writes);
	return blocked;
}

json_t *exporter_to_json(struct exporter *exporter)
{
	char id[MESSAGE_ID_SIZE] = "", name[MESSAGE_NAME_SIZE];
	json_t *devices = json_array(), *object;

	(void)machine_id(id, sizeof(id));
	machine_name(name, sizeof(name));
	exporter_for_each(exporter, exporter_append_device, &devices);
	object = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "software", USBPUSH_VERSION, "id", id, "name", name, "link",
			   link_to_json(exporter->link), "devices", devices, "blocked", exporter_blocked_to_json(exporter));
	json_whole_set(&object, "vms", follow_to_json(exporter->follow));
	json_whole_set(&object, "direct_port", direct_road_to_json(exporter->road));
	json_whole_set(&object, "problem", exporter_problem_to_json(exporter));
	return object;
}
