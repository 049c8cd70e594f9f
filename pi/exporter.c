#include "exporter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "backoff.h"
#include "blocked.h"
#include "cleanup.h"
#include "device_list.h"
#include "follow.h"
#include "held_file.h"
#include "log.h"
#include "login_pair.h"
#include "machine.h"
#include "pair_desk.h"
#include "pairing.h"
#include "rulebook.h"

#define EXPORTER_MAX_JOBS 64
#define EXPORTER_EVENTS   256
#define STOP_LIMIT_USEC   (8 * UINT64_C(1000000))
#define LOOK_AGAIN_USEC   UINT64_C(1000000)
#define RELOAD_MIN_USEC   UINT64_C(1000000)
#define RELOAD_MAX_USEC   UINT64_C(60000000)

struct exporter {
	struct daemon *daemon; /* borrowed: outlives us */
	struct exporter_options options;
	char key_path[256], held_path[256];
	char *held;                /* owned: what was last written to held_path */
	char *former;              /* owned: what it says while devices are enumerated */
	struct job_runner *jobs;   /* owned */
	struct usbip_host *host;   /* owned */
	struct policy *policy;     /* owned */
	struct rulebook *rulebook; /* owned */
	struct policy_options policy_options;
	struct link *link;              /* owned */
	struct pairing *pairing;        /* owned */
	struct follow *follow;          /* owned */
	struct pair_desk *desk;         /* owned */
	struct login_pair *login_pair;  /* owned */
	struct event_log *events;       /* owned */
	struct uevent_monitor *monitor; /* owned */
	sd_event_source *look_timer;    /* owned */
	sd_event_source *reload_timer;  /* owned */
	sd_event_source *stop_timer;    /* owned */
	struct device_context context;
	struct vm_config config;
	struct backoff reload_backoff;
	unsigned n_problems;         /* of the configuration as it was read last */
	bool is_reading_again;       /* by itself, after a trouble that was told */
	struct spare *spare;         /* owned */
	struct flap_list *flaps;     /* owned */
	struct device_list *devices; /* owned */
	struct sync_entry *synced;   /* owned: the offers of the last sync */
	size_t n_synced;
	uint32_t instance; /* drawn at start: offer ids of two exporters never meet */
	uint64_t n_offers, sync_seq;
	bool is_starting; /* what a predecessor held is still being found */
	bool has_missed;  /* a device, for want of memory */
	bool is_stopping;
};

static int exporter_on_look(sd_event_source *source, uint64_t usec, void *userdata);
static int exporter_on_reload(sd_event_source *source, uint64_t usec, void *userdata);
static int exporter_on_stop_timeout(sd_event_source *source, uint64_t usec, void *userdata);

#define FOR_EACH_DEVICE(exporter, device)                                                 \
	for (struct device *device = device_list_next((exporter)->devices, NULL); device; \
	     device = device_list_next((exporter)->devices, device))

/* ---- what devices say ---- */

/* Something was missed, about a device or in the run directory: all are looked at anew, in a moment, when there is memory again. */
static void exporter_look_later(struct exporter *exporter)
{
	timer_arm(exporter->daemon->event, &exporter->look_timer, LOOK_AGAIN_USEC, exporter_on_look, exporter);
}

/* So that a successor knows which devices at usbip-host are ours (reconciled with sysfs at its start). */
static void exporter_write_held(struct exporter *exporter)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_fclose_ FILE *stream = NULL;
	size_t size = 0;
	int r;

	if (exporter->is_starting)
		return; /* the predecessor's file is still being read */
	stream = open_memstream(&text, &size);
	if (!stream)
		return;
	FOR_EACH_DEVICE(exporter, device)
	if (device_is_held(device))
		fprintf(stream, "%s\n", device_busid(device)->text);
	if (fflush(stream) != 0)
		return;
	if (exporter->held && strcmp(exporter->held, text) == 0)
		return;
	free(exporter->held);
	exporter->held = NULL; /* the next change writes it again */
	r = held_file_write(exporter->held_path, text, size);
	if (r == 0) {
		exporter->held = strdup(text);
		return;
	}
	log_warning("%s can't be written: %s", exporter->held_path, strerror(-r));
	exporter_look_later(exporter); /* and with it, it is written again */
}

static void exporter_check_stop(struct exporter *exporter)
{
	if (exporter->is_stopping && device_list_is_settled(exporter->devices))
		daemon_exit(exporter->daemon, 0);
}

static void exporter_count_attached(struct exporter *exporter)
{
	unsigned n_attached = 0;

	FOR_EACH_DEVICE(exporter, device)
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
	exporter_write_held(exporter);
	exporter_count_attached(exporter);
	exporter_check_stop(exporter);
}

static void exporter_on_device_finished(struct device *device, void *userdata)
{
	struct exporter *exporter = userdata;

	device_list_finish(exporter->devices, device);
	exporter_check_stop(exporter);
}

static void exporter_make_offer_id(char *buffer, size_t size, void *userdata)
{
	struct exporter *exporter = userdata;

	snprintf(buffer, size, "%08x-%llu", exporter->instance, (unsigned long long)++exporter->n_offers);
}

/* ---- what the link says ---- */

/* The relays of the streams start beside that of the control channel. */
static void exporter_prepare_streams(struct exporter *exporter)
{
	FOR_EACH_DEVICE(exporter, device)
	device_prepare(device);
}

static void exporter_on_link_state(enum link_state state, void *userdata)
{
	struct exporter *exporter = userdata;
	_cleanup_json_ json_t *link = link_to_json(exporter->link);
	const char *why = json_string_value(json_object_get(json_object_get(link, "error"), "text"));

	if (state == LINK_SYNCING)
		exporter_prepare_streams(exporter);
	if (state == LINK_UP)
		spare_fill(exporter->spare, link_get_transport(exporter->link));
	event_log_add(exporter->events, "link", NULL, link_state_to_string(state), why ? why : "");
	exporter_count_attached(exporter);
	pairing_handle_link_state(exporter->pairing, state, link);
	follow_handle_link_state(exporter->follow, state);
}

static void exporter_on_sync_wanted(void *userdata)
{
	struct exporter *exporter = userdata;
	struct message message = { .type = MESSAGE_SYNC, .seq = ++exporter->sync_seq, .entries = exporter->synced };

	FOR_EACH_DEVICE(exporter, device)
	{
		struct sync_entry *item = &exporter->synced[message.n_entries];

		if (!device_has_offer(device) || message.n_entries == MESSAGE_MAX_OFFERS)
			continue;
		snprintf(item->id, sizeof(item->id), "%s", device_offer_id(device, &item->is_streaming));
		message.n_entries++;
	}
	exporter->n_synced = message.n_entries;
	link_send(exporter->link, &message);
}

static bool entries_have(const struct sync_entry *entries, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(entries[i].id, id) == 0)
			return true;
	return false;
}

/* What was in the sync and is not kept is attached anew. Offers made since that sync are on their way, and so is an answer to a later one. */
static void exporter_handle_synced(struct exporter *exporter, const struct message *message)
{
	if (message->seq != exporter->sync_seq)
		return;
	FOR_EACH_DEVICE(exporter, device)
	{
		bool is_streaming;
		const char *id = device_offer_id(device, &is_streaming);

		if (entries_have(exporter->synced, exporter->n_synced, id) && !entries_have(message->entries, message->n_entries, id))
			device_lose_stream(device, "the VM did not keep it; it is attached anew");
		device_offer_now(device);
	}
}

static void exporter_on_message(const struct message *message, void *userdata)
{
	struct exporter *exporter = userdata;
	bool is_streaming;

	if (message->type == MESSAGE_SYNCED) {
		exporter_handle_synced(exporter, message);
		return;
	}
	if (message->type == MESSAGE_UNPAIRED || message->type == MESSAGE_UNKNOWN) {
		pairing_handle_message(exporter->pairing, message);
		return;
	}
	FOR_EACH_DEVICE(exporter, device)
	if (strcmp(device_offer_id(device, &is_streaming), message->id) == 0) {
		device_handle_message(device, message);
		return;
	}
	/* of an offer that was withdrawn meanwhile: the message crossed ours */
}

static void exporter_on_link_lost(void *userdata)
{
	struct exporter *exporter = userdata;

	spare_drop(exporter->spare);

	FOR_EACH_DEVICE(exporter, device)
	device_lose_stream(device, "the link to the VM is gone"); /* with every stream, opened ahead or not */
}

/* ---- what the kernel says ---- */

static struct device *exporter_add_device(struct exporter *exporter, const struct busid *busid, const char *syspath)
{
	struct device *device = NULL;

	if (device_list_add(exporter->devices, busid, syspath, &device) == -ENOMEM) {
		log_error("%s: out of memory; it is looked at again", busid->text);
		exporter->has_missed = true;
		exporter_look_later(exporter);
	}
	return device;
}

void exporter_handle_uevent(struct exporter *exporter, const struct uevent *uevent)
{
	struct device *device;
	struct busid busid;

	if (strcmp(uevent->subsystem, "usb") != 0 || strcmp(uevent->devtype, "usb_device") != 0 || busid_parse(uevent->sysname, &busid) < 0)
		return;
	device = device_list_find(exporter->devices, &busid);
	switch (uevent->action) {
	case UEVENT_ADD:
		if (device && device_is_current(device))
			break; /* found by enumeration before its event came */
		if (device)
			device_remove(device); /* its `remove` was lost */
		device = exporter_add_device(exporter, &busid, uevent->syspath);
		if (!device)
			break;
		link_kick(exporter->link, false);
		device_prepare(device);
		break;
	case UEVENT_BIND:
		if (!device)
			device = exporter_add_device(exporter, &busid, uevent->syspath);
		if (device && strcmp(uevent->driver, "usb") == 0 && !exporter->is_stopping)
			device_list_look(exporter->devices, device);
		break;
	case UEVENT_REMOVE:
		if (device)
			device_remove(device);
		break;
	case UEVENT_UNBIND:
	case UEVENT_CHANGE:
	case UEVENT_OTHER:
		break;
	}
}

static void exporter_on_uevent(const struct uevent *uevent, void *userdata)
{
	exporter_handle_uevent(userdata, uevent);
}

/* One device of the tree as it is now: what events would have said. */
static void exporter_on_enumerated(const struct busid *busid, const char *syspath, const char *driver, void *userdata)
{
	struct exporter *exporter = userdata;
	struct device *device = device_list_find(exporter->devices, busid);
	bool is_ours = held_lines_have(exporter->former, busid);

	if (device) { /* its `add` came, and maybe its `bind` was among what was lost */
		if (device_get_state(device) == DEVICE_SEEN && strcmp(driver, "usb") == 0)
			device_list_look(exporter->devices, device);
		return;
	}
	device = exporter_add_device(exporter, busid, syspath);
	if (!device)
		return;
	if (strcmp(driver, "usbip-host") == 0)
		device_found_bound(device, is_ours);
	else if (driver[0] || is_ours) /* ours without a driver: the predecessor ended between two drivers */
		device_list_look(exporter->devices, device);
}

static void exporter_enumerate(struct exporter *exporter)
{
	int r = held_file_read(exporter->held_path, &exporter->former);

	exporter->has_missed = false;
	if (r == 0)
		r = usbip_host_enumerate(exporter->host, exporter_on_enumerated, exporter);
	if (r == 0 && exporter->has_missed)
		r = -ENOMEM;
	free(exporter->former);
	exporter->former = NULL;
	if (r < 0) {
		log_warning("not every USB device could be looked at: %s; it is tried again", strerror(-r));
		exporter_look_later(exporter);
		return;
	}
	exporter->is_starting = false;
	exporter_write_held(exporter);
}

/* What is gone, or another one by now, is found by its number, what is new by enumeration. */
static void exporter_look(struct exporter *exporter)
{
	FOR_EACH_DEVICE(exporter, device)
	if (!device_is_current(device))
		device_remove(device);
	exporter_enumerate(exporter);
}

static int exporter_on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	exporter_look(userdata);
	return 0;
}

static void exporter_on_overrun(void *userdata)
{
	log_warning("the kernel dropped device events; looking at all devices anew");
	exporter_look(userdata);
}

/* ---- start and end ---- */

static void exporter_on_config_problem(const struct config_problem *problem, void *userdata)
{
	struct exporter *exporter = userdata;

	exporter->n_problems++;
	if (exporter->is_reading_again)
		return; /* told before */
	log_warning("%s", problem->text);
	event_log_add(exporter->events, "config", NULL, "PROBLEM", problem->text);
}

/* A file that could not be read, or a key that libssh could not take (out of memory says the same as no key): in a moment it may be otherwise. */
static void exporter_reload_later(struct exporter *exporter)
{
	timer_arm(exporter->daemon->event, &exporter->reload_timer, backoff_next(&exporter->reload_backoff), exporter_on_reload, exporter);
}

static void exporter_share_all(void *userdata)
{
	struct exporter *exporter = userdata;

	FOR_EACH_DEVICE(exporter, device)
	if (!device_is_foreign(device))
		device_share(device);
}

static void exporter_release_all(void *userdata)
{
	struct exporter *exporter = userdata;

	FOR_EACH_DEVICE(exporter, device)
	device_release(device, "not paired with a VM");
}

static void exporter_reload_pairing(struct exporter *exporter)
{
	struct vm_config config;
	int r;

	exporter->n_problems = 0;
	r = vm_config_load(exporter->options.config_path, exporter_on_config_problem, exporter, &config);
	if (r < 0) {
		log_error("%s can't be read: %s; the pairing stays as it was, and it is tried again", exporter->options.config_path,
			  strerror(-r));
		exporter_reload_later(exporter);
		return;
	}
	if (exporter->n_problems > 0 && !vm_config_is_paired(&config)) {
		exporter_reload_later(exporter);
	} else {
		timer_disarm(exporter->reload_timer);
		backoff_reset(&exporter->reload_backoff);
	}
	if (vm_config_equal(&config, &exporter->config))
		return;
	exporter->config = config;
	pairing_cancel(exporter->pairing);
	/* Devices are let go while the link can still tell the VM. */
	if (!vm_config_is_paired(&config))
		exporter_release_all(exporter);
	link_configure(exporter->link, &config);
	if (vm_config_is_paired(&config))
		exporter_share_all(exporter);
}

static int exporter_on_reload(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct exporter *exporter = userdata;

	(void)source;
	(void)usec;
	exporter->is_reading_again = true;
	exporter_reload_pairing(exporter);
	exporter->is_reading_again = false;
	return 0;
}

static void exporter_on_rules(void *userdata)
{
	struct exporter *exporter = userdata;

	if (exporter->is_stopping)
		return;
	FOR_EACH_DEVICE(exporter, device)
	device_reconsider(device);
}

void exporter_reload(struct exporter *exporter)
{
	exporter_reload_pairing(exporter);
	rulebook_reload(exporter->rulebook);
}

static void exporter_on_back(void *userdata)
{
	exporter_reload_pairing(userdata);
}

static int exporter_init_context(struct exporter *exporter)
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
	int r = link_new(exporter->daemon->event, exporter->jobs, exporter->key_path, &handlers, exporter, &exporter->link);

	if (r == 0)
		r = spare_new(exporter->daemon->event, &exporter->spare);
	if (r == 0)
		r = flap_list_new(&exporter->flaps);
	if (r == 0)
		r = pairing_new(exporter->daemon->event, exporter->link, exporter->options.config_path, &exporter->config,
				&pairing_handlers, exporter, &exporter->pairing);
	if (r == 0)
		r = follow_new(exporter->daemon->event, exporter->link, exporter->pairing, exporter->events, &exporter->config,
			       exporter->options.config_path, &exporter->follow);
	if (r == 0)
		r = pair_desk_new(exporter->daemon->event, exporter->pairing, exporter->events, exporter->key_path,
				  exporter->options.pair_limits, &exporter->desk);
	if (r == 0)
		r = login_pair_new(exporter->daemon->event, exporter->jobs, exporter->pairing, exporter->events, exporter->key_path,
				   &exporter->login_pair);
	exporter->context = (struct device_context){
		.event = exporter->daemon->event,
		.jobs = exporter->jobs,
		.host = exporter->host,
		.policy = exporter->policy,
		.link = exporter->link,
		.spare = exporter->spare,
		.flaps = exporter->flaps,
		.on_change = exporter_on_device_change,
		.on_finished = exporter_on_device_finished,
		.make_offer_id = exporter_make_offer_id,
		.userdata = exporter,
	};
	return r;
}

static int exporter_init(struct exporter *exporter)
{
	const struct exporter_options *options = &exporter->options;
	sd_event *event = exporter->daemon->event;
	struct failure failure;
	int r;

	r = timer_new(event, &exporter->look_timer, exporter_on_look, exporter);
	if (r >= 0)
		r = timer_new(event, &exporter->reload_timer, exporter_on_reload, exporter);
	if (r >= 0)
		r = timer_new(event, &exporter->stop_timer, exporter_on_stop_timeout, exporter);
	if (r < 0)
		return r;
	if (getrandom(&exporter->instance, sizeof(exporter->instance), 0) != sizeof(exporter->instance))
		return -errno;
	exporter->synced = calloc(MESSAGE_MAX_OFFERS, sizeof(*exporter->synced));
	if (!exporter->synced)
		return -ENOMEM;
	r = event_log_new(EXPORTER_EVENTS, &exporter->events);
	if (r == 0)
		r = job_runner_new(event, EXPORTER_MAX_JOBS, &exporter->jobs);
	if (r == 0)
		r = usbip_host_new(options->sysfs_root, options->dev_root, &exporter->host);
	if (r == 0)
		r = policy_new(&exporter->policy_options, rulebook_tell, exporter->events, &exporter->policy);
	if (r == 0)
		r = rulebook_new(event, exporter->policy, exporter->events, exporter->policy_options.rules_path, exporter_on_rules,
				 exporter, &exporter->rulebook);
	if (r == 0)
		r = exporter_init_context(exporter);
	if (r == 0)
		r = device_list_new(&exporter->context, &exporter->devices);
	if (r < 0)
		return r;
	if (usbip_host_check(exporter->host, &failure) < 0)
		log_error("%s. %s", failure.text, failure.cure);
	if (transport_key_ensure(exporter->key_path, &failure) < 0)
		log_error("%s. %s", failure.text, failure.cure);
	return 0;
}

static int exporter_start(struct exporter *exporter)
{
	static const char *const subsystems[] = { "usb", NULL };
	int r;

	/* First listen, then look: what comes in between is heard twice and found known. */
	r = uevent_monitor_new(exporter->daemon->event, UEVENT_KERNEL, subsystems, exporter_on_uevent, exporter_on_overrun, exporter,
			       &exporter->monitor);
	if (r < 0)
		return r;
	exporter_reload_pairing(exporter);
	exporter->is_starting = true;
	exporter_enumerate(exporter);
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
	exporter->reload_backoff = (struct backoff){ .min_usec = RELOAD_MIN_USEC, .max_usec = RELOAD_MAX_USEC };
	exporter->policy_options = (struct policy_options){ .modules_dir = options->modules_dir,
							    .rules_path = options->rules_path ? options->rules_path : DEVICES_CONFIG_PATH,
							    .sysfs_root = options->sysfs_root,
							    .proc_root = options->proc_root ? options->proc_root : "/proc" };
	snprintf(exporter->key_path, sizeof(exporter->key_path), "%s/id_ed25519", options->state_dir);
	snprintf(exporter->held_path, sizeof(exporter->held_path), "%s/held", options->run_dir);
	r = exporter_init(exporter);
	if (r >= 0)
		r = exporter_start(exporter);
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
	uevent_monitor_free(exporter->monitor);
	device_list_free(exporter->devices);
	spare_free(exporter->spare);
	flap_list_free(exporter->flaps);
	follow_free(exporter->follow);
	pairing_free(exporter->pairing);
	link_free(exporter->link);
	job_runner_free(exporter->jobs);
	usbip_host_unref(exporter->host); /* a thread that is stuck in the kernel has its own reference */
	rulebook_free(exporter->rulebook);
	policy_free(exporter->policy);
	event_log_free(exporter->events);
	sd_event_source_disable_unref(exporter->look_timer);
	sd_event_source_disable_unref(exporter->reload_timer);
	sd_event_source_disable_unref(exporter->stop_timer);
	free(exporter->synced);
	free(exporter->held);
	free(exporter);
	return NULL;
}

static int exporter_on_stop_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct exporter *exporter = userdata;

	(void)source;
	(void)usec;
	log_warning("not all devices could be given back in time; they stay with usbip-host");
	daemon_exit(exporter->daemon, 0);
	return 0;
}

void exporter_stop(struct exporter *exporter)
{

	exporter->is_stopping = true;
	FOR_EACH_DEVICE(exporter, device)
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

int exporter_unpair(struct exporter *exporter, exporter_pair_fn on_done, void *userdata, struct failure *ret_failure)
{
	return pairing_end(exporter->pairing, on_done, userdata, ret_failure);
}

size_t exporter_select(struct exporter *exporter, const char *selection, struct device **ret_devices, size_t n)
{
	return device_list_select(exporter->devices, selection, ret_devices, n);
}

void exporter_for_each(struct exporter *exporter, void (*fn)(struct device *device, void *userdata), void *userdata)
{

	FOR_EACH_DEVICE(exporter, device)
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

const char *exporter_key_path(const struct exporter *exporter)
{
	return exporter->key_path;
}

static void exporter_append_device(struct device *device, void *userdata)
{
	json_array_append_new(userdata, device_to_json(device));
}

static json_t *exporter_problem_to_json(struct exporter *exporter)
{
	struct failure failure;
	json_t *problem =
		usbip_host_check(exporter->host, &failure) < 0 ? failure_to_json(&failure) : rulebook_problem_to_json(exporter->rulebook);

	return problem ? problem : json_null();
}

json_t *exporter_to_json(struct exporter *exporter)
{
	char id[MESSAGE_ID_SIZE] = "", name[MESSAGE_NAME_SIZE];
	json_t *devices = json_array(), *object;

	(void)machine_id(id, sizeof(id));
	machine_name(name, sizeof(name));
	exporter_for_each(exporter, exporter_append_device, devices);
	object = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "software", USBPUSH_VERSION, "id", id, "name", name, "link",
			   link_to_json(exporter->link), "devices", devices, "blocked", blocked_to_json(exporter->jobs));
	json_object_set_new(object, "vms", follow_to_json(exporter->follow));
	json_object_set_new(object, "problem", exporter_problem_to_json(exporter));
	return object;
}
