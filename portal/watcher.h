#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

/* The pages that are open: each gets the newest snapshot by server-sent events. One that reads slowly misses those in between, never the last. */
struct watcher_list;
struct http_request;

/* Whether a watcher may go on watching; token is its session's, or "". */
typedef bool (*watcher_allowed_fn)(const char *token, void *userdata);

/* Called when the first one comes and when the last one goes. */
typedef void (*watcher_count_fn)(unsigned n, void *userdata);

/* The object is the caller's; NULL without memory. */
struct watcher_list *watcher_list_new(sd_event *event, watcher_allowed_fn is_allowed, watcher_count_fn on_count, void *userdata);

/* After the HTTP server's end only. Takes NULL, returns NULL. */
struct watcher_list *watcher_list_free(struct watcher_list *list);

/* Answers the request with the stream. False when there are too many; the request is then still the caller's. */
bool watcher_start(struct watcher_list *list, struct http_request *request, const char *token);

/* Sends text (JSON without line breaks) to all of them, and to those who come later. */
void watcher_list_publish(struct watcher_list *list, const char *text);

/* Looks anew who may go on: after a logout. */
void watcher_list_check(struct watcher_list *list);

/* How many there are. */
unsigned watcher_list_count(const struct watcher_list *list);
