#include "avahi_poll.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/time.h>

#include "daemon.h"

/* poll(2)'s bits, which Avahi uses, are epoll's (IN, OUT, ERR, HUP). */
_Static_assert((int)AVAHI_WATCH_IN == EPOLLIN && (int)AVAHI_WATCH_OUT == EPOLLOUT, "event bits");
_Static_assert((int)AVAHI_WATCH_ERR == EPOLLERR && (int)AVAHI_WATCH_HUP == EPOLLHUP, "event bits");

struct AvahiWatch {
	sd_event_source *source; /* owned */
	AvahiWatchEvent seen;    /* while the callback runs */
	AvahiWatchCallback callback;
	void *userdata; /* borrowed */
};

struct AvahiTimeout {
	sd_event *event;         /* borrowed */
	sd_event_source *source; /* owned; NULL before it is set for the first time */
	AvahiTimeoutCallback callback;
	void *userdata; /* borrowed */
};

/* The callback may free the watch: nothing is touched after it. */
static int watch_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	AvahiWatch *watch = userdata;

	(void)source;
	watch->seen = (AvahiWatchEvent)events;
	watch->callback(watch, fd, (AvahiWatchEvent)events, watch->userdata);
	return 0;
}

static AvahiWatch *watch_new(const AvahiPoll *poll, int fd, AvahiWatchEvent events, AvahiWatchCallback callback, void *userdata)
{
	AvahiWatch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->callback = callback;
	watch->userdata = userdata;
	if (sd_event_add_io(poll->userdata, &watch->source, fd, (uint32_t)events, watch_on_io, watch) < 0) {
		free(watch);
		return NULL;
	}
	return watch;
}

static void watch_update(AvahiWatch *watch, AvahiWatchEvent events)
{
	(void)sd_event_source_set_io_events(watch->source, (uint32_t)events);
}

static AvahiWatchEvent watch_get_events(AvahiWatch *watch)
{
	return watch->seen;
}

static void watch_free(AvahiWatch *watch)
{
	sd_event_source_disable_unref(watch->source);
	free(watch);
}

static int timeout_on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	AvahiTimeout *timeout = userdata;

	(void)source;
	(void)usec;
	timeout->callback(timeout, timeout->userdata);
	return 0;
}

/* Avahi gives a point on the wall clock (avahi_elapse_time); what counts is how far it is from now. */
static void timeout_update(AvahiTimeout *timeout, const struct timeval *at)
{
	struct timeval now;
	int64_t delay_usec;

	if (!at) {
		timer_disarm(timeout->source);
		return;
	}
	gettimeofday(&now, NULL);
	delay_usec = (at->tv_sec - now.tv_sec) * INT64_C(1000000) + (at->tv_usec - now.tv_usec);
	(void)timer_arm(timeout->event, &timeout->source, delay_usec > 0 ? (uint64_t)delay_usec : 0, timeout_on_time, timeout);
}

static AvahiTimeout *timeout_new(const AvahiPoll *poll, const struct timeval *at, AvahiTimeoutCallback callback, void *userdata)
{
	AvahiTimeout *timeout = calloc(1, sizeof(*timeout));

	if (!timeout)
		return NULL;
	timeout->event = poll->userdata;
	timeout->callback = callback;
	timeout->userdata = userdata;
	timeout_update(timeout, at);
	return timeout;
}

static void timeout_free(AvahiTimeout *timeout)
{
	sd_event_source_disable_unref(timeout->source);
	free(timeout);
}

void avahi_poll_init(AvahiPoll *poll, sd_event *event)
{
	*poll = (AvahiPoll){ .userdata = event,
			     .watch_new = watch_new,
			     .watch_update = watch_update,
			     .watch_get_events = watch_get_events,
			     .watch_free = watch_free,
			     .timeout_new = timeout_new,
			     .timeout_update = timeout_update,
			     .timeout_free = timeout_free };
}
