#include "file_watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "cleanup.h"
#include "daemon.h"

#define GONE_USEC UINT64_C(1000000)

struct file_watch {
	sd_event *event;             /* borrowed: outlives us */
	char *directory;             /* owned */
	char *name;                  /* owned: in the directory */
	sd_event_source *source;     /* owned */
	sd_event_source *gone_timer; /* owned; running: the file has gone, and may come back */
	void (*on_change)(void *userdata);
	void *userdata; /* borrowed: outlives us */
};

static void watch_tell(struct file_watch *watch)
{
	timer_disarm(watch->gone_timer);
	watch->on_change(watch->userdata);
}

static int watch_on_gone(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	watch_tell(userdata);
	return 0;
}

/* vim and emacs rename the old file away, and then write a new one in its place: whoever reads in between reads nothing. */
static void watch_handle_gone(struct file_watch *watch)
{
	if (timer_arm(watch->event, &watch->gone_timer, GONE_USEC, watch_on_gone, watch) < 0)
		watch_tell(watch);
}

static int watch_on_inotify(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	struct file_watch *watch = userdata;
	bool is_about_it = event->len > 0 && strcmp(event->name, watch->name) == 0;

	(void)source;
	if (is_about_it && (event->mask & (IN_MOVED_FROM | IN_DELETE)))
		watch_handle_gone(watch);
	else if (is_about_it || (event->mask & IN_Q_OVERFLOW)) /* after an overflow (no name) nobody knows */
		watch_tell(watch);
	return 0;
}

static int watch_init(struct file_watch *watch, sd_event *event, const char *path)
{
	const char *slash = strrchr(path, '/');
	int r;

	if (!slash || slash == path)
		return -EINVAL;
	watch->directory = strndup(path, (size_t)(slash - path));
	watch->name = strdup(slash + 1);
	if (!watch->directory || !watch->name)
		return -ENOMEM;
	r = timer_new(event, &watch->gone_timer, watch_on_gone, watch);
	if (r < 0)
		return r;
	return sd_event_add_inotify(event, &watch->source, watch->directory,
				    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR, watch_on_inotify, watch);
}

int file_watch_new(sd_event *event, const char *path, void (*on_change)(void *userdata), void *userdata, struct file_watch **ret_watch)
{
	struct file_watch *watch = calloc(1, sizeof(*watch));
	int r;

	if (!watch)
		return -ENOMEM;
	watch->event = event;
	watch->on_change = on_change;
	watch->userdata = userdata;
	r = watch_init(watch, event, path);
	if (r < 0) {
		file_watch_free(watch);
		return r;
	}
	*ret_watch = watch;
	return 0;
}

struct file_watch *file_watch_free(struct file_watch *watch)
{
	if (!watch)
		return NULL;
	sd_event_source_disable_unref(watch->source);
	sd_event_source_disable_unref(watch->gone_timer);
	free(watch->directory);
	free(watch->name);
	free(watch);
	return NULL;
}
