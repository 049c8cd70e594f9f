#pragma once

#include <systemd/sd-event.h>

#include "event_log.h"
#include "vm_config.h"

/* vm.conf while the exporter runs: read when somebody says that it may have changed, and again by itself as long as it can't be read. */
struct vm_config_reader;

/* on_config: what it says, changed or not. path, events and userdata are borrowed: they outlive it. The object is the caller's. */
int vm_config_reader_new(sd_event *event, const char *path, struct event_log *events,
			 void (*on_config)(const struct vm_config *config, void *userdata), void *userdata,
			 struct vm_config_reader **ret_reader);

/* Takes NULL, returns NULL. */
struct vm_config_reader *vm_config_reader_free(struct vm_config_reader *reader);

/* Reads it now. Problems go to the log and the events. */
void vm_config_reader_read(struct vm_config_reader *reader);
