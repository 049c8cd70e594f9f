#pragma once

#include <jansson.h>
#include <systemd/sd-event.h>

#include "pair_exchange.h"
#include "pairing.h"

/* One VM that wants to be paired, from its first message to the end: the Pi's side of PROTOCOL.md, "Pairing by six digits". */
struct pair_session;

enum pair_state {
	PAIR_BEGUN,
	PAIR_WAITING,    /* for the digits */
	PAIR_ANSWERED,   /* the digits were typed; the VM has to confirm */
	PAIR_CONNECTING, /* each knows the other; the link is tried */
	PAIR_UP,         /* the link is up; the VM has to finish */
	PAIR_PAIRED,
	PAIR_FAILED,
};

/* How long each may take. */
struct pair_limits {
	uint64_t code_usec;    /* from `begin` to the digits */
	uint64_t confirm_usec; /* from the digits to `confirm` */
	uint64_t link_usec;
	uint64_t finish_usec;
	uint64_t settle_usec; /* after which a VM that lets the Pi in has not gone back */
	uint64_t poll_usec;   /* a request of the VM is answered after that, be it with "not yet" */
	uint64_t keep_usec;   /* how long one that ended is still shown */
	uint64_t lock_usec;   /* after max_wrong codes in a row */
	unsigned max_wrong;
	unsigned max_waiting;
	unsigned max_from_one; /* of these, from one address */
};

/* The answer to a request, at once or later: exactly one of the two is set. answer is the callee's. */
typedef void (*pair_answer_fn)(json_t *answer, const struct failure *failure, void *userdata);

struct pair_session_handlers {
	void (*on_change)(struct pair_session *session, void *userdata); /* after each change of the state */
	void (*on_over)(struct pair_session *session, void *userdata);   /* nobody needs it any more: free it */
};

/* The VM's `begin` (foreign). from: where it came from. pi: this machine. The object is the caller's; ret_answer is the answer. A negative errno with
 * ret_failure filled for what makes no sense. */
int pair_session_new(sd_event *event, struct pairing *pairing, const struct pair_limits *limits, const struct pair_party *pi,
		     const char *from, const json_t *message, const struct pair_session_handlers *handlers, void *userdata,
		     struct pair_session **ret_session, json_t **ret_answer, struct failure *ret_failure);

/* A link that is being tried goes back; nobody is told. Takes NULL, returns NULL. */
struct pair_session *pair_session_free(struct pair_session *session);

/* The later steps of the VM: "exchange", "confirm", "finish", "cancel". */
void pair_session_handle(struct pair_session *session, const char *step, json_t *message, pair_answer_fn fn, void *userdata);

/* The digits that the owner typed; fn is told the end of it all. */
void pair_session_use_code(struct pair_session *session, const char *code, pair_answer_fn fn, void *userdata);

/* Ends it, for the reason given. Nothing if it has ended. */
void pair_session_fail(struct pair_session *session, const struct failure *failure);

/* Whoever waits with this userdata (NULL: anybody) is gone. */
void pair_session_forget(struct pair_session *session, const void *userdata);

/* Where it is. */
enum pair_state pair_session_state(const struct pair_session *session);

/* Whether digits were typed that the VM has not confirmed: so far it is a wrong guess. */
bool pair_session_is_guess_open(const struct pair_session *session);

/* Its number, in hex. */
const char *pair_session_id(const struct pair_session *session);

/* The address that the VM's messages come from, as the portal tells it: unproved. */
const char *pair_session_from(const struct pair_session *session);

/* The id that the VM gives itself: unproved. */
const char *pair_session_vm_id(const struct pair_session *session);

/* An entry of the answer to `pairings`; a new reference. */
json_t *pair_session_to_json(const struct pair_session *session);

/* What happened, for the event log. */
void pair_session_describe(const struct pair_session *session, char *buffer, size_t size);

/* "WAITING" ... Never NULL. */
const char *pair_state_to_string(enum pair_state state);
