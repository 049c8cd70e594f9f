#include "peer_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "daemon.h"
#include "imports.h"
#include "lobby.h"
#include "log.h"
#include "offer_ids.h"
#include "peer_report.h"
#include "pi_channel.h"
#include "vhci.h"

#define PATIENCE_MAX_MS 60000 /* a Pi can't make programs on this VM hang for longer */
#define MSEC_USEC       UINT64_C(1000)
#define LATE_USEC       (500 * MSEC_USEC)
#define PARTING_USEC    UINT64_C(5000000) /* for root to take a Pi's lines out of the files */

static int peer_on_deadline(sd_event_source *source, uint64_t usec, void *userdata);

static const char *const STATE_NAMES[] = {
	[PEER_STATE_AWAY] = "away", [PEER_STATE_SYNCING] = "syncing", [PEER_STATE_UP] = "up",
	[PEER_STATE_LOST] = "lost", [PEER_STATE_PARTING] = "parting", [PEER_STATE_UNPAIRED] = "unpaired",
};

const char *peer_state_to_string(enum peer_state state)
{
	return STATE_NAMES[state];
}

/* ---- the one transition function ---- */

static void peer_arm_deadline(struct peer *peer)
{
	timer_arm(peer->services->attachment->event, &peer->deadline, patience_to_limit(peer->patience_ms) * MSEC_USEC, peer_on_deadline,
		  peer);
}

/* Nothing of it stays but its channel. */
static void peer_let_go(struct peer *peer)
{
	peer->awaited.n = 0;
	lobby_clear(peer->lobby);
	attachment_set_detach_all(&peer->attachments, peer->reason);
}

static void peer_start_parting(struct peer *peer)
{
	peer_let_go(peer);
	if (timer_arm(peer->services->attachment->event, &peer->deadline, PARTING_USEC, peer_on_deadline, peer) < 0)
		log_error("%s: out of memory, the end of its pairing is not watched", peer->name);
}

void peer_enter_state(struct peer *peer, enum peer_state state)
{
	enum peer_state from = peer->state;

	const struct log_about about = { .pi = peer->name, .state = STATE_NAMES[state] };

	if (from != state)
		log_write_about(LOG_LEVEL_INFO, &about, "%s: %s -> %s%s%s", about.pi, STATE_NAMES[from], about.state,
				state == PEER_STATE_AWAY || state == PEER_STATE_UNPAIRED ? ": " : "",
				state == PEER_STATE_AWAY || state == PEER_STATE_UNPAIRED ? peer->reason : "");
	peer->state = state;
	switch (state) {
	case PEER_STATE_SYNCING:
	case PEER_STATE_UP:
		peer_arm_deadline(peer);
		break;
	case PEER_STATE_LOST:
		/* The deadline of the last line stays: silence counts from there. */
		peer->channel = pi_channel_free(peer->channel);
		break;
	case PEER_STATE_PARTING:
		peer_start_parting(peer);
		break;
	case PEER_STATE_AWAY:
	case PEER_STATE_UNPAIRED:
		timer_disarm(peer->deadline);
		peer_let_go(peer);
		peer->channel = pi_channel_free(peer->channel);
		break;
	}
	peer->services->on_change(peer, peer->services->userdata);
}

/* ---- sending ---- */

static void peer_send_hello(struct peer *peer)
{
	struct message message = { .type = MESSAGE_HELLO, .hello = peer->services->hello };

	message.hello.ports = vhci_count_ports(peer->services->attachment->vhci);
	message.hello.patience_ms = peer->patience_ms;
	peer_report_send(peer->channel, &message);
}

/* The channel ends, with a reason, and all that is attached with it. */
static void peer_refuse(struct peer *peer, const struct failure *failure)
{
	log_warning("%s: refused: %s", peer->name, failure->text);
	peer_report_refused(peer->channel, failure);
	peer->channel = pi_channel_free(peer->channel); /* the last word: what becomes of the devices is not told any more */
	identity_clean_string(failure->text, peer->reason, sizeof(peer->reason));
	peer_enter_state(peer, PEER_STATE_AWAY);
}

/* ---- attachments ---- */

static int peer_on_reap(sd_event_source *source, void *userdata)
{
	struct peer *peer = userdata;

	(void)source;
	attachment_set_reap(&peer->attachments);
	peer->services->on_change(peer, peer->services->userdata);
	return 0;
}

/* Said again with each sync until the Pi withdraws the offer: before that is answered it makes no other offer of the device. */
static void peer_tell_by_hand(struct peer *peer)
{
	for (size_t i = 0; i < peer->by_hand.n; i++)
		peer_report_detached(peer->channel, peer->by_hand.ids[i], DETACHED_BY_HAND);
}

void peer_detach_by_hand(struct peer *peer, struct attachment *attachment)
{
	if (peer->by_hand.n == MESSAGE_MAX_OFFERS)
		offer_ids_remove(&peer->by_hand, peer->by_hand.ids[0]);
	offer_ids_add(&peer->by_hand, attachment_get_info(attachment)->offer.id);
	attachment_detach(attachment, DETACHED_BY_HAND);
}

/* An offer that is, or is about to be, connected again must not look detached. */
static void peer_tell_gone(struct peer *peer, const struct attachment *attachment)
{
	const struct attachment_info *info = attachment_get_info(attachment);

	if (!attachment_set_has_other(&peer->attachments, attachment) &&
	    (!offer_ids_has(&peer->awaited, info->offer.id) || offer_ids_has(&peer->by_hand, info->offer.id)))
		peer_report_detached(peer->channel, info->offer.id, info->reason);
}

void peer_on_attachment(struct peer *peer, struct attachment *attachment, enum attachment_state from)
{
	const struct attachment_info *info = attachment_get_info(attachment);
	const struct attachment *live = attachment_set_find_live(&peer->attachments, info->offer.id);

	if (info->state != ATTACHMENT_STATE_WAITING && (!live || live == attachment)) /* else the import is that one's */
		imports_cancel(peer->imports, info->offer.id);
	switch (info->state) {
	case ATTACHMENT_STATE_ATTACHED:
		peer_report_attached(peer->channel, attachment);
		break;
	case ATTACHMENT_STATE_DETACHING:
		if (info->failure.code != FAILURE_NONE)
			peer_report_failed(peer->channel, attachment);
		break;
	case ATTACHMENT_STATE_FAILED:
		if (from != ATTACHMENT_STATE_DETACHING) /* else it was told then */
			peer_report_failed(peer->channel, attachment);
		break;
	case ATTACHMENT_STATE_GONE:
		peer_tell_gone(peer, attachment);
		sd_event_source_set_enabled(peer->reaper, SD_EVENT_ONESHOT);
		break;
	case ATTACHMENT_STATE_WAITING:
	case ATTACHMENT_STATE_ATTACHING:
	case ATTACHMENT_STATE_ENUMERATING:
	case ATTACHMENT_STATE_VERIFYING:
	case ATTACHMENT_STATE_AUTHORIZING:
	case ATTACHMENT_STATE_SETTLING:
		break;
	}
}

struct attachment *peer_adopt(struct peer *peer, const struct offer *offer, uint32_t port)
{
	struct attachment *attachment;

	if (peer->attachments.n == ATTACHMENT_SET_MAX)
		return NULL;
	attachment = attachment_adopt(peer->services->attachment, peer, peer->name, offer, port);
	if (!attachment)
		return NULL;
	attachment_set_add(&peer->attachments, attachment);
	if (peer->state == PEER_STATE_AWAY) {
		peer_enter_state(peer, PEER_STATE_LOST);
		peer_arm_deadline(peer);
	}
	attachment_check(attachment);
	return attachment;
}

/* ---- streams ---- */

static int peer_on_stream(const char *offer_id, struct failure *ret_failure, void *userdata)
{
	struct peer *peer = userdata;
	struct attachment *attachment = attachment_set_find_live(&peer->attachments, offer_id);

	if (!attachment)
		return 0;
	if (attachment_get_info(attachment)->state == ATTACHMENT_STATE_WAITING && !attachment_get_info(attachment)->offer.direct_port)
		return 1;
	return failure_set(ret_failure, FAILURE_BUSY, NULL, "offer %s has a stream already", offer_id);
}

static void peer_on_stream_ready(const char *offer_id, int fd, void *userdata)
{
	struct peer *peer = userdata;

	attachment_take_stream(attachment_set_find_live(&peer->attachments, offer_id), fd);
}

/* ---- messages ---- */

static bool offer_equal(const struct offer *a, const struct offer *b)
{
	return busid_equal(&a->busid, &b->busid) && a->devid == b->devid && a->speed == b->speed && a->is_partial == b->is_partial &&
	       a->direct_port == b->direct_port && identity_equal(&a->identity, &b->identity, NULL, 0);
}

/* Whether it is the same offer, with the strings that were still missing. */
static bool offer_completes(const struct offer *offer, const struct offer *partial)
{
	struct offer whole = *partial;

	memcpy(whole.identity.serial, offer->identity.serial, sizeof(whole.identity.serial));
	memcpy(whole.identity.manufacturer, offer->identity.manufacturer, sizeof(whole.identity.manufacturer));
	memcpy(whole.identity.product, offer->identity.product, sizeof(whole.identity.product));
	whole.is_partial = false;
	return partial->is_partial && offer_equal(&whole, offer);
}

static int peer_on_connect(struct peer *peer, const struct offer *offer, struct failure *ret_failure)
{
	struct attachment *attachment = attachment_set_find_live(&peer->attachments, offer->id);
	int err, stream_fd;

	if (attachment && offer_completes(offer, &attachment_get_info(attachment)->offer)) {
		attachment_complete(attachment, offer);
		return 0;
	}
	if (attachment && !offer_equal(&attachment_get_info(attachment)->offer, offer))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "offer %s came again for another device", offer->id);
	if (attachment) {
		attachment_rename(attachment, offer->name);
		peer_on_attachment(peer, attachment, attachment_get_info(attachment)->state); /* told twice: answered again */
		return 0;
	}
	if (peer->services->is_offer_of_another(peer, offer->id, peer->services->userdata))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "offer %s is another Pi's", offer->id);
	attachment_set_forget_failed(&peer->attachments, offer);
	err = attachment_set_check_offer(&peer->attachments, offer, ret_failure);
	if (err < 0)
		return err;
	attachment = attachment_new(peer->services->attachment, peer, peer->name, offer, peer->epoch);
	if (!attachment)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	attachment_set_add(&peer->attachments, attachment);
	offer_ids_remove(&peer->awaited, offer->id);
	if (offer->direct_port) {
		imports_start(peer->imports, attachment, peer->address, peer->patience_ms);
		return 0;
	}
	stream_fd = lobby_take_stream(peer->lobby, offer->id);
	if (stream_fd >= 0)
		attachment_take_stream(attachment, stream_fd);
	return 0;
}

static void peer_on_disconnect(struct peer *peer, const char *offer_id, const char *reason)
{
	bool is_found = false;

	offer_ids_remove(&peer->awaited, offer_id);
	offer_ids_remove(&peer->by_hand, offer_id);
	for (size_t i = 0; i < peer->attachments.n; i++) {
		const struct attachment_info *info = attachment_get_info(peer->attachments.items[i]);

		if (strcmp(info->offer.id, offer_id) != 0 || info->state == ATTACHMENT_STATE_GONE)
			continue;
		is_found = true;
		attachment_detach(peer->attachments.items[i], reason);
	}
	if (!is_found)
		peer_report_detached(peer->channel, offer_id, "it was not attached");
}

/* ---- sync ---- */

static const struct sync_entry *sync_find(const struct message *sync, const char *offer_id)
{
	for (size_t i = 0; i < sync->n_entries; i++)
		if (strcmp(sync->entries[i].id, offer_id) == 0)
			return &sync->entries[i];
	return NULL;
}

/* What was offered on this very channel needs no stream yet: its `connect` came before the `sync`. Of another channel's the rest may have been lost with that. */
static bool peer_keeps(const struct peer *peer, const struct attachment *attachment, const struct message *sync)
{
	const struct attachment_info *info = attachment_get_info(attachment);
	const struct sync_entry *entry = sync_find(sync, info->offer.id);

	return entry && attachment_is_live(attachment) && (info->epoch == peer->epoch || (entry->is_streaming && !info->offer.is_partial));
}

static void peer_send_kept(struct peer *peer)
{
	for (size_t i = 0; i < peer->attachments.n; i++)
		if (attachment_get_info(peer->attachments.items[i])->state == ATTACHMENT_STATE_ATTACHED)
			peer_report_attached(peer->channel, peer->attachments.items[i]);
}

static void peer_on_sync(struct peer *peer, const struct message *sync)
{
	struct sync_entry keep[MESSAGE_MAX_OFFERS];
	struct message synced = { .type = MESSAGE_SYNCED, .seq = sync->seq, .entries = keep };

	peer->awaited.n = 0;
	for (size_t i = 0; i < sync->n_entries; i++) {
		const struct attachment *attachment = attachment_set_find_live(&peer->attachments, sync->entries[i].id);

		if (attachment && peer_keeps(peer, attachment, sync))
			keep[synced.n_entries++] = sync->entries[i];
		else
			offer_ids_add(&peer->awaited, sync->entries[i].id);
	}
	for (size_t i = 0; i < peer->attachments.n; i++)
		if (!peer_keeps(peer, peer->attachments.items[i], sync))
			attachment_detach(peer->attachments.items[i], "the Pi does not offer it any more");
	log_info("%s: offers %zu devices, %zu of them are attached or on the way", peer->name, sync->n_entries, synced.n_entries);
	peer_tell_by_hand(peer);
	peer_report_send(peer->channel, &synced);
	peer_enter_state(peer, PEER_STATE_UP);
	peer_send_kept(peer);
}

/* ---- all of them ---- */

static int peer_handle(struct peer *peer, const struct message *message, struct failure *ret_failure)
{
	struct message answer = { .type = MESSAGE_PONG, .seq = message->seq };

	switch (message->type) {
	case MESSAGE_SYNC:
		peer_on_sync(peer, message);
		return 0;
	case MESSAGE_CONNECT:
		return peer_on_connect(peer, &message->offer, ret_failure);
	case MESSAGE_DISCONNECT:
		peer_on_disconnect(peer, message->id, message->reason);
		return 0;
	case MESSAGE_UNPAIR:
		return peer_on_unpair(peer, ret_failure);
	case MESSAGE_BEAT: /* to be heard was all it wanted */
		return 0;
	case MESSAGE_PING:
		peer_report_send(peer->channel, &answer);
		return 0;
	case MESSAGE_UNRECOGNIZED:
		answer.type = MESSAGE_UNKNOWN;
		memcpy(answer.of, message->of, sizeof(answer.of));
		peer_report_send(peer->channel, &answer);
		return 0;
	case MESSAGE_UNKNOWN:
		log_debug("%s: does not know the message type %s", peer->name, message->of);
		return 0;
	case MESSAGE_HELLO:
	case MESSAGE_SYNCED:
	case MESSAGE_PONG:
	case MESSAGE_ATTACHED:
	case MESSAGE_FAILED:
	case MESSAGE_DETACHED:
	case MESSAGE_REFUSED:
	case MESSAGE_RESYNC:
	case MESSAGE_SPARE:
	case MESSAGE_STREAM:
	case MESSAGE_UNPAIRED:
		break;
	}
	return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "a message of a type that has no place here");
}

/* ---- the control channel ---- */

static void peer_on_line(const char *line, size_t size, void *userdata)
{
	_cleanup_(message_freep) struct message *message = NULL;
	struct peer *peer = userdata;
	struct failure failure;
	int err;

	if (peer->state == PEER_STATE_PARTING)
		return;
	err = message_parse(line, size, &message, &failure);

	if (err == -ENOMEM)
		failure_set(&failure, FAILURE_INTERNAL, NULL, "out of memory");
	if (err >= 0)
		err = peer_handle(peer, message, &failure);
	if (err < 0)
		peer_refuse(peer, &failure);
	else if (peer->state == PEER_STATE_UP)
		peer_arm_deadline(peer);
}

static void peer_on_channel_gone(int error, void *userdata)
{
	struct peer *peer = userdata;
	struct failure failure;

	if (peer->state == PEER_STATE_PARTING) {
		peer->channel = pi_channel_free(peer->channel); /* it does not wait for the answer */
		return;
	}
	if (error == -ECONNRESET) {
		peer_enter_state(peer, PEER_STATE_LOST);
		return;
	}
	failure_set(&failure, FAILURE_BAD_REQUEST, NULL, "a line that is too long or no text");
	peer_refuse(peer, &failure);
}

static int peer_on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct peer *peer = userdata;

	(void)source;
	if (peer->state == PEER_STATE_PARTING) {
		peer_give_up_parting(peer);
		return 0;
	}
	if (clock_now_usec() - usec > LATE_USEC && peer->channel && pi_channel_has_input(peer->channel)) {
		timer_arm(peer->services->attachment->event, &peer->deadline, LATE_USEC, peer_on_deadline, peer);
		return 0; /* this machine slept, not the Pi: what it said meanwhile is read first */
	}
	snprintf(peer->reason, sizeof(peer->reason),
		 peer->state == PEER_STATE_SYNCING ? "no sync came within %u ms" : "nothing was heard of the Pi for %u ms",
		 patience_to_limit(peer->patience_ms));
	peer_enter_state(peer, PEER_STATE_AWAY);
	return 0;
}

/* A Pi that comes back before we noticed that it was gone: the newer connection is the living one. */
static void peer_replace_channel(struct peer *peer)
{
	struct failure failure;

	failure_set(&failure, FAILURE_BUSY, NULL, "a newer connection of this Pi took over");
	log_notice("%s: a newer connection replaces the old one", peer->name);
	peer_report_refused(peer->channel, &failure);
	peer->channel = pi_channel_free(peer->channel);
}

static void peer_on_hello(int fd, const struct hello *hello, void *userdata)
{
	struct peer *peer = userdata;
	int err;

	if (peer->channel)
		peer_replace_channel(peer);
	err = pi_channel_new(peer->services->attachment->event, fd, peer_on_line, peer_on_channel_gone, peer, &peer->channel);
	if (err < 0) {
		log_error("%s: its connection could not be taken: %s", peer->name, strerror(-err));
		return;
	}
	log_info("%s: connected, usbpush %s on %s", peer->name, hello->software, hello->name);
	peer->epoch++;
	peer->patience_ms = hello->patience_ms < PATIENCE_MAX_MS ? hello->patience_ms : PATIENCE_MAX_MS;
	peer_send_hello(peer);
	peer_enter_state(peer, PEER_STATE_SYNCING);
}

void peer_resync(struct peer *peer)
{
	struct message message = { .type = MESSAGE_RESYNC };

	if (peer->state != PEER_STATE_UP)
		return;
	peer_report_send(peer->channel, &message);
	peer_enter_state(peer, PEER_STATE_SYNCING);
}

void peer_accept(struct peer *peer, const char *address, int fd)
{
	if (*address)
		snprintf(peer->address, sizeof(peer->address), "%s", address);
	if (peer_is_ended(peer))
		close_fd(fd);
	else
		lobby_enter(peer->lobby, fd);
}

/* ---- life ---- */

/* Made before they are needed: then no want of memory is in the way. */
static int peer_make_sources(struct peer *peer)
{
	sd_event *event = peer->services->attachment->event;
	int r = timer_new(event, &peer->deadline, peer_on_deadline, peer);

	if (r >= 0)
		r = sd_event_add_defer(event, &peer->reaper, peer_on_reap, peer);
	return r < 0 ? r : sd_event_source_set_enabled(peer->reaper, SD_EVENT_OFF);
}

struct peer *peer_new(const struct peer_services *services, const char *id, const char *name)
{
	static const struct lobby_callbacks callbacks = { .on_hello = peer_on_hello,
							  .on_stream = peer_on_stream,
							  .on_stream_ready = peer_on_stream_ready };
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->services = services;
	peer->patience_ms = DEFAULT_PATIENCE_MS;
	snprintf(peer->id, sizeof(peer->id), "%s", id);
	peer_rename(peer, name);
	peer->lobby = lobby_new(services->attachment->event, peer->name, &callbacks, peer);
	peer->imports = imports_new(services->attachment->event, &peer->attachments);
	return peer->lobby && peer->imports && peer_make_sources(peer) >= 0 ? peer : peer_free(peer);
}

struct peer *peer_free(struct peer *peer)
{
	if (!peer)
		return NULL;
	peer->imports = imports_free(peer->imports);
	attachment_set_done(&peer->attachments);
	peer->lobby = lobby_free(peer->lobby);
	peer->channel = pi_channel_free(peer->channel);
	sd_event_source_disable_unref(peer->deadline);
	sd_event_source_disable_unref(peer->reaper);
	free(peer);
	return NULL;
}

void peer_rename(struct peer *peer, const char *name)
{
	snprintf(peer->name, sizeof(peer->name), "%s", name);
}

const char *peer_get_id(const struct peer *peer)
{
	return peer->id;
}

const char *peer_get_name(const struct peer *peer)
{
	return peer->name;
}

const char *peer_get_address(const struct peer *peer)
{
	return peer->address;
}

bool peer_is_ended(const struct peer *peer)
{
	return peer->state == PEER_STATE_PARTING || peer->state == PEER_STATE_UNPAIRED;
}

enum peer_state peer_get_state(const struct peer *peer)
{
	return peer->state;
}

const char *peer_get_reason(const struct peer *peer)
{
	return peer->reason;
}

const struct attachment_set *peer_get_attachments(const struct peer *peer)
{
	return &peer->attachments;
}

size_t peer_count_awaited(const struct peer *peer)
{
	return peer->awaited.n;
}
