#include "offers.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct offers {
	struct link *link;           /* borrowed: outlives us */
	struct device_list *devices; /* borrowed: outlives us */
	struct sync_entry *synced;   /* owned: the offers of the last sync */
	size_t n_synced;
	uint32_t instance; /* drawn at start: offer ids of two exporters never meet */
	uint64_t n_offers, sync_seq;
};

int offers_new(struct link *link, struct device_list *devices, struct offers **ret_offers)
{
	struct offers *offers = calloc(1, sizeof(*offers));
	int r = 0;

	if (!offers)
		return -ENOMEM;
	offers->link = link;
	offers->devices = devices;
	offers->synced = calloc(MESSAGE_MAX_OFFERS, sizeof(*offers->synced));
	if (!offers->synced)
		r = -ENOMEM;
	else if (getrandom(&offers->instance, sizeof(offers->instance), 0) != sizeof(offers->instance))
		r = -errno;
	if (r < 0) {
		offers_free(offers);
		return r;
	}
	*ret_offers = offers;
	return 0;
}

struct offers *offers_free(struct offers *offers)
{
	if (!offers)
		return NULL;
	free(offers->synced);
	free(offers);
	return NULL;
}

void offers_make_id(struct offers *offers, char *buffer, size_t size)
{
	snprintf(buffer, size, "%08x-%llu", offers->instance, (unsigned long long)++offers->n_offers);
}

void offers_prepare(struct offers *offers)
{
	DEVICE_LIST_FOREACH(offers->devices, device)
		device_prepare(device);
}

void offers_sync(struct offers *offers)
{
	struct message message = { .type = MESSAGE_SYNC, .seq = ++offers->sync_seq, .entries = offers->synced };

	DEVICE_LIST_FOREACH(offers->devices, device) {
		struct sync_entry *item = &offers->synced[message.n_entries];

		if (!device_has_offer(device) || message.n_entries == MESSAGE_MAX_OFFERS)
			continue;
		snprintf(item->id, sizeof(item->id), "%s", device_offer_id(device, &item->is_streaming));
		message.n_entries++;
	}
	offers->n_synced = message.n_entries;
	link_send(offers->link, &message);
}

static bool entries_have(const struct sync_entry *entries, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(entries[i].id, id) == 0)
			return true;
	return false;
}

/* Offers made since that sync are on their way, and so is an answer to a later one. */
static void offers_handle_synced(struct offers *offers, const struct message *message)
{
	if (message->seq != offers->sync_seq)
		return;
	DEVICE_LIST_FOREACH(offers->devices, device) {
		bool is_streaming;
		const char *id = device_offer_id(device, &is_streaming);

		if (entries_have(message->entries, message->n_entries, id))
			device_keep_offer(device);
		else if (entries_have(offers->synced, offers->n_synced, id))
			device_lose_offer(device, "the VM did not keep it; it is attached anew");
		device_offer_now(device);
	}
}

void offers_handle_message(struct offers *offers, const struct message *message)
{
	bool is_streaming;

	if (message->type == MESSAGE_SYNCED) {
		offers_handle_synced(offers, message);
		return;
	}
	DEVICE_LIST_FOREACH(offers->devices, device)
		if (strcmp(device_offer_id(device, &is_streaming), message->id) == 0) {
			device_handle_message(device, message);
			return;
		}
	/* of an offer that was withdrawn meanwhile: the message crossed ours */
}

void offers_lose_link(struct offers *offers)
{
	DEVICE_LIST_FOREACH(offers->devices, device)
		device_lose_stream(device, "the link to the VM is gone"); /* with every stream, opened ahead or not */
}
