#pragma once

/* Shared by device.c (the states), device_look.c (what it is), device_policy.c (whether it is shared), device_binding.c (to usbip-host and back), device_offer.c (what passes between a
 * device and the VM), device_early.c (an offer before its drivers have it), device_direct.c (its imports by TCP), device_carrier.c (what carries it), device_recovery.c (a stuck one) and device_view.c (what people see). */

#include <stdint.h>

#include "backoff.h"
#include "device.h"
#include "device_job.h"
#include "direct_session.h"
#include "stream.h"
#include "usbfs_session.h"

enum device_goal { GOAL_SHARE, GOAL_RELEASE };

/* How it is to be got going again, once its session is over. */
enum device_recovery { RECOVERY_NONE, RECOVERY_RESET, RECOVERY_POWER };

struct device {
	const struct device_context *context; /* borrowed: outlives us */
	struct busid busid;
	char syspath[256];
	enum device_state state;
	enum device_goal goal;
	uint32_t busnum, devnum, speed;
	struct identity identity;
	struct policy_decision decision;
	enum device_recovery recovery;
	bool is_by_rule;  /* GOAL_RELEASE came from the owner's rules, and goes with them */
	bool is_detached; /* a person wants it here: kept over a restart */
	bool has_looked;  /* identity and descriptors are there */
	struct descriptors descriptors;
	char reason[192]; /* of IGNORED, or why it waits */
	struct failure failure;
	struct usbip_hold hold;              /* owned */
	struct job *job;                     /* under way while not NULL */
	struct stream *stream;               /* owned: of the offer, or opened ahead of it */
	int kernel_fd;                       /* owned: the stream's end for usbip-host, while the bind is still going */
	struct failure refusal;              /* what the VM said of an offer that was made while the bind was still going */
	bool is_refused_early;               /* it said so before the bind began */
	struct usbfs_session *usbfs_session; /* owned: of a device that is claimed; NULL without */
	bool is_stopping;                    /* FAILED: what its last session left under way is being ended */
	bool is_found;                       /* a predecessor bound it, and we have not taken hold of it yet */
	bool is_left;                        /* a predecessor may have left its interfaces without drivers */
	bool is_glancing;                    /* the job is one of device_glance() */
	bool is_look_due;                    /* and a look was asked for meanwhile */
	bool is_early;                       /* SEEN, and offered without its strings */
	struct identity early_identity;      /* of that offer */
	bool is_announced;                   /* the stream has been told which offer it is for */
	bool is_name_due;                    /* the VM has not been told what it is called now */
	bool is_streaming;                   /* the kernel has the stream's socket */
	bool on_direct;                      /* the offer is one to import by TCP */
	bool is_lent;                        /* READY, and another machine than the VM has it */
	struct direct_session *session;      /* owned: of the direct road */
	char offer_id[MESSAGE_ID_SIZE];
	struct attached *attached; /* owned: what the VM said last; NULL unless ATTACHED */
	sd_event_source *timer;    /* owned: settling, the offer's limit, or the next try */
	uint64_t settle_since_usec, settle_step_usec, next_try_usec;
	struct backoff backoff;
	uint64_t seen_usec, look_usec, bound_usec, offered_usec, started_usec, attached_usec;
	unsigned n_attached, n_failed, n_resets;
	unsigned n_stuck;       /* failures in a row that a harder way may mend */
	unsigned n_forgets;     /* tries to clear its match_busid entry after its unplug */
	unsigned n_short_lives; /* before this one, in a row: why it is held up in SEEN; else 0 */
};

#define USEC_PER_SEC UINT64_C(1000000)

/* The one writer of device->state. */
void device_enter_state(struct device *device, enum device_state state);

/* To FAILED, with the reason; the next try is scheduled by its code. */
void device_fail(struct device *device, const struct failure *failure);

/* The same, from a code and a text. */
void device_fail_with(struct device *device, enum failure_code code, const char *text);

/* The state's one timer: what its end means is the state's. */
void device_arm_timer(struct device *device, uint64_t delay_usec);

/* Starts a job for it; it is then device->job. Without memory the device fails. */
void device_start_job(struct device *device, job_fn fn, job_done_fn on_done);

/* The first thing that an on_done does: takes the hold back. Returns the job. */
struct device_job *device_end_job(struct device *device, int result, void *arg);

/* Whether the result came too late: it was unplugged meanwhile. */
bool device_job_is_stale(struct device *device);

/* Looks at it and decides, unless something is under way: its end must then do it. */
void device_start_look(struct device *device);

/* What a look has found is what the device is from now on, and is judged. */
void device_take_look(struct device *device, const struct device_job *job);

/* To IGNORED, with the reason that was noted when that was asked for. */
void device_ignore_as_asked(struct device *device);

/* After a failure: what was decided to be shared is taken again; what could not be read is looked at first, never taken unseen. */
void device_try_again(struct device *device);

/* Entry action of BINDING: takes it to usbip-host or back to its driver, as the goal says, from where it is. */
void device_enter_binding(struct device *device);

/* Goes on in BINDING as soon as the kernel has torn down an ended session: with a reset of the device, on its own time. Only then may anything be done to it. */
void device_settle(struct device *device);

/* Starts the recovery that is wanted; false if none is. Its end goes on from BINDING. */
bool device_start_recovery(struct device *device);

/* Before another try: chooses a harder way where the owner's rule lets it and it is time. */
void device_escalate(struct device *device);

/* Asks the policy what it says of the device now. */
void device_decide(struct device *device);

/* Back to the Pi's own driver, with the reason; is_by_rule: a rule may bring it back. */
void device_let_go(struct device *device, const char *reason, bool is_by_rule);

/* Ends the stream, and forgets what the VM said of it. */
void device_drop_stream(struct device *device);

/* A new offer, its `connect`, its stream. 0, or a negative errno with ret_failure. */
int device_make_offer(struct device *device, struct failure *ret_failure);

/* The same, or the rest of an early one, if the link is up: done while the bind is still going, so that the VM's half of the work runs beside ours. */
void device_offer_ahead(struct device *device);

/* It is not to be taken after all, or not by what was offered early: tells the VM, if there is such an offer. */
void device_withdraw_early(struct device *device, const char *reason);

/* From now on it has a while to be completed, or is withdrawn. Nothing without an early offer. */
void device_limit_early(struct device *device);

/* It has been looked at: an early offer of anything else is withdrawn. */
void device_check_early(struct device *device, const struct device_job *job);

/* The strings of an early offer; from then on it is as any other. */
void device_complete_offer(struct device *device);

/* Entry action of OFFERED: makes an offer unless that was done ahead, and starts the session if the VM waits for it. */
void device_enter_offered(struct device *device);

/* What carries it: "usbip-host", "usbfs"; "" while nothing does. */
const char *device_get_carrier(const struct device *device);

/* Whether the rules want another carrier for it than it has. */
bool device_has_wrong_carrier(const struct device *device);

/* Takes it from its carrier, to give it to the other. */
void device_leave_carrier(struct device *device);

/* The rules want, maybe, another carrier for it since: it is taken from the one it has unless something is under way, whose end does it.
 * Whether it was taken. */
bool device_change_carrier(struct device *device);

/* Gives fd (borrowed) to whatever carries the device: usbip-host, or a session of ours. 0, or a negative errno with ret_failure. */
int device_start_session(struct device *device, int fd, struct failure *ret_failure);

/* The session of its carrier, as usbip-host tells its own. -ENOENT or -ENODEV when it is no longer with it. */
int device_get_session_status(const struct device *device, enum usbip_host_status *ret_status);

/* Its stream has ended, on whichever road. */
void device_end_stream(struct device *device, const struct failure *failure);

/* The rules, or vm.conf, have it take the other road from now on. */
void device_change_road(struct device *device);

/* Tells the VM another name for what is offered to it. */
void device_send_name(struct device *device);

/* Takes the last offer back, if there was one. */
void device_send_disconnect(const struct device *device, const char *reason);
