#include "direct_session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "daemon.h"
#include "message.h"
#include "tcp_watch.h"

struct direct_session {
	sd_event *event;              /* borrowed: outlives us */
	int fd;                       /* owned; the kernel has a reference of its own */
	sd_event_source *io, *looker; /* owned */
	struct tcp_watch *watch;      /* owned */
	uint32_t patience_ms;
	bool is_started; /* from then on the connection is the session's */
	char peer[64];
	direct_session_fn on_ended;
	void *userdata; /* borrowed */
};

static void session_end(struct direct_session *session, enum failure_code code, const char *text)
{
	struct failure failure;

	sd_event_source_set_enabled(session->io, SD_EVENT_OFF);
	timer_disarm(session->looker);
	session->watch = tcp_watch_free(session->watch);
	failure_set(&failure, code, NULL, "%s", text);
	session->on_ended(&failure, session->userdata);
}

/* The peer closed it, or the Pi's kernel did: which of the two tells the device itself. No byte is read here. */
static int session_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source;
	(void)fd;
	session_end(userdata, FAILURE_GONE, events & EPOLLHUP ? "the session was ended" : "the other end closed the session");
	return 0;
}

static void session_on_dead(uint64_t silence_msec, void *userdata)
{
	(void)silence_msec;
	session_end(userdata, FAILURE_TIMEOUT, "the other end of the session does not answer any more");
}

static int session_on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct direct_session *session = userdata;

	(void)source;
	(void)usec;
	tcp_watch_look(session->watch);
	timer_arm(session->event, &session->looker, patience_to_beat(session->patience_ms) * UINT64_C(1000), session_on_look, session);
	return 0;
}

static int session_init(struct direct_session *session)
{
	int r = tcp_watch_new(session->event, session->fd, patience_to_limit(session->patience_ms), session_on_dead, session,
			      &session->watch);

	if (r >= 0)
		r = sd_event_add_io(session->event, &session->io, session->fd, EPOLLRDHUP, session_on_io, session);
	return r < 0 ? r : timer_arm(session->event, &session->looker, 0, session_on_look, session);
}

int direct_session_new(sd_event *event, int fd, const char *peer, uint32_t patience_ms, direct_session_fn on_ended, void *userdata,
		       struct direct_session **ret_session)
{
	struct direct_session *session = calloc(1, sizeof(*session));
	int r;

	if (!session)
		return -ENOMEM;
	*session = (struct direct_session){
		.event = event, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), .patience_ms = patience_ms, .on_ended = on_ended, .userdata = userdata
	};
	snprintf(session->peer, sizeof(session->peer), "%s", peer);
	r = session->fd < 0 ? -errno : session_init(session);
	if (r < 0) {
		direct_session_free(session);
		return r;
	}
	session->is_started = true;
	*ret_session = session;
	return 0;
}

struct direct_session *direct_session_free(struct direct_session *session)
{
	if (!session)
		return NULL;
	tcp_watch_free(session->watch);
	sd_event_source_disable_unref(session->io);
	sd_event_source_disable_unref(session->looker);
	if (session->is_started)
		(void)shutdown(session->fd, SHUT_RDWR);
	close_fd(session->fd);
	free(session);
	return NULL;
}

const char *direct_session_get_peer(const struct direct_session *session)
{
	return session->peer;
}

int direct_session_get_address(const struct direct_session *session, struct sockaddr_storage *ret_address)
{
	socklen_t length = sizeof(*ret_address);

	*ret_address = (struct sockaddr_storage){ 0 };
	return getpeername(session->fd, (struct sockaddr *)ret_address, &length) < 0 ? -errno : 0;
}
