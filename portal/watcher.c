#include "watcher.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "cleanup.h"
#include "daemon.h"
#include "http_stream.h"
#include "session.h"

#define WATCHER_MAX       32
#define WATCHER_BEAT_USEC (UINT64_C(10) * 1000000) /* also finds out who is gone */

/* One text for all who are sending it. */
struct snapshot {
	unsigned n_users;
	size_t size;
	char text[];
};

struct watcher {
	LIST_ENTRY(watcher) entry;
	struct watcher_list *list;  /* borrowed: outlives us */
	struct http_stream *stream; /* borrowed: tells its end */
	struct snapshot *sending;   /* used; NULL between two */
	size_t sent;
	uint64_t seen; /* the number of the last snapshot that was begun */
	bool is_beat_due, is_over;
	char token[SESSION_TOKEN_SIZE];
};

LIST_HEAD(watcher_head, watcher);

struct watcher_list {
	struct watcher_head watchers;
	unsigned n;
	struct snapshot *newest; /* used */
	uint64_t number;
	watcher_allowed_fn is_allowed;
	watcher_count_fn on_count;
	void *userdata;         /* borrowed */
	sd_event *event;        /* borrowed: outlives us */
	sd_event_source *timer; /* owned */
};

static struct snapshot *snapshot_unref(struct snapshot *snapshot)
{
	if (snapshot && --snapshot->n_users == 0)
		free(snapshot);
	return NULL;
}

static struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
	if (snapshot)
		snapshot->n_users++;
	return snapshot;
}

static struct snapshot *snapshot_new(const char *prefix, const char *text)
{
	size_t size = strlen(prefix) + strlen(text) + sizeof("\n\n");
	struct snapshot *snapshot = malloc(sizeof(*snapshot) + size);

	if (!snapshot)
		return NULL;
	snapshot->n_users = 1;
	snapshot->size = (size_t)snprintf(snapshot->text, size, "%s%s\n\n", prefix, text);
	return snapshot;
}

static int watcher_on_beat(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct watcher_list *list = userdata;
	struct watcher *watcher;

	(void)source;
	(void)usec;
	if (list->n == 0)
		return 0;
	LIST_FOREACH(watcher, &list->watchers, entry)
		watcher->is_beat_due = true;
	watcher_list_check(list);
	return timer_arm(list->event, &list->timer, WATCHER_BEAT_USEC, watcher_on_beat, list);
}

struct watcher_list *watcher_list_new(sd_event *event, watcher_allowed_fn is_allowed, watcher_count_fn on_count, void *userdata)
{
	struct watcher_list *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	*list = (struct watcher_list){ .is_allowed = is_allowed, .on_count = on_count, .userdata = userdata, .event = event };
	LIST_INIT(&list->watchers);
	return list;
}

struct watcher_list *watcher_list_free(struct watcher_list *list)
{
	if (!list)
		return NULL;
	sd_event_source_disable_unref(list->timer);
	snapshot_unref(list->newest);
	free(list);
	return NULL;
}

/* ---- one stream ---- */

/* What is to be sent next: the newest snapshot, else a sign of life. */
static void watcher_take_next(struct watcher *watcher)
{
	watcher->sent = 0;
	if (watcher->seen != watcher->list->number && watcher->list->newest) {
		watcher->seen = watcher->list->number;
		watcher->sending = snapshot_ref(watcher->list->newest);
	} else if (watcher->is_beat_due) {
		watcher->sending = snapshot_new(":", "");
	}
	watcher->is_beat_due = false;
}

static ssize_t watcher_on_read(char *buffer, size_t size, void *userdata)
{
	struct watcher *watcher = userdata;

	if (!watcher->sending) {
		if (watcher->is_over || !watcher->list->is_allowed(watcher->token, watcher->list->userdata))
			return -ESHUTDOWN;
		watcher_take_next(watcher);
	}
	if (!watcher->sending)
		return 0;
	if (size > watcher->sending->size - watcher->sent)
		size = watcher->sending->size - watcher->sent;
	memcpy(buffer, watcher->sending->text + watcher->sent, size);
	watcher->sent += size;
	if (watcher->sent == watcher->sending->size)
		watcher->sending = snapshot_unref(watcher->sending);
	return (ssize_t)size;
}

static void watcher_on_end(void *userdata)
{
	struct watcher *watcher = userdata;
	struct watcher_list *list = watcher->list;

	LIST_REMOVE(watcher, entry);
	list->n--;
	snapshot_unref(watcher->sending);
	free(watcher);
	list->on_count(list->n, list->userdata);
}

/* Those who left without a word make room. */
static void watcher_list_reap(struct watcher_list *list)
{
	struct watcher *watcher;

	LIST_FOREACH(watcher, &list->watchers, entry) {
		if (!http_stream_is_dead(watcher->stream))
			continue;
		watcher->is_over = true;
		http_stream_wake(watcher->stream);
	}
}

bool watcher_start(struct watcher_list *list, struct http_request *request, const char *token)
{
	struct http_stream_source source = { .read = watcher_on_read, .on_end = watcher_on_end };
	struct watcher *watcher;

	watcher_list_reap(list);
	watcher = list->n < WATCHER_MAX ? calloc(1, sizeof(*watcher)) : NULL;
	if (!watcher)
		return false;
	watcher->list = list;
	snprintf(watcher->token, sizeof(watcher->token), "%s", token);
	source.userdata = watcher;
	watcher->stream = http_reply_stream(request, "text/event-stream", &source);
	if (!watcher->stream) {
		free(watcher);
		return true;
	}
	LIST_INSERT_HEAD(&list->watchers, watcher, entry);
	list->n++;
	list->on_count(list->n, list->userdata);
	if (list->n == 1)
		timer_arm(list->event, &list->timer, WATCHER_BEAT_USEC, watcher_on_beat, list);
	return true;
}

void watcher_list_publish(struct watcher_list *list, const char *text)
{
	struct snapshot *snapshot = snapshot_new("data: ", text);

	if (!snapshot)
		return;
	snapshot_unref(list->newest);
	list->newest = snapshot;
	list->number++;
	watcher_list_check(list);
}

void watcher_list_check(struct watcher_list *list)
{
	struct watcher *watcher;

	LIST_FOREACH(watcher, &list->watchers, entry)
		http_stream_wake(watcher->stream);
}

unsigned watcher_list_count(const struct watcher_list *list)
{
	return list->n;
}
