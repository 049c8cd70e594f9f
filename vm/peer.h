#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attachment_set.h"
#include "message.h"

/* One paired Pi as this VM sees it: its control channel, its heartbeat, its attachments. */

struct peer;

enum peer_state {
	PEER_STATE_AWAY,    /* not connected; nothing of it is attached */
	PEER_STATE_SYNCING, /* connected; its `sync` is awaited */
	PEER_STATE_UP,
	PEER_STATE_LOST,     /* the control channel ended; what is attached stays until the patience is over */
	PEER_STATE_PARTING,  /* it ended its pairing; the answer waits until its lines are out of the files */
	PEER_STATE_UNPAIRED, /* may not come back; waits only for its ports to be free */
};

/* What all peers of a handler share. Borrowed by them: outlives them. */
struct peer_services {
	const struct attachment_services *attachment;
	struct hello hello; /* of this VM; ports and patience are filled in when it is sent */
	/* Whether a live attachment of another Pi has this offer's id. */
	bool (*is_offer_of_another)(const struct peer *peer, const char *offer_id, void *userdata);
	/* The Pi ended its pairing: shuts it out, and has its lines taken out of the files; peer_end() when they are. 0 or negative errno. */
	int (*on_unpair)(struct peer *peer, void *userdata);
	/* After each change of state. Must not free the peer. */
	void (*on_change)(struct peer *peer, void *userdata);
	void *userdata;
};

/* A Pi that is AWAY. NULL without memory. */
struct peer *peer_new(const struct peer_services *services, const char *id, const char *name);

/* Closes all its connections and releases it, without touching the kernel. Takes NULL, returns NULL. */
struct peer *peer_free(struct peer *peer);

/* A connection of this Pi, just made by the relay: fd is non-blocking and taken over; the Pi's first line is still to be read from it. address: of the Pi, as
 * sshd sees it; "" if it did not say. */
void peer_accept(struct peer *peer, const char *address, int fd);

/* Takes a port over that a predecessor of this process attached for this Pi; the Pi has until the end of its patience to claim it by
 * `sync`. */
struct attachment *peer_adopt(struct peer *peer, const struct offer *offer, uint32_t port);

/* Asks for a `sync` now, if it is UP. */
void peer_resync(struct peer *peer);

/* Somebody at this machine does not want one of its devices any more. The Pi is told so, as soon as it is there, and keeps the device. */
void peer_detach_by_hand(struct peer *peer, struct attachment *attachment);

/* Detaches everything of it and closes its channel; reason is told. is_for_ever: PEER_STATE_UNPAIRED, and the Pi hears that it is. */
void peer_end(struct peer *peer, const char *reason, bool is_for_ever);

/* One of its attachments changed: tells the Pi what it has to know. The on_change of attachment_services calls it. */
void peer_on_attachment(struct peer *peer, struct attachment *attachment, enum attachment_state from);

/* Renames it (pi.conf was changed). */
void peer_rename(struct peer *peer, const char *name);

/* Whether its pairing has ended, or is about to. */
bool peer_is_ended(const struct peer *peer);

/* Its id, 32 hex digits. */
const char *peer_get_id(const struct peer *peer);

/* Its name, as `authorize` gave it. */
const char *peer_get_name(const struct peer *peer);

/* Its address, as its last connection had it; empty before the first. */
const char *peer_get_address(const struct peer *peer);

/* Its state. */
enum peer_state peer_get_state(const struct peer *peer);

/* Why it is AWAY or UNPAIRED; empty before the first reason. */
const char *peer_get_reason(const struct peer *peer);

/* The state in a word: "up". */
const char *peer_state_to_string(enum peer_state state);

/* Its attachments, borrowed. */
const struct attachment_set *peer_get_attachments(const struct peer *peer);

/* How many offers its last sync named for which no `connect` has come yet. */
size_t peer_count_awaited(const struct peer *peer);
