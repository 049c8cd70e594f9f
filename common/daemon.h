#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

/* The frame that every daemon stands in: event loop, signals, readiness, watchdog. */
struct daemon {
	sd_event *event;                   /* owned */
	void (*on_stop)(void *userdata);   /* SIGTERM, SIGINT: end cleanly, then daemon_exit() */
	void (*on_reload)(void *userdata); /* SIGHUP; may be NULL */
	void *userdata;
};

/* Creates the loop, blocks SIGTERM, SIGINT, SIGHUP and handles them, ignores SIGPIPE, turns the watchdog on if the manager asks for it. */
int daemon_init(struct daemon *daemon, void (*on_stop)(void *), void (*on_reload)(void *), void *userdata);

/* Tells the service manager that the daemon is ready and runs the loop. Returns the code given to daemon_exit(), or a negative errno. */
int daemon_run(struct daemon *daemon);

/* Ends the loop. */
void daemon_exit(struct daemon *daemon, int code);

/* Sets the line that `systemctl status` shows. */
void daemon_status(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Releases the loop. */
void daemon_done(struct daemon *daemon);

/* Now in µs on CLOCK_BOOTTIME: one clock for every daemon's times. */
uint64_t clock_now_usec(void);

/* Creates *source, disarmed: from then on timer_arm() can't fail for want of memory, so a limit or a retry is never lost. 0 or negative errno. */
int timer_new(sd_event *event, sd_event_source **source, sd_event_time_handler_t fn, void *userdata);

/* Arms *source (created when NULL) to call fn once, delay_usec from now. Accuracy 1 ms. 0 or negative errno. */
int timer_arm(sd_event *event, sd_event_source **source, uint64_t delay_usec, sd_event_time_handler_t fn, void *userdata);

/* Disarms it; takes NULL. */
void timer_disarm(sd_event_source *source);
