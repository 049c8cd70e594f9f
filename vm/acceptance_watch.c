#include "acceptance_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "daemon.h"
#include "file_watch.h"
#include "log.h"

#define READ_AGAIN_MIN_USEC UINT64_C(1000000)
#define READ_AGAIN_MAX_USEC UINT64_C(60000000)

struct acceptance_watch {
	sd_event *event;               /* borrowed: outlives us */
	struct acceptance *acceptance; /* borrowed: outlives us */
	const char *path;              /* borrowed: outlives us */
	void (*on_change)(void *userdata);
	void *userdata;          /* borrowed: outlives us */
	struct file_watch *file; /* owned; NULL where there is nothing to watch */
	sd_event_source *retry;  /* owned */
	struct backoff backoff;
};

static int watch_on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	acceptance_watch_read(userdata);
	return 0;
}

/* No change of a file that could not be read will wake us. */
static void watch_retry_unread(struct acceptance_watch *watch)
{
	if (acceptance_is_unread(watch->acceptance))
		timer_arm(watch->event, &watch->retry, backoff_next(&watch->backoff), watch_on_retry, watch);
	else
		backoff_reset(&watch->backoff);
}

int acceptance_watch_new(sd_event *event, struct acceptance *acceptance, const char *path, void (*on_change)(void *userdata),
			 void *userdata, struct acceptance_watch **ret_watch)
{
	struct acceptance_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return -ENOMEM;
	*watch = (struct acceptance_watch){ .event = event,
					    .acceptance = acceptance,
					    .path = path,
					    .on_change = on_change,
					    .userdata = userdata,
					    .backoff = { .min_usec = READ_AGAIN_MIN_USEC, .max_usec = READ_AGAIN_MAX_USEC } };
	watch_retry_unread(watch);
	*ret_watch = watch;
	return 0;
}

struct acceptance_watch *acceptance_watch_free(struct acceptance_watch *watch)
{
	if (!watch)
		return NULL;
	file_watch_free(watch->file);
	sd_event_source_disable_unref(watch->retry);
	free(watch);
	return NULL;
}

static void watch_on_file(void *userdata)
{
	acceptance_watch_read(userdata);
}

void acceptance_watch_listen(struct acceptance_watch *watch)
{
	int err = file_watch_new(watch->event, watch->path, watch_on_file, watch, &watch->file);

	if (err < 0)
		log_warning("%s is not watched (%s): after a change of it, systemctl reload usbpush-handler", watch->path, strerror(-err));
}

void acceptance_watch_read(struct acceptance_watch *watch)
{
	bool is_changed = acceptance_reload(watch->acceptance);

	watch_retry_unread(watch);
	if (!is_changed)
		return;
	log_info("%s was read anew", watch->path);
	watch->on_change(watch->userdata);
}
