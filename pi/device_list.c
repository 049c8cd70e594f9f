#include "device_list.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "log.h"
#include "selection.h"

#define DEVICE_LIST_MAX 512

struct entry {
	TAILQ_ENTRY(entry) entry;
	struct device *device; /* owned */
	bool is_waiting;       /* its predecessor in the socket is not finished yet */
	bool is_finished;      /* to be freed from the loop */
};

TAILQ_HEAD(entry_list, entry);

struct device_list {
	const struct device_context *context; /* borrowed: outlives us */
	sd_event_source *reaper;              /* owned */
	struct entry_list entries;
	size_t n_entries;
};

static struct entry *list_entry_of(struct device_list *list, const struct device *device)
{
	struct entry *entry;

	TAILQ_FOREACH(entry, &list->entries, entry)
		if (entry->device == device)
			return entry;
	return NULL;
}

static void list_remove(struct device_list *list, struct entry *entry)
{
	TAILQ_REMOVE(&list->entries, entry, entry);
	list->n_entries--;
	device_free(entry->device);
	free(entry);
}

static int list_on_reap(sd_event_source *source, void *userdata)
{
	struct device_list *list = userdata;
	struct entry *entry, *next;

	(void)source;
	for (entry = TAILQ_FIRST(&list->entries); entry; entry = next) {
		next = TAILQ_NEXT(entry, entry);
		if (entry->is_finished)
			list_remove(list, entry);
	}
	TAILQ_FOREACH(entry, &list->entries, entry)
		if (entry->is_waiting)
			device_list_look(list, entry->device);
	return 0;
}

int device_list_new(const struct device_context *context, struct device_list **ret_list)
{
	struct device_list *list = calloc(1, sizeof(*list));
	int r;

	if (!list)
		return -ENOMEM;
	list->context = context;
	TAILQ_INIT(&list->entries);
	r = sd_event_add_defer(context->event, &list->reaper, list_on_reap, list);
	if (r < 0) {
		free(list);
		return r;
	}
	sd_event_source_set_enabled(list->reaper, SD_EVENT_OFF);
	*ret_list = list;
	return 0;
}

struct device_list *device_list_free(struct device_list *list)
{
	if (!list)
		return NULL;
	while (!TAILQ_EMPTY(&list->entries))
		list_remove(list, TAILQ_FIRST(&list->entries));
	sd_event_source_disable_unref(list->reaper);
	free(list);
	return NULL;
}

int device_list_add(struct device_list *list, const struct busid *busid, const char *syspath, struct device **ret_device)
{
	struct entry *entry;

	if (list->n_entries >= DEVICE_LIST_MAX) {
		log_error("%s: more than %d USB devices; it is left alone", busid->text, DEVICE_LIST_MAX);
		return -ENOSPC;
	}
	entry = calloc(1, sizeof(*entry));
	if (!entry || device_new(list->context, busid, syspath, &entry->device) < 0) {
		free(entry);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&list->entries, entry, entry);
	list->n_entries++;
	*ret_device = entry->device;
	return 0;
}

struct device *device_list_find(struct device_list *list, const struct busid *busid)
{
	DEVICE_LIST_FOREACH(list, device)
		if (busid_equal(device_busid(device), busid))
			return device;
	return NULL;
}

static bool list_has_predecessor(struct device_list *list, const struct busid *busid)
{
	struct entry *entry;

	TAILQ_FOREACH(entry, &list->entries, entry)
		if (busid_equal(device_busid(entry->device), busid) && device_get_state(entry->device) == DEVICE_GONE &&
		    !entry->is_finished)
			return true;
	return false;
}

void device_list_look(struct device_list *list, struct device *device)
{
	struct entry *entry = list_entry_of(list, device);

	if (!entry)
		return;
	entry->is_waiting = list_has_predecessor(list, device_busid(device));
	if (!entry->is_waiting)
		device_look(device);
}

void device_list_glance(struct device_list *list, struct device *device)
{
	if (!list_has_predecessor(list, device_busid(device)))
		device_glance(device);
}

int device_list_recover(struct device_list *list, struct device *device, bool is_hard, struct failure *ret_failure)
{
	const struct busid *busid = device_busid(device);

	if (list_has_predecessor(list, busid))
		return failure_set(ret_failure, FAILURE_BUSY, "Try again.",
				   "%s is busy: the kernel has not let go of the device that was there before", busid->text);
	return device_recover(device, is_hard, ret_failure);
}

void device_list_finish(struct device_list *list, struct device *device)
{
	struct entry *entry = list_entry_of(list, device);

	if (!entry)
		return;
	entry->is_finished = true;
	sd_event_source_set_enabled(list->reaper, SD_EVENT_ONESHOT);
}

struct device *device_list_next(struct device_list *list, const struct device *device)
{
	struct entry *entry = device ? TAILQ_NEXT(list_entry_of(list, device), entry) : TAILQ_FIRST(&list->entries);

	while (entry && device_get_state(entry->device) == DEVICE_GONE)
		entry = TAILQ_NEXT(entry, entry);
	return entry ? entry->device : NULL;
}

bool device_list_is_settled(struct device_list *list)
{
	const struct entry *entry;

	TAILQ_FOREACH(entry, &list->entries, entry)
		if (device_is_busy(entry->device) || device_is_held(entry->device))
			return false;
	return true;
}

static enum selection_fit list_fit(const char *selection, const struct device *device)
{
	return selection_fit(selection, device_busid(device), device_identity(device), device_decision(device)->name);
}

size_t device_list_select(struct device_list *list, const char *selection, struct device **ret_devices, size_t n)
{
	enum selection_fit best = SELECTION_IDENTITY;
	size_t found = 0;

	DEVICE_LIST_FOREACH(list, device)
		if (list_fit(selection, device) > best)
			best = list_fit(selection, device);
	DEVICE_LIST_FOREACH(list, device) {
		if (list_fit(selection, device) != best)
			continue;
		if (found < n)
			ret_devices[found] = device;
		found++;
	}
	return found;
}
