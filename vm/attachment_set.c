#include "attachment_set.h"

#include <stdlib.h>
#include <string.h>

#define DEVICE_NUMBER_MAX 127 /* USB 2.0, 9.4.6 */

void attachment_set_add(struct attachment_set *set, struct attachment *attachment)
{
	set->items[set->n++] = attachment;
}

static void attachment_set_forget(struct attachment_set *set, size_t index)
{
	attachment_free(set->items[index]);
	set->items[index] = set->items[--set->n];
}

struct attachment *attachment_set_find_live(const struct attachment_set *set, const char *offer_id)
{
	for (size_t i = 0; i < set->n; i++) {
		struct attachment *attachment = set->items[i];

		if (attachment_is_live(attachment) && strcmp(attachment_get_info(attachment)->offer.id, offer_id) == 0)
			return attachment;
	}
	return NULL;
}

bool attachment_set_has_other(const struct attachment_set *set, const struct attachment *attachment)
{
	const char *offer_id = attachment_get_info(attachment)->offer.id;

	for (size_t i = 0; i < set->n; i++)
		if (set->items[i] != attachment && attachment_get_info(set->items[i])->state != ATTACHMENT_STATE_GONE &&
		    strcmp(attachment_get_info(set->items[i])->offer.id, offer_id) == 0)
			return true;
	return false;
}

static int offer_check_devid(const struct offer *offer, struct failure *ret_failure)
{
	uint32_t bus = offer->devid >> 16, device = offer->devid & 0xffff;

	if (bus == strtoul(offer->busid.text, NULL, 10) && device > 0 && device <= DEVICE_NUMBER_MAX)
		return 0;
	return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "offer %s: devid %u can't be that of bus id %s", offer->id, offer->devid,
			   offer->busid.text);
}

int attachment_set_check_offer(const struct attachment_set *set, const struct offer *offer, struct failure *ret_failure)
{
	int err = offer_check_devid(offer, ret_failure);
	size_t n_live = 0;

	if (err < 0)
		return err;
	for (size_t i = 0; i < set->n; i++) {
		const struct offer *other = &attachment_get_info(set->items[i])->offer;

		if (!attachment_is_live(set->items[i]))
			continue;
		n_live++;
		if (busid_equal(&offer->busid, &other->busid) || offer->devid == other->devid)
			return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL,
					   "offer %s (bus id %s, devid %u) is for the device of offer %s", offer->id, offer->busid.text,
					   offer->devid, other->id);
	}
	if (n_live >= MESSAGE_MAX_OFFERS || set->n == ATTACHMENT_SET_MAX)
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "more than %d offers at once", MESSAGE_MAX_OFFERS);
	return 0;
}

void attachment_set_forget_failed(struct attachment_set *set, const struct offer *offer)
{
	for (size_t i = set->n; i-- > 0;) {
		const struct attachment_info *info = attachment_get_info(set->items[i]);

		bool is_same = busid_equal(&info->offer.busid, &offer->busid) || strcmp(info->offer.id, offer->id) == 0;

		if (info->state == ATTACHMENT_STATE_FAILED && (is_same || set->n == ATTACHMENT_SET_MAX))
			attachment_set_forget(set, i);
		else if (info->state == ATTACHMENT_STATE_DETACHING && is_same)
			attachment_detach(set->items[i], "it is offered anew");
	}
}

void attachment_set_reap(struct attachment_set *set)
{
	for (size_t i = set->n; i-- > 0;)
		if (attachment_get_info(set->items[i])->state == ATTACHMENT_STATE_GONE)
			attachment_set_forget(set, i);
}

void attachment_set_detach_all(struct attachment_set *set, const char *reason)
{
	for (size_t i = 0; i < set->n; i++)
		attachment_detach(set->items[i], reason);
}

void attachment_set_done(struct attachment_set *set)
{
	while (set->n > 0)
		attachment_set_forget(set, set->n - 1);
}
