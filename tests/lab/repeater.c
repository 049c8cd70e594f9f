/* The wire between the guests: each QEMU sends its Ethernet frames to one unix
 * datagram socket here, and every frame goes on to all the other guests, unless
 * the wire is cut, and after as long as the wire takes.
 *
 *   repeater DIR NAME...     binds DIR/NAME.hub, sends to DIR/NAME.nic
 *
 * Commands on stdin, one a line, each answered by "ok" or "no"; it ends with
 * its stdin:
 *   NAME from BOOL            do this guest's frames get out?
 *   NAME to BOOL              do frames reach this guest?
 *   NAME delay USEC           how long frames take on their way to this guest
 *   NAME loss PER_MILLION     how many frames to this guest are lost
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PORTS = 16, MAX_FRAME = 65536 + 64, MAX_QUEUED = 4096 };

struct frame {
	struct frame *next;
	int64_t due_nsec;
	size_t length;
	char bytes[];
};

struct port {
	const char *name;
	struct sockaddr_un nic; /* where its QEMU receives */
	int hub_fd;             /* where its QEMU sends to */
	int nic_fd;             /* connected to nic, or -1 */
	bool lets_out, lets_in;
	int64_t delay_nsec;
	uint32_t loss_ppm;
	struct frame *head, **tail;
	unsigned n_queued;
	bool is_full; /* the QEMU takes no more for the moment */
};

static struct port ports[MAX_PORTS];
static int n_ports;

static int64_t now_nsec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void port_drop_head(struct port *p)
{
	struct frame *f = p->head;

	p->head = f->next;
	if (!p->head)
		p->tail = &p->head;
	p->n_queued--;
	free(f);
}

static void port_queue(struct port *p, const char *bytes, size_t n)
{
	if (!p->lets_in || p->n_queued >= MAX_QUEUED)
		return;
	if (p->loss_ppm && (uint32_t)(drand48() * 1e6) < p->loss_ppm)
		return;
	struct frame *f = malloc(sizeof *f + n);
	if (!f)
		return;
	f->next = NULL;
	f->due_nsec = p->delay_nsec ? now_nsec() + p->delay_nsec : 0;
	f->length = n;
	memcpy(f->bytes, bytes, n);
	*p->tail = f;
	p->tail = &f->next;
	p->n_queued++;
}

static bool port_connect(struct port *p)
{
	if (p->nic_fd >= 0)
		return true;
	p->nic_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->nic_fd < 0)
		return false;
	if (connect(p->nic_fd, (struct sockaddr *)&p->nic, sizeof p->nic) == 0)
		return true;
	close(p->nic_fd);
	p->nic_fd = -1;
	return false;
}

/* Sends what is due. A frame to a guest without power is lost, as on a cable. */
static void port_send_due(struct port *p, int64_t now)
{
	p->is_full = false;
	while (p->head && p->head->due_nsec <= now) {
		if (port_connect(p) && send(p->nic_fd, p->head->bytes, p->head->length, 0) < 0) {
			if (errno == EAGAIN || errno == ENOBUFS) {
				p->is_full = true;
				return;
			}
			close(p->nic_fd); /* its QEMU has been started anew */
			p->nic_fd = -1;
			if (port_connect(p))
				continue;
		}
		port_drop_head(p);
	}
}

static void port_receive(struct port *from)
{
	static char frame[MAX_FRAME];

	for (int i = 0; i < 64; i++) {
		ssize_t n = recv(from->hub_fd, frame, sizeof frame, MSG_DONTWAIT);

		if (n <= 0)
			return;
		for (struct port *to = ports; from->lets_out && to < ports + n_ports; to++)
			if (to != from)
				port_queue(to, frame, n);
	}
}

static int port_init(struct port *p, const char *dir, const char *name)
{
	struct sockaddr_un hub = { .sun_family = AF_UNIX };

	*p = (struct port){ .name = name, .nic.sun_family = AF_UNIX, .nic_fd = -1, .lets_out = true, .lets_in = true, .tail = &p->head };
	snprintf(p->nic.sun_path, sizeof p->nic.sun_path, "%s/%s.nic", dir, name);
	snprintf(hub.sun_path, sizeof hub.sun_path, "%s/%s.hub", dir, name);
	unlink(hub.sun_path);
	p->hub_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (p->hub_fd < 0 || bind(p->hub_fd, (struct sockaddr *)&hub, sizeof hub) < 0) {
		fprintf(stderr, "lab repeater: %s: %s\n", hub.sun_path, strerror(errno));
		return -1;
	}
	return 0;
}

static bool obey(char *line)
{
	char name[64], what[16];
	long value;

	if (sscanf(line, "%63s %15s %ld", name, what, &value) != 3 || value < 0)
		return false;
	for (struct port *p = ports; p < ports + n_ports; p++) {
		if (strcmp(p->name, name) != 0)
			continue;
		if (!strcmp(what, "from"))
			p->lets_out = value;
		else if (!strcmp(what, "to"))
			p->lets_in = value;
		else if (!strcmp(what, "delay"))
			p->delay_nsec = value * 1000;
		else if (!strcmp(what, "loss"))
			p->loss_ppm = value;
		else
			return false;
		while (!p->lets_in && p->head)
			port_drop_head(p); /* what was on the cable is lost with it */
		return true;
	}
	return false;
}

static void obey_input(void)
{
	static char buf[4096];
	static size_t n;
	ssize_t got = read(0, buf + n, sizeof buf - 1 - n);
	char *end;

	if (got <= 0)
		exit(0);
	n += got;
	buf[n] = '\0';
	while ((end = strchr(buf, '\n'))) {
		*end++ = '\0';
		if (write(1, obey(buf) ? "ok\n" : "no\n", 3) < 0)
			exit(0);
		n -= end - buf;
		memmove(buf, end, n + 1);
	}
}

static void wait_for_work(void)
{
	struct pollfd fds[1 + 2 * MAX_PORTS] = { { .fd = 0, .events = POLLIN } };
	int64_t now = now_nsec(), due = INT64_MAX;

	for (int i = 0; i < n_ports; i++) {
		struct port *p = &ports[i];

		fds[1 + 2 * i] = (struct pollfd){ .fd = p->hub_fd, .events = POLLIN };
		fds[2 + 2 * i] = (struct pollfd){ .fd = p->is_full ? p->nic_fd : -1, .events = POLLOUT };
		if (p->head && !p->is_full && p->head->due_nsec < due)
			due = p->head->due_nsec;
	}
	int64_t wait = due > now ? due - now : 0;
	struct timespec limit = { .tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000 };

	if (ppoll(fds, 1 + 2 * n_ports, due == INT64_MAX ? NULL : &limit, NULL) <= 0)
		return;
	if (fds[0].revents)
		obey_input();
	for (int i = 0; i < n_ports; i++)
		if (fds[1 + 2 * i].revents)
			port_receive(&ports[i]);
}

int main(int argc, char **argv)
{
	if (argc < 3 || argc > 2 + MAX_PORTS)
		return 2;
	prctl(PR_SET_TIMERSLACK, 1);
	srand48(now_nsec());
	for (int i = 2; i < argc; i++)
		if (port_init(&ports[n_ports++], argv[1], argv[i]) < 0)
			return 1;
	if (write(1, "ok\n", 3) < 0)
		return 1;
	for (;;) {
		wait_for_work();
		for (int i = 0; i < n_ports; i++)
			port_send_due(&ports[i], now_nsec());
	}
}
