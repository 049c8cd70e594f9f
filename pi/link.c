#include "link_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "daemon.h"
#include "log.h"
#include "own_key.h"

#define USEC_PER_SEC UINT64_C(1000000)
#define QUICK_RETRY_USEC \
	(USEC_PER_SEC / 4) /* a cut cable hears no knocking, and a VM without sshd is one that boots: each moment may be the one */
#define LINK_BOOT_USEC    (180 * USEC_PER_SEC) /* for that long a VM without sshd is one that boots */
#define LINK_ATTEMPT_USEC (20 * USEC_PER_SEC)  /* for a whole try, until UP */
#define LINK_REFUSED_USEC (30 * USEC_PER_SEC)  /* between tries after a refusal that the VM's side can mend */

static const char *const STATE_NAMES[] = {
	[LINK_UNPAIRED] = "UNPAIRED", [LINK_DOWN] = "DOWN", [LINK_CONNECTING] = "CONNECTING", [LINK_AUTHENTICATING] = "AUTHENTICATING",
	[LINK_SYNCING] = "SYNCING",   [LINK_UP] = "UP",     [LINK_REFUSED] = "REFUSED",
};

const char *link_state_to_string(enum link_state state)
{
	return STATE_NAMES[state];
}

static void link_drop_connection(struct link *link)
{
	bool had_transport = link->transport != NULL;

	link->connector = connector_free(link->connector);
	link->control = control_channel_free(link->control);
	timer_disarm(link->attempt_timer);
	timer_disarm(link->beat_timer);
	timer_disarm(link->control_timer);
	if (!had_transport)
		return;
	link->handlers.on_lost(link->userdata); /* the streams go before what they stand on */
	link->transport = transport_free(link->transport);
}

static int link_on_retry(sd_event_source *source, uint64_t usec, void *userdata);
static int link_on_attempt_timeout(sd_event_source *source, uint64_t usec, void *userdata);

void link_schedule_retry(struct link *link, uint64_t at_usec)
{
	uint64_t now = clock_now_usec();

	link->next_try_usec = at_usec;
	timer_arm(link->event, &link->retry_timer, at_usec > now ? at_usec - now : 0, link_on_retry, link);
}

/* Only what the VM's side can mend is tried again by itself: a changed host key never is. */
static void link_enter_refused(struct link *link)
{
	link_drop_connection(link);
	link->next_try_usec = 0;
	if (link->failure.code != FAILURE_HOST_KEY)
		link_schedule_retry(link, clock_now_usec() + LINK_REFUSED_USEC);
}

static void link_enter_up(struct link *link)
{
	link->n_established++;
	link->step_usec[STEP_SYNCED] = clock_now_usec();
	backoff_reset(&link->backoff);
	backoff_reset(&link->control_backoff);
	link->control_lost_usec = 0;
	link->is_knocked = false;
	timer_disarm(link->attempt_timer);
	link->n_beats = 0;
	link_ping(link);
}

/* Whether nobody is bothered by another try in a moment, and that may well be the one. */
static bool link_is_quick(const struct link *link)
{
	return link->is_silent || (link->is_refused && clock_now_usec() - link->refused_usec < LINK_BOOT_USEC);
}

/* The one writer of link->state. */
static void link_enter_state(struct link *link, enum link_state state)
{
	enum link_state old = link->state;

	link->state = state;
	link->state_since_usec = clock_now_usec();
	link_log_state(link, old);
	switch (state) {
	case LINK_UNPAIRED:
		link_drop_connection(link);
		timer_disarm(link->retry_timer);
		break;
	case LINK_DOWN:
		link_drop_connection(link);
		link_schedule_retry(link, clock_now_usec() + (link_is_quick(link) ? QUICK_RETRY_USEC : backoff_next(&link->backoff)));
		link_recall_knock(link);
		break;
	case LINK_CONNECTING:
		timer_disarm(link->retry_timer);
		link->next_try_usec = 0; /* this is it, also where it came sooner than it was to */
		break;
	case LINK_AUTHENTICATING:
	case LINK_SYNCING:
		break;
	case LINK_UP:
		link_enter_up(link);
		break;
	case LINK_REFUSED:
		link_enter_refused(link);
		break;
	}
	link->handlers.on_state(state, link->userdata);
}

void link_fail(struct link *link, const struct failure *failure)
{
	bool is_refusal = failure->code == FAILURE_HOST_KEY || failure->code == FAILURE_LOGIN || failure->code == FAILURE_VERSION ||
			  failure->code == FAILURE_NOT_PAIRED;

	link->failure = *failure;
	link_enter_state(link, is_refusal ? LINK_REFUSED : LINK_DOWN);
}

static void link_fail_with(struct link *link, enum failure_code code, const char *text)
{
	struct failure failure;

	failure_set(&failure, code, NULL, "%s", text);
	link_fail(link, &failure);
}

/* ---- control channel ---- */

static bool link_open_control(struct link *link);

static void link_send_hello(struct link *link)
{
	struct message message;

	if (link_make_hello(link, &message) < 0)
		link_fail_with(link, FAILURE_INTERNAL, "this machine has no id (/etc/machine-id)");
	else
		control_channel_send(link->control, &message);
}

static void link_on_control_open(void *userdata)
{
	struct link *link = userdata;

	link->is_greeted = false;
	link->sync_seq = 0;
	link->heard_usec = clock_now_usec();
	link->step_usec[STEP_CHANNEL] = link->heard_usec;
	link_send_hello(link);
}

static void link_handle_hello(struct link *link, const struct hello *hello)
{
	struct failure failure;

	if (hello->protocol == PROTOCOL_VERSION) {
		link->is_greeted = true;
		link->vm = *hello;
		link->handlers.on_sync_wanted(link->userdata);
		return;
	}
	failure_set(&failure, FAILURE_VERSION, "Install the same version of usbpush on both machines.",
		    "the VM speaks protocol %u, this Pi %d", hello->protocol, PROTOCOL_VERSION);
	link_fail(link, &failure);
}

static void link_answer_unknown(struct link *link, const struct message *message)
{
	struct message answer = { .type = MESSAGE_UNKNOWN };

	snprintf(answer.of, sizeof(answer.of), "%s", message->of);
	control_channel_send(link->control, &answer);
}

/* Older syncs of this channel may still be answered: the last one counts. */
static void link_handle_synced(struct link *link, const struct message *message)
{
	if (link->state == LINK_SYNCING && message->seq == link->sync_seq)
		link_enter_state(link, LINK_UP);
	link->handlers.on_message(message, link->userdata);
}

static void link_on_control_message(const struct message *message, void *userdata)
{
	struct link *link = userdata;
	const char *misplaced = link_find_misplaced(link, message);

	if (misplaced) {
		link_fail_with(link, FAILURE_BAD_REQUEST, misplaced);
		return;
	}
	link->heard_usec = clock_now_usec();
	switch (message->type) {
	case MESSAGE_HELLO:
		link_handle_hello(link, &message->hello);
		break;
	case MESSAGE_PONG:
		link_take_pong(link, message->seq);
		break;
	case MESSAGE_REFUSED:
		link_fail(link, &message->failure);
		break;
	case MESSAGE_RESYNC:
		link->handlers.on_sync_wanted(link->userdata);
		break;
	case MESSAGE_SYNCED:
		link_handle_synced(link, message);
		break;
	case MESSAGE_ATTACHED:
	case MESSAGE_FAILED:
	case MESSAGE_DETACHED:
	case MESSAGE_UNPAIRED:
		link->handlers.on_message(message, link->userdata);
		break;
	case MESSAGE_UNRECOGNIZED:
		link_answer_unknown(link, message);
		break;
	case MESSAGE_UNKNOWN:
		log_debug("link to %s: the VM does not know \"%s\"", link->config.host, message->of);
		link->handlers.on_message(message, link->userdata);
		break;
	case MESSAGE_SYNC:
	case MESSAGE_CONNECT:
	case MESSAGE_DISCONNECT:
	case MESSAGE_BEAT:
	case MESSAGE_PING:
	case MESSAGE_SPARE:
	case MESSAGE_STREAM:
	case MESSAGE_UNPAIR:
		link_fail_with(link, FAILURE_BAD_REQUEST, "the VM sent a message that only a Pi may send");
		break;
	}
}

static int link_on_control_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	(void)link_open_control(userdata);
	return 0;
}

/* The handler went away (a restart, an upgrade) while SSH stands: its streams run on in the kernels, so only the control channel is opened
 * again. For as long as it takes: that the VM's sshd answers each try shows that the streams' road is good. Without a stream there is nothing
 * to lose, and the state is to say what is wrong. */
static void link_on_control_closed(const struct failure *failure, void *userdata)
{
	struct link *link = userdata;
	uint64_t now = clock_now_usec();
	bool is_foul = failure->code == FAILURE_BAD_REQUEST, is_late;

	link->control = control_channel_free(link->control);
	if (!link->control_lost_usec)
		link->control_lost_usec = now;
	is_late = now - link->control_lost_usec > (uint64_t)link->config.patience_ms * 2000;
	if (is_foul || link->n_established == 0 || (is_late && !link->is_carrying)) {
		link_fail(link, failure);
		return;
	}
	link->failure = *failure;
	if (link->state == LINK_UP)
		link_enter_state(link, LINK_SYNCING);
	timer_disarm(link->attempt_timer);
	timer_arm(link->event, &link->control_timer, backoff_next(&link->control_backoff), link_on_control_retry, link);
}

static bool link_open_control(struct link *link)
{
	static const struct control_channel_handlers handlers = {
		.on_open = link_on_control_open,
		.on_message = link_on_control_message,
		.on_closed = link_on_control_closed,
	};
	int r = control_channel_new(link->event, link->transport, &handlers, link, &link->control);

	if (r < 0) {
		link_fail_with(link, FAILURE_INTERNAL, "no control channel could be opened");
		return false;
	}
	timer_arm(link->event, &link->attempt_timer, LINK_ATTEMPT_USEC, link_on_attempt_timeout, link);
	return true;
}

/* ---- connection ---- */

static void link_on_transport_step(enum transport_step step, void *userdata)
{
	struct link *link = userdata;

	switch (step) {
	case TRANSPORT_HANDSHAKE:
	case TRANSPORT_HOST_KEY:
		break;
	case TRANSPORT_LOGIN: /* so it is the pinned one */
		link->step_usec[STEP_HOST_KEY] = clock_now_usec();
		break;
	case TRANSPORT_UP:
		link->step_usec[STEP_LOGIN] = clock_now_usec();
		if (link_open_control(link)) /* the first channel: those that on_state opens come behind it */
			link_enter_state(link, LINK_SYNCING);
		break;
	}
}

static void link_on_transport_down(const struct failure *failure, void *userdata)
{
	link_fail(userdata, failure);
}

/* If it was never made, for want of memory or space at the start, the next try has one. */
static void link_fail_without_key(struct link *link)
{
	struct failure failure;

	if (own_key_ensure(link->key, &failure) < 0)
		link_fail(link, &failure);
	else
		link_fail_with(link, FAILURE_INTERNAL, "the Pi's own SSH key can't be read");
}

static void link_on_connected(int fd, const char *address, const struct failure *failure, void *userdata)
{
	static const struct transport_handlers handlers = { .on_step = link_on_transport_step, .on_down = link_on_transport_down };
	struct link *link = userdata;
	const struct transport_options options = { .user = link->config.user,
						   .key_path = link->key_path,
						   .host_key = link->config.host_key,
						   .silence_msec = patience_to_limit(link->config.patience_ms) };
	bool was_refused = link->is_refused;
	int r;

	snprintf(link->address, sizeof(link->address), "%s", address);
	link->is_silent = fd < 0 && connector_was_silence(link->connector);
	link->is_refused = fd < 0 && connector_was_refused(link->connector);
	if (link->is_refused && !was_refused)
		link->refused_usec = clock_now_usec();
	if (fd < 0) {
		link_fail(link, failure);
		return;
	}
	link->connector = connector_free(link->connector);
	link->step_usec[STEP_TCP] = clock_now_usec();
	r = transport_new(link->event, fd, &options, &handlers, link, &link->transport);
	if (r == -ENOKEY) {
		link_fail_without_key(link);
		return;
	}
	if (r < 0) {
		link_fail_with(link, FAILURE_INTERNAL, "SSH could not be started");
		return;
	}
	link_enter_state(link, LINK_AUTHENTICATING);
	link_arm_beat(link);
}

static void link_connect(struct link *link)
{
	int r;

	memset(link->step_usec, 0, sizeof(link->step_usec));
	link->n_attempts++;
	link->n_established = 0;
	link->attempt_since_usec = clock_now_usec();
	link->control_lost_usec = 0;
	link_enter_state(link, LINK_CONNECTING);
	timer_arm(link->event, &link->attempt_timer, LINK_ATTEMPT_USEC, link_on_attempt_timeout, link);
	r = connector_new(link->event, link->jobs, link->config.host, link->config.port, link_on_connected, link, &link->connector);
	if (r < 0)
		link_fail_with(link, FAILURE_INTERNAL, "out of memory");
}

static int link_on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	link_connect(userdata);
	return 0;
}

static int link_on_attempt_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct link *link = userdata;
	struct failure failure;

	(void)source;
	(void)usec;
	failure_set(&failure, FAILURE_TIMEOUT, "Is the VM overloaded, or something else than sshd and usbpush-handler answering there?",
		    "%s did not come up within 20 s (it got as far as %s)", link->config.host, STATE_NAMES[link->state]);
	link_fail(link, &failure);
	return 0;
}

/* ---- for the exporter ---- */

/* Made before they are needed: no try and no limit is lost for want of memory. */
static int link_make_timers(struct link *link)
{
	int r = timer_new(link->event, &link->retry_timer, link_on_retry, link);

	if (r >= 0)
		r = timer_new(link->event, &link->attempt_timer, link_on_attempt_timeout, link);
	if (r >= 0)
		r = link_make_beat_timer(link);
	if (r >= 0)
		r = timer_new(link->event, &link->control_timer, link_on_control_retry, link);
	return r;
}

int link_new(sd_event *event, struct job_runner *jobs, const char *key_path, const struct link_handlers *handlers, void *userdata,
	     struct link **ret_link)
{
	struct link *link = calloc(1, sizeof(*link));
	int r;

	if (!link)
		return -ENOMEM;
	*link = (struct link){ .event = event,
			       .jobs = jobs,
			       .state = LINK_UNPAIRED,
			       .state_since_usec = clock_now_usec(),
			       .backoff = { .min_usec = USEC_PER_SEC / 4, .max_usec = 8 * USEC_PER_SEC },
			       .control_backoff = { .min_usec = USEC_PER_SEC / 10, .max_usec = USEC_PER_SEC },
			       .handlers = *handlers,
			       .userdata = userdata };
	snprintf(link->key_path, sizeof(link->key_path), "%s", key_path);
	r = own_key_new(jobs, key_path, &link->key);
	if (r == 0)
		r = link_make_timers(link);
	if (r < 0) {
		link_free(link);
		return r;
	}
	*ret_link = link;
	return 0;
}

struct link *link_free(struct link *link)
{
	if (!link)
		return NULL;
	connector_free(link->connector);
	control_channel_free(link->control);
	transport_free(link->transport);
	own_key_free(link->key);
	sd_event_source_disable_unref(link->retry_timer);
	sd_event_source_disable_unref(link->attempt_timer);
	sd_event_source_disable_unref(link->beat_timer);
	sd_event_source_disable_unref(link->control_timer);
	free(link);
	return NULL;
}

void link_configure(struct link *link, const struct vm_config *config)
{
	link->config = *config;
	link->failure = (struct failure){ 0 };
	link->vm = (struct hello){ 0 };
	link->told = (struct failure){ 0 };
	link->is_refused = false;
	link->n_attempts = 0;
	backoff_reset(&link->backoff);
	link_enter_state(link, LINK_UNPAIRED);
	if (vm_config_is_paired(config))
		link_connect(link);
}

void link_kick(struct link *link, bool is_person)
{
	if (link->state == LINK_DOWN || (is_person && link->state == LINK_REFUSED)) {
		backoff_reset(&link->backoff);
		link_connect(link);
	}
}

void link_send(struct link *link, const struct message *message)
{
	if (message->type == MESSAGE_SYNC)
		link->sync_seq = message->seq;
	if (link->control)
		control_channel_send(link->control, message);
}

enum link_state link_get_state(const struct link *link)
{
	return link->state;
}

const char *link_vm_id(const struct link *link)
{
	return link->vm.id;
}

bool link_can_direct(const struct link *link)
{
	return link->vm.can_direct;
}

bool link_can_partial(const struct link *link)
{
	return link->vm.can_partial;
}

void link_set_carrying(struct link *link, bool is_carrying)
{
	link->is_carrying = is_carrying;
}

struct transport *link_get_transport(struct link *link)
{
	return link->transport;
}
