#include "usbfs_session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "daemon.h"
#include "log.h"
#include "usbfs.h"
#include "usbfs_answers.h"
#include "usbfs_share.h"
#include "usbfs_special.h"

#define MAX_FLYING      1024            /* transfers with usbfs at once */
#define MAX_WAITING     256             /* requests that wait for memory, or for one of those */
#define SKIPPED_AT_ONCE 4096            /* bytes of requests that are refused */
#define REQUESTS_A_TURN 64              /* before the loop's other sources have theirs */
#define RETRY_USEC      UINT64_C(50000) /* of what usbfs has no memory for: others have it, and nobody tells when they give it back */

struct usbfs_session {
	const struct usbfs_context *context; /* borrowed: outlives us */
	struct usbfs_claim *claim;           /* borrowed: outlives us */
	char name[64];
	uint32_t devid;
	int fd;                      /* owned */
	sd_event_source *wire_io;    /* owned: fd */
	sd_event_source *usb_io;     /* owned: the claim's node */
	struct usbfs_waiter *waiter; /* owned */
	sd_event_source *holdup;     /* owned: armed while the stream is held up for want of memory or of number */
	sd_event_source *retry;      /* owned: armed while something waits of whose turn nothing else tells */
	bool is_holding;             /* it is armed */
	bool is_refusing;            /* that took too long, for want of number: requests are refused until one waits less */
	bool is_ended;
	uint8_t header[USBIP_URB_HEADER_SIZE]; /* of the request that is being read */
	size_t n_header, n_body;
	struct usbfs_urb *incoming;    /* owned: whose body is being read */
	struct usbfs_urb *special;     /* owned: whose job is under way; nothing is read, and usbfs asked for nothing meanwhile */
	struct job *job;               /* the special one's */
	struct usbfs_urb_list waiting; /* owned: for memory, or for the special one's end */
	struct usbfs_urb_list answers; /* owned: to be sent */
	unsigned n_flying, n_waiting;
	struct usbfs_share share; /* of the memory */
};

static int session_on_holdup(sd_event_source *source, uint64_t usec, void *userdata);
static int session_on_retry(sd_event_source *source, uint64_t usec, void *userdata);
static void session_accept_whole(struct usbfs_session *session);
static bool session_take_results(struct usbfs_session *session);
static void session_reap(struct usbfs_session *session);

/* ---- what the loop waits for ---- */

/* For want of memory, or because too many wait. While the device is being changed that is not the reason: it may last. */
static bool session_is_held_up(const struct usbfs_session *session)
{
	if (session->special)
		return false;
	if (session->incoming)
		return !usbfs_urb_has_place(session->incoming);
	return session->n_waiting >= MAX_WAITING && !session->is_refusing;
}

/* No request is read while an answer can't be sent: so their number is bounded by what is under way. */
static bool session_can_read(const struct usbfs_session *session)
{
	return TAILQ_EMPTY(&session->answers) && !session->special && !session_is_held_up(session);
}

static void session_update_holdup(struct usbfs_session *session)
{
	bool is_holding = session_is_held_up(session);

	if (is_holding && !session->is_holding)
		timer_arm(session->context->event, &session->holdup, session->context->max_held_usec, session_on_holdup, session);
	else if (!is_holding)
		timer_disarm(session->holdup);
	session->is_holding = is_holding;
}

static void session_update(struct usbfs_session *session)
{
	bool has_answers = !TAILQ_EMPTY(&session->answers);
	uint32_t wire = (session_can_read(session) ? EPOLLIN : 0) | (has_answers ? EPOLLOUT : 0);

	if (session->is_ended)
		return;
	session_update_holdup(session);
	sd_event_source_set_io_events(session->wire_io, wire);
	/* A hang-up is reported even to who asked for nothing, and again and again. */
	sd_event_source_set_enabled(session->wire_io, wire ? SD_EVENT_ON : SD_EVENT_OFF);
	sd_event_source_set_io_events(session->usb_io, !has_answers && session->n_flying > 0 ? EPOLLOUT : 0);
	/* All that usbfs is asked waits for the device's lock, which the special one's job has: the loop would sleep on it. */
	sd_event_source_set_enabled(session->usb_io, session->special ? SD_EVENT_OFF : SD_EVENT_ON);
}

/* Whoever has the other end of the socket sees it, and frees us. */
static void session_end(struct usbfs_session *session)
{
	if (session->is_ended)
		return;
	session->is_ended = true;
	sd_event_source_set_enabled(session->wire_io, SD_EVENT_OFF);
	sd_event_source_set_enabled(session->usb_io, SD_EVENT_OFF);
	usbfs_waiter_set(session->waiter, false);
	timer_disarm(session->holdup);
	timer_disarm(session->retry);
	(void)shutdown(session->fd, SHUT_RDWR);
}

/* ---- memory ---- */

/* Without memory of our own nothing can go on. */
static bool session_make_room(struct usbfs_session *session, struct usbfs_urb *urb)
{
	if (urb->data || usbfs_urb_make_room(urb) == 0)
		return true;
	log_error("%s: its session is ended: out of memory", session->name);
	session_end(session);
	return false;
}

/* A place for what this request brings with it: so it can be read whole, and what comes behind it. False: not now. */
static bool session_make_place(struct usbfs_session *session, struct usbfs_urb *urb)
{
	if (!usbfs_share_take_here(&session->share, urb)) {
		usbfs_waiter_set(session->waiter, true);
		return false;
	}
	return urb->request.is_in || session_make_room(session, urb);
}

/* Its part of what usbfs may have. False: not now. */
static bool session_lend(struct usbfs_session *session, struct usbfs_urb *urb)
{
	if (!usbfs_share_take(&session->share, urb)) {
		usbfs_waiter_set(session->waiter, true);
		return false;
	}
	return session_make_room(session, urb);
}

/* ---- answers ---- */

static void session_send_answers(struct usbfs_session *session)
{
	if (!session->is_ended && usbfs_answers_send(&session->answers, session->fd, &session->share) < 0)
		session_end(session); /* the other end is closed */
}

static void session_answer(struct usbfs_session *session, struct usbfs_urb *urb)
{
	TAILQ_INSERT_TAIL(&session->answers, urb, entry);
	session_send_answers(session);
}

static void session_answer_status(struct usbfs_session *session, struct usbfs_urb *urb, int status)
{
	usbfs_urb_set_result(urb,
			     status == -ENOENT ? -EPIPE : status); /* an endpoint or interface that there is not: as the device would say */
	session_answer(session, urb);
}

/* ---- transfers ---- */

static void session_wait(struct usbfs_session *session, struct usbfs_urb *urb)
{
	TAILQ_INSERT_TAIL(&session->waiting, urb, entry);
	session->n_waiting++;
}

static void session_unwait(struct usbfs_session *session, struct usbfs_urb *urb)
{
	TAILQ_REMOVE(&session->waiting, urb, entry);
	if (session->n_waiting-- == MAX_WAITING)
		session->is_refusing = false;
}

static void session_retry_after(struct usbfs_session *session, uint64_t usec)
{
	timer_arm(session->context->event, &session->retry, usec, session_on_retry, session);
}

/* usbfs has no memory for this one. Whether that may still change; who waits behind it for the same pipe does not begin to hope anew. */
static bool session_starve(struct usbfs_session *session, struct usbfs_urb *urb)
{
	uint64_t now = clock_now_usec();
	struct usbfs_urb *other;

	if (urb->starved_usec == 0)
		TAILQ_FOREACH(other, &session->waiting, entry)
			if (usbfs_urb_get_pipe(other) == usbfs_urb_get_pipe(urb) && other->starved_usec == 0)
				other->starved_usec = now;
	if (now - urb->starved_usec >= session->context->max_held_usec)
		return false;
	session_retry_after(session, RETRY_USEC);
	return true;
}

/* False: not now, for want of memory that will be given back. */
static bool session_submit(struct usbfs_session *session, struct usbfs_urb *urb)
{
	int r;

	if (session->n_flying >= MAX_FLYING || !session_lend(session, urb))
		return false;
	r = urb->kernel.buffer ? 0 : usbfs_urb_prepare(urb, session->claim->layout, usbfs_claim_get_configuration(session->claim));
	if (r == 0)
		r = usbfs_submit(session->claim->fd, &urb->kernel);
	if (r == -ENOMEM && session_starve(session, urb))
		return false;
	session_unwait(session, urb);
	if (r < 0) {
		session_answer_status(session, urb, r);
		return true;
	}
	TAILQ_INSERT_TAIL(&session->claim->flying, urb, entry);
	session->n_flying++;
	return true;
}

static void session_start_special(struct usbfs_session *session, struct usbfs_urb *urb);

/* False: not now. */
static bool session_run(struct usbfs_session *session, struct usbfs_urb *urb)
{
	uint64_t usec = 0;

	if (usbfs_urb_get_kind(urb) == USBFS_URB_CLEAR_HALT && !session_take_results(session)) {
		session_retry_after(session, RETRY_USEC); /* what is over must not count as under way */
		return false;
	}
	if (!usbfs_claim_allows(session->claim, urb)) {
		session_unwait(session, urb);
		session_answer_status(session, urb, -EPIPE); /* as the device would say */
		return true;
	}
	switch (usbfs_urb_get_kind(urb)) {
	case USBFS_URB_TRANSFER:
		return session_submit(session, urb);
	case USBFS_URB_SET_ADDRESS:
		session_unwait(session, urb);
		session_answer_status(session, urb, 0);
		return true;
	case USBFS_URB_SET_INTERFACE:
	case USBFS_URB_SET_CONFIGURATION:
	case USBFS_URB_RESET:
		usec = usbfs_claim_pay_change(session->claim, clock_now_usec());
		break;
	case USBFS_URB_CLEAR_HALT:
		break;
	}
	if (usec > 0) {
		session_retry_after(session, usec);
		return false;
	}
	session_unwait(session, urb);
	session_start_special(session, urb);
	return true;
}

/* On each pipe in the order in which they came: one that waits for memory holds up none of another. A special one overtakes none, and none overtakes it. */
static void session_run_waiting(struct usbfs_session *session)
{
	struct usbfs_urb *urb, *next;
	uint32_t held_up = 0;
	bool is_special;

	usbfs_waiter_set(session->waiter, false);
	for (urb = TAILQ_FIRST(&session->waiting); urb && !session->is_ended && !session->special; urb = next) {
		next = TAILQ_NEXT(urb, entry);
		is_special = usbfs_urb_get_kind(urb) != USBFS_URB_TRANSFER;
		if (is_special && urb != TAILQ_FIRST(&session->waiting))
			break;
		if ((held_up & usbfs_urb_get_pipe(urb)) || session_run(session, urb))
			continue;
		if (is_special)
			break;
		held_up |= usbfs_urb_get_pipe(urb);
	}
	if (session->is_ended || session->special || !session->incoming || usbfs_urb_has_place(session->incoming))
		return;
	if (session_make_place(session, session->incoming))
		session_accept_whole(session);
}

static void session_on_special_done(int result, void *arg, void *userdata)
{
	struct usbfs_session *session = userdata;

	(void)arg;
	session->job = NULL;
	/* usb_set_interface() says nothing of one that is set, and an audio driver sets one with each stream that it opens or closes. */
	if (result == 0 && usbfs_urb_get_kind(session->special) == USBFS_URB_SET_INTERFACE)
		usbfs_claim_refund_change(session->claim);
	session_answer_status(session, TAKE_PTR(session->special), result);
	session_reap(session);
	session_update(session);
}

static void session_start_special(struct usbfs_session *session, struct usbfs_urb *urb)
{
	int r = usbfs_special_start(session->context->jobs, session->name, session->claim, urb, session_on_special_done, session,
				    &session->job);

	if (r < 0)
		session_answer_status(session, urb, r);
	else
		session->special = urb;
}

/* An incoming request of which nothing is missing any more. It is seen here and now: no further byte may come to tell. */
static void session_accept_whole(struct usbfs_session *session)
{
	struct usbfs_urb *urb;
	uint8_t *bytes;

	if (!session->incoming || !usbfs_urb_has_place(session->incoming) ||
	    usbfs_urb_get_gap(session->incoming, session->n_body, &bytes) > 0)
		return;
	urb = TAKE_PTR(session->incoming);
	if (urb->refusal) {
		session_answer_status(session, urb, urb->refusal);
		return;
	}
	session_wait(session, urb);
	session_run_waiting(session);
}

/* ---- their end ---- */

/* What was moved before the VM wanted its end is told all the same, and then that it was over: no byte is lost. */
static void session_take_result(struct usbfs_session *session, struct usbfs_urb *urb)
{
	struct usbfs_urb *unlinked = TAKE_PTR(urb->unlinked);
	bool was_cancelled;

	TAILQ_REMOVE(&session->claim->flying, urb, entry);
	session->n_flying--;
	usbfs_urb_take_result(urb);
	was_cancelled = unlinked && urb->status == -ECONNRESET && urb->actual_length == 0;
	if (was_cancelled)
		usbfs_share_free(&session->share, urb);
	else
		session_answer(session, urb);
	if (unlinked) {
		usbfs_urb_set_unlinked(unlinked, was_cancelled ? -ECONNRESET : 0);
		session_answer(session, unlinked);
	}
}

/* Those that are over, as long as their answers can be sent. Whether that is all. */
static bool session_take_results(struct usbfs_session *session)
{
	struct usbdevfs_urb *kernel;

	while (!session->is_ended && TAILQ_EMPTY(&session->answers) && usbfs_reap(session->claim->fd, &kernel) == 0)
		session_take_result(session, kernel->usercontext);
	return !session->is_ended && TAILQ_EMPTY(&session->answers);
}

static void session_reap(struct usbfs_session *session)
{
	(void)session_take_results(session);
	session_run_waiting(session);
}

static int session_on_usb(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct usbfs_session *session = userdata;

	(void)source;
	(void)fd;
	session_reap(session);
	if (events & (EPOLLHUP | EPOLLERR)) {
		log_debug("%s: unplugged: its session is ended", session->name);
		session_end(session);
	}
	session_update(session);
	return 0;
}

/* answer is used up. */
static void session_unlink(struct usbfs_session *session, struct usbfs_urb *answer)
{
	struct usbfs_urb *urb = usbfs_urb_list_find(&session->claim->flying, answer->request.unlinked);

	if (urb && !urb->unlinked) {
		urb->unlinked = answer;
		(void)usbfs_discard(session->claim->fd, &urb->kernel); /* it is reaped, in any case */
		session_reap(session);
		return;
	}
	urb = usbfs_urb_list_find(&session->waiting, answer->request.unlinked);
	usbfs_urb_set_unlinked(answer, urb ? -ECONNRESET : 0); /* 0: its own answer is on the way already */
	if (urb) {
		session_unwait(session, urb);
		usbfs_share_free(&session->share, urb);
	}
	session_answer(session, answer);
	session_run_waiting(session); /* it may have stood in the way of others */
}

/* ---- requests ---- */

/* How many bytes came; 0: not now, or the session is ended. */
static size_t session_receive(struct usbfs_session *session, uint8_t *bytes, size_t size)
{
	ssize_t n = recv(session->fd, bytes, size, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		session_end(session);
	return n > 0 ? (size_t)n : 0;
}

/* Where it is refused, what it brings is skipped. */
static void session_place(struct usbfs_session *session, struct usbfs_urb *urb)
{
	bool fits = session->n_waiting < MAX_WAITING && usbfs_share_fits(&session->share, urb);

	session->incoming = urb;
	if (!urb->refusal && !fits)
		urb->refusal = -ENOMEM;
	if (!urb->refusal && !session_make_place(session, urb) && usbfs_share_is_refusing(&session->share, urb))
		urb->refusal = -ENOMEM;
	if (usbfs_urb_has_place(urb))
		session_accept_whole(session);
}

/* A header is there: room for what follows it, if there is some now. */
static void session_begin(struct usbfs_session *session)
{
	struct usbip_urb request;
	const char *problem = NULL;
	struct usbfs_urb *urb;

	session->n_header = session->n_body = 0;
	if (usbip_urb_decode(session->header, &request, &problem) < 0 || request.devid != session->devid) {
		log_warning("%s: its session is ended: the VM asked for what can't be: %s", session->name,
			    problem ? problem : "another device than this");
		session_end(session);
		return;
	}
	urb = usbfs_urb_new(&request);
	if (!urb) {
		log_error("%s: its session is ended: out of memory", session->name);
		session_end(session);
	} else if (request.command == USBIP_CMD_UNLINK) {
		session_unlink(session, urb);
	} else {
		session_place(session, urb);
	}
}

static bool session_read_header(struct usbfs_session *session)
{
	size_t n = session_receive(session, session->header + session->n_header, sizeof(session->header) - session->n_header);

	session->n_header += n;
	if (session->n_header == sizeof(session->header))
		session_begin(session);
	return n > 0;
}

/* False: no more for now. */
static bool session_read_body(struct usbfs_session *session)
{
	uint8_t *bytes, skipped[SKIPPED_AT_ONCE];
	size_t gap = usbfs_urb_get_gap(session->incoming, session->n_body, &bytes), n;

	if (!bytes && gap > sizeof(skipped))
		gap = sizeof(skipped);
	n = session_receive(session, bytes ? bytes : skipped, gap);
	session->n_body += n;
	session_accept_whole(session);
	return n > 0;
}

static int session_on_wire(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct usbfs_session *session = userdata;

	(void)source;
	(void)fd;
	if (events & EPOLLOUT)
		session_send_answers(session);
	for (unsigned i = 0; i < 2 * REQUESTS_A_TURN && !session->is_ended && session_can_read(session); i++)
		if (!(session->incoming ? session_read_body(session) : session_read_header(session)))
			break;
	session_update(session);
	return 0;
}

static void session_on_memory(void *userdata)
{
	struct usbfs_session *session = userdata;

	session_run_waiting(session);
	session_update(session);
}

static int session_on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	session_on_memory(userdata);
	return 0;
}

/* Nothing that is under way ends, and what is read next may be just what ends it. */
static int session_on_holdup(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct usbfs_session *session = userdata;

	(void)source;
	(void)usec;
	log_warning("%s: too much waits for usbfs: more is refused until something of it is over", session->name);
	session->is_holding = false;
	if (!session->incoming) {
		session->is_refusing = true;
	} else {
		usbfs_share_refuse(&session->share, session->incoming);
		session->incoming->refusal = -ENOMEM;
		session_accept_whole(session);
	}
	session_update(session);
	return 0;
}

/* ---- life ---- */

static int session_init(struct usbfs_session *session, int fd)
{
	const struct usbfs_context *context = session->context;
	int r;

	session->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (session->fd < 0)
		return -errno;
	session->waiter = usbfs_waiter_new(context->memory, session_on_memory, session);
	r = session->waiter ? timer_new(context->event, &session->holdup, session_on_holdup, session) : -ENOMEM;
	if (r >= 0)
		r = timer_new(context->event, &session->retry, session_on_retry, session);
	if (r >= 0)
		r = sd_event_add_io(context->event, &session->wire_io, session->fd, EPOLLIN, session_on_wire, session);
	if (r >= 0)
		r = sd_event_add_io(context->event, &session->usb_io, session->claim->fd, 0, session_on_usb, session);
	return r;
}

int usbfs_session_new(const struct usbfs_context *context, struct usbfs_claim *claim, const char *name, uint32_t devid, int fd,
		      struct usbfs_session **ret_session)
{
	struct usbfs_session *session = calloc(1, sizeof(*session));
	int r;

	if (!session)
		return -ENOMEM;
	session->context = context;
	session->share.memory = context->memory;
	session->claim = claim;
	session->devid = devid;
	snprintf(session->name, sizeof(session->name), "%s", name);
	TAILQ_INIT(&session->waiting);
	TAILQ_INIT(&session->answers);
	r = session_init(session, fd);
	if (r < 0) {
		session->fd = close_fd(session->fd); /* it stays the caller's, and open */
		usbfs_session_free(session);
		return r;
	}
	usbfs_claim_use_memory(claim, context->memory);
	claim->is_used = true;
	*ret_session = session;
	return 0;
}

struct usbfs_session *usbfs_session_free(struct usbfs_session *session)
{
	if (!session)
		return NULL;
	job_abandon(session->job);
	sd_event_source_disable_unref(session->wire_io);
	sd_event_source_disable_unref(session->usb_io);
	sd_event_source_disable_unref(session->holdup);
	sd_event_source_disable_unref(session->retry);
	usbfs_waiter_free(session->waiter);
	if (session->fd >= 0)
		(void)shutdown(session->fd, SHUT_RDWR);
	close_fd(session->fd);
	usbfs_share_free(&session->share, session->incoming);
	usbfs_share_free(&session->share, session->special);
	usbfs_share_free_all(&session->share, &session->waiting);
	usbfs_share_free_all(&session->share, &session->answers);
	free(session);
	return NULL;
}
