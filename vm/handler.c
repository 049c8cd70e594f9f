#include "handler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "acceptance.h"
#include "backoff.h"
#include "blocked.h"
#include "cleanup.h"
#include "daemon.h"
#include "file_watch.h"
#include "handler_request.h"
#include "imports.h"
#include "job.h"
#include "local_server.h"
#include "log.h"
#include "machine.h"
#include "name_book.h"
#include "peer.h"
#include "piconf.h"
#include "revocation.h"
#include "roster.h"
#include "sysfs.h"
#include "uevent.h"
#include "vhci.h"
#include "vm_status.h"

#define HANDLER_MAX_JOBS    64
#define HANDLER_MAX_CLIENTS 256
#define STOP_LIMIT_USEC     (UINT64_C(5) * 1000000)

struct handler {
	const struct handler_options *options; /* borrowed: outlives us */
	sd_event *event;                       /* borrowed: outlives us */
	struct vhci *vhci;
	struct acceptance *acceptance;
	struct name_book *names;
	sd_event_source *accept_retry; /* owned */
	struct backoff accept_backoff;
	struct file_watch *accept_watch; /* owned; NULL where there is nothing to watch */
	struct job_runner *jobs;
	struct uevent_monitor *kernel_monitor, *udev_monitor;
	struct local_server *server; /* NULL before handler_listen() and once it stops */
	struct attachment_services attachment_services;
	struct peer_services peer_services;
	struct piconf piconf;
	const char *runtime_dir; /* borrowed */
	char *records_path;
	struct roster roster;
	struct roster_counts told;          /* to the service manager */
	sd_event_source *reaper;            /* owned: frees unpaired Pis */
	sd_event_source *node_scan;         /* owned: finds nodes that were there before this process listened */
	sd_event_source *stop_limit;        /* owned */
	void (*on_stopped)(void *userdata); /* set while stopping */
	void *on_stopped_userdata;
};

static bool handler_is_port_reserved(uint32_t port, void *userdata)
{
	const struct handler *handler = userdata;

	return roster_find_port(&handler->roster, port) != NULL;
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

/* Those whose devices have nodes that programs open. */
static const char *const NODE_SUBSYSTEMS[] = { "tty", "block", "hidraw", "video4linux", "sound", "input", "usbmisc", NULL };

static void on_node(const struct uevent *uevent, void *userdata)
{
	struct handler *handler = userdata;
	struct attachment *attachment;
	struct busid busid;
	uint32_t port;

	if (!*uevent->devnode || !vhci_find_port(handler->vhci, uevent->syspath, &port, &busid))
		return;
	attachment = roster_find_port(&handler->roster, port);
	if (attachment)
		attachment_on_node(attachment, uevent->action, uevent->devnode, uevent->devlinks);
}

static void handler_log_change(const struct peer *peer, const struct attachment_info *info)
{
	if (info->state == ATTACHMENT_STATE_ATTACHED)
		log_info("%s: %s: attached as %s at port %u: %s", peer_get_name(peer), info->offer.busid.text, info->busid.text, info->port,
			 info->nodes.n > 0 ? info->nodes.nodes[0].path : "no device node");
	else if (info->state == ATTACHMENT_STATE_GONE)
		log_info("%s: %s: gone: %s", peer_get_name(peer), info->offer.busid.text, info->reason);
}

/* A port was claimed or freed. */
static bool attachment_changes_ports(const struct attachment_info *info, enum attachment_state from)
{
	if (info->has_port)
		return info->state == ATTACHMENT_STATE_ATTACHING || info->state == from; /* or it has another name */
	return from != ATTACHMENT_STATE_WAITING && (info->state == ATTACHMENT_STATE_FAILED || info->state == ATTACHMENT_STATE_GONE);
}

static void handler_write_ports(const struct handler *handler)
{
	int err = roster_write_ports(&handler->roster, handler->records_path, handler->peer_services.hello.boot_id);

	if (err < 0)
		log_error("%s: %s; a restart of the handler would not know its ports", handler->records_path, strerror(-err));
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
	if (handler->server && local_server_has_subscribers(handler->server))
		handler_publish(handler, json_pack("{s:s, s:s, s:o}", "event", "device", "pi", peer_get_name(peer), "device",
						   vm_status_device(attachment)));
	handler_tell_manager(handler);
	if (info->state == ATTACHMENT_STATE_SETTLING && info->epoch == 0)
		sd_event_source_set_enabled(handler->node_scan, SD_EVENT_ONESHOT);
	if (handler->on_stopped && roster_count(&handler->roster).n_ports == 0)
		handler_end_stop(handler);
}

static void handler_scan_nodes(struct handler *handler)
{
	for (size_t i = 0; NODE_SUBSYSTEMS[i]; i++)
		(void)uevent_enumerate(NODE_SUBSYSTEMS[i], on_node, handler);
}

static int handler_on_node_scan(sd_event_source *source, void *userdata)
{
	(void)source;
	handler_scan_nodes(userdata);
	return 0;
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

/* The module was loaded or went, maybe: its root hubs come one by one, and what is told is the whole. */
static void handler_rescan(struct handler *handler)
{
	uint32_t n_before = vhci_count_ports(handler->vhci), n;
	struct failure failure;

	vhci_scan(handler->vhci);
	n = vhci_count_ports(handler->vhci);
	if (n > 0 && vhci_prepare(handler->vhci, &failure) < 0)
		log_error("%s. %s", failure.text, failure.cure);
	if (n == n_before)
		return;
	if (n > 0)
		log_info("vhci_hcd has %u ports", n);
	else
		log_error("vhci_hcd went away, and all that was attached with it");
	roster_check(&handler->roster);
}

static bool uevent_is_root_hub(const struct uevent *uevent)
{
	return strncmp(uevent->sysname, "usb", 3) == 0 && strstr(uevent->syspath, "/platform/vhci_hcd.") != NULL;
}

/* `usbip attach` by hand: it stays whoever's it is. Authorizing it is not ours, either: a port that the kernel was slow to free looks the same. */
static void handler_tell_of_stranger(struct handler *handler, uint32_t port, const char *syspath)
{
	_cleanup_close_ int fd = vhci_open_device(handler->vhci, port, NULL);
	char authorized[8];

	if (fd >= 0 && sysfs_read(fd, "authorized", authorized, sizeof(authorized)) >= 0 && strcmp(authorized, "0") == 0)
		log_notice("port %u: a device that no Pi offered (usbip attach?) gets no driver: usbpush-handler lets none in by itself. "
			   "If it is yours: echo 1 > %s/authorized",
			   port, syspath);
}

static void on_usb_device(const struct uevent *uevent, struct handler *handler)
{
	struct attachment *attachment;
	struct busid busid;
	uint32_t port;

	if (uevent_is_root_hub(uevent) && (uevent->action == UEVENT_ADD || uevent->action == UEVENT_REMOVE)) {
		handler_rescan(handler);
		return;
	}
	/* Only the device at the port itself, not one behind a hub there. */
	if (!vhci_find_port(handler->vhci, uevent->syspath, &port, &busid) || strcmp(uevent->sysname, busid.text) != 0)
		return;
	attachment = roster_find_port(&handler->roster, port);
	if (attachment)
		attachment_on_device(attachment, uevent->action, &busid);
	else if (uevent->action == UEVENT_BIND)
		handler_tell_of_stranger(handler, port, uevent->syspath);
}

void handler_on_uevent(const struct uevent *uevent, void *userdata)
{
	if (strcmp(uevent->subsystem, "usb") != 0)
		on_node(uevent, userdata);
	else if (strcmp(uevent->devtype, "usb_device") == 0)
		on_usb_device(uevent, userdata);
}

static void handler_on_overrun(void *userdata)
{
	struct handler *handler = userdata;

	log_warning("the kernel dropped events; everything is looked at anew");
	handler_rescan(handler);
	roster_check(&handler->roster);
	handler_scan_nodes(handler);
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
static void handler_on_accept_conf(void *userdata);

static int handler_on_accept_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	handler_on_accept_conf(userdata);
	return 0;
}

/* No change of a file that could not be read will wake us. */
static void handler_retry_accept_conf(struct handler *handler)
{
	if (acceptance_is_unread(handler->acceptance))
		timer_arm(handler->event, &handler->accept_retry, backoff_next(&handler->accept_backoff), handler_on_accept_retry, handler);
	else
		backoff_reset(&handler->accept_backoff);
}

static void handler_on_accept_conf(void *userdata)
{
	struct handler *handler = userdata;
	bool is_changed;

	if (handler->on_stopped)
		return;
	is_changed = acceptance_reload(handler->acceptance);
	handler_retry_accept_conf(handler);
	if (!is_changed)
		return;
	log_info("%s was read anew", handler_accept_path(handler));
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
}

void handler_reload(struct handler *handler)
{
	handler_on_accept_conf(handler);
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
	attachment_detach(attachment, DETACHED_BY_HAND);
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
	const struct config_problem *problem = acceptance_get_problem(handler->acceptance);
	struct failure failure;

	if (!problem)
		return json_null();
	failure_set(&failure, FAILURE_BAD_REQUEST, "Mend that line. Until then no rule below it holds.", "%s", problem->text);
	return failure_to_json(&failure);
}

json_t *handler_status_to_json(struct handler *handler)
{
	json_t *pis = json_array();

	for (size_t i = 0; i < handler->roster.n; i++)
		json_array_append_new(pis, vm_status_pi(handler->roster.peers[i]));
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "version", USBPUSH_VERSION, "vhci", vm_status_vhci(handler->vhci), "problem",
			 handler_problem_to_json(handler), "pis", pis, "blocked", blocked_to_json(handler->jobs));
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
		err = sd_event_add_defer(handler->event, &handler->reaper, handler_on_reap, handler);
	if (err >= 0)
		err = sd_event_source_set_enabled(handler->reaper, SD_EVENT_OFF);
	if (err >= 0)
		err = sd_event_add_defer(handler->event, &handler->node_scan, handler_on_node_scan, handler);
	if (err >= 0)
		err = sd_event_source_set_enabled(handler->node_scan, SD_EVENT_OFF);
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
	handler->accept_backoff = (struct backoff){ .min_usec = UINT64_C(1000000), .max_usec = UINT64_C(60000000) };
	handler_fill_services(handler);
	handler_retry_accept_conf(handler);
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
	err = roster_adopt_ports(&handler->roster, handler->vhci, handler->records_path, handler->peer_services.hello.boot_id);
	if (err < 0)
		log_warning("%s can't be used (%s): ports of a former handler are not taken over", handler->records_path, strerror(-err));
	handler_write_ports(handler); /* once all are taken over: until here, a successor needs the file as it was */
	daemon_status("no Pi connected yet");
}

int handler_listen(struct handler *handler)
{
	static const char *const usb[] = { "usb", NULL };
	_cleanup_free_ char *path = NULL;
	int err = uevent_monitor_new(handler->event, UEVENT_KERNEL, usb, handler_on_uevent, handler_on_overrun, handler,
				     &handler->kernel_monitor);

	if (err >= 0)
		err = uevent_monitor_new(handler->event, UEVENT_UDEV, NODE_SUBSYSTEMS, handler_on_uevent, handler_on_overrun, handler,
					 &handler->udev_monitor);
	if (err < 0)
		return err;
	err = file_watch_new(handler->event, handler_accept_path(handler), handler_on_accept_conf, handler, &handler->accept_watch);
	if (err < 0)
		log_warning("%s is not watched (%s): after a change of it, systemctl reload usbpush-handler", handler_accept_path(handler),
			    strerror(-err));
	handler_start(handler); /* what changes from now on comes as an event */
	if (asprintf(&path, "%s/handler.sock", handler->runtime_dir) < 0)
		return -ENOMEM;
	return local_server_new(handler->event, path, 0666, HANDLER_MAX_CLIENTS, handler_on_request, NULL, handler, &handler->server);
}

struct handler *handler_free(struct handler *handler)
{
	if (!handler)
		return NULL;
	handler->on_stopped = NULL;
	local_server_free(handler->server);
	uevent_monitor_free(handler->kernel_monitor);
	uevent_monitor_free(handler->udev_monitor);
	roster_done(&handler->roster);
	sd_event_source_disable_unref(handler->reaper);
	sd_event_source_disable_unref(handler->node_scan);
	sd_event_source_disable_unref(handler->stop_limit);
	sd_event_source_disable_unref(handler->accept_retry);
	job_runner_free(handler->jobs);
	file_watch_free(handler->accept_watch);
	name_book_free(handler->names);
	acceptance_free(handler->acceptance);
	vhci_free(handler->vhci);
	free(handler->records_path);
	free(handler);
	return NULL;
}
