#pragma once

#include <systemd/sd-event.h>

#include "roster.h"
#include "uevent.h"
#include "vhci.h"

/* What the kernel and udev say of vhci_hcd: of its root hubs, which come with the module and go with it, of the devices at its ports, and of their nodes. The attachments
 * hear what is about them. */
struct port_watch;

/* vhci and roster are borrowed: they outlive it. The object is the caller's. */
int port_watch_new(sd_event *event, struct vhci *vhci, struct roster *roster, struct port_watch **ret_watch);

/* Takes NULL, returns NULL. */
struct port_watch *port_watch_free(struct port_watch *watch);

/* Listens to both from now on. 0 or negative errno. */
int port_watch_listen(struct port_watch *watch);

/* What is said; the seam for tests. */
void port_watch_handle_uevent(struct port_watch *watch, const struct uevent *uevent);

/* Finds, from the loop, the nodes that were there before anybody listened. */
void port_watch_scan_nodes(struct port_watch *watch);
