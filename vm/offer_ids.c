#include "offer_ids.h"

#include <stdio.h>
#include <string.h>

void offer_ids_add(struct offer_ids *list, const char *id)
{
	if (list->n < MESSAGE_MAX_OFFERS && !offer_ids_has(list, id))
		snprintf(list->ids[list->n++], MESSAGE_ID_SIZE, "%s", id);
}

void offer_ids_remove(struct offer_ids *list, const char *id)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->ids[i], id) != 0)
			continue;
		memmove(list->ids[i], list->ids[--list->n], MESSAGE_ID_SIZE);
		return;
	}
}

bool offer_ids_has(const struct offer_ids *list, const char *id)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->ids[i], id) == 0)
			return true;
	return false;
}
