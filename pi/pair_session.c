#include "pair_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "daemon.h"
#include "json_whole.h"
#include "log.h"
#include "transport.h"

enum pair_request { REQUEST_EXCHANGE, REQUEST_CONFIRM, REQUEST_FINISH, REQUEST_COUNT };

static const char *const STATE_NAMES[] = {
	[PAIR_BEGUN] = "BEGUN", [PAIR_WAITING] = "WAITING", [PAIR_ANSWERED] = "ANSWERED", [PAIR_CONNECTING] = "CONNECTING",
	[PAIR_UP] = "UP",       [PAIR_PAIRED] = "PAIRED",   [PAIR_FAILED] = "FAILED",
};

/* Somebody who gets an answer later. */
struct waiter {
	pair_answer_fn fn; /* NULL: nobody */
	void *userdata;    /* borrowed */
};

struct pair_session {
	sd_event *event;                  /* borrowed: outlives us */
	struct pairing *pairing;          /* borrowed: outlives us */
	const struct pair_limits *limits; /* borrowed: outlives us */
	struct pair_exchange *exchange;   /* owned */
	struct vm_config config;          /* what would be paired */
	char from[64];
	char fingerprint[64];
	enum pair_state state;
	uint64_t limit_usec; /* when the state ends by itself */
	bool is_guess_open;
	json_t *asked[REQUEST_COUNT];    /* owned: what the VM sent, for one who asks again */
	json_t *answered[REQUEST_COUNT]; /* owned: what it was answered */
	json_t *paired;                  /* owned: what it will be answered when vm.conf is written; NULL: that is not being done */
	struct waiter vm, owner;
	enum pair_request vm_asks;
	struct failure failure;
	sd_event_source *limit_timer, *poll_timer; /* owned */
	struct pair_session_handlers handlers;
	void *userdata; /* borrowed */
};

const char *pair_state_to_string(enum pair_state state)
{
	return STATE_NAMES[state];
}

enum pair_state pair_session_state(const struct pair_session *session)
{
	return session->state;
}

bool pair_session_is_guess_open(const struct pair_session *session)
{
	return session->is_guess_open;
}

const char *pair_session_id(const struct pair_session *session)
{
	return pair_exchange_session(session->exchange);
}

const char *pair_session_from(const struct pair_session *session)
{
	return session->from;
}

const char *pair_session_vm_id(const struct pair_session *session)
{
	return pair_exchange_vm(session->exchange)->id;
}

/* ---- answers ---- */

static void waiter_answer(struct waiter *waiter, json_t *answer, const struct failure *failure)
{
	struct waiter told = *waiter;

	*waiter = (struct waiter){ NULL, NULL };
	if (told.fn)
		told.fn(answer, failure, told.userdata);
	else
		json_decref(answer);
}

/* What the VM is told now that it waits long enough: where things stand. */
static void session_answer_not_yet(struct pair_session *session)
{
	waiter_answer(&session->vm, json_pack("{s:s}", "state", session->vm_asks == REQUEST_EXCHANGE ? "waiting" : "connecting"), NULL);
}

static int session_on_poll(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	session_answer_not_yet(userdata);
	return 0;
}

/* The VM waits for the answer to that request; if it is there already, it gets it now. */
static void session_wait(struct pair_session *session, enum pair_request request, pair_answer_fn fn, void *userdata)
{
	session_answer_not_yet(session); /* one that it has given up */
	session->vm = (struct waiter){ fn, userdata };
	session->vm_asks = request;
	if (session->state == PAIR_FAILED)
		waiter_answer(&session->vm, NULL, &session->failure);
	else if (session->answered[request])
		waiter_answer(&session->vm, json_deep_copy(session->answered[request]), NULL);
	else
		timer_arm(session->event, &session->poll_timer, session->limits->poll_usec, session_on_poll, session);
}

/* Keeps the answer for one who asks again, and gives it to the one who waits for it. The reference is taken. */
static void session_answer(struct pair_session *session, enum pair_request request, json_t *answer)
{
	json_decref(session->answered[request]);
	session->answered[request] = answer;
	if (session->vm.fn && session->vm_asks == request)
		waiter_answer(&session->vm, json_deep_copy(answer), NULL);
}

/* ---- the state ---- */

static int session_on_limit(sd_event_source *source, uint64_t usec, void *userdata);

static void session_set_limit(struct pair_session *session, uint64_t usec)
{
	session->limit_usec = clock_now_usec() + usec;
	timer_arm(session->event, &session->limit_timer, usec, session_on_limit, session);
}

static json_t *session_paired_to_json(const struct pair_session *session)
{
	return json_pack("{s:s, s:s, s:s}", "state", "PAIRED", "name", pair_exchange_vm(session->exchange)->name, "host",
			 session->config.host);
}

static void session_tell_end(struct pair_session *session)
{
	const struct failure *failure = session->state == PAIR_FAILED ? &session->failure : NULL;

	timer_disarm(session->poll_timer);
	if (failure)
		waiter_answer(&session->vm, NULL, failure);
	waiter_answer(&session->owner, failure ? NULL : session_paired_to_json(session), failure);
}

/* The one writer of session->state. */
static void session_enter(struct pair_session *session, enum pair_state state)
{
	enum pair_state old = session->state;

	session->state = state;
	log_info("pairing with %s (%s): %s -> %s%s%s", pair_exchange_vm(session->exchange)->name, session->from, STATE_NAMES[old],
		 STATE_NAMES[state], state == PAIR_FAILED ? ": " : "", state == PAIR_FAILED ? session->failure.text : "");
	switch (state) {
	case PAIR_BEGUN:
		session_set_limit(session, session->limits->code_usec);
		break;
	case PAIR_WAITING:
		break; /* the limit of BEGUN goes on */
	case PAIR_ANSWERED:
		session->is_guess_open = true;
		session_set_limit(session, session->limits->confirm_usec);
		break;
	case PAIR_CONNECTING:
		session->is_guess_open = false;
		session_set_limit(session, session->limits->link_usec);
		break;
	case PAIR_UP:
		session_set_limit(session, session->limits->finish_usec);
		break;
	case PAIR_PAIRED:
	case PAIR_FAILED:
		session_set_limit(session, session->limits->keep_usec);
		break;
	}
	session->handlers.on_change(session, session->userdata);
	if (state == PAIR_PAIRED || state == PAIR_FAILED)
		session_tell_end(session);
}

void pair_session_fail(struct pair_session *session, const struct failure *failure)
{
	if (session->state == PAIR_PAIRED || session->state == PAIR_FAILED)
		return;
	if (session->state == PAIR_CONNECTING || session->state == PAIR_UP)
		pairing_revert(session->pairing);
	session->failure = *failure;
	session_enter(session, PAIR_FAILED);
}

__attribute__((format(printf, 4, 5))) static void session_fail_with(struct pair_session *session, enum failure_code code, const char *cure,
								    const char *format, ...)
{
	struct failure failure;
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	failure_set(&failure, code, cure, "%s", text);
	pair_session_fail(session, &failure);
}

static int session_on_limit(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pair_session *session = userdata;
	const char *name = pair_exchange_vm(session->exchange)->name;

	(void)source;
	(void)usec;
	switch (session->state) {
	case PAIR_BEGUN:
	case PAIR_WAITING:
		session_fail_with(session, FAILURE_TIMEOUT, "Start again: usbpush-vm pair.", "the code of %s was not typed in time", name);
		break;
	case PAIR_ANSWERED:
		session_fail_with(session, FAILURE_WRONG_CODE, "Start again with a new code: usbpush-vm pair.",
				  "%s did not confirm the digits", name);
		break;
	case PAIR_CONNECTING:
		session_fail_with(session, FAILURE_TIMEOUT, "Is its sshd running, and usbpush-handler?",
				  "the link to %s did not come up in time", name);
		break;
	case PAIR_UP:
		if (session->paired)
			session_fail_with(session, FAILURE_TIMEOUT, "Look at this Pi's disk: dmesg. Then start again: usbpush-vm pair.",
					  "the pairing with %s could not be written in time", name);
		else
			session_fail_with(session, FAILURE_TIMEOUT, "Start again: usbpush-vm pair.", "%s went away before the end", name);
		break;
	case PAIR_PAIRED:
	case PAIR_FAILED:
		session->handlers.on_over(session, session->userdata);
		break;
	}
	return 0;
}

/* ---- begin ---- */

/* A link-local address is one on the network that the request came by. */
static void session_set_host(struct pair_session *session, const char *host)
{
	const char *scope = strncmp(host, "fe80:", strlen("fe80:")) == 0 && !strchr(host, '%') ? strchr(session->from, '%') : NULL;

	snprintf(session->config.host, sizeof(session->config.host), "%.200s%.40s", host, scope ? scope : "");
}

static int session_make_config(struct pair_session *session, struct failure *failure)
{
	const struct pair_party *vm = pair_exchange_vm(session->exchange);
	struct vm_config *config = &session->config;
	int r;

	*config = (struct vm_config){ .port = vm->port, .patience_ms = DEFAULT_PATIENCE_MS };
	session_set_host(session, vm->host);
	snprintf(config->user, sizeof(config->user), "%s", vm->user);
	snprintf(config->host_key, sizeof(config->host_key), "%s", vm->key);
	snprintf(config->id, sizeof(config->id), "%.32s", vm->id);
	r = vm_config_check(config, failure);
	return r < 0 ? r : transport_key_parse(vm->key, config->host_key, sizeof(config->host_key), session->fingerprint, failure);
}

int pair_session_new(sd_event *event, struct pairing *pairing, const struct pair_limits *limits, const struct pair_party *pi,
		     const char *from, const json_t *message, const struct pair_session_handlers *handlers, void *userdata,
		     struct pair_session **ret_session, json_t **ret_answer, struct failure *ret_failure)
{
	struct pair_session *session = calloc(1, sizeof(*session));
	_cleanup_json_ json_t *answer = NULL;
	int r;

	if (!session || pair_exchange_new(&session->exchange) < 0) {
		free(session);
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	}
	session->event = event;
	session->pairing = pairing;
	session->limits = limits;
	session->handlers = *handlers;
	session->userdata = userdata;
	identity_clean_string(from, session->from, sizeof(session->from));
	r = pair_pi_begin(session->exchange, pi, message, &answer, ret_failure);
	if (r == 0)
		r = session_make_config(session, ret_failure);
	if (r < 0) {
		pair_session_free(session);
		return r;
	}
	json_whole_set(&answer, "expires_ms", json_integer((json_int_t)(limits->code_usec / 1000)));
	*ret_answer = TAKE_PTR(answer);
	*ret_session = session;
	session_enter(session, PAIR_BEGUN);
	return 0;
}

struct pair_session *pair_session_free(struct pair_session *session)
{
	if (!session)
		return NULL;
	if (session->state == PAIR_CONNECTING || session->state == PAIR_UP)
		pairing_revert(session->pairing);
	for (size_t i = 0; i < REQUEST_COUNT; i++) {
		json_decref(session->asked[i]);
		json_decref(session->answered[i]);
	}
	json_decref(session->paired);
	sd_event_source_disable_unref(session->limit_timer);
	sd_event_source_disable_unref(session->poll_timer);
	pair_exchange_free(session->exchange);
	free(session);
	return NULL;
}

/* ---- the VM's later steps ---- */

static void session_handle_share(struct pair_session *session, const json_t *message)
{
	struct failure failure;

	if (pair_pi_handle_share(session->exchange, message, &failure) < 0)
		pair_session_fail(session, &failure);
	else
		session_enter(session, PAIR_WAITING);
}

/* It is on the disk. */
static void session_finish(struct pair_session *session)
{
	session_enter(session, PAIR_PAIRED);
	session_answer(session, REQUEST_FINISH, TAKE_PTR(session->paired));
}

/* How the try went: the link is up, or not, or was lost after that; and then, whether the pairing is written. */
static void session_on_tried(const struct failure *failure, void *userdata)
{
	struct pair_session *session = userdata;
	json_t *answer = NULL;

	if (session->state != PAIR_CONNECTING && session->state != PAIR_UP)
		return;
	if (failure) {
		session->failure = *failure; /* the link is back where it was already */
		session_enter(session, PAIR_FAILED);
		return;
	}
	if (session->state == PAIR_UP) {
		session_finish(session);
		return;
	}
	if (pair_pi_up(session->exchange, &answer) < 0) {
		session_fail_with(session, FAILURE_INTERNAL, NULL, "out of memory");
		return;
	}
	session_enter(session, PAIR_UP);
	session_answer(session, REQUEST_CONFIRM, answer);
}

static void session_handle_confirm(struct pair_session *session, const json_t *message)
{
	struct failure failure;

	if (pair_pi_handle_confirm(session->exchange, message, &failure) < 0) {
		pair_session_fail(session, &failure);
		return;
	}
	if (pairing_start_held(session->pairing, &session->config, session_on_tried, session) < 0) {
		session->is_guess_open = false;
		session_fail_with(session, FAILURE_BUSY, "Start again when it has ended.", "another pairing is under way on the Pi");
		return;
	}
	session_enter(session, PAIR_CONNECTING);
}

static void session_handle_finish(struct pair_session *session, const json_t *message)
{
	struct failure failure;

	if (pair_pi_handle_finish(session->exchange, message, &session->paired, &failure) < 0) {
		pair_session_fail(session, &failure);
		return;
	}
	if (pairing_commit(session->pairing, session->limits->settle_usec, &failure) < 0) {
		session->failure = failure;
		session_enter(session, PAIR_FAILED);
	}
}

static void session_handle_cancel(struct pair_session *session, const json_t *message)
{
	const char *reason = json_string_value(json_object_get(message, "reason"));
	const char *name = pair_exchange_vm(session->exchange)->name;

	if (reason && strcmp(reason, "wrong-code") == 0 && session->state == PAIR_ANSWERED)
		session_fail_with(session, FAILURE_WRONG_CODE, "Start again with a new code: usbpush-vm pair.",
				  "the digits typed are not those that %s shows", name);
	else
		session_fail_with(session, FAILURE_CANCELLED, NULL, "%s cancelled the pairing", name);
}

static const struct {
	const char *step;
	void (*handle)(struct pair_session *session, const json_t *message);
} STEPS[] = {
	[REQUEST_EXCHANGE] = { "exchange", session_handle_share },
	[REQUEST_CONFIRM] = { "confirm", session_handle_confirm },
	[REQUEST_FINISH] = { "finish", session_handle_finish },
};

/* The first time it is acted upon; again it is only waited for its answer. */
static void session_handle_step(struct pair_session *session, enum pair_request request, json_t *message, pair_answer_fn fn, void *userdata)
{
	struct failure failure;

	if (session->asked[request] && !json_equal(session->asked[request], message)) {
		failure_set(&failure, FAILURE_BAD_REQUEST, NULL, "pairing: \"%s\" came before with other content", STEPS[request].step);
		fn(NULL, &failure, userdata);
		return;
	}
	if (!session->asked[request] && session->state != PAIR_FAILED) {
		session->asked[request] = json_incref(message);
		STEPS[request].handle(session, message);
	}
	session_wait(session, request, fn, userdata);
}

void pair_session_handle(struct pair_session *session, const char *step, json_t *message, pair_answer_fn fn, void *userdata)
{
	struct failure failure;

	if (strcmp(step, "cancel") == 0) {
		session_handle_cancel(session, message);
		fn(json_object(), NULL, userdata);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(STEPS); i++)
		if (strcmp(step, STEPS[i].step) == 0) {
			session_handle_step(session, (enum pair_request)i, message, fn, userdata);
			return;
		}
	failure_set(&failure, FAILURE_BAD_REQUEST, NULL, "pairing has no step \"%.20s\"", step);
	fn(NULL, &failure, userdata);
}

/* ---- the owner ---- */

static void session_refuse_code(const struct pair_session *session, pair_answer_fn fn, void *userdata)
{
	struct failure failure = session->failure;

	if (session->state != PAIR_FAILED)
		failure_set(&failure, FAILURE_BUSY, NULL, "this pairing does not wait for digits");
	fn(NULL, &failure, userdata);
}

void pair_session_use_code(struct pair_session *session, const char *code, pair_answer_fn fn, void *userdata)
{
	struct failure failure;
	json_t *answer = NULL;
	char digits[PAIR_CODE_SIZE];

	if (session->state != PAIR_WAITING) {
		session_refuse_code(session, fn, userdata);
		return;
	}
	if (pair_code_parse(code, digits) < 0) {
		failure_set(&failure, FAILURE_BAD_REQUEST, "Type the six digits that usbpush-vm pair shows.", "a code has six digits");
		fn(NULL, &failure, userdata);
		return;
	}
	session->owner = (struct waiter){ fn, userdata };
	if (pair_pi_use_code(session->exchange, digits, &answer, &failure) < 0) {
		session->is_guess_open = true;
		pair_session_fail(session, &failure);
	} else {
		session_enter(session, PAIR_ANSWERED);
		session_answer(session, REQUEST_EXCHANGE, answer);
	}
	cpace_wipe(digits, sizeof(digits));
}

void pair_session_forget(struct pair_session *session, const void *userdata)
{
	if (!userdata || session->vm.userdata == userdata)
		session->vm = (struct waiter){ NULL, NULL };
	if (!userdata || session->owner.userdata == userdata)
		session->owner = (struct waiter){ NULL, NULL };
}

/* ---- what it says of itself ---- */

json_t *pair_session_to_json(const struct pair_session *session)
{
	const struct pair_party *vm = pair_exchange_vm(session->exchange);
	uint64_t now = clock_now_usec();
	bool is_over = session->state == PAIR_PAIRED || session->state == PAIR_FAILED;
	json_int_t left_ms = !is_over && session->limit_usec > now ? (json_int_t)((session->limit_usec - now) / 1000) : 0;

	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:I, s:o}", "session", pair_session_id(session), "state",
			 STATE_NAMES[session->state], "id", vm->id, "name", vm->name, "host", session->config.host, "port",
			 session->config.port, "user", session->config.user, "fingerprint", session->fingerprint, "from", session->from,
			 "expires_ms", left_ms, "error", session->state == PAIR_FAILED ? failure_to_json(&session->failure) : json_null());
}

void pair_session_describe(const struct pair_session *session, char *buffer, size_t size)
{
	const char *name = pair_exchange_vm(session->exchange)->name;

	switch (session->state) {
	case PAIR_BEGUN:
		snprintf(buffer, size, "the VM %s (%s) begins a pairing", name, session->from);
		break;
	case PAIR_WAITING:
		snprintf(buffer, size, "the VM %s (%s) asks to be paired and shows a code", name, session->from);
		break;
	case PAIR_ANSWERED:
		snprintf(buffer, size, "the VM %s: comparing the digits", name);
		break;
	case PAIR_CONNECTING:
		snprintf(buffer, size, "the VM %s: the digits are right; connecting to %s", name, session->config.host);
		break;
	case PAIR_UP:
		snprintf(buffer, size, "the VM %s: the link is up", name);
		break;
	case PAIR_PAIRED:
		snprintf(buffer, size, "paired with %s (%s)", name, session->config.host);
		break;
	case PAIR_FAILED:
		snprintf(buffer, size, "the VM %s: not paired: %s", name, session->failure.text);
		break;
	}
}
