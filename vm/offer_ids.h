#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "message.h"

/* A short list of offers' ids. */
struct offer_ids {
	size_t n;
	char ids[MESSAGE_MAX_OFFERS][MESSAGE_ID_SIZE];
};

/* Adds an id unless it is in the list or the list is full. */
void offer_ids_add(struct offer_ids *list, const char *id);

/* Takes an id out, if it is in the list. */
void offer_ids_remove(struct offer_ids *list, const char *id);

/* Whether an id is in the list. */
bool offer_ids_has(const struct offer_ids *list, const char *id);
