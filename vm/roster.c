#include "roster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "job.h"
#include "log.h"
#include "peer.h"
#include "port_record.h"
#include "selection.h"
#include "usbip_record.h"
#include "vhci.h"

struct peer *roster_find_peer(const struct roster *roster, const char *id)
{
	for (size_t i = 0; i < roster->n; i++)
		if (strcmp(peer_get_id(roster->peers[i]), id) == 0)
			return roster->peers[i];
	return NULL;
}

struct attachment *roster_find_port(const struct roster *roster, uint32_t port)
{
	for (size_t i = 0; i < roster->n; i++) {
		const struct attachment_set *set = peer_get_attachments(roster->peers[i]);

		for (size_t j = 0; j < set->n; j++) {
			const struct attachment_info *info = attachment_get_info(set->items[j]);

			if (info->has_port && info->port == port)
				return set->items[j];
		}
	}
	return NULL;
}

bool roster_has_offer_elsewhere(const struct roster *roster, const struct peer *peer, const char *offer_id)
{
	for (size_t i = 0; i < roster->n; i++)
		if (roster->peers[i] != peer && attachment_set_find_live(peer_get_attachments(roster->peers[i]), offer_id))
			return true;
	return false;
}

/* A node is a place, too. */
static enum selection_fit device_fit(const struct attachment *attachment, const char *text)
{
	const struct attachment_info *info = attachment_get_info(attachment);
	const struct offer *offer = &info->offer;
	const char *name = attachment_get_name(attachment);

	if (!attachment_is_live(attachment) || !*text)
		return SELECTION_NONE;
	if (strcmp(info->busid.text, text) == 0 || node_list_has(&info->nodes, text))
		return SELECTION_PLACE;
	if (strcmp(offer->name, text) == 0 && *name)
		return SELECTION_NAME;
	return selection_fit(text, &offer->busid, &offer->identity, name);
}

static enum selection_fit roster_find_best(const struct roster *roster, const char *text)
{
	enum selection_fit best = SELECTION_IDENTITY;

	for (size_t i = 0; i < roster->n; i++) {
		const struct attachment_set *set = peer_get_attachments(roster->peers[i]);

		for (size_t j = 0; j < set->n; j++)
			if (device_fit(set->items[j], text) > best)
				best = device_fit(set->items[j], text);
	}
	return best;
}

/* One more of the list that an ambiguous name is answered with. */
static void list_add(char *list, size_t size, const struct peer *peer, const struct attachment_info *info)
{
	size_t used = strlen(list);

	snprintf(list + used, size - used, "%s%s (%s on %s)", used ? ", " : "",
		 info->nodes.n > 0 ? info->nodes.nodes[0].path : info->busid.text, info->offer.busid.text, peer_get_name(peer));
}

int roster_select(const struct roster *roster, const char *text, struct attachment **ret_attachment, struct failure *ret_failure)
{
	enum selection_fit best = roster_find_best(roster, text);
	struct attachment *found = NULL;
	unsigned n_found = 0;
	char list[200] = "";

	for (size_t i = 0; i < roster->n; i++) {
		const struct attachment_set *set = peer_get_attachments(roster->peers[i]);

		for (size_t j = 0; j < set->n; j++) {
			if (device_fit(set->items[j], text) != best)
				continue;
			found = set->items[j];
			n_found++;
			list_add(list, sizeof(list), roster->peers[i], attachment_get_info(found));
		}
	}
	if (n_found == 0)
		return failure_set(ret_failure, FAILURE_NOT_FOUND, "List what is attached: usbpush-vm status",
				   "%s: no such device is attached", text);
	if (n_found > 1)
		return failure_set(ret_failure, FAILURE_AMBIGUOUS, "Name one of them by its node", "%s fits %u devices: %s", text, n_found,
				   list);
	*ret_attachment = found;
	return 0;
}

struct roster_counts roster_count(const struct roster *roster)
{
	struct roster_counts counts = { 0 };

	for (size_t i = 0; i < roster->n; i++) {
		const struct attachment_set *set = peer_get_attachments(roster->peers[i]);

		counts.n_connected += peer_get_state(roster->peers[i]) == PEER_STATE_UP;
		for (size_t j = 0; j < set->n; j++) {
			counts.n_attached += attachment_get_info(set->items[j])->state == ATTACHMENT_STATE_ATTACHED;
			counts.n_ports += attachment_get_info(set->items[j])->has_port;
		}
	}
	return counts;
}

struct held_port {
	const struct peer *peer;
	const struct attachment_info *info;
};

/* All ports that are held. The array is the caller's to free; NULL without memory. */
static struct held_port *roster_list_ports(const struct roster *roster, size_t *ret_n)
{
	struct held_port *held = calloc(roster_count(roster).n_ports + 1, sizeof(*held));
	size_t n = 0;

	if (!held)
		return NULL;
	for (size_t i = 0; i < roster->n; i++) {
		const struct attachment_set *set = peer_get_attachments(roster->peers[i]);

		for (size_t j = 0; j < set->n; j++) {
			const struct attachment_info *info = attachment_get_info(set->items[j]);

			if (info->has_port)
				held[n++] = (struct held_port){ roster->peers[i], info };
		}
	}
	*ret_n = n;
	return held;
}

int roster_write_ports(const struct roster *roster, const char *path, const char *boot_id)
{
	size_t n = 0;
	_cleanup_free_ struct held_port *held = roster_list_ports(roster, &n);
	_cleanup_free_ struct port_record *records = calloc(n + 1, sizeof(*records));

	if (!held || !records)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		records[i].port = held[i].info->port;
		records[i].offer = held[i].info->offer;
		snprintf(records[i].pi_id, sizeof(records[i].pi_id), "%s", peer_get_id(held[i].peer));
	}
	return port_records_write(path, boot_id, records, n);
}

int roster_write_usbip_records(const struct roster *roster, const char *dir)
{
	size_t n = 0;
	_cleanup_free_ struct held_port *held = roster_list_ports(roster, &n);
	_cleanup_free_ struct usbip_record *records = calloc(n + 1, sizeof(*records));

	if (!held || !records)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		records[i] = (struct usbip_record){ .port = held[i].info->port,
						    .host = peer_get_name(held[i].peer),
						    .direct_port = held[i].info->offer.direct_port,
						    .busid = held[i].info->offer.busid.text };
	return usbip_records_write(dir, records, n);
}

/* ---- a predecessor's ports ---- */

struct former_port {
	struct former_port *next; /* owned */
	struct roster *roster;    /* borrowed: owns us */
	uint32_t port;
};

bool roster_is_port_reserved(const struct roster *roster, uint32_t port)
{
	for (const struct former_port *former = roster->former_ports; former; former = former->next)
		if (former->port == port)
			return true;
	return roster_find_port(roster, port) != NULL;
}

static void former_port_free(struct former_port *former)
{
	struct former_port **at = &former->roster->former_ports;

	while (*at != former)
		at = &(*at)->next;
	*at = former->next;
	free(former);
}

static void on_former_port_detached(int result, void *arg, void *userdata)
{
	struct former_port *former = userdata;

	(void)arg;
	if (result < 0)
		log_error("port %u of a former handler could not be detached: %s", former->port, strerror(-result));
	former_port_free(former);
}

/* The kernel may free the port by itself before this is written: it would then hit whoever has the port next. So nobody has it before. */
static void roster_detach_former(struct roster *roster, const struct vhci *vhci, struct job_runner *jobs, uint32_t port)
{
	struct vhci_write *write = vhci_write_new_detach(vhci, port);
	struct former_port *former = malloc(sizeof(*former));
	char name[32];

	if (former) {
		*former = (struct former_port){ .next = roster->former_ports, .roster = roster, .port = port };
		roster->former_ports = former;
	}
	snprintf(name, sizeof(name), "port %u", port);
	if (former && write && job_start(jobs, name, vhci_write_run, write, vhci_write_free, on_former_port_detached, former, NULL) == 0)
		return;
	if (former)
		former_port_free(former);
	vhci_write_free(write);
	log_error("port %u: out of memory, it is not detached", port);
}

static void roster_adopt_port(struct roster *roster, struct vhci *vhci, struct job_runner *jobs, const struct port_record *record)
{
	struct peer *peer = roster_find_peer(roster, record->pi_id);
	struct vhci_port port;

	if (vhci_read_port(vhci, record->port, &port) < 0 || port.state == VHCI_PORT_FREE)
		return;
	/* The kernel shows the devid of a device that it has read; another one is not ours. */
	if (port.state == VHCI_PORT_USED && port.devid != record->offer.devid)
		return;
	log_info("port %u: taken over from the handler's predecessor (bus id %s on Pi %s)", record->port, record->offer.busid.text,
		 peer ? peer_get_name(peer) : record->pi_id);
	if (!peer || port.state != VHCI_PORT_USED || !peer_adopt(peer, &record->offer, record->port))
		roster_detach_former(roster, vhci, jobs, record->port);
}

int roster_adopt_ports(struct roster *roster, struct vhci *vhci, struct job_runner *jobs, const char *path, const char *boot_id)
{
	_cleanup_free_ struct port_record *records = NULL;
	size_t n;
	int err = port_records_read(path, boot_id, &records, &n);

	if (err < 0)
		return err;
	for (size_t i = 0; i < n; i++)
		roster_adopt_port(roster, vhci, jobs, &records[i]);
	return 0;
}

void roster_check(const struct roster *roster)
{
	for (size_t i = 0; i < roster->n; i++) {
		const struct attachment_set *set = peer_get_attachments(roster->peers[i]);

		for (size_t j = 0; j < set->n; j++)
			attachment_check(set->items[j]);
	}
}

void roster_reconsider(const struct roster *roster)
{
	for (size_t i = 0; i < roster->n; i++) {
		const struct attachment_set *set = peer_get_attachments(roster->peers[i]);

		for (size_t j = 0; j < set->n; j++)
			attachment_reconsider(set->items[j]);
	}
}

void roster_reap(struct roster *roster)
{
	for (size_t i = roster->n; i-- > 0;) {
		struct peer *peer = roster->peers[i];

		if (peer_get_state(peer) != PEER_STATE_UNPAIRED || peer_get_attachments(peer)->n > 0)
			continue;
		peer_free(peer);
		roster->peers[i] = roster->peers[--roster->n];
	}
}

void roster_done(struct roster *roster)
{
	while (roster->n > 0)
		peer_free(roster->peers[--roster->n]);
	while (roster->former_ports)
		former_port_free(roster->former_ports);
}
