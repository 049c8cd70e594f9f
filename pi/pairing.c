#include "pairing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "log.h"

enum pairing_state { PAIRING_IDLE, PAIRING_TRYING, PAIRING_DECIDED, PAIRING_HELD };

struct pairing {
	sd_event *event;           /* borrowed: outlives us */
	struct link *link;         /* borrowed: outlives us */
	const char *config_path;   /* borrowed: outlives us */
	struct vm_config *current; /* borrowed: outlives us */
	struct vm_config trial;
	struct vm_config former;       /* what the VM's going back leads to */
	sd_event_source *settle_timer; /* owned; running: too early to say that the VM has not gone back */
	bool is_settling;              /* the VM may have gone back */
	enum pairing_state state;
	bool is_up;
	bool is_to_be_held; /* the caller decides when the link is up */
	struct failure failure;
	sd_event_source *decider; /* owned: acts from the loop, not from within the link's transition */
	pairing_done_fn on_done;
	void *waiter; /* borrowed */
	struct pairing_handlers handlers;
	void *userdata; /* borrowed */
};

static void pairing_keep(struct pairing *pairing)
{
	bool is_same;
	int r;

	if (!pairing->trial.id[0] && vm_config_is_id(link_vm_id(pairing->link))) /* by hand: what its hello said */
		snprintf(pairing->trial.id, sizeof(pairing->trial.id), "%s", link_vm_id(pairing->link));
	r = vm_config_save(pairing->config_path, &pairing->trial);
	if (r < 0) {
		pairing->is_up = false;
		failure_set(&pairing->failure, FAILURE_NO_PERMISSION, "Look at its directory and free space.", "%s can't be written: %s",
			    pairing->config_path, strerror(-r));
		return;
	}
	is_same = vm_config_is_paired(pairing->current) && strcmp(pairing->current->host_key, pairing->trial.host_key) == 0;
	*pairing->current = pairing->trial;
	log_notice("paired with %s@%s", pairing->trial.user, pairing->trial.host);
	if (!is_same) /* else what was detached by hand stays so */
		pairing->handlers.on_paired(pairing->userdata);
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

/* From the loop: the link is no longer in its transition. */
static void pairing_go_back(struct pairing *pairing)
{
	int r = vm_config_save(pairing->config_path, &pairing->former);

	pairing->is_settling = false;
	log_warning("%s went back to before the pairing: it never heard that it was done. So does this Pi; pair again.",
		    pairing->current->host);
	if (r < 0)
		log_error("%s can't be written: %s", pairing->config_path, strerror(-r));
	pairing->handlers.on_back(pairing->userdata);
}

static int pairing_on_decided(sd_event_source *source, void *userdata)
{
	struct pairing *pairing = userdata;
	pairing_done_fn on_done = pairing->on_done;

	(void)source;
	if (pairing->state == PAIRING_IDLE) {
		if (pairing->is_settling)
			pairing_go_back(pairing);
		return 0;
	}
	if (pairing->is_up && pairing->is_to_be_held) {
		pairing->state = PAIRING_HELD;
		if (on_done)
			on_done(NULL, pairing->waiter);
		return 0;
	}
	if (pairing->is_up)
		pairing_keep(pairing);
	pairing->state = PAIRING_IDLE;
	pairing->on_done = NULL;
	if (!pairing->is_up)
		link_configure(pairing->link, pairing->current);
	if (on_done)
		on_done(pairing->is_up ? NULL : &pairing->failure, pairing->waiter);
	return 0;
}

int pairing_new(sd_event *event, struct link *link, const char *config_path, struct vm_config *current,
		const struct pairing_handlers *handlers, void *userdata, struct pairing **ret_pairing)
{
	struct pairing *pairing = calloc(1, sizeof(*pairing));
	int r;

	if (!pairing)
		return -ENOMEM;
	pairing->event = event;
	pairing->link = link;
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
	sd_event_source_disable_unref(pairing->decider);
	sd_event_source_disable_unref(pairing->settle_timer);
	free(pairing);
	return NULL;
}

static int pairing_try(struct pairing *pairing, const struct vm_config *config, bool is_to_be_held, pairing_done_fn on_done, void *userdata)
{
	if (pairing->state != PAIRING_IDLE)
		return -EBUSY;
	pairing->trial = *config;
	pairing->is_settling = false;
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
	struct vm_config former = *pairing->current;

	if (pairing->state != PAIRING_HELD)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "the pairing is not held any more");
	pairing_keep(pairing);
	pairing->former = former;
	pairing->is_settling =
		pairing->is_up && timer_arm(pairing->event, &pairing->settle_timer, settle_usec, pairing_on_settle, pairing) >= 0;
	pairing->state = PAIRING_IDLE;
	pairing->on_done = NULL;
	if (pairing->is_up)
		return 0;
	link_configure(pairing->link, pairing->current);
	*ret_failure = pairing->failure;
	return -EIO;
}

void pairing_revert(struct pairing *pairing)
{
	if (pairing->state == PAIRING_IDLE)
		return;
	pairing->state = PAIRING_IDLE;
	pairing->on_done = NULL;
	sd_event_source_set_enabled(pairing->decider, SD_EVENT_OFF);
	link_configure(pairing->link, pairing->current);
}

void pairing_cancel(struct pairing *pairing)
{
	pairing->is_settling = false;
	if (pairing->state == PAIRING_IDLE)
		return;
	pairing->is_up = false;
	failure_set(&pairing->failure, FAILURE_BUSY, "Pair again.", "the pairing was changed or ended by somebody else meanwhile");
	pairing->state = PAIRING_DECIDED;
	sd_event_source_set_enabled(pairing->decider, SD_EVENT_ONESHOT);
}

bool pairing_is_busy(const struct pairing *pairing)
{
	return pairing->state != PAIRING_IDLE;
}

void pairing_forget(struct pairing *pairing, void *userdata)
{
	if (pairing->waiter == userdata)
		pairing->on_done = NULL;
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
