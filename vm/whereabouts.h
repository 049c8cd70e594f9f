#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "job.h"
#include "piconf.h"

/* Where each paired Pi was when it last connected, kept across boots so that a VM that has booted can knock there (knock.h). What sshd saw (SSH_CONNECTION, by way of the
 * relay) behind a login with that Pi's key is the one source that is neither old nor anybody's word: pi.conf has what somebody typed or what held at the pairing, or nothing,
 * and mDNS is whatever the network says. Nothing is decided by it: at worst somebody else gets a knock, which says nothing. */
struct whereabouts;

#define WHEREABOUTS_DIR          "/var/lib/usbpush-handler"
#define WHEREABOUTS_PATH         WHEREABOUTS_DIR "/addresses"
#define WHEREABOUTS_ADDRESS_SIZE 64

/* Takes over what is kept at path (copied). jobs outlives it. 0 or negative errno; a file that is missing or makes no sense is none. */
int whereabouts_new(sd_event *event, struct job_runner *jobs, const char *path, struct whereabouts **ret_whereabouts);

/* What was not written yet is lost. Takes NULL, returns NULL. */
struct whereabouts *whereabouts_free(struct whereabouts *whereabouts);

/* This Pi, which is paired, connected from there. Another address than before is written within 5 s, by a job; so a Pi that changes it all the time has it written no more
 * often than that. One of this machine itself (there is a tunnel in between) and what is no address are passed over. */
void whereabouts_note(struct whereabouts *whereabouts, const char *pi_id, const char *address);

/* Forgets those that are not paired any more. */
void whereabouts_prune(struct whereabouts *whereabouts, const struct piconf *piconf);

/* What is kept at path: {ID: ADDRESS}, each an id and an IPv4 or IPv6 literal, maybe with a scope; all else in it is left out. A new reference; empty without a file, or where
 * it is too large or no JSON. NULL without memory. */
json_t *whereabouts_read(const char *path);
