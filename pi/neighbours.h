#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "failure.h"
#include "vm_config.h"

/* The VMs that announce themselves on the network, as usbpush-mdns tells of them: hints, foreign, never trusted. */
struct neighbours;

struct neighbour {
	char key[96]; /* of one announcement: network, address family and name */
	char id[33];  /* "" where it says none */
	char name[64];
	char host[256];   /* "bench.local" */
	char address[80]; /* literal, with its scope where it has one */
	uint16_t port;    /* its sshd's */
	char fingerprint[64];
};

/* The object is the caller's. */
int neighbours_new(struct neighbours **ret_neighbours);

/* Takes NULL, returns NULL. */
struct neighbours *neighbours_free(struct neighbours *neighbours);

/* A `vm-found` (foreign): 1 and the entry (borrowed until the next call) if it is new or changed, 0 if it was known, or a negative errno with ret_failure filled. */
int neighbours_add(struct neighbours *neighbours, const json_t *object, const struct neighbour **ret_neighbour,
		   struct failure *ret_failure);

/* A `vm-lost`. Whether it was known; ret_name gets what it was called. */
bool neighbours_remove(struct neighbours *neighbours, const char *key, char *ret_name, size_t size);

/* Forgets all: who told of them is gone. */
void neighbours_clear(struct neighbours *neighbours);

/* An announcement by which the VM of config, known by its id, is somewhere else than config says; NULL without one. What is link-local comes last. */
const struct neighbour *neighbours_find_moved(const struct neighbours *neighbours, const struct vm_config *config);

/* Whether that is the VM of config: by its id, else by its address or name. */
bool neighbour_is_vm(const struct neighbour *neighbour, const struct vm_config *config);

/* `vms` of the status: one entry a VM, of its announcements that with the best address. A new reference. */
json_t *neighbours_to_json(const struct neighbours *neighbours, const struct vm_config *config);
