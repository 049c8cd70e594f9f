#pragma once

#include <systemd/sd-event.h>

/* Tells when a file was written, replaced or removed, by looking at its directory: editors and atomic writes put a new file in the old one's place. A
 * new content is told at once; that the file is gone, 1 s later and only if it is not back by then: some editors rename the old one away before they write the new one. */
struct file_watch;

/* The directory must be there; -ENOENT else. on_change never comes inside this call. The object is the caller's. */
int file_watch_new(sd_event *event, const char *path, void (*on_change)(void *userdata), void *userdata, struct file_watch **ret_watch);

/* Takes NULL, returns NULL. */
struct file_watch *file_watch_free(struct file_watch *watch);
