#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "piconf.h"

/* All Pis that this VM knows, and through them all attachments. */

struct attachment;
struct former_port;
struct job_runner;
struct peer;
struct vhci;

struct roster {
	size_t n;
	struct peer *peers[PICONF_MAX_PIS]; /* owned */
	struct former_port *former_ports;   /* owned: a former handler's, whose detach is not written yet */
};

/* How much of what there is. */
struct roster_counts {
	unsigned n_connected;
	unsigned n_attached;
	unsigned n_ports; /* held, in whatever state */
};

/* The Pi with this id, or NULL. */
struct peer *roster_find_peer(const struct roster *roster, const char *id);

/* The attachment that holds port, or NULL. */
struct attachment *roster_find_port(const struct roster *roster, uint32_t port);

/* Whether nobody may be given port: an attachment holds it, or the `detach` of what a former handler had there is still to be written. */
bool roster_is_port_reserved(const struct roster *roster, uint32_t port);

/* Whether a Pi other than peer has a live offer with this id. */
bool roster_has_offer_elsewhere(const struct roster *roster, const struct peer *peer, const char *offer_id);

/* The one live device that text names best (selection.h): a bus id here or on its Pi, a name, VID:PID, a serial, a node or one of its links. A negative errno
 * with FAILURE_NOT_FOUND, or FAILURE_AMBIGUOUS and the list. */
int roster_select(const struct roster *roster, const char *text, struct attachment **ret_attachment, struct failure *ret_failure);

/* Counts. */
struct roster_counts roster_count(const struct roster *roster);

/* Writes which ports are held, and for whom, to the file at path (port_record.h). 0 or negative errno. */
int roster_write_ports(const struct roster *roster, const char *path, const char *boot_id);

/* Tells the stock tools of the ports that are held (usbip_record.h). 0 or negative errno. */
int roster_write_usbip_records(const struct roster *roster, const char *dir);

/* Takes over what a predecessor of this process wrote there: a port that is still its Pi's goes on where it was, one whose Pi is not paired any
 * more is freed, one that somebody else has meanwhile is left alone. 0 or negative errno. */
int roster_adopt_ports(struct roster *roster, struct vhci *vhci, struct job_runner *jobs, const char *path, const char *boot_id);

/* The VM's rules changed: attachment_reconsider() for all. */
void roster_reconsider(const struct roster *roster);

/* Compares every attachment with sysfs (attachment_check). */
void roster_check(const struct roster *roster);

/* Frees the unpaired Pis that have nothing left. */
void roster_reap(struct roster *roster);

/* Frees all. */
void roster_done(struct roster *roster);
