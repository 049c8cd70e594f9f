#pragma once

#include <stddef.h>

#include "attachment.h"

#define ATTACHMENT_SET_MAX (2 * MESSAGE_MAX_OFFERS) /* live ones, and those on their way out */

/* All attachments of one Pi. Owns them. */
struct attachment_set {
	size_t n;
	struct attachment *items[ATTACHMENT_SET_MAX];
};

/* Takes the attachment over. There must be room (attachment_set_check_offer). */
void attachment_set_add(struct attachment_set *set, struct attachment *attachment);

/* The live attachment of an offer, or NULL. */
struct attachment *attachment_set_find_live(const struct attachment_set *set, const char *offer_id);

/* Whether there is another attachment of the same offer: it was connected again before this one's port is free. */
bool attachment_set_has_other(const struct attachment_set *set, const struct attachment *attachment);

/* Whether offer may be added: its devid fits its bus id, neither is another live offer's, and there is room. FAILURE_BAD_REQUEST
 * otherwise. */
int attachment_set_check_offer(const struct attachment_set *set, const struct offer *offer, struct failure *ret_failure);

/* Frees the failed attachments of the same offer or socket, now or when the kernel has freed their ports: a new try replaces what an earlier one left to be read. */
void attachment_set_forget_failed(struct attachment_set *set, const struct offer *offer);

/* Frees those that are GONE. */
void attachment_set_reap(struct attachment_set *set);

/* Detaches all. */
void attachment_set_detach_all(struct attachment_set *set, const char *reason);

/* Frees all, without touching the kernel. */
void attachment_set_done(struct attachment_set *set);
