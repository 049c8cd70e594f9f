/* usbpush-relay: what sshd starts for a Pi, as its forced command. Connects to the handler, says in a first line that the Pi can't write
 * which Pi speaks, and then moves bytes: stdin to the socket, the socket to stdout. The handler may give its end of the socket to the
 * kernel; so nothing here reads a byte more than it passes on. Links libc alone. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_PATH        "/run/usbpush/handler.sock"
#define ID_MAX_LENGTH      32
#define ADDRESS_MAX_SIZE   64
#define FIELD_MAX_SIZE     (ADDRESS_MAX_SIZE + 16)
#define ADDRESS_CHARACTERS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:%-_" /* "fe80::1%eth0": none that JSON minds */
#define SPLICE_MAX         (1024 * 1024)
#define COPY_SIZE          4096 /* POLLOUT on a pipe promises room for this much, pipe(7) */
#define CONNECT_LIMIT_S    10
#define RETRIES            30
#define RETRY_MS           100
#define DRAIN_LIMIT_MS     5000  /* for the last bytes, once the handler's side is dead */
#define LINGER_LIMIT_MS    30000 /* for an answer, once the Pi's side has ended */

/* What one direction waits for. */
enum pump_state { PUMP_READING, PUMP_WRITING, PUMP_ENDED };

struct pump {
	int from, to;
	enum pump_state state;
	bool is_copying; /* splice(2) refused: neither end is a pipe */
	size_t n_pending;
	char pending[COPY_SIZE]; /* copying only */
};

struct relay {
	int socket;
	struct pump up;      /* stdin to socket */
	struct pump down;    /* socket to stdout */
	bool is_socket_dead; /* what is still in it can be read, no more will come */
};

static int relay_try_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int saved;

	if (fd < 0)
		return -1;
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* A handler that was killed or upgraded is back in a moment: what it had attached goes on meanwhile, and the Pi need not know. */
static int relay_connect(const char *path)
{
	int fd;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	alarm(CONNECT_LIMIT_S); /* a full backlog makes connect(2) wait for ever */
	fd = relay_try_connect(path);
	for (int i = 0; i < RETRIES && fd < 0 && (errno == ECONNREFUSED || errno == ENOENT); i++) {
		(void)poll(NULL, 0, RETRY_MS);
		fd = relay_try_connect(path);
	}
	alarm(0);
	return fd;
}

/* The Pi's address as sshd sees it: the first word of SSH_CONNECTION, which the Pi can't set. As a field of the first line; "" without it. */
static void relay_format_address(char field[FIELD_MAX_SIZE])
{
	const char *connection = getenv("SSH_CONNECTION");
	size_t length = connection ? strcspn(connection, " ") : 0;

	field[0] = '\0';
	if (length > 0 && length < ADDRESS_MAX_SIZE && strspn(connection, ADDRESS_CHARACTERS) >= length)
		snprintf(field, FIELD_MAX_SIZE, ",\"from\":\"%.*s\"", (int)length, connection);
}

static int relay_introduce(int fd, const char *id)
{
	char line[192], address[FIELD_MAX_SIZE];
	int length;

	relay_format_address(address);
	length = snprintf(line, sizeof(line), "{\"request\":\"relay\",\"pi\":\"%s\"%s}\n", id, address);

	if (send(fd, line, (size_t)length, MSG_NOSIGNAL) != length)
		return -1;
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static bool error_is_transient(void)
{
	return errno == EAGAIN || errno == EINTR;
}

static void pump_write_pending(struct pump *pump)
{
	ssize_t n = write(pump->to, pump->pending, pump->n_pending);

	if (n < 0) {
		pump->state = error_is_transient() ? PUMP_WRITING : PUMP_ENDED;
		return;
	}
	pump->n_pending -= (size_t)n;
	memmove(pump->pending, pump->pending + n, pump->n_pending);
	pump->state = pump->n_pending > 0 ? PUMP_WRITING : PUMP_READING;
}

static void pump_copy(struct pump *pump)
{
	ssize_t n;

	if (pump->n_pending > 0) {
		pump_write_pending(pump);
		return;
	}
	n = read(pump->from, pump->pending, sizeof(pump->pending));
	if (n <= 0) {
		pump->state = n < 0 && error_is_transient() ? PUMP_READING : PUMP_ENDED;
		return;
	}
	pump->n_pending = (size_t)n;
	pump->state = PUMP_WRITING; /* poll says when it can't block */
}

/* Called when the end that the pump waits for is ready. EAGAIN can then only be the other end's, so it waits for that one. */
static void pump_run(struct pump *pump)
{
	ssize_t n;

	if (pump->is_copying) {
		pump_copy(pump);
		return;
	}
	n = splice(pump->from, NULL, pump->to, NULL, SPLICE_MAX, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n > 0)
		pump->state = PUMP_READING;
	else if (n < 0 && errno == EINVAL)
		pump->is_copying = true;
	else if (n < 0 && error_is_transient())
		pump->state = pump->state == PUMP_READING ? PUMP_WRITING : PUMP_READING;
	else
		pump->state = PUMP_ENDED;
}

/* poll(2) always reports POLLHUP and POLLERR: an end that is not waited for is left out, or an ended one would keep us spinning. */
static void relay_fill_poll(const struct relay *relay, struct pollfd polled[3])
{
	short socket_events =
		(short)((relay->down.state == PUMP_READING ? POLLIN | POLLRDHUP : 0) | (relay->up.state == PUMP_WRITING ? POLLOUT : 0));

	polled[0] = (struct pollfd){ .fd = relay->up.state == PUMP_READING ? STDIN_FILENO : -1, .events = POLLIN };
	polled[1] = (struct pollfd){ .fd = relay->is_socket_dead && !socket_events ? -1 : relay->socket, .events = socket_events };
	polled[2] = (struct pollfd){ .fd = STDOUT_FILENO, .events = relay->down.state == PUMP_WRITING ? POLLOUT : 0 };
}

static int relay_get_timeout(const struct relay *relay)
{
	if (relay->is_socket_dead)
		return DRAIN_LIMIT_MS;
	return relay->up.state == PUMP_ENDED ? LINGER_LIMIT_MS : -1;
}

/* One turn. False when all is over. */
static bool relay_turn(struct relay *relay)
{
	struct pollfd polled[3];
	int n;

	relay_fill_poll(relay, polled);
	n = poll(polled, 3, relay_get_timeout(relay));
	if (n < 0)
		return errno == EINTR;
	if (n == 0 || (polled[2].revents & (POLLERR | POLLNVAL)))
		return false; /* waited long enough, or nobody reads what we write */

	if (polled[1].revents & (POLLHUP | POLLERR | POLLRDHUP))
		relay->is_socket_dead = true;
	if (relay->down.state == PUMP_READING ? polled[1].revents & (POLLIN | POLLHUP | POLLERR | POLLRDHUP) : polled[2].revents & POLLOUT)
		pump_run(&relay->down);
	if (relay->up.state == PUMP_READING ? polled[0].revents : polled[1].revents & (POLLOUT | POLLERR | POLLHUP)) {
		pump_run(&relay->up);
		if (relay->up.state == PUMP_ENDED)
			shutdown(relay->socket, SHUT_WR);
	}
	return relay->down.state != PUMP_ENDED;
}

static int usage(const char *text)
{
	fprintf(stderr, "usbpush-relay: %s; usage: usbpush-relay --pi ID (sshd starts it, see usbpush-relay(8))\n", text);
	return 2;
}

int main(int argc, char **argv)
{
	const char *id = NULL, *path = SOCKET_PATH;
	static struct relay relay;

	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--pi") == 0 && i + 1 < argc)
			id = argv[++i];
		else if (strcmp(argv[i], "--socket") == 0 && i + 1 < argc) /* for tests */
			path = argv[++i];
		else
			return usage("unknown argument");
	}
	if (!id || !*id || strlen(id) > ID_MAX_LENGTH || strspn(id, "0123456789abcdef") != strlen(id))
		return usage("no valid ID");

	relay.socket = relay_connect(path);
	if (relay.socket < 0 || relay_introduce(relay.socket, id) < 0) {
		fprintf(stderr, "usbpush-relay: the handler is not running (%s: %s). Start it on the VM: systemctl start usbpush-handler\n",
			path, strerror(errno));
		return EXIT_FAILURE;
	}
	relay.up = (struct pump){ .from = STDIN_FILENO, .to = relay.socket };
	relay.down = (struct pump){ .from = relay.socket, .to = STDOUT_FILENO };
	while (relay_turn(&relay))
		;
	return EXIT_SUCCESS;
}
