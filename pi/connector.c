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

#define USEC_PER_MSEC UINT64_C(1000)
#define DELAY_USEC    (250 * USEC_PER_MSEC)  /* between attempts: RFC 8305, section 5 */
#define LIMIT_USEC    (6000 * USEC_PER_MSEC) /* for the whole race */
#define MAX_ADDRESSES 16
#define MAX_ATTEMPTS  12 /* the newest: each lives for 3 s */

struct lookup {
	char host[256], port[8];
	int error;                  /* of getaddrinfo() */
	struct addrinfo *addresses; /* owned */
};

struct attempt {
	struct connector *connector;
	int fd;              /* owned */
	sd_event_source *io; /* owned */
	size_t address;      /* its index */
};

struct connector {
	sd_event *event;                                 /* borrowed: outlives us */
	sd_event_source *timer;                          /* owned: the next attempt */
	struct job *job;                                 /* under way while not NULL */
	struct addrinfo *look_up;                        /* owned: its answer */
	const struct addrinfo *addresses[MAX_ADDRESSES]; /* borrowed from it */
	size_t n_addresses;
	bool has_refused[MAX_ADDRESSES];
	unsigned n_started;
	uint64_t since_usec;
	struct attempt attempts[MAX_ATTEMPTS]; /* a ring: the oldest gives way */
	char host[256], address[64];
	bool is_silence;
	struct failure failure; /* of the last attempt that ended */
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

/* ---- attempts ---- */

static void attempt_drop(struct attempt *attempt)
{
	attempt->io = sd_event_source_disable_unref(attempt->io);
	attempt->fd = close_fd(attempt->fd);
}

static void connector_finish(struct connector *connector, int fd)
{
	timer_disarm(connector->timer);
	for (size_t i = 0; i < MAX_ATTEMPTS; i++)
		attempt_drop(&connector->attempts[i]);
	connector->on_done(fd, connector->address, fd < 0 ? &connector->failure : NULL, connector->userdata);
}

static void connector_name_address(struct connector *connector, size_t index)
{
	const struct addrinfo *address = connector->addresses[index];

	if (getnameinfo(address->ai_addr, address->ai_addrlen, connector->address, sizeof(connector->address), NULL, 0, NI_NUMERICHOST) !=
	    0)
		snprintf(connector->address, sizeof(connector->address), "?");
}

bool connector_was_refused(const struct connector *connector)
{
	for (size_t i = 0; i < connector->n_addresses; i++)
		if (!connector->has_refused[i])
			return false;
	return connector->n_addresses > 0;
}

static void connector_note_error(struct connector *connector, size_t index, int error)
{
	const char *cure = "Is the VM on, and its address right? See /etc/usbpush/vm.conf.";

	connector_name_address(connector, index);
	connector->has_refused[index] = error == ECONNREFUSED;
	if (error == ECONNREFUSED)
		cure = "Is sshd running on the VM, on that port?";
	failure_set(&connector->failure, FAILURE_UNREACHABLE, cure, "%s (%s): %s", connector->host, connector->address, strerror(error));
}

static int attempt_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct attempt *attempt = userdata;
	struct connector *connector = attempt->connector;
	int error = 0;
	socklen_t size = sizeof(error);

	(void)source;
	(void)events;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (error == 0) {
		connector_name_address(connector, attempt->address);
		connector_finish(connector, TAKE_FD(attempt->fd));
		return 0;
	}
	connector_note_error(connector, attempt->address, error);
	attempt_drop(attempt);
	if (connector_was_refused(connector))
		connector_finish(connector, -1);
	return 0;
}

static int attempt_set_options(const struct attempt *attempt)
{
	const int one = 1, idle = 5, interval = 3, count = 3;
	int r = 0;

	r |= setsockopt(attempt->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	r |= setsockopt(attempt->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	r |= setsockopt(attempt->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	r |= setsockopt(attempt->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	r |= setsockopt(attempt->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	return r < 0 ? -errno : 0;
}

static int attempt_start(struct attempt *attempt)
{
	const struct addrinfo *address = attempt->connector->addresses[attempt->address];
	int r;

	attempt->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (attempt->fd < 0)
		return -errno;
	r = attempt_set_options(attempt);
	if (r < 0)
		return r;
	if (connect(attempt->fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS)
		return -errno;
	return sd_event_add_io(attempt->connector->event, &attempt->io, attempt->fd, EPOLLOUT, attempt_on_io, attempt);
}

/* ---- the race ---- */

static int connector_on_timer(sd_event_source *source, uint64_t usec, void *userdata);

/* The next address in turn that has not refused. There is one. */
static size_t connector_choose(const struct connector *connector)
{
	size_t index = connector->n_started % connector->n_addresses;

	while (connector->has_refused[index])
		index = (index + 1) % connector->n_addresses;
	return index;
}

static void connector_start_next(struct connector *connector)
{
	struct attempt *attempt = &connector->attempts[connector->n_started % MAX_ATTEMPTS];
	int r;

	if (attempt->fd >= 0)
		connector_note_error(connector, attempt->address, ETIMEDOUT);
	attempt_drop(attempt);
	attempt->address = connector_choose(connector);
	connector->n_started++;
	r = attempt_start(attempt);
	if (r < 0) { /* no route, say: that may be otherwise in a moment */
		connector_note_error(connector, attempt->address, -r);
		attempt_drop(attempt);
	}
	timer_arm(connector->event, &connector->timer, DELAY_USEC, connector_on_timer, connector);
}

static void connector_give_up(struct connector *connector)
{
	if (connector->failure.code == FAILURE_NONE)
		connector_note_error(connector, connector_choose(connector), ETIMEDOUT);
	connector->is_silence = true;
	connector_finish(connector, -1);
}

static int connector_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct connector *connector = userdata;

	(void)source;
	(void)usec;
	if (connector_was_refused(connector))
		connector_finish(connector, -1);
	else if (clock_now_usec() - connector->since_usec >= LIMIT_USEC)
		connector_give_up(connector);
	else
		connector_start_next(connector);
	return 0;
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
	connector->look_up = TAKE_PTR(lookup->addresses);
	for (const struct addrinfo *a = connector->look_up; a && connector->n_addresses < MAX_ADDRESSES; a = a->ai_next)
		connector->addresses[connector->n_addresses++] = a;
	connector->since_usec = clock_now_usec();
	connector_start_next(connector);
}

bool connector_was_silence(const struct connector *connector)
{
	return connector->is_silence;
}

int connector_new(sd_event *event, struct job_runner *jobs, const char *host, uint16_t port, connector_done_fn on_done, void *userdata,
		  struct connector **ret_connector)
{
	struct connector *connector = calloc(1, sizeof(*connector));
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	int r;

	if (!connector || !lookup) {
		free(connector);
		free(lookup);
		return -ENOMEM;
	}
	*connector = (struct connector){ .event = event, .on_done = on_done, .userdata = userdata };
	for (size_t i = 0; i < MAX_ATTEMPTS; i++)
		connector->attempts[i] = (struct attempt){ .connector = connector, .fd = -EBADF };
	snprintf(connector->host, sizeof(connector->host), "%s", host);
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	snprintf(lookup->port, sizeof(lookup->port), "%u", port);
	r = timer_new(event, &connector->timer, connector_on_timer, connector);
	if (r >= 0)
		r = job_start(jobs, lookup->host, lookup_run, lookup, lookup_free, connector_on_looked_up, connector, &connector->job);
	if (r < 0) {
		lookup_free(lookup);
		connector_free(connector);
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
	sd_event_source_disable_unref(connector->timer);
	for (size_t i = 0; i < MAX_ATTEMPTS; i++)
		attempt_drop(&connector->attempts[i]);
	if (connector->look_up)
		freeaddrinfo(connector->look_up);
	free(connector);
	return NULL;
}
