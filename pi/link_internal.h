#pragma once

/* Shared by link.c (the states), link_hello.c (who says what first), link_beat.c (that both live), link_knock.c (when somebody knocks) and link_view.c (what people
 * see). */

#include "backoff.h"
#include "connector.h"
#include "control_channel.h"
#include "link.h"

enum { STEP_TCP, STEP_HOST_KEY, STEP_LOGIN, STEP_CHANNEL, STEP_SYNCED };

struct link {
	sd_event *event;         /* borrowed: outlives us */
	struct job_runner *jobs; /* borrowed: outlives us */
	struct vm_config config;
	char key_path[256];
	struct own_key *key; /* owned */
	enum link_state state;
	uint64_t state_since_usec, next_try_usec, attempt_since_usec;
	struct connector *connector;                                               /* owned */
	struct transport *transport;                                               /* owned */
	struct control_channel *control;                                           /* owned */
	sd_event_source *retry_timer, *attempt_timer, *beat_timer, *control_timer; /* owned */
	struct backoff backoff, control_backoff;
	bool is_greeted;   /* the VM's hello has come on this control channel */
	uint64_t sync_seq; /* of the last sync on it */
	uint64_t heard_usec, control_lost_usec, ping_sent_usec, ping_seq, n_beats;
	uint64_t rtt_usec;
	bool is_silent;         /* the last try got no answer at all */
	bool is_refused;        /* it found the VM, and no sshd there */
	uint64_t refused_usec;  /* since when that is so */
	bool is_repeating;      /* what it is in now has been told: another try of many */
	struct failure told;    /* what was logged last of a try that failed */
	bool is_knocked;        /* during the try that is under way */
	bool is_carrying;       /* there is something to lose with the connection */
	struct failure failure; /* why it is DOWN or REFUSED, or SYNCING again */
	char address[64];       /* of the VM, as connected */
	struct hello vm;        /* what the VM said of itself */
	uint64_t n_attempts, n_established;
	uint64_t step_usec[5]; /* when the last try reached: tcp, host key, login, channel, synced */
	struct link_handlers handlers;
	void *userdata; /* borrowed */
};

/* Ends the connection for that reason: DOWN, or REFUSED where only somebody at the VM can mend it. */
void link_fail(struct link *link, const struct failure *failure);

/* The heartbeat's timer, disarmed. 0 or a negative errno. */
int link_make_beat_timer(struct link *link);

/* The next beat comes patience_to_beat() from now, and each sets the one after it. */
void link_arm_beat(struct link *link);

/* The VM's handler answered the ping of that number: for the last one, how long that took is what rtt_usec tells. */
void link_take_pong(struct link *link, uint64_t seq);

/* The next try is at that moment of clock_now_usec(), whatever was said of it before; at once if that has passed. */
void link_schedule_retry(struct link *link, uint64_t at_usec);

/* It is DOWN: a knock that came while the try was under way counts now. */
void link_recall_knock(struct link *link);

/* What was wrong last is told until the link is up. */
bool link_is_in_trouble(const struct link *link);

/* Writes to the log that it came from that state to the one it is in. */
void link_log_state(struct link *link, enum link_state old);

/* What this Pi says first. A negative errno if this machine has no id. */
int link_make_hello(const struct link *link, struct message *ret_message);

/* What is wrong with a message of the VM at this place, whatever is in it; NULL if nothing is. */
const char *link_find_misplaced(const struct link *link, const struct message *message);
