#pragma once

#include "mdns.h"

/* Tells the exporter which VMs are on the network (PROTOCOL.md, "What is on the network"). It may be away and come back: then it is told all anew. */
struct mdns_exporter;

/* socket_path is borrowed. 0 or negative errno. */
int mdns_exporter_new(sd_event *event, const char *socket_path, struct mdns_exporter **ret_exporter);

/* Takes NULL, returns NULL. */
struct mdns_exporter *mdns_exporter_free(struct mdns_exporter *exporter);

/* A VM was found, or something of it changed. */
void mdns_exporter_found(struct mdns_exporter *exporter, const struct mdns_found *found);

/* It is gone. */
void mdns_exporter_lost(struct mdns_exporter *exporter, const char *key);
