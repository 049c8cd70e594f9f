#include "handler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "acceptance.h"
#include "acceptance_watch.h"
#include "blocked.h"
#include "cleanup.h"
#include "daemon.h"
#include "handler_request.h"
#include "imports.h"
#include "job.h"
#include "json_whole.h"
#include "local_server.h"
#include "log.h"
#include "machine.h"
#include "name_book.h"
#include "peer.h"
#include "piconf.h"
#include "port_watch.h"
#include "revocation.h"
#include "roster.h"
#include "uevent.h"
#include "usbip_record.h"
#include "vhci.h"
#include "vm_status.h"
#include "whereabouts.h"

#define HANDLER_MAX_JOBS    64
#define HANDLER_MAX_CLIENTS 256
#define STOP_LIMIT_USEC     (UINT64_C(5) * 1000000)

struct handler {
	const struct handler_options *options; /* borrowed: outlives us */
	sd_event *event;                       /* borrowed: outlives us */
	struct vhci *vhci;
	struct acceptance *acceptance;
	struct name_book *names;
	struct acceptance_watch *acceptance_watch;
	struct job_runner *jobs;
	struct port_watch *ports;
	struct local_server *server; /* NULL before handler_listen() and once it stops */
	struct attachment_services attachment_services;
	struct peer_services peer_services;
	struct whereabouts *whereabouts;
	struct piconf piconf;
	const char *runtime_dir; /* borrowed */
	char *records_path;
	struct roster roster;
	struct roster_counts told;          /* to the service manager */
	sd_event_source *reaper;            /* owned: frees unpaired Pis */
	sd_event_source *stop_limit;        /* owned */
	void (*on_stopped)(void *userdata); /* set while stopping */
	void *on_stopped_userdata;
};

static bool handler_is_port_reserved(uint32_t port, void *userdata)
{
	const struct handler *handler = userdata;

	return roster_is_port_reserved(&handler->roster, port);
}

static bool handler_is_offer_of_another(const struct peer *peer, const char *offer_id, void *userdata)
{
	const struct handler *handler = userdata;

	return roster_has_offer_elsewhere(&handler->roster, peer, offer_id);
}

/* ---- telling ---- */

static void handler_publish(struct handler *handler, json_t *event)
{
	if (event)
		local_server_publish(handler->server, event);
	json_decref(event);
}

static void handler_tell_manager(struct handler *handler)
{
	struct roster_counts counts = roster_count(&handler->roster);

	if (counts.n_connected == handler->told.n_connected && counts.n_attached == handler->told.n_attached)
		return;
	handler->told = counts;
	daemon_status("%u of %zu Pis connected, %u devices attached", counts.n_connected, handler->roster.n, counts.n_attached);
}

static void handler_end_stop(struct handler *handler)
{
	void (*on_stopped)(void *) = TAKE_PTR(handler->on_stopped);

	if (on_stopped)
		on_stopped(handler->on_stopped_userdata);
}

/* ---- changes ---- */

static void handler_log_change(const struct peer *peer, const struct attachment_info *info)
{
	const struct log_about about = { .busid = info->offer.busid.text,
					 .name = info->offer.name,
					 .pi = peer_get_name(peer),
					 .state = attachment_state_to_string(info->state) };

	if (info->state == ATTACHMENT_STATE_ATTACHED)
		log_write_about(LOG_LEVEL_INFO, &about, "%s: %s: %s%sattached as %s at port %u: %s", about.pi, about.busid, about.name,
				about.name[0] ? ", " : "", info->busid.text, info->port,
				info->nodes.n > 0 ? info->nodes.nodes[0].path : "no device node");
	else if (info->state == ATTACHMENT_STATE_GONE)
		log_write_about(LOG_LEVEL_INFO, &about, "%s: %s: %s%sgone: %s", about.pi, about.busid, about.name,
				about.name[0] ? ", " : "", info->reason);
}

/* A port was claimed or freed. */
static bool attachment_changes_ports(const struct attachment_info *info, enum attachment_state from)
{
	if (info->has_port)
		return info->state == ATTACHMENT_STATE_ATTACHING || info->state == from; /* or it has another name */
	return from != ATTACHMENT_STATE_WAITING && (info->state == ATTACHMENT_STATE_FAILED || info->state == ATTACHMENT_STATE_GONE);
}

/* The stock tools are told of a port when the kernel has it: nobody waits for that. */
static bool attachment_changes_usbip(const struct attachment_info *info, enum attachment_state from)
{
	return (from == ATTACHMENT_STATE_ATTACHING && info->state != from) ||
	       (attachment_changes_ports(info, from) && info->state != ATTACHMENT_STATE_ATTACHING);
}

static void handler_write_ports(const struct handler *handler)
{
	int err = roster_write_ports(&handler->roster, handler->records_path, handler->peer_services.hello.boot_id);

	if (err < 0)
		log_error("%s: %s; a restart of the handler would not know its ports", handler->records_path, strerror(-err));
}

static void handler_write_usbip_records(const struct handler *handler)
{
	int err =
		roster_write_usbip_records(&handler->roster, handler->options->usbip_dir ? handler->options->usbip_dir : USBIP_RECORD_DIR);
	if (err < 0)
		log_debug("the records for `usbip port`: %s", strerror(-err));
}

static void handler_on_attachment(struct attachment *attachment, enum attachment_state from, void *userdata)
{
	struct handler *handler = userdata;
	struct peer *peer = attachment_get_owner(attachment);
	const struct attachment_info *info = attachment_get_info(attachment);

	handler_log_change(peer, info);
	peer_on_attachment(peer, attachment, from);
	if (attachment_changes_ports(info, from))
		handler_write_ports(handler);
	if (attachment_changes_usbip(info, from))
		handler_write_usbip_records(handler);
	if (handler->server && local_server_has_subscribers(handler->server))
		handler_publish(handler, json_pack("{s:s, s:s, s:o}", "event", "device", "pi", peer_get_name(peer), "device",
						   vm_status_device(attachment)));
	handler_tell_manager(handler);
	if (info->state == ATTACHMENT_STATE_SETTLING && info->epoch == 0)
		port_watch_scan_nodes(handler->ports);
	if (handler->on_stopped && roster_count(&handler->roster).n_ports == 0)
		handler_end_stop(handler);
}

static int handler_on_reap(sd_event_source *source, void *userdata)
{
	struct handler *handler = userdata;

	(void)source;
	roster_reap(&handler->roster);
	return 0;
}

static void handler_on_peer(struct peer *peer, void *userdata)
{
	struct handler *handler = userdata;

	handler_tell_manager(handler);
	if (handler->server && local_server_has_subscribers(handler->server))
		handler_publish(handler, json_pack("{s:s, s:o}", "event", "pi", "pi", vm_status_pi(peer)));
	if (peer_get_state(peer) == PEER_STATE_UNPAIRED)
		sd_event_source_set_enabled(handler->reaper, SD_EVENT_ONESHOT);
}

/* ---- the kernel's events ---- */

void handler_on_uevent(const struct uevent *uevent, void *userdata)
{
	struct handler *handler = userdata;

	port_watch_handle_uevent(handler->ports, uevent);
}

/* ---- the Pis ---- */

static void handler_on_problem(const struct config_problem *problem, void *userdata)
{
	(void)userdata;
	log_warning("%s", problem->text);
}

/* What this process may not write, usbpush-unpair.service does. */
static int handler_on_unpair(struct peer *peer, void *userdata)
{
	const struct handler *handler = userdata;
	int err = revocation_add(handler->runtime_dir, peer_get_id(peer));

	if (err < 0)
		log_error("%s: the end of its pairing could not be noted in %s: %s", peer_get_name(peer), handler->runtime_dir,
			  strerror(-err));
	else
		log_notice("%s: ended its pairing", peer_get_name(peer));
	return err;
}

static void handler_add_peer(struct handler *handler, const struct piconf_entry *entry)
{
	struct peer *peer = roster_find_peer(&handler->roster, entry->id);

	if (revocation_has(handler->runtime_dir, entry->id))
		return;
	if (peer) {
		peer_rename(peer, entry->name);
		if (peer_is_ended(peer))
			peer_end(peer, "paired again", false);
		return;
	}
	if (handler->roster.n == PICONF_MAX_PIS)
		return;
	peer = peer_new(&handler->peer_services, entry->id, entry->name);
	if (peer)
		handler->roster.peers[handler->roster.n++] = peer;
	else
		log_error("%s: out of memory", entry->name);
}

static const char *handler_accept_path(const struct handler *handler)
{
	return handler->options->accept_path ? handler->options->accept_path : ACCEPTANCE_PATH;
}

/* What was refused for good may be taken now: a resync lets the Pis offer it again. */
static void handler_on_acceptance(void *userdata)
{
	struct handler *handler = userdata;

	if (handler->on_stopped)
		return;
	roster_reconsider(&handler->roster);
	(void)handler_resync(handler);
}

static void handler_reload_pis(struct handler *handler)
{
	const char *path = handler->options->piconf_path ? handler->options->piconf_path : PICONF_PATH;
	int err = piconf_read(path, handler_on_problem, &handler->piconf);

	if (err < 0) {
		log_error("%s: %s; the Pis stay as they are", path, strerror(-err));
		return;
	}
	for (size_t i = 0; i < handler->roster.n; i++) {
		struct peer *peer = handler->roster.peers[i];

		if (!piconf_find(&handler->piconf, peer_get_id(peer)) && peer_get_state(peer) != PEER_STATE_UNPAIRED)
			peer_end(peer, "the Pi is not paired any more", true);
	}
	for (size_t i = 0; i < handler->piconf.n; i++)
		handler_add_peer(handler, &handler->piconf.entries[i]);
	revocation_prune(handler->runtime_dir, &handler->piconf);
	whereabouts_prune(handler->whereabouts, &handler->piconf);
}

void handler_reload(struct handler *handler)
{
	acceptance_watch_read(handler->acceptance_watch);
	handler_reload_pis(handler);
}

static void refuse_unpaired(const char *pi_id, int fd)
{
	struct message message = { .type = MESSAGE_REFUSED };
	_cleanup_close_ int taken = fd;
	_cleanup_free_ char *line = NULL;

	log_warning("Pi %s has a key for this VM but no line in pi.conf: refused", pi_id);
	failure_set(&message.failure, FAILURE_NOT_PAIRED, "Run on the VM: usbpush-vm authorize", "the VM does not know this Pi");
	line = message_format(&message);
	if (line)
		(void)send(taken, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void handler_accept_relay(struct handler *handler, const char *pi_id, const char *address, int fd)
{
	struct peer *peer = roster_find_peer(&handler->roster, pi_id);

	if (!peer || peer_is_ended(peer)) {
		handler_reload_pis(handler); /* it may have been paired by hand */
		peer = roster_find_peer(&handler->roster, pi_id);
	}
	if (peer && !peer_is_ended(peer)) {
		whereabouts_note(handler->whereabouts, pi_id, address);
		peer_accept(peer, address, fd);
		return;
	}
	refuse_unpaired(pi_id, fd);
}

unsigned handler_resync(struct handler *handler)
{
	unsigned n = 0;

	for (size_t i = 0; i < handler->roster.n; i++) {
		n += peer_get_state(handler->roster.peers[i]) == PEER_STATE_UP;
		peer_resync(handler->roster.peers[i]);
	}
	return n;
}

/* ---- requests ---- */

uid_t handler_get_relay_uid(const struct handler *handler)
{
	return handler->options->relay_uid;
}

int handler_detach(struct handler *handler, const char *selector, json_t **ret_offers, struct failure *ret_failure)
{
	struct attachment *attachment;
	int err = roster_select(&handler->roster, selector, &attachment, ret_failure);

	if (err < 0)
		return err;
	*ret_offers = json_pack("[s]", attachment_get_info(attachment)->offer.id);
	peer_detach_by_hand(attachment_get_owner(attachment), attachment);
	return 0;
}

int handler_find(struct handler *handler, const char *selector, json_t **ret_device, struct failure *ret_failure)
{
	struct attachment *attachment;
	int err = roster_select(&handler->roster, selector, &attachment, ret_failure);

	if (err < 0)
		return err;
	*ret_device = vm_status_device(attachment);
	return 0;
}

static json_t *handler_problem_to_json(const struct handler *handler)
{
	bool is_in_force;
	const struct config_problem *problem = acceptance_get_problem(handler->acceptance, &is_in_force);
	struct failure failure;

	if (!problem)
		return json_null();
	failure_set(&failure, FAILURE_BAD_REQUEST,
		    is_in_force ? "Mend that line. Until then what no rule above it fits is refused." :
				  "Mend that line. Until then the rules from before hold.",
		    "%s", problem->text);
	return failure_to_json(&failure);
}

json_t *handler_status_to_json(struct handler *handler)
{
	json_t *pis = json_array();

	for (size_t i = 0; i < handler->roster.n; i++)
		json_whole_append(&pis, vm_status_pi(handler->roster.peers[i]));
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "version", USBPUSH_VERSION, "vhci", vm_status_vhci(handler->vhci), "problem",
			 handler_problem_to_json(handler), "pis", pis, "blocked", blocked_to_json(handler->jobs));
}

unsigned handler_count_jobs(const struct handler *handler)
{
	return job_runner_count(handler->jobs);
}

/* ---- life ---- */

static int handler_on_stop_limit(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	log_warning("the kernel did not free every port in time");
	handler_end_stop(userdata);
	return 0;
}

void handler_stop(struct handler *handler, void (*on_stopped)(void *userdata), void *userdata)
{
	if (handler->on_stopped)
		return;
	handler->server = local_server_free(handler->server);
	for (size_t i = 0; i < handler->roster.n; i++)
		peer_end(handler->roster.peers[i], "the handler on the VM stops", false);
	handler->on_stopped = on_stopped;
	handler->on_stopped_userdata = userdata;
	if (roster_count(&handler->roster).n_ports == 0 ||
	    timer_arm(handler->event, &handler->stop_limit, STOP_LIMIT_USEC, handler_on_stop_limit, handler) < 0)
		handler_end_stop(handler);
}

static void handler_fill_services(struct handler *handler)
{
	struct hello *hello = &handler->peer_services.hello;

	handler->attachment_services = (struct attachment_services){
		.event = handler->event,
		.jobs = handler->jobs,
		.vhci = handler->vhci,
		.acceptance = handler->acceptance,
		.names = handler->names,
		.is_port_reserved = handler_is_port_reserved,
		.on_change = handler_on_attachment,
		.userdata = handler,
	};
	handler->peer_services.attachment = &handler->attachment_services;
	handler->peer_services.is_offer_of_another = handler_is_offer_of_another;
	handler->peer_services.on_unpair = handler_on_unpair;
	handler->peer_services.on_change = handler_on_peer;
	handler->peer_services.userdata = handler;
	hello->protocol = PROTOCOL_VERSION;
	hello->can_direct = imports_are_possible();
	hello->can_partial = true;
	snprintf(hello->software, sizeof(hello->software), "%s", USBPUSH_VERSION);
	snprintf(hello->role, sizeof(hello->role), "vm");
	(void)machine_id(hello->id, sizeof(hello->id));
	(void)machine_boot_id(hello->boot_id, sizeof(hello->boot_id));
	machine_name(hello->name, sizeof(hello->name));
}

static int handler_init(struct handler *handler)
{
	const struct handler_options *options = handler->options;
	int err = vhci_new(options->sysfs_root, options->modules_dir, &handler->vhci);

	if (err >= 0)
		err = acceptance_new(options->modules_dir, handler_accept_path(handler), &handler->acceptance);
	if (err >= 0)
		err = name_book_new(handler->runtime_dir, &handler->names);
	if (err >= 0)
		err = job_runner_new(handler->event, HANDLER_MAX_JOBS, &handler->jobs);
	if (err >= 0)
		err = whereabouts_new(handler->event, handler->jobs, options->addresses_path ? options->addresses_path : WHEREABOUTS_PATH,
				      &handler->whereabouts);
	if (err >= 0)
		err = timer_new(handler->event, &handler->stop_limit, handler_on_stop_limit, handler);
	if (err >= 0)
		err = sd_event_add_defer(handler->event, &handler->reaper, handler_on_reap, handler);
	if (err >= 0)
		err = sd_event_source_set_enabled(handler->reaper, SD_EVENT_OFF);
	if (err >= 0)
		err = port_watch_new(handler->event, handler->vhci, &handler->roster, &handler->ports);
	if (err >= 0)
		err = acceptance_watch_new(handler->event, handler->acceptance, handler_accept_path(handler), handler_on_acceptance,
					   handler, &handler->acceptance_watch);
	if (err >= 0 && asprintf(&handler->records_path, "%s/ports.json", handler->runtime_dir) < 0)
		err = -ENOMEM;
	return err;
}

int handler_new(sd_event *event, const struct handler_options *options, struct handler **ret_handler)
{
	struct handler *handler = calloc(1, sizeof(*handler));
	int err;

	if (!handler)
		return -ENOMEM;
	handler->event = event;
	handler->options = options;
	handler->runtime_dir = options->runtime_dir ? options->runtime_dir : REVOCATION_RUNTIME_DIR;
	err = handler_init(handler);
	if (err < 0) {
		handler_free(handler);
		return err;
	}
	handler_fill_services(handler);
	handler_reload_pis(handler);
	*ret_handler = handler;
	return 0;
}

void handler_start(struct handler *handler)
{
	struct failure failure;
	int err;

	vhci_scan(handler->vhci);
	if (vhci_prepare(handler->vhci, &failure) < 0)
		log_error("%s. %s", failure.text, failure.cure);
	else
		log_info("vhci_hcd has %u ports", vhci_count_ports(handler->vhci));
	err = roster_adopt_ports(&handler->roster, handler->vhci, handler->jobs, handler->records_path,
				 handler->peer_services.hello.boot_id);
	if (err < 0)
		log_warning("%s can't be used (%s): ports of a former handler are not taken over", handler->records_path, strerror(-err));
	handler_write_usbip_records(handler);
	handler_write_ports(handler); /* once all are taken over: until here, a successor needs the file as it was */
	daemon_status("no Pi connected yet");
}

/* Root, as whom we run, and the relay: without a place for the latter no Pi's channel comes up. */
static bool handler_is_own(uid_t uid, void *userdata)
{
	const struct handler *handler = userdata;

	return uid == 0 || uid == geteuid() || uid == handler_get_relay_uid(handler);
}

int handler_listen(struct handler *handler)
{
	_cleanup_free_ char *path = NULL;
	int err = port_watch_listen(handler->ports);

	if (err < 0)
		return err;
	acceptance_watch_listen(handler->acceptance_watch);
	handler_start(handler); /* what changes from now on comes as an event */
	if (asprintf(&path, "%s/handler.sock", handler->runtime_dir) < 0)
		return -ENOMEM;
	err = local_server_new(handler->event, path, 0666, HANDLER_MAX_CLIENTS, handler_on_request, NULL, handler, &handler->server);
	if (err == 0)
		local_server_share_places(handler->server, handler_is_own);
	return err;
}

struct handler *handler_free(struct handler *handler)
{
	if (!handler)
		return NULL;
	handler->on_stopped = NULL;
	local_server_free(handler->server);
	roster_done(&handler->roster);
	port_watch_free(handler->ports);
	sd_event_source_disable_unref(handler->reaper);
	sd_event_source_disable_unref(handler->stop_limit);
	whereabouts_free(handler->whereabouts);
	job_runner_free(handler->jobs);
	acceptance_watch_free(handler->acceptance_watch);
	name_book_free(handler->names);
	acceptance_free(handler->acceptance);
	vhci_free(handler->vhci);
	free(handler->records_path);
	free(handler);
	return NULL;
}
