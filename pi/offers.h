#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "device_list.h"
#include "link.h"

/* All offers of this Pi as the VM is told them: the sync, what the VM keeps of it, and which device a message is about. Stands between the link and the devices. */
struct offers;

/* link and devices are borrowed: they outlive it. The object is the caller's. */
int offers_new(struct link *link, struct device_list *devices, struct offers **ret_offers);

/* Takes NULL, returns NULL. */
struct offers *offers_free(struct offers *offers);

/* The id of the next offer; one of no other exporter, nor of this one before. */
void offers_make_id(struct offers *offers, char *buffer, size_t size);

/* A control channel is being opened: the streams' relays start beside that one's. */
void offers_prepare(struct offers *offers);

/* The VM wants to know all offers: sends the complete set. */
void offers_sync(struct offers *offers);

/* What the VM says of offers: synced, attached, failed, detached. What was in the last sync and is not kept is attached anew. */
void offers_handle_message(struct offers *offers, const struct message *message);

/* The link is gone, and with it every stream. */
void offers_lose_link(struct offers *offers);
