#pragma once

#include <jansson.h>

#include "event_log.h"
#include "job.h"
#include "own_key.h"
#include "pairing.h"

/* Pairing with a VM by a login there, given once: for a VM on which usbpush is installed and nobody wants to open a terminal. First its host key is shown, to be compared;
 * nobody has said anything to it then. Then, with that very key, the password: the VM lets this Pi's key in for the time being, the link is tried as with any pairing, and only
 * when it is up both sides write it down. The password is forgotten as soon as the VM has heard it. */
struct login_pair;

/* Once, from the loop: the answer (the callee's), or why not. */
typedef void (*login_pair_done_fn)(json_t *answer, const struct failure *failure, void *userdata);

struct login_pair_request {
	const char *host, *user, *password, *host_key; /* foreign, all checked; a look takes the host alone */
	json_int_t port;
};

/* key_path, own_key: the Pi's key. All is borrowed and outlives it. 0 or negative errno. */
int login_pair_new(sd_event *event, struct job_runner *jobs, struct pairing *pairing, struct event_log *events, const char *key_path,
		   struct own_key *own_key, struct login_pair **ret_login_pair);

/* What is under way is dropped without a word; the VM takes back what it was told. Takes NULL, returns NULL. */
struct login_pair *login_pair_free(struct login_pair *login_pair);

/* Asks for the VM's host key: {"host_key","fingerprint"}. 0, or a negative errno with ret_failure filled; then on_done is not called. */
int login_pair_look(struct login_pair *login_pair, const struct login_pair_request *request, login_pair_done_fn on_done, void *userdata,
		    struct failure *ret_failure);

/* Pairs: {"host"}. The same. */
int login_pair_start(struct login_pair *login_pair, const struct login_pair_request *request, login_pair_done_fn on_done, void *userdata,
		     struct failure *ret_failure);

/* Whoever waits with this userdata (NULL: anybody) has gone; the pairing goes on. */
void login_pair_forget(struct login_pair *login_pair, void *userdata);
