#include "daemon.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

static int daemon_on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct daemon *daemon = userdata;

	(void)source;
	if (info->ssi_signo == SIGHUP) {
		if (daemon->on_reload)
			daemon->on_reload(daemon->userdata);
		return 0;
	}
	sd_notify(0, "STOPPING=1");
	daemon->on_stop(daemon->userdata);
	return 0;
}

static int daemon_add_signals(struct daemon *daemon)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	sigset_t mask;

	sigemptyset(&mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&mask, signals[i]);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		int r = sd_event_add_signal(daemon->event, NULL, signals[i], daemon_on_signal, daemon);
		if (r < 0)
			return r;
	}
	return 0;
}

int daemon_init(struct daemon *daemon, void (*on_stop)(void *), void (*on_reload)(void *), void *userdata)
{
	int r;

	*daemon = (struct daemon){ .on_stop = on_stop, .on_reload = on_reload, .userdata = userdata };
	signal(SIGPIPE, SIG_IGN);
	mallopt(M_ARENA_MAX, 1); /* for job threads, too: pages of an arena of their own would come back to nobody */
	r = sd_event_new(&daemon->event);
	if (r < 0)
		return r;
	r = daemon_add_signals(daemon);
	if (r < 0)
		return r;
	r = sd_event_set_watchdog(daemon->event, 1);
	return r < 0 ? r : 0;
}

int daemon_run(struct daemon *daemon)
{
	sd_notify(0, "READY=1");
	return sd_event_loop(daemon->event);
}

void daemon_exit(struct daemon *daemon, int code)
{
	sd_event_exit(daemon->event, code);
}

void daemon_status(const char *format, ...)
{
	static char told[256]; /* one daemon a process */
	char text[sizeof(told)] = "";
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (strcmp(text, told) == 0)
		return; /* each message wakes the service manager */
	memcpy(told, text, sizeof(told));
	sd_notifyf(0, "STATUS=%s", text);
}

void daemon_done(struct daemon *daemon)
{
	daemon->event = sd_event_unref(daemon->event);
}

uint64_t clock_now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int timer_new(sd_event *event, sd_event_source **source, sd_event_time_handler_t fn, void *userdata)
{
	int r = sd_event_add_time(event, source, CLOCK_BOOTTIME, UINT64_MAX, 1000, fn, userdata);

	return r < 0 ? r : sd_event_source_set_enabled(*source, SD_EVENT_OFF);
}

int timer_arm(sd_event *event, sd_event_source **source, uint64_t delay_usec, sd_event_time_handler_t fn, void *userdata)
{
	uint64_t when = clock_now_usec() + delay_usec;
	int r;

	if (!*source)
		return sd_event_add_time(event, source, CLOCK_BOOTTIME, when, 1000, fn, userdata);
	r = sd_event_source_set_time(*source, when);
	return r < 0 ? r : sd_event_source_set_enabled(*source, SD_EVENT_ONESHOT);
}

void timer_disarm(sd_event_source *source)
{
	if (source)
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
}
