#pragma once

#include <systemd/sd-event.h>

#include "handler.h"

/* The VM's real handler on a tree in sysfs' place, in which nothing ever enumerates: for targets that speak to it. */
#define FUZZ_PI "0123456789abcdef0123456789abcdef" /* paired */

struct fuzz_handler {
	sd_event *event;
	struct handler *handler;
};

/* A fresh one; listens on fuzz_path("run/handler.sock") if is_listening. */
void fuzz_handler_new(struct fuzz_handler *bed);

/* Runs its loop until there is nothing left to do. */
void fuzz_handler_settle(struct fuzz_handler *bed);

void fuzz_handler_free(struct fuzz_handler *bed);
