#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "job.h"
#include "message.h"
#include "transport.h"
#include "vm_config.h"

/* The Pi's one connection to the VM: connecting, logging in, the control channel with its heartbeat, and trying again. DESIGN section 4. */
struct link;

enum link_state {
	LINK_UNPAIRED,       /* no VM is configured */
	LINK_DOWN,           /* waiting for the next try */
	LINK_CONNECTING,     /* look-up and TCP */
	LINK_AUTHENTICATING, /* SSH handshake, host key, login */
	LINK_SYNCING,        /* control channel, hellos, sync */
	LINK_UP,
	LINK_REFUSED, /* host key changed, key not accepted, not paired there any more, version: needs a person */
};

struct link_handlers {
	void (*on_state)(enum link_state state, void *userdata); /* streams can be opened from SYNCING on, while the transport stands */
	/* The VM answered hello: send the complete set of offers with link_send_sync(). */
	void (*on_sync_wanted)(void *userdata);
	void (*on_message)(const struct message *message, void *userdata); /* synced, attached, failed, detached, unpaired, unknown */
	/* The connection is gone, and every stream on it with it. */
	void (*on_lost)(void *userdata);
};

/* The object is the caller's; starts UNPAIRED. key_path: the Pi's private key. */
int link_new(sd_event *event, struct job_runner *jobs, const char *key_path, const struct link_handlers *handlers, void *userdata,
	     struct link **ret_link);

/* Takes NULL, returns NULL. on_lost is not called. */
struct link *link_free(struct link *link);

/* Drops what is there and begins anew with this VM, at once; an unpaired config leaves it UNPAIRED. */
void link_configure(struct link *link, const struct vm_config *config);

/* Tries now instead of at the end of the backoff. Does nothing in other states than DOWN; in REFUSED only when a person asks (is_person). */
void link_kick(struct link *link, bool is_person);

/* Somebody says that the VM is there, and nobody knows who: anybody on the network can. The next try of a link that is DOWN comes now, but not within a second of the last one's
 * beginning; a knock during a try counts when that one has failed. All else stays as it is: how the backoff grows, how long a VM counts as one that boots, what is told. So who knocks
 * without end gets a try a second at most, where a VM without sshd gets four. In REFUSED it does nothing. */
void link_knock(struct link *link);

/* Sends a control message; drops it when no control channel is up (the next sync says it all). */
void link_send(struct link *link, const struct message *message);

/* Whether the state it is in is only another try, or the end of one, of many that fail alike: told before. */
bool link_is_repeating(const struct link *link);

/* The state. */
enum link_state link_get_state(const struct link *link);

/* The state's name as in --json: "UP". Never NULL. */
const char *link_state_to_string(enum link_state state);

/* Whether devices are attached over it: then it outlasts a handler that is away, however long. */
void link_set_carrying(struct link *link, bool is_carrying);

/* The transport for streams; NULL when there is none, borrowed until on_lost. */
struct transport *link_get_transport(struct link *link);

/* The id that the VM gave in its hello; "" before. */
const char *link_vm_id(const struct link *link);

/* The VM as its owner named it, a name or an address; "" where none is configured. */
const char *link_get_host(const struct link *link);

/* The address of the VM as it was last connected to, "" before. */
const char *link_get_address(const struct link *link);

/* Whether the VM says that it can import devices by TCP. */
bool link_can_direct(const struct link *link);

/* Whether the VM says that it takes offers whose strings come later. */
bool link_can_partial(const struct link *link);

/* Pings now; the status has no round trip until the answer to this one has come. */
void link_ping(struct link *link);

/* The "link" object of `status --json`: state, vm, host, port, user, rtt_ms, reason, next_try_s, since, steps of the last try... A new reference. */
json_t *link_to_json(const struct link *link);
