#pragma once

#include <systemd/sd-event.h>

#include "offer_ids.h"
#include "peer.h"

/* What peer.c and peer_parting.c share. */

struct imports;
struct lobby;
struct pi_channel;

struct peer {
	const struct peer_services *services; /* borrowed: outlives us */
	char id[MESSAGE_ID_SIZE];
	char name[MESSAGE_NAME_SIZE];
	enum peer_state state;
	char reason[128];           /* why it is AWAY or UNPAIRED */
	struct pi_channel *channel; /* owned; NULL unless SYNCING or UP */
	uint64_t epoch;             /* counts its control channels */
	uint32_t patience_ms;
	sd_event_source *deadline; /* owned: the end of our patience */
	sd_event_source *reaper;   /* owned: frees what is GONE in the loop's next turn */
	struct lobby *lobby;       /* owned */
	struct imports *imports;   /* owned */
	char address[64];          /* of the Pi, as its last connection had it; empty before */
	struct attachment_set attachments;
	struct offer_ids awaited; /* synced, not kept, not yet connected */
	struct offer_ids by_hand; /* detached by hand, and the Pi has not heard of it: else it would offer them anew */
};

/* The one transition function: logs, writes the state, does what belongs to entering it. */
void peer_enter_state(struct peer *peer, enum peer_state state);

/* The Pi says `unpair`. A negative errno with ret_failure if the VM can't note it. */
int peer_on_unpair(struct peer *peer, struct failure *ret_failure);

/* Nobody took the lines out in time: the Pi is shut out all the same, and its owner must know. */
void peer_give_up_parting(struct peer *peer);
