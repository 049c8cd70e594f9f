#include "knock.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "daemon.h"
#include "whereabouts.h"

#define USEC_PER_MSEC UINT64_C(1000)
#define AGAIN_MS      500

enum visit_state {
	VISIT_STATE_WAITING, /* for another attempt */
	VISIT_STATE_CONNECTING,
	VISIT_STATE_SAID, /* waits for anything in answer, or the end */
	VISIT_STATE_OVER,
};

/* One Pi. */
struct visit {
	enum visit_state state;
	char address[WHEREABOUTS_ADDRESS_SIZE];
	int fd;
	uint64_t again_usec; /* WAITING: until then */
};

struct knock {
	pthread_t thread;
	int stop_fd; /* readable: enough */
	uint16_t port;
	size_t n;
	struct visit visits[PICONF_MAX_PIS];
};

static void visit_end(struct visit *visit, enum visit_state state)
{
	visit->fd = close_fd(visit->fd);
	visit->again_usec = clock_now_usec() + AGAIN_MS * USEC_PER_MSEC;
	visit->state = state;
}

/* A machine that refuses is there, without a portal; all else may be otherwise in a moment. */
static void visit_fail(struct visit *visit, int error)
{
	visit_end(visit, error == ECONNREFUSED ? VISIT_STATE_OVER : VISIT_STATE_WAITING);
}

static int visit_connect(struct visit *visit, uint16_t port)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	char service[8];
	int err = 0;

	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(visit->address, service, &hints, &found) != 0)
		return -ENODEV; /* its interface is not there yet */
	visit->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (visit->fd < 0 || (connect(visit->fd, found->ai_addr, found->ai_addrlen) < 0 && errno != EINPROGRESS))
		err = -errno;
	freeaddrinfo(found);
	return err;
}

static void visit_begin(struct visit *visit, uint16_t port)
{
	int err = visit_connect(visit, port);

	if (err < 0)
		visit_fail(visit, -err);
	else
		visit->state = VISIT_STATE_CONNECTING;
}

/* The whole request fits into an empty socket. */
static void visit_say(struct visit *visit, uint16_t port)
{
	bool is_ipv6 = strchr(visit->address, ':') != NULL;
	int error = 0, length;
	socklen_t size = sizeof(error);
	char text[256];

	if (getsockopt(visit->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error) {
		visit_fail(visit, error);
		return;
	}
	length = snprintf(text, sizeof(text),
			  "POST /api/v1/knock HTTP/1.1\r\nHost: %s%.*s%s:%u\r\nContent-Type: application/json\r\nContent-Length: 0\r\n"
			  "Connection: close\r\n\r\n",
			  is_ipv6 ? "[" : "", (int)strcspn(visit->address, "%"), visit->address, is_ipv6 ? "]" : "", port);
	if (send(visit->fd, text, (size_t)length, MSG_NOSIGNAL) == length)
		visit->state = VISIT_STATE_SAID;
	else
		visit_end(visit, VISIT_STATE_WAITING);
}

static void visit_go_on(struct visit *visit, uint16_t port, short events)
{
	switch (visit->state) {
	case VISIT_STATE_WAITING:
		if (visit->again_usec <= clock_now_usec())
			visit_begin(visit, port);
		break;
	case VISIT_STATE_CONNECTING:
		if (events)
			visit_say(visit, port);
		break;
	case VISIT_STATE_SAID:
		if (events)
			visit_end(visit, VISIT_STATE_OVER);
		break;
	case VISIT_STATE_OVER:
		break;
	}
}

/* One turn; false when there is nobody left, or it is told to stop. */
static bool knock_turn(struct knock *knock)
{
	struct pollfd polled[PICONF_MAX_PIS + 1] = { 0 };
	bool is_over = true;

	for (size_t i = 0; i < knock->n; i++) {
		struct visit *visit = &knock->visits[i];

		visit_go_on(visit, knock->port, 0);
		polled[i] = (struct pollfd){ .fd = visit->fd, .events = visit->state == VISIT_STATE_SAID ? POLLIN : POLLOUT };
		is_over = is_over && visit->state == VISIT_STATE_OVER;
	}
	polled[knock->n] = (struct pollfd){ .fd = knock->stop_fd, .events = POLLIN };
	if (is_over || (poll(polled, knock->n + 1, AGAIN_MS) < 0 && errno != EINTR) || polled[knock->n].revents)
		return false;
	for (size_t i = 0; i < knock->n; i++)
		if (polled[i].revents)
			visit_go_on(&knock->visits[i], knock->port, polled[i].revents);
	return true;
}

static void *knock_run(void *userdata)
{
	struct knock *knock = userdata;
	uint64_t deadline = clock_now_usec() + KNOCK_LIMIT_MS * USEC_PER_MSEC;

	while (clock_now_usec() < deadline && knock_turn(knock))
		;
	for (size_t i = 0; i < knock->n; i++)
		visit_end(&knock->visits[i], VISIT_STATE_OVER);
	return NULL;
}

static struct knock *knock_release(struct knock *knock)
{
	close_fd(knock->stop_fd);
	free(knock);
	return NULL;
}

int knock_start(const char *const *addresses, size_t n, uint16_t port, struct knock **ret_knock)
{
	struct knock *knock = calloc(1, sizeof(*knock));
	int err;

	if (!knock)
		return -ENOMEM;
	knock->port = port;
	knock->n = n < PICONF_MAX_PIS ? n : PICONF_MAX_PIS;
	for (size_t i = 0; i < knock->n; i++) {
		knock->visits[i].fd = -EBADF;
		snprintf(knock->visits[i].address, sizeof(knock->visits[i].address), "%s", addresses[i]);
	}
	knock->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = knock->stop_fd < 0 ? -errno : -pthread_create(&knock->thread, NULL, knock_run, knock);
	if (err < 0) {
		knock_release(knock);
		return err;
	}
	*ret_knock = knock;
	return 0;
}

struct knock *knock_free(struct knock *knock)
{
	if (!knock)
		return NULL;
	(void)eventfd_write(knock->stop_fd, 1);
	pthread_join(knock->thread, NULL);
	return knock_release(knock);
}
