#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "peer_internal.h"
#include "peer_report.h"
#include "pi_channel.h"

/* The end of a pairing, by the Pi or on this machine. */

/* What it says ends this Pi's own pairing and no other's: who it is stands in the forced command of its key. */
int peer_on_unpair(struct peer *peer, struct failure *ret_failure)
{
	int err = peer->services->on_unpair(peer, peer->services->userdata);
	char cure[128];

	if (err < 0) {
		snprintf(cure, sizeof(cure), "On the VM: usbpush-vm unpair %s", peer->name);
		return failure_set(ret_failure, FAILURE_INTERNAL, cure, "the VM could not note the end of the pairing: %s", strerror(-err));
	}
	snprintf(peer->reason, sizeof(peer->reason), "the Pi ended the pairing");
	peer_enter_state(peer, PEER_STATE_PARTING);
	return 0;
}

/* The last word to a Pi whose pairing has ended: the answer to its own asking, or why it is cut off. */
static void peer_say_farewell(struct peer *peer)
{
	struct message message = { .type = MESSAGE_UNPAIRED };

	if (peer->state != PEER_STATE_PARTING) {
		message.type = MESSAGE_REFUSED;
		failure_set(&message.failure, FAILURE_NOT_PAIRED, "To pair again: usbpush pair. To forget this VM: usbpush unpair.",
			    "the pairing was ended on the VM");
	}
	peer_report_send(peer->channel, &message);
	peer->channel = pi_channel_free(peer->channel);
}

void peer_give_up_parting(struct peer *peer)
{
	struct message message = { .type = MESSAGE_UNPAIRED };
	char cure[128];

	snprintf(cure, sizeof(cure), "On the VM: sudo usbpush-vm unpair %s", peer->name);
	failure_set(&message.failure, FAILURE_TIMEOUT, cure,
		    "the VM lets this Pi in no more, but its key is still in the VM's files (usbpush-unpair.service did not take it out)");
	log_error("%s: %s. %s", peer->name, message.failure.text, message.failure.cure);
	peer_report_send(peer->channel, &message);
	peer_enter_state(peer, PEER_STATE_UNPAIRED);
}

void peer_end(struct peer *peer, const char *reason, bool is_for_ever)
{
	if (is_for_ever)
		peer_say_farewell(peer);
	identity_clean_string(reason, peer->reason, sizeof(peer->reason));
	peer_enter_state(peer, is_for_ever ? PEER_STATE_UNPAIRED : PEER_STATE_AWAY);
}
