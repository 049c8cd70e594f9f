#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "device_list.h"
#include "link.h"
#include "policy.h"
#include "vm_config.h"

/* The direct road as a whole: whether it is open, to whom, and which device a request is about. Nothing listens unless vm.conf or a rule asks for it, and this Pi is
 * paired. */
struct direct_road;

/* policy and link are borrowed: they outlive it. port 0: any (for tests). The object is the caller's. */
int direct_road_new(sd_event *event, struct policy *policy, struct link *link, uint16_t port, struct direct_road **ret_road);

/* Takes NULL, returns NULL. Sessions that are up belong to their devices. */
struct direct_road *direct_road_free(struct direct_road *road);

/* The devices that can be asked for; borrowed, NULL once they are freed. */
void direct_road_set_devices(struct direct_road *road, struct device_list *devices);

/* What vm.conf says of it. Whether devices that no rule speaks of take another road now than before: then all are to be reconsidered. */
bool direct_road_configure(struct direct_road *road, const struct vm_config *config);

/* Opens or closes it as the rules, vm.conf and the link now have it: to be called after a change of any of them, before devices hear of that. A VM that has
 * proved who it is may import from the address where it did. */
void direct_road_update(struct direct_road *road);

/* Whether a device can be offered on it. Else why not, and what to do: another program has the port, or the VM can't import. */
int direct_road_check(const struct direct_road *road, struct failure *ret_failure);

/* The port to be told to the VM; 0 while it is closed. */
uint16_t direct_road_get_port(const struct direct_road *road);

/* The port for `status`, null while it is closed. A new reference. */
json_t *direct_road_to_json(const struct direct_road *road);

/* Why it is closed although it is wanted, for `status`: a failure, or null. A new reference. */
json_t *direct_road_problem_to_json(const struct direct_road *road);

/* For how long a peer may be silent, in ms. */
uint32_t direct_road_get_patience(const struct direct_road *road);
