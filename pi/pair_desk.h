#pragma once

#include "event_log.h"
#include "pair_session.h"

/* Where VMs that want to be paired are received, and where the owner says which of them may: who waits, the limits, the lock. */
struct pair_desk;

/* All but the callbacks' own are borrowed and outlive it. limits NULL: those of PROTOCOL.md. 0 or negative errno. */
int pair_desk_new(sd_event *event, struct pairing *pairing, struct event_log *events, const char *key_path,
		  const struct pair_limits *limits, struct pair_desk **ret_desk);

/* Ends every pairing, without a word to who waits. Takes NULL, returns NULL. */
struct pair_desk *pair_desk_free(struct pair_desk *desk);

/* A VM's request, as the portal passed it on: step, where it came from, and the body. The answer comes within 10 s. */
void pair_desk_handle(struct pair_desk *desk, const char *step, const char *from, json_t *message, pair_answer_fn fn, void *userdata);

/* The owner types digits for that session; the answer comes at the end. */
void pair_desk_use_code(struct pair_desk *desk, const char *session, const char *code, pair_answer_fn fn, void *userdata);

/* The owner ends that session. FAILURE_NOT_FOUND. */
int pair_desk_cancel(struct pair_desk *desk, const char *session, struct failure *ret_failure);

/* Whoever waits with this userdata (NULL: anybody) is gone. */
void pair_desk_forget(struct pair_desk *desk, const void *userdata);

/* {"pairings":[...],"locked_ms"}; a new reference. */
json_t *pair_desk_to_json(const struct pair_desk *desk);
