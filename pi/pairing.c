#include "pairing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "log.h"
#include "machine.h"
#include "vm_config_writer.h"

#define PARTING_USEC (8 * UINT64_C(1000000)) /* the VM has 5 s for its side */

enum pairing_state {
	PAIRING_IDLE,
	PAIRING_TRYING,
	PAIRING_DECIDED,
	PAIRING_HELD,
	PAIRING_KEEPING,   /* what works is being written */
	PAIRING_RETURNING, /* the VM has gone back: what was before is being written */
	PAIRING_ENDING,    /* that there is no VM is being written */
	PAIRING_PARTING,
	PAIRING_PARTED
};

struct pairing {
	sd_event *event;           /* borrowed: outlives us */
	struct link *link;         /* borrowed: outlives us */
	struct job_runner *writes; /* borrowed: outlives us */
	const char *config_path;   /* borrowed: outlives us */
	struct vm_config *current; /* borrowed: outlives us */
	struct vm_config trial;
	struct vm_config former;        /* what the VM's going back leads to */
	struct vm_config dropped;       /* what is in vm.conf, maybe, until it is taken back */
	struct vm_config ended;         /* whom an end is about */
	sd_event_source *parting_timer; /* owned */
	sd_event_source *settle_timer;  /* owned; running: too early to say that the VM has not gone back */
	bool is_settling;               /* the VM may have gone back */
	uint64_t settle_usec;
	enum pairing_state state;
	struct job *job;         /* the write that the state waits for */
	struct job *taking_back; /* a write that no state waits for */
	bool is_up;
	bool is_link_taken; /* somebody else has configured the link since the pairing ended */
	bool is_to_be_held; /* the caller decides when the link is up */
	bool was_trying;    /* when the end was asked for */
	bool was_returning; /* the same: what was before is in vm.conf, or is not */
	struct failure failure;
	sd_event_source *decider; /* owned: acts from the loop, not from within the link's transition */
	pairing_done_fn on_done;
	pairing_ended_fn on_ended;
	void *waiter; /* borrowed */
	struct pairing_handlers handlers;
	void *userdata; /* borrowed */
};

static int pairing_write(struct pairing *pairing, const struct vm_config *config, job_done_fn on_written)
{
	return vm_config_write(pairing->writes, pairing->config_path, config, on_written, pairing, &pairing->job);
}

static int pairing_fail_to_write(const struct pairing *pairing, int error, struct failure *ret_failure)
{
	return failure_set(ret_failure, FAILURE_NO_PERMISSION, "Look at the file's directory and free space.", "%s can't be written: %s",
			   pairing->config_path, strerror(-error));
}

/* The try is over, and what was before it is back. If that is no VM at all, what was plugged in while the link was no longer UNPAIRED goes back to the Pi, as long as the link can
 * still tell. */
static void pairing_restore(struct pairing *pairing)
{
	if (!vm_config_is_paired(pairing->current))
		pairing->handlers.on_ended(pairing->userdata);
	link_configure(pairing->link, pairing->current);
}

/* ---- what works is kept ---- */

static int pairing_on_settle(sd_event_source *source, uint64_t usec, void *userdata);

/* It is on the disk. */
static void pairing_take_over(struct pairing *pairing)
{
	bool is_same = vm_config_is_paired(pairing->current) && strcmp(pairing->current->host_key, pairing->trial.host_key) == 0;

	pairing->former = *pairing->current;
	*pairing->current = pairing->trial;
	log_notice("paired with %s@%s", pairing->trial.user, pairing->trial.host);
	if (!is_same) /* else what was detached by hand stays so */
		pairing->handlers.on_paired(pairing->userdata);
	pairing->is_settling = pairing->is_to_be_held &&
			       timer_arm(pairing->event, &pairing->settle_timer, pairing->settle_usec, pairing_on_settle, pairing) >= 0;
}

/* The try's end, for better or worse. */
static void pairing_finish_try(struct pairing *pairing)
{
	pairing_done_fn on_done = pairing->on_done;

	pairing->state = PAIRING_IDLE;
	pairing->on_done = NULL;
	if (!pairing->is_up)
		pairing_restore(pairing);
	if (on_done)
		on_done(pairing->is_up ? NULL : &pairing->failure, pairing->waiter);
}

static void pairing_on_kept(int result, void *arg, void *userdata)
{
	struct pairing *pairing = userdata;

	(void)arg;
	pairing->job = NULL;
	if (result < 0) {
		pairing->is_up = false;
		pairing_fail_to_write(pairing, result, &pairing->failure);
	} else {
		pairing_take_over(pairing);
	}
	pairing_finish_try(pairing);
}

/* From here on the link may go down again: it comes back as any other. */
static int pairing_keep(struct pairing *pairing)
{
	if (!pairing->trial.id[0] && vm_config_is_id(link_vm_id(pairing->link))) /* by hand: what its hello said */
		snprintf(pairing->trial.id, sizeof(pairing->trial.id), "%s", link_vm_id(pairing->link));
	pairing->state = PAIRING_KEEPING;
	return pairing_write(pairing, &pairing->trial, pairing_on_kept);
}

static void pairing_on_taken_back(int result, void *arg, void *userdata)
{
	struct pairing *pairing = userdata;

	(void)arg;
	pairing->taking_back = NULL;
	if (result < 0)
		log_error("what a pairing that was dropped wrote into vm.conf can't be taken back: %s", strerror(-result));
}

static void pairing_write_back(struct pairing *pairing)
{
	int r;

	pairing->taking_back = job_abandon(pairing->taking_back); /* this one comes later */
	r = vm_config_write(pairing->writes, pairing->config_path, pairing->current, pairing_on_taken_back, pairing, &pairing->taking_back);
	if (r < 0)
		pairing_on_taken_back(r, NULL, pairing);
}

/* What is being written is not to be: what holds is written over it, in its turn. */
static void pairing_take_back(struct pairing *pairing)
{
	if (pairing->state != PAIRING_KEEPING)
		return;
	pairing->job = job_abandon(pairing->job);
	pairing->dropped = pairing->trial;
	pairing_write_back(pairing);
}

/* ---- the VM that goes back ---- */

static void pairing_check_settled(struct pairing *pairing, enum link_state state)
{
	int is_early = SD_EVENT_OFF;

	if (pairing->settle_timer)
		(void)sd_event_source_get_enabled(pairing->settle_timer, &is_early);
	if (state == LINK_UP && is_early == SD_EVENT_OFF)
		pairing->is_settling = false;
}

static int pairing_on_settle(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pairing *pairing = userdata;

	(void)source;
	(void)usec;
	pairing_check_settled(pairing, link_get_state(pairing->link));
	return 0;
}

static void pairing_on_returned(int result, void *arg, void *userdata)
{
	struct pairing *pairing = userdata;

	(void)arg;
	pairing->job = NULL;
	pairing->state = PAIRING_IDLE;
	if (result < 0)
		log_error("%s can't be written: %s", pairing->config_path, strerror(-result));
	pairing->handlers.on_back(pairing->userdata);
}

/* From the loop: the link is no longer in its transition. */
static void pairing_go_back(struct pairing *pairing)
{
	int r;

	pairing->is_settling = false;
	log_warning("%s went back to before the pairing: it never heard that it was done. So does this Pi; pair again.",
		    pairing->current->host);
	pairing->state = PAIRING_RETURNING;
	r = pairing_write(pairing, &pairing->former, pairing_on_returned);
	if (r < 0)
		pairing_on_returned(r, NULL, pairing);
}

/* ---- the end ---- */

/* What is left on the VM, and what to do about it there. */
static void pairing_note_left(struct pairing *pairing, const char *why)
{
	char cure[200], name[MESSAGE_NAME_SIZE];

	machine_name(name, sizeof(name));
	snprintf(cure, sizeof(cure),
		 "On the VM: sudo usbpush-vm unpair %s (usbpush-vm status has the name). Until then it knows this Pi's key.", name);
	failure_set(&pairing->failure, FAILURE_UNREACHABLE, cure, "the VM %s could not be told: %s", pairing->former.host, why);
}

/* From here the loop goes on: what called this may be the link's own transition. */
static void pairing_part(struct pairing *pairing)
{
	pairing->state = PAIRING_PARTED;
	timer_disarm(pairing->parting_timer);
	sd_event_source_set_enabled(pairing->decider, SD_EVENT_ONESHOT);
}

static int pairing_on_parting_limit(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pairing *pairing = userdata;

	(void)source;
	(void)usec;
	if (pairing->state != PAIRING_PARTING)
		return 0;
	pairing_note_left(pairing, "it did not answer");
	pairing_part(pairing);
	return 0;
}

/* The try's owner hears that it is over; what was up is dropped with the link. */
static void pairing_abort_try(struct pairing *pairing)
{
	pairing_done_fn on_done = pairing->on_done;

	if (pairing->state == PAIRING_IDLE)
		return;
	sd_event_source_set_enabled(pairing->decider, SD_EVENT_OFF);
	pairing_take_back(pairing);
	pairing->job = job_abandon(pairing->job);
	pairing->state = PAIRING_IDLE;
	pairing->on_done = NULL;
	failure_set(&pairing->failure, FAILURE_BUSY, "Pair again.", "the pairing was ended by somebody else meanwhile");
	if (on_done)
		on_done(&pairing->failure, pairing->waiter);
}

/* Whether the VM has said that it does not know this Pi (any more): then there is nothing to be told. */
static bool pairing_is_forgotten(const struct pairing *pairing)
{
	json_t *link = link_to_json(pairing->link);
	const json_t *error = json_object_get(link, "error");
	struct failure failure = { 0 };

	if (json_is_object(error))
		failure_from_json(error, &failure);
	json_decref(link);
	return failure.code == FAILURE_NOT_PAIRED || failure.code == FAILURE_LOGIN;
}

/* Why the VM can't be told over the link as it is now; NULL: it can. */
static const char *pairing_find_obstacle(const struct pairing *pairing, bool is_changed)
{
	if (is_changed)
		return "vm.conf was changed meanwhile";
	if (pairing->was_trying)
		return "another pairing was being tried";
	return link_get_state(pairing->link) == LINK_UP ? NULL : "the link is not up";
}

/* vm.conf has no VM any more. is_changed: it was read meanwhile, and the link is not the ended pairing's. */
static void pairing_begin_parting(struct pairing *pairing, bool is_changed)
{
	const struct message message = { .type = MESSAGE_UNPAIR };
	const char *obstacle = pairing_find_obstacle(pairing, is_changed);

	pairing->is_settling = false;
	pairing->former = pairing->ended;
	*pairing->current = (struct vm_config){ .patience_ms = pairing->current->patience_ms };
	pairing->failure = (struct failure){ 0 };
	pairing->is_link_taken = false;
	pairing->state = PAIRING_PARTING;
	log_notice("the pairing%s%s ends", *pairing->former.host ? " with " : "", pairing->former.host);
	pairing->handlers.on_ended(pairing->userdata); /* while the link can still tell of each device */
	if (!vm_config_is_paired(&pairing->former) || (!is_changed && !pairing->was_trying && pairing_is_forgotten(pairing))) {
		pairing_part(pairing);
	} else if (obstacle || timer_arm(pairing->event, &pairing->parting_timer, PARTING_USEC, pairing_on_parting_limit, pairing) < 0) {
		pairing_note_left(pairing, obstacle ? obstacle : "out of memory");
		pairing_part(pairing);
	} else {
		link_send(pairing->link, &message);
	}
}

static void pairing_on_end_written(int result, void *arg, void *userdata)
{
	struct pairing *pairing = userdata;
	pairing_ended_fn on_ended = pairing->on_ended;
	bool is_changed = pairing->is_link_taken;

	(void)arg;
	pairing->job = NULL;
	if (result >= 0) {
		pairing_begin_parting(pairing, is_changed);
		if (is_changed) /* before or after this was written: the file knows */
			pairing->handlers.on_back(pairing->userdata);
		return;
	}
	pairing->state = PAIRING_IDLE;
	pairing->on_ended = NULL;
	if (pairing->was_trying)
		pairing_restore(pairing);
	if (pairing->was_returning)
		pairing->handlers.on_back(pairing->userdata); /* the file knows */
	pairing_fail_to_write(pairing, result, &pairing->failure);
	if (on_ended)
		on_ended(false, &pairing->failure, pairing->waiter);
}

int pairing_end(struct pairing *pairing, pairing_ended_fn on_ended, void *userdata, struct failure *ret_failure)
{
	const struct vm_config none = { .patience_ms = pairing->current->patience_ms };
	int r;

	if (pairing->state >= PAIRING_ENDING)
		return failure_set(ret_failure, FAILURE_BUSY, "Wait for its end, 8 s at most.", "the pairing is ending already");
	pairing->was_returning = pairing->state == PAIRING_RETURNING;
	pairing->was_trying = pairing->state != PAIRING_IDLE && !pairing->was_returning;
	pairing_abort_try(pairing);
	sd_event_source_set_enabled(pairing->decider, SD_EVENT_OFF); /* it may have been about to go back */
	pairing->ended = *pairing->current;
	pairing->is_link_taken = false;
	pairing->state = PAIRING_ENDING;
	pairing->on_ended = on_ended;
	pairing->waiter = userdata;
	r = pairing_write(pairing, &none, pairing_on_end_written);
	if (r >= 0)
		return 0;
	pairing->on_ended = NULL; /* it is told here */
	pairing_on_end_written(r, NULL, pairing);
	*ret_failure = pairing->failure;
	return r;
}

void pairing_handle_message(struct pairing *pairing, const struct message *message)
{
	if (pairing->state != PAIRING_PARTING)
		return;
	if (message->type == MESSAGE_UNPAIRED)
		pairing->failure = message->failure;
	else if (message->type == MESSAGE_UNKNOWN && strcmp(message->of, "unpair") == 0)
		pairing_note_left(pairing, "its usbpush is older than this one");
	else
		return;
	pairing_part(pairing);
}

static void pairing_finish_parting(struct pairing *pairing)
{
	bool is_left = pairing->failure.code != FAILURE_NONE;
	pairing_ended_fn on_ended = pairing->on_ended;

	pairing->state = PAIRING_IDLE;
	pairing->on_ended = NULL;
	if (!pairing->is_link_taken) {
		link_configure(pairing->link, pairing->current);
		pairing->handlers.on_ended(pairing->userdata); /* what was plugged in meanwhile */
	}
	if (is_left)
		log_warning("%s. %s", pairing->failure.text, pairing->failure.cure);
	if (on_ended)
		on_ended(true, is_left ? &pairing->failure : NULL, pairing->waiter);
}

static int pairing_on_decided(sd_event_source *source, void *userdata)
{
	struct pairing *pairing = userdata;
	int r;

	(void)source;
	if (pairing->state == PAIRING_IDLE) {
		if (pairing->is_settling)
			pairing_go_back(pairing);
		return 0;
	}
	if (pairing->state == PAIRING_PARTED) {
		pairing_finish_parting(pairing);
		return 0;
	}
	if (pairing->is_up && pairing->is_to_be_held) {
		pairing->state = PAIRING_HELD;
		if (pairing->on_done)
			pairing->on_done(NULL, pairing->waiter);
		return 0;
	}
	if (!pairing->is_up) {
		pairing_finish_try(pairing);
		return 0;
	}
	r = pairing_keep(pairing);
	if (r < 0)
		pairing_on_kept(r, NULL, pairing);
	return 0;
}

int pairing_new(sd_event *event, struct link *link, struct job_runner *writes, const char *config_path, struct vm_config *current,
		const struct pairing_handlers *handlers, void *userdata, struct pairing **ret_pairing)
{
	struct pairing *pairing = calloc(1, sizeof(*pairing));
	int r;

	if (!pairing)
		return -ENOMEM;
	pairing->event = event;
	pairing->link = link;
	pairing->writes = writes;
	pairing->config_path = config_path;
	pairing->current = current;
	pairing->handlers = *handlers;
	pairing->userdata = userdata;
	r = sd_event_add_defer(event, &pairing->decider, pairing_on_decided, pairing);
	if (r < 0) {
		free(pairing);
		return r;
	}
	sd_event_source_set_enabled(pairing->decider, SD_EVENT_OFF);
	*ret_pairing = pairing;
	return 0;
}

struct pairing *pairing_free(struct pairing *pairing)
{
	if (!pairing)
		return NULL;
	job_abandon(pairing->job);
	job_abandon(pairing->taking_back);
	sd_event_source_disable_unref(pairing->decider);
	sd_event_source_disable_unref(pairing->settle_timer);
	sd_event_source_disable_unref(pairing->parting_timer);
	free(pairing);
	return NULL;
}

static int pairing_try(struct pairing *pairing, const struct vm_config *config, bool is_to_be_held, pairing_done_fn on_done, void *userdata)
{
	if (pairing->state != PAIRING_IDLE)
		return -EBUSY;
	sd_event_source_set_enabled(pairing->decider, SD_EVENT_OFF); /* it may have been about to go back */
	pairing->trial = *config;
	pairing->is_settling = false;
	pairing->is_up = false;
	if (pairing->current->patience_ms)
		pairing->trial.patience_ms = pairing->current->patience_ms;
	pairing->state = PAIRING_TRYING;
	pairing->is_to_be_held = is_to_be_held;
	pairing->on_done = on_done;
	pairing->waiter = userdata;
	link_configure(pairing->link, &pairing->trial);
	return 0;
}

int pairing_start(struct pairing *pairing, const struct vm_config *config, pairing_done_fn on_done, void *userdata)
{
	return pairing_try(pairing, config, false, on_done, userdata);
}

int pairing_start_held(struct pairing *pairing, const struct vm_config *config, pairing_done_fn on_done, void *userdata)
{
	return pairing_try(pairing, config, true, on_done, userdata);
}

int pairing_commit(struct pairing *pairing, uint64_t settle_usec, struct failure *ret_failure)
{
	int r;

	if (pairing->state != PAIRING_HELD)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "the pairing is not held any more");
	pairing->settle_usec = settle_usec;
	r = pairing_keep(pairing);
	if (r >= 0)
		return 0;
	pairing->on_done = NULL; /* it is told here */
	pairing_on_kept(r, NULL, pairing);
	*ret_failure = pairing->failure;
	return r;
}

void pairing_revert(struct pairing *pairing)
{
	if (pairing->state == PAIRING_IDLE || pairing->state >= PAIRING_RETURNING)
		return;
	pairing_take_back(pairing);
	pairing->state = PAIRING_IDLE;
	pairing->on_done = NULL;
	sd_event_source_set_enabled(pairing->decider, SD_EVENT_OFF);
	pairing_restore(pairing);
}

void pairing_cancel(struct pairing *pairing)
{
	pairing->is_settling = false;
	pairing->is_link_taken = true;
	if (pairing->taking_back && pairing->state < PAIRING_KEEPING)
		pairing_write_back(pairing); /* what held until now is not what holds */
	if (pairing->state == PAIRING_IDLE || pairing->state == PAIRING_RETURNING || pairing->state == PAIRING_ENDING)
		return; /* the file is read again when that is written */
	if (pairing->state == PAIRING_PARTING)
		pairing_note_left(pairing, "vm.conf was changed meanwhile");
	if (pairing->state == PAIRING_PARTING || pairing->state == PAIRING_PARTED) {
		pairing_part(pairing);
		return;
	}
	pairing_take_back(pairing);
	pairing->is_up = false;
	failure_set(&pairing->failure, FAILURE_BUSY, "Pair again.", "the pairing was changed or ended by somebody else meanwhile");
	pairing->state = PAIRING_DECIDED;
	sd_event_source_set_enabled(pairing->decider, SD_EVENT_ONESHOT);
}

bool pairing_is_own(const struct pairing *pairing, const struct vm_config *config)
{
	if (pairing->taking_back && vm_config_equal(config, &pairing->dropped))
		return true;
	if (pairing->state == PAIRING_KEEPING)
		return vm_config_equal(config, &pairing->trial);
	return pairing->state == PAIRING_ENDING && !vm_config_is_paired(config);
}

bool pairing_is_busy(const struct pairing *pairing)
{
	return pairing->state != PAIRING_IDLE;
}

void pairing_forget(struct pairing *pairing, void *userdata)
{
	if (pairing->waiter != userdata)
		return;
	pairing->on_done = NULL;
	pairing->on_ended = NULL;
}

static void pairing_handle_parting_state(struct pairing *pairing, enum link_state state, const json_t *link)
{
	struct failure failure;

	if (state == LINK_UP)
		return;
	failure_from_json(json_object_get(link, "error"), &failure);
	pairing_note_left(pairing, failure.text[0] ? failure.text : "the link ended");
	pairing_part(pairing);
}

static bool is_login_refused(const json_t *link)
{
	struct failure failure;

	failure_from_json(json_object_get(link, "error"), &failure);
	return failure.code == FAILURE_LOGIN;
}

void pairing_handle_link_state(struct pairing *pairing, enum link_state state, const json_t *link)
{
	pairing_check_settled(pairing, state);
	if (pairing->state == PAIRING_PARTING)
		pairing_handle_parting_state(pairing, state, link);
	if (pairing->state == PAIRING_IDLE && pairing->is_settling && state == LINK_REFUSED && is_login_refused(link))
		sd_event_source_set_enabled(pairing->decider, SD_EVENT_ONESHOT);
	if (state != LINK_UP && state != LINK_DOWN && state != LINK_REFUSED)
		return;
	if (pairing->state != PAIRING_TRYING && (pairing->state != PAIRING_HELD || state == LINK_UP))
		return;
	pairing->is_up = state == LINK_UP;
	failure_from_json(json_object_get(link, "error"), &pairing->failure);
	pairing->state = PAIRING_DECIDED;
	sd_event_source_set_enabled(pairing->decider, SD_EVENT_ONESHOT);
}
