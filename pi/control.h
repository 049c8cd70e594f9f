#pragma once

#include "exporter.h"

#define CONTROL_SOCKET "/run/usbpush/control.sock"

/* The exporter's control socket: what the usbpush command and the portal ask. Everybody on the Pi may look; changes are for root. */
struct control;

/* Listens at path. The object is the caller's; exporter outlives it. */
int control_new(sd_event *event, const char *path, struct exporter *exporter, struct control **ret_control);

/* Closes the socket. Takes NULL, returns NULL. */
struct control *control_free(struct control *control);
