#include "file_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "cleanup.h"

struct file_watch {
	char *directory;         /* owned */
	char *name;              /* owned: in the directory */
	sd_event_source *source; /* owned */
	void (*on_change)(void *userdata);
	void *userdata; /* borrowed: outlives us */
};

static int watch_on_inotify(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	struct file_watch *watch = userdata;

	(void)source;
	/* After an overflow (no name) nobody knows. */
	if ((event->mask & IN_Q_OVERFLOW) || (event->len > 0 && strcmp(event->name, watch->name) == 0))
		watch->on_change(watch->userdata);
	return 0;
}

static int watch_init(struct file_watch *watch, sd_event *event, const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return -EINVAL;
	watch->directory = strndup(path, (size_t)(slash - path));
	watch->name = strdup(slash + 1);
	if (!watch->directory || !watch->name)
		return -ENOMEM;
	return sd_event_add_inotify(event, &watch->source, watch->directory,
				    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR, watch_on_inotify, watch);
}

int file_watch_new(sd_event *event, const char *path, void (*on_change)(void *userdata), void *userdata, struct file_watch **ret_watch)
{
	struct file_watch *watch = calloc(1, sizeof(*watch));
	int r;

	if (!watch)
		return -ENOMEM;
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
	free(watch->directory);
	free(watch->name);
	free(watch);
	return NULL;
}
