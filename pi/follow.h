#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "event_log.h"
#include "link.h"
#include "neighbours.h"
#include "pairing.h"

/* The VMs on the network, and the one that this Pi is paired with among them: its appearance ends the link's backoff, and when it is at another address the link goes there, but
 * only to where the pinned host key answers. */
struct follow;

/* All is borrowed and outlives it; config is the exporter's current one, writes are what the pairing writes it with. The object is the caller's. */
int follow_new(sd_event *event, struct link *link, struct pairing *pairing, struct event_log *events, struct job_runner *writes,
	       struct vm_config *config, const char *config_path, struct follow **ret_follow);

/* Takes NULL, returns NULL. */
struct follow *follow_free(struct follow *follow);

/* Whether that user may tell of VMs: root, and usbpush-mdns. */
bool follow_is_teller(uid_t uid);

/* A `vm-found` (foreign). A negative errno with ret_failure filled for what makes no sense. */
int follow_vm_found(struct follow *follow, const json_t *object, struct failure *ret_failure);

/* A `vm-lost`. */
void follow_vm_lost(struct follow *follow, const char *key);

/* Who told of them is gone. */
void follow_forget(struct follow *follow);

/* The link's state changed; may be called from within its transition. */
void follow_handle_link_state(struct follow *follow, enum link_state state);

/* `vms` of the status; a new reference. */
json_t *follow_to_json(const struct follow *follow);
