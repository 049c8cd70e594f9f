#pragma once

#include "exporter.h"

#define CONTROL_SOCKET "/run/usbpush/control.sock"

/* The exporter's control socket: what the usbpush command and the portal ask. Everybody on the Pi may look; changes are for root, and most of them for the
 * portal's user. */
struct control;

/* Listens at path. The object is the caller's; exporter outlives it. */
int control_new(sd_event *event, const char *path, struct exporter *exporter, struct control **ret_control);

/* Lets a user change things as root does, whether there is such a user yet or not; by its name. The default is the portal's (common/setup_code.h). name outlives control. */
void control_set_portal_user(struct control *control, const char *name);

/* Closes the socket. Takes NULL, returns NULL. */
struct control *control_free(struct control *control);
