#pragma once

#include <systemd/sd-event.h>

#include "acceptance.h"

/* accept.conf while the handler runs: read anew when it changes, and again by itself as long as it can't be read. */
struct acceptance_watch;

/* on_change: what it says is another than before. acceptance was read from path already; both are borrowed, as is userdata: they outlive it. The object is the caller's. */
int acceptance_watch_new(sd_event *event, struct acceptance *acceptance, const char *path, void (*on_change)(void *userdata),
			 void *userdata, struct acceptance_watch **ret_watch);

/* Takes NULL, returns NULL. */
struct acceptance_watch *acceptance_watch_free(struct acceptance_watch *watch);

/* From now on a change of the file is seen (where it can't be, that is logged: then only acceptance_watch_read() reads it). */
void acceptance_watch_listen(struct acceptance_watch *watch);

/* Reads it now. */
void acceptance_watch_read(struct acceptance_watch *watch);
