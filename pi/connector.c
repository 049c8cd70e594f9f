#include "connector.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "daemon.h"

#define CONNECT_LIMIT_USEC \
	(3 * UINT64_C(1000000)) /* for one address: a machine on the way up drops SYNs, and the kernel's own retries grow rare */

struct lookup {
	char host[256], port[8];
	int error;                  /* of getaddrinfo() */
	struct addrinfo *addresses; /* owned */
};

struct connector {
	sd_event *event;                   /* borrowed: outlives us */
	sd_event_source *io, *timer;       /* owned */
	struct job *job;                   /* under way while not NULL */
	struct addrinfo *addresses, *next; /* owned; borrowed from it */
	int fd;                            /* owned */
	uint32_t user_timeout_ms;
	char host[256], address[64];
	struct failure failure; /* of the last address tried */
	connector_done_fn on_done;
	void *userdata; /* borrowed */
};

static void lookup_free(void *arg)
{
	struct lookup *lookup = arg;

	if (lookup->addresses)
		freeaddrinfo(lookup->addresses);
	free(lookup);
}

static int lookup_run(void *arg)
{
	struct lookup *lookup = arg;
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG };

	lookup->error = getaddrinfo(lookup->host, lookup->port, &hints, &lookup->addresses);
	return 0;
}

static void connector_finish(struct connector *connector, int fd)
{
	connector->on_done(fd, connector->address, fd < 0 ? &connector->failure : NULL, connector->userdata);
}

static void connector_try_next(struct connector *connector);

static void connector_note_error(struct connector *connector, int error)
{
	const char *cure = "Is the VM on, and its address right? See /etc/usbpush/vm.conf.";

	if (error == ECONNREFUSED)
		cure = "Is sshd running on the VM, on that port?";
	failure_set(&connector->failure, FAILURE_UNREACHABLE, cure, "%s (%s): %s", connector->host, connector->address, strerror(error));
}

static void connector_drop(struct connector *connector)
{
	connector->io = sd_event_source_disable_unref(connector->io);
	timer_disarm(connector->timer);
	connector->fd = close_fd(connector->fd);
}

static int connector_on_connected(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct connector *connector = userdata;
	int error = 0;
	socklen_t size = sizeof(error);

	(void)source;
	(void)events;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (error) {
		connector_note_error(connector, error);
		connector_drop(connector);
		connector_try_next(connector);
		return 0;
	}
	connector->io = sd_event_source_disable_unref(connector->io);
	timer_disarm(connector->timer);
	connector_finish(connector, TAKE_FD(connector->fd));
	return 0;
}

static int connector_on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct connector *connector = userdata;

	(void)source;
	(void)usec;
	connector_note_error(connector, ETIMEDOUT);
	connector_drop(connector);
	connector_try_next(connector);
	return 0;
}

static int connector_set_options(const struct connector *connector)
{
	const int one = 1, idle = 5, interval = 3, count = 3;
	const unsigned user_timeout = connector->user_timeout_ms;
	int r = 0;

	r |= setsockopt(connector->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	r |= setsockopt(connector->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	r |= setsockopt(connector->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	r |= setsockopt(connector->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	r |= setsockopt(connector->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	r |= setsockopt(connector->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
	return r < 0 ? -errno : 0;
}

static int connector_start(struct connector *connector, const struct addrinfo *address)
{
	int r;

	if (getnameinfo(address->ai_addr, address->ai_addrlen, connector->address, sizeof(connector->address), NULL, 0, NI_NUMERICHOST) !=
	    0)
		snprintf(connector->address, sizeof(connector->address), "?");
	connector->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (connector->fd < 0)
		return -errno;
	r = connector_set_options(connector);
	if (r < 0)
		return r;
	if (connect(connector->fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS)
		return -errno;
	r = sd_event_add_io(connector->event, &connector->io, connector->fd, EPOLLOUT, connector_on_connected, connector);
	return r < 0 ? r : timer_arm(connector->event, &connector->timer, CONNECT_LIMIT_USEC, connector_on_timeout, connector);
}

static void connector_try_next(struct connector *connector)
{
	while (connector->next) {
		const struct addrinfo *address = connector->next;
		int r;

		connector->next = address->ai_next;
		r = connector_start(connector, address);
		if (r >= 0)
			return;
		connector_note_error(connector, -r);
		connector_drop(connector);
	}
	connector_finish(connector, -1);
}

static void connector_on_looked_up(int result, void *arg, void *userdata)
{
	struct connector *connector = userdata;
	struct lookup *lookup = arg;

	connector->job = NULL;
	if (result < 0 || lookup->error) {
		failure_set(&connector->failure, FAILURE_UNREACHABLE, "Check the name, or give the VM's address to usbpush pair.",
			    "%s: the name can't be resolved: %s", connector->host,
			    result < 0 ? strerror(-result) : gai_strerror(lookup->error));
		connector_finish(connector, -1);
		return;
	}
	connector->addresses = TAKE_PTR(lookup->addresses);
	connector->next = connector->addresses;
	connector_try_next(connector);
}

int connector_new(sd_event *event, struct job_runner *jobs, const char *host, uint16_t port, uint32_t user_timeout_ms,
		  connector_done_fn on_done, void *userdata, struct connector **ret_connector)
{
	struct connector *connector = calloc(1, sizeof(*connector));
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	int r;

	if (!connector || !lookup) {
		free(connector);
		free(lookup);
		return -ENOMEM;
	}
	*connector = (struct connector){
		.event = event, .fd = -EBADF, .user_timeout_ms = user_timeout_ms, .on_done = on_done, .userdata = userdata
	};
	failure_set(&connector->failure, FAILURE_UNREACHABLE, NULL, "%s has no address", host);
	snprintf(connector->host, sizeof(connector->host), "%s", host);
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	snprintf(lookup->port, sizeof(lookup->port), "%u", port);
	r = job_start(jobs, lookup_run, lookup, lookup_free, connector_on_looked_up, connector, &connector->job);
	if (r < 0) {
		free(connector);
		return r;
	}
	*ret_connector = connector;
	return 0;
}

struct connector *connector_free(struct connector *connector)
{
	if (!connector)
		return NULL;
	job_abandon(connector->job);
	sd_event_source_disable_unref(connector->io);
	sd_event_source_disable_unref(connector->timer);
	if (connector->addresses)
		freeaddrinfo(connector->addresses);
	close_fd(connector->fd);
	free(connector);
	return NULL;
}
