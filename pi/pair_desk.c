#include "pair_desk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "daemon.h"
#include "json_whole.h"
#include "log.h"
#include "machine.h"
#include "transport.h"

#define USEC_PER_SEC UINT64_C(1000000)
#define DESK_MAX     8 /* with those that have ended and are still shown */

static const struct pair_limits DEFAULTS = {
	.code_usec = 120 * USEC_PER_SEC,
	.confirm_usec = 15 * USEC_PER_SEC,
	.link_usec = 25 * USEC_PER_SEC,
	.finish_usec = 10 * USEC_PER_SEC,
	.settle_usec = 60 * USEC_PER_SEC,
	.poll_usec = 5 * USEC_PER_SEC,
	.keep_usec = 60 * USEC_PER_SEC,
	.lock_usec = 600 * USEC_PER_SEC,
	.max_wrong = 3,
	.max_waiting = 4,
	.max_from_one = 2,
};

struct pair_desk {
	sd_event *event;          /* borrowed: outlives us */
	struct pairing *pairing;  /* borrowed: outlives us */
	struct event_log *events; /* borrowed: outlives us */
	const char *key_path;     /* borrowed: outlives us */
	struct pair_limits limits;
	size_t n;
	struct pair_session *sessions[DESK_MAX]; /* owned; oldest first */
	unsigned n_wrong;                        /* in a row */
	uint64_t locked_until_usec;              /* 0: not locked */
};

int pair_desk_new(sd_event *event, struct pairing *pairing, struct event_log *events, const char *key_path,
		  const struct pair_limits *limits, struct pair_desk **ret_desk)
{
	struct pair_desk *desk = calloc(1, sizeof(*desk));

	if (!desk)
		return -ENOMEM;
	desk->event = event;
	desk->pairing = pairing;
	desk->events = events;
	desk->key_path = key_path;
	desk->limits = limits ? *limits : DEFAULTS;
	*ret_desk = desk;
	return 0;
}

static void desk_remove(struct pair_desk *desk, size_t i)
{
	struct pair_session *session = desk->sessions[i];

	desk->n--;
	for (; i < desk->n; i++)
		desk->sessions[i] = desk->sessions[i + 1];
	pair_session_free(session);
}

struct pair_desk *pair_desk_free(struct pair_desk *desk)
{
	if (!desk)
		return NULL;
	while (desk->n > 0)
		desk_remove(desk, desk->n - 1);
	free(desk);
	return NULL;
}

static struct pair_session *desk_find(const struct pair_desk *desk, const char *id)
{
	for (size_t i = 0; id && i < desk->n; i++)
		if (strcmp(pair_session_id(desk->sessions[i]), id) == 0)
			return desk->sessions[i];
	return NULL;
}

/* ---- the lock ---- */

static uint64_t desk_locked_usec(const struct pair_desk *desk)
{
	uint64_t now = clock_now_usec();

	return desk->locked_until_usec > now ? desk->locked_until_usec - now : 0;
}

static int desk_check_lock(const struct pair_desk *desk, struct failure *failure)
{
	uint64_t left = desk_locked_usec(desk);

	if (left == 0)
		return 0;
	return failure_set(failure, FAILURE_LOCKED, "Wait; or pair without digits: usbpush-vm authorize, usbpush pair --host.",
			   "pairing on this Pi is locked for another %u s, after %u wrong codes", (unsigned)(left / USEC_PER_SEC) + 1,
			   desk->limits.max_wrong);
}

static void desk_count_guess(struct pair_desk *desk, const struct pair_session *session)
{
	if (pair_session_state(session) == PAIR_CONNECTING)
		desk->n_wrong = 0;
	if (pair_session_state(session) != PAIR_FAILED || !pair_session_is_guess_open(session))
		return;
	if (++desk->n_wrong < desk->limits.max_wrong)
		return;
	desk->n_wrong = 0;
	desk->locked_until_usec = clock_now_usec() + desk->limits.lock_usec;
	log_warning("pairing is locked for %u s, after %u wrong codes", (unsigned)(desk->limits.lock_usec / USEC_PER_SEC),
		    desk->limits.max_wrong);
}

/* ---- what sessions say ---- */

static void desk_on_change(struct pair_session *session, void *userdata)
{
	struct pair_desk *desk = userdata;
	char text[400];

	desk_count_guess(desk, session);
	pair_session_describe(session, text, sizeof(text));
	event_log_add(desk->events, "pairing", NULL, pair_state_to_string(pair_session_state(session)), text);
}

static void desk_on_over(struct pair_session *session, void *userdata)
{
	struct pair_desk *desk = userdata;

	for (size_t i = 0; i < desk->n; i++)
		if (desk->sessions[i] == session) {
			desk_remove(desk, i);
			return;
		}
}

/* ---- the VM ---- */

static bool session_waits(const struct pair_session *session)
{
	return pair_session_state(session) == PAIR_BEGUN || pair_session_state(session) == PAIR_WAITING;
}

static void desk_give_way(struct pair_session *session, const char *text)
{
	struct failure failure;

	failure_set(&failure, FAILURE_BUSY, "Start again.", "%s", text);
	pair_session_fail(session, &failure);
}

/* How many wait, from that address or (NULL) in all; ret_oldest is the first of them. */
static size_t desk_count_waiting(const struct pair_desk *desk, const char *from, struct pair_session **ret_oldest)
{
	size_t n = 0;

	for (size_t i = desk->n; i > 0; i--) {
		struct pair_session *session = desk->sessions[i - 1];

		if (!session_waits(session) || (from && strcmp(pair_session_from(session), from) != 0))
			continue;
		*ret_oldest = session;
		n++;
	}
	return n;
}

/* A VM that begins anew takes its own place. One address can crowd out only itself, as long as there is room. Those that ended go before their time when
 * there is none. */
static void desk_make_room(struct pair_desk *desk, const char *from, const char *vm_id)
{
	struct pair_session *oldest = NULL;

	for (size_t i = 0; vm_id && i < desk->n; i++)
		if (session_waits(desk->sessions[i]) && strcmp(pair_session_from(desk->sessions[i]), from) == 0 &&
		    strcmp(pair_session_vm_id(desk->sessions[i]), vm_id) == 0)
			desk_give_way(desk->sessions[i], "the VM began anew");
	if (desk_count_waiting(desk, from, &oldest) >= desk->limits.max_from_one ||
	    desk_count_waiting(desk, NULL, &oldest) >= desk->limits.max_waiting)
		desk_give_way(oldest, "too many VMs ask to be paired; this one was the first");
	for (size_t i = 0; desk->n == DESK_MAX && i < desk->n; i++)
		if (pair_session_state(desk->sessions[i]) >= PAIR_PAIRED) {
			desk_remove(desk, i);
			return;
		}
}

static int desk_read_self(const struct pair_desk *desk, struct pair_party *ret_pi, struct failure *failure)
{
	_cleanup_free_ char *line = NULL;
	int r;

	machine_name(ret_pi->name, sizeof(ret_pi->name));
	if (machine_id(ret_pi->id, sizeof(ret_pi->id)) < 0)
		return failure_set(failure, FAILURE_INTERNAL, "Run systemd-machine-id-setup.", "this Pi has no id (/etc/machine-id)");
	r = transport_key_public(desk->key_path, "", &line, failure);
	if (r < 0)
		return r;
	return transport_key_parse(line, ret_pi->key, sizeof(ret_pi->key), NULL, failure);
}

static int desk_begin(struct pair_desk *desk, const char *from, const json_t *message, json_t **ret_answer, struct failure *failure)
{
	static const struct pair_session_handlers handlers = { .on_change = desk_on_change, .on_over = desk_on_over };
	struct pair_party pi = { .port = 0 };
	struct pair_session *session;
	int r = desk_check_lock(desk, failure);

	if (r == 0)
		r = desk_read_self(desk, &pi, failure);
	if (r < 0)
		return r;
	desk_make_room(desk, from, json_string_value(json_object_get(json_object_get(message, "vm"), "id")));
	if (desk->n == DESK_MAX)
		return failure_set(failure, FAILURE_BUSY, "Start again in a moment.", "too many pairings are under way");
	r = pair_session_new(desk->event, desk->pairing, &desk->limits, &pi, from, message, &handlers, desk, &session, ret_answer, failure);
	if (r == 0)
		desk->sessions[desk->n++] = session;
	return r;
}

void pair_desk_handle(struct pair_desk *desk, const char *step, const char *from, json_t *message, pair_answer_fn fn, void *userdata)
{
	struct pair_session *session;
	struct failure failure;
	json_t *answer = NULL;

	if (strcmp(step, "begin") == 0) {
		if (desk_begin(desk, from, message, &answer, &failure) < 0)
			fn(NULL, &failure, userdata);
		else
			fn(answer, NULL, userdata);
		return;
	}
	session = desk_find(desk, json_string_value(json_object_get(message, "session")));
	if (session) {
		pair_session_handle(session, step, message, fn, userdata);
		return;
	}
	failure_set(&failure, FAILURE_NOT_FOUND, "Start again: usbpush-vm pair.", "the Pi knows no such pairing (any more)");
	fn(NULL, &failure, userdata);
}

/* ---- the owner ---- */

static int desk_find_for_owner(const struct pair_desk *desk, const char *id, struct pair_session **ret_session, struct failure *failure)
{
	*ret_session = desk_find(desk, id);
	if (*ret_session)
		return 0;
	return failure_set(failure, FAILURE_NOT_FOUND, "Start again on the VM: usbpush-vm pair.", "no such VM waits for its code");
}

/* Another one whose digits are being compared, or whose link is tried. */
static int desk_check_alone(const struct pair_desk *desk, const struct pair_session *session, struct failure *failure)
{
	for (size_t i = 0; i < desk->n; i++)
		if (desk->sessions[i] != session && !session_waits(desk->sessions[i]) &&
		    pair_session_state(desk->sessions[i]) < PAIR_PAIRED)
			return failure_set(failure, FAILURE_BUSY, "Wait for its end.", "another pairing is under way");
	return 0;
}

void pair_desk_use_code(struct pair_desk *desk, const char *id, const char *code, pair_answer_fn fn, void *userdata)
{
	struct pair_session *session;
	struct failure failure;

	if (desk_check_lock(desk, &failure) < 0 || desk_find_for_owner(desk, id, &session, &failure) < 0 ||
	    desk_check_alone(desk, session, &failure) < 0)
		fn(NULL, &failure, userdata);
	else
		pair_session_use_code(session, code, fn, userdata);
}

int pair_desk_cancel(struct pair_desk *desk, const char *id, struct failure *ret_failure)
{
	struct pair_session *session;
	struct failure failure;
	int r = desk_find_for_owner(desk, id, &session, ret_failure);

	if (r < 0)
		return r;
	failure_set(&failure, FAILURE_CANCELLED, NULL, "the Pi's owner cancelled the pairing");
	pair_session_fail(session, &failure);
	return 0;
}

void pair_desk_forget(struct pair_desk *desk, const void *userdata)
{
	for (size_t i = 0; i < desk->n; i++)
		pair_session_forget(desk->sessions[i], userdata);
}

json_t *pair_desk_to_json(const struct pair_desk *desk)
{
	json_t *list = json_array();

	for (size_t i = 0; i < desk->n; i++)
		json_whole_append(&list, pair_session_to_json(desk->sessions[i]));
	return json_pack("{s:o, s:I}", "pairings", list, "locked_ms", (json_int_t)(desk_locked_usec(desk) / 1000));
}
