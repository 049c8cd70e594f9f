#include "import_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "cleanup.h"
#include "daemon.h"
#include "log.h"
#include "tcp_socket.h"

#define USEC_PER_SEC    UINT64_C(1000000)
#define TALK_LIMIT_USEC (5 * USEC_PER_SEC)  /* for a whole connection, request and reply */
#define QUIET_USEC      (60 * USEC_PER_SEC) /* between log lines about those who may not ask: anybody can cause one */
#define MAX_ALLOWED     24                  /* connections at once */
#define MAX_FOREIGN     4                   /* of those who may not ask: they take no place of the others */
#define BACKLOG         16

struct connection {
	TAILQ_ENTRY(connection) entry;
	struct import_server *server; /* borrowed: outlives us */
	int fd;                       /* owned */
	sd_event_source *io, *timer;  /* owned */
	struct sockaddr_storage address;
	bool is_allowed;
	uint8_t request[USBIP_REQUEST_SIZE];
	size_t n_read;
	uint8_t *reply; /* owned; NULL while the request is read */
	size_t reply_size, n_written;
};

TAILQ_HEAD(connection_list, connection);

struct import_server {
	sd_event *event; /* borrowed: outlives us */
	int fd;          /* owned: listens */
	int spare_fd;    /* owned: given up for a moment when there are no more */
	sd_event_source *io;
	struct connection_list connections;
	unsigned n_allowed, n_foreign;
	uint32_t user_timeout_msec;
	uint64_t told_usec; /* when a foreigner was last told of */
	struct import_server_handlers handlers;
	void *userdata; /* borrowed */
};

void import_server_name_address(const struct sockaddr_storage *address, char *buffer, size_t size)
{
	char text[NI_MAXHOST];

	if (getnameinfo((const struct sockaddr *)address, sizeof(*address), text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0)
		snprintf(text, sizeof(text), "?");
	snprintf(buffer, size, "%s", strncmp(text, "::ffff:", 7) == 0 && strchr(text, '.') ? text + 7 : text);
}

/* ---- a connection ---- */

static void connection_free(struct connection *connection)
{
	struct import_server *server = connection->server;

	TAILQ_REMOVE(&server->connections, connection, entry);
	if (connection->is_allowed)
		server->n_allowed--;
	else
		server->n_foreign--;
	sd_event_source_disable_unref(connection->io);
	sd_event_source_disable_unref(connection->timer);
	close_fd(connection->fd);
	free(connection->reply);
	free(connection);
}

/* Bytes that nobody asked for would make close() a reset, which may overtake the reply. */
static void connection_discard(const struct connection *connection)
{
	char rest[512];

	(void)recv(connection->fd, rest, sizeof(rest), MSG_DONTWAIT);
}

/* Sends what is left of the reply; the connection is over with it. */
static void connection_write(struct connection *connection)
{
	ssize_t n = send(connection->fd, connection->reply + connection->n_written, connection->reply_size - connection->n_written,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		n = 0;
	if (n < 0) {
		connection_free(connection);
		return;
	}
	connection->n_written += (size_t)n;
	if (connection->n_written < connection->reply_size) {
		sd_event_source_set_io_events(connection->io, EPOLLOUT);
		return;
	}
	connection_discard(connection);
	connection_free(connection);
}

/* A reply without a body. */
static void connection_answer(struct connection *connection, uint16_t code, enum usbip_status status)
{
	const struct usbip_header header = { .version = USBIP_VERSION, .code = code & ~USBIP_REQUEST, .status = status };

	connection->reply = malloc(USBIP_HEADER_SIZE);
	if (!connection->reply) {
		connection_free(connection);
		return;
	}
	connection->reply_size = USBIP_HEADER_SIZE;
	usbip_header_encode(&header, connection->reply);
	connection_write(connection);
}

/* ---- the list of devices ---- */

static size_t list_size(const struct usbip_device *devices, size_t n)
{
	size_t size = USBIP_HEADER_SIZE + USBIP_COUNT_SIZE;

	for (size_t i = 0; i < n; i++)
		size += USBIP_DEVICE_SIZE + devices[i].n_interfaces * USBIP_INTERFACE_SIZE;
	return size;
}

static void list_encode(const struct usbip_device *devices, size_t n, uint8_t *at)
{
	const struct usbip_header header = { .version = USBIP_VERSION, .code = USBIP_DEVLIST, .status = USBIP_OK };

	usbip_header_encode(&header, at);
	usbip_count_encode((uint32_t)n, at + USBIP_HEADER_SIZE);
	at += USBIP_HEADER_SIZE + USBIP_COUNT_SIZE;
	for (size_t i = 0; i < n; i++) {
		usbip_device_encode(&devices[i], at);
		usbip_interfaces_encode(&devices[i], at + USBIP_DEVICE_SIZE);
		at += USBIP_DEVICE_SIZE + devices[i].n_interfaces * USBIP_INTERFACE_SIZE;
	}
}

static void connection_list_devices(struct connection *connection)
{
	const struct import_server *server = connection->server;
	_cleanup_free_ struct usbip_device *devices = calloc(IMPORT_SERVER_MAX_DEVICES, sizeof(*devices));
	size_t n;

	if (!devices) {
		connection_free(connection);
		return;
	}
	n = server->handlers.on_list(devices, IMPORT_SERVER_MAX_DEVICES, server->userdata);
	connection->reply_size = list_size(devices, n);
	connection->reply = malloc(connection->reply_size);
	if (!connection->reply) {
		connection_free(connection);
		return;
	}
	list_encode(devices, n, connection->reply);
	connection_write(connection);
}

/* ---- an import ---- */

/* The kernel has the socket since. It is new, so that these few bytes fit in; where they should not, the peer would read URBs where a reply belongs. */
static void connection_confirm(const struct connection *connection, const struct usbip_device *device)
{
	const struct usbip_header header = { .version = USBIP_VERSION, .code = USBIP_IMPORT, .status = USBIP_OK };
	uint8_t reply[USBIP_HEADER_SIZE + USBIP_DEVICE_SIZE];

	usbip_header_encode(&header, reply);
	usbip_device_encode(device, reply + USBIP_HEADER_SIZE);
	if (send(connection->fd, reply, sizeof(reply), MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof(reply))
		(void)shutdown(connection->fd, SHUT_RDWR);
}

static enum usbip_status connection_try_import(struct connection *connection)
{
	const struct import_server *server = connection->server;
	struct usbip_device device = { 0 };
	enum usbip_status status;
	struct busid busid;
	int flags = fcntl(connection->fd, F_GETFL);

	if (usbip_busid_decode(connection->request + USBIP_HEADER_SIZE, &busid) < 0)
		return USBIP_NO_DEVICE;
	if (flags < 0 || fcntl(connection->fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
	    tcp_socket_prepare(connection->fd, server->user_timeout_msec) < 0)
		return USBIP_ERROR;
	status = server->handlers.on_import(&busid, connection->fd, &connection->address, &device, server->userdata);
	if (status == USBIP_OK)
		connection_confirm(connection, &device);
	return status;
}

static void connection_import(struct connection *connection)
{
	enum usbip_status status = connection_try_import(connection);

	if (status == USBIP_OK)
		connection_free(connection); /* the kernel and the owner have references of their own */
	else
		connection_answer(connection, USBIP_IMPORT, status);
}

/* ---- the request ---- */

static size_t request_size(const struct usbip_header *header)
{
	return header->code == (USBIP_REQUEST | USBIP_IMPORT) ? USBIP_REQUEST_SIZE : USBIP_HEADER_SIZE;
}

static void connection_handle_request(struct connection *connection, const struct usbip_header *header)
{
	bool is_ours = header->version == USBIP_VERSION;

	if (!connection->is_allowed)
		connection_answer(connection, header->code, USBIP_NOT_AVAILABLE);
	else if (is_ours && header->code == (USBIP_REQUEST | USBIP_DEVLIST))
		connection_list_devices(connection);
	else if (is_ours && header->code == (USBIP_REQUEST | USBIP_IMPORT))
		connection_import(connection);
	else
		connection_answer(connection, header->code, USBIP_ERROR);
}

/* Never a byte more than the request has: what follows it is the kernel's. */
static void connection_read(struct connection *connection)
{
	struct usbip_header header = { 0 };
	size_t size = USBIP_HEADER_SIZE;
	ssize_t n;

	if (connection->n_read >= USBIP_HEADER_SIZE) {
		usbip_header_decode(connection->request, &header);
		size = request_size(&header);
	}
	n = recv(connection->fd, connection->request + connection->n_read, size - connection->n_read, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		connection_free(connection);
		return;
	}
	connection->n_read += (size_t)n;
	if (connection->n_read < USBIP_HEADER_SIZE)
		return;
	usbip_header_decode(connection->request, &header);
	if (connection->n_read == request_size(&header))
		connection_handle_request(connection, &header);
}

static int connection_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct connection *connection = userdata;

	(void)source;
	(void)fd;
	(void)events;
	if (connection->reply)
		connection_write(connection);
	else
		connection_read(connection);
	return 0;
}

static int connection_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	connection_free(userdata);
	return 0;
}

/* ---- those who come ---- */

static void server_tell_foreigner(struct import_server *server, const struct sockaddr_storage *address)
{
	char text[NI_MAXHOST];
	uint64_t now = clock_now_usec();

	if (server->told_usec && now - server->told_usec < QUIET_USEC)
		return;
	server->told_usec = now;
	import_server_name_address(address, text, sizeof(text));
	log_notice("%s asked for devices and may not: it is neither the VM nor in ALLOW= of vm.conf", text);
}

static bool server_has_room(struct import_server *server, bool is_allowed)
{
	return is_allowed ? server->n_allowed < MAX_ALLOWED : server->n_foreign < MAX_FOREIGN;
}

static int server_start(struct import_server *server, struct connection *connection)
{
	int r = timer_arm(server->event, &connection->timer, TALK_LIMIT_USEC, connection_on_timer, connection);

	return r < 0 ? r : sd_event_add_io(server->event, &connection->io, connection->fd, EPOLLIN, connection_on_io, connection);
}

static void server_add(struct import_server *server, int fd, const struct sockaddr_storage *address)
{
	bool is_allowed = server->handlers.is_allowed(address, server->userdata);
	struct connection *connection = server_has_room(server, is_allowed) ? calloc(1, sizeof(*connection)) : NULL;

	if (!is_allowed)
		server_tell_foreigner(server, address);
	if (!connection) {
		close_fd(fd);
		return;
	}
	*connection = (struct connection){ .server = server, .fd = fd, .address = *address, .is_allowed = is_allowed };
	TAILQ_INSERT_TAIL(&server->connections, connection, entry);
	if (is_allowed)
		server->n_allowed++;
	else
		server->n_foreign++;
	if (server_start(server, connection) < 0)
		connection_free(connection);
}

/* Out of file descriptors: the one kept for that takes the connection off the backlog, or the loop would spin on it. */
static void server_shed(struct import_server *server)
{
	log_warning("direct road: out of file descriptors; a connection was closed");
	close_fd(server->spare_fd);
	close_fd(accept4(server->fd, NULL, NULL, SOCK_CLOEXEC));
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int server_on_connect(sd_event_source *source, int listener, uint32_t events, void *userdata)
{
	struct import_server *server = userdata;
	struct sockaddr_storage address = { 0 };
	socklen_t size = sizeof(address);
	int fd = accept4(listener, (struct sockaddr *)&address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)source;
	(void)events;
	if (fd >= 0)
		server_add(server, fd, &address);
	else if (errno == EMFILE || errno == ENFILE)
		server_shed(server);
	return 0;
}

/* ---- listening ---- */

static int server_bind(const struct import_server *server, int family, uint16_t port)
{
	const struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT };
	const int one = 1, zero = 0;
	int r;

	if (setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (family == AF_INET6 && setsockopt(server->fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) < 0)
		return -errno;
	r = family == AF_INET6 ? bind(server->fd, (const struct sockaddr *)&v6, sizeof(v6)) :
				 bind(server->fd, (const struct sockaddr *)&v4, sizeof(v4));
	return r < 0 || listen(server->fd, BACKLOG) < 0 ? -errno : 0;
}

static int server_listen(struct import_server *server, int family, uint16_t port)
{
	int r;

	server->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->fd < 0)
		return -errno;
	r = server_bind(server, family, port);
	if (r < 0)
		server->fd = close_fd(server->fd);
	return r;
}

static int server_fail(int error, uint16_t port, struct failure *failure)
{
	if (error == -EADDRINUSE)
		return failure_set(failure, FAILURE_BUSY, "Stop it there (usbipd?), or set TRANSPORT=tunnel in /etc/usbpush/vm.conf.",
				   "another program listens on the Pi's port %u", port);
	if (error == -EPERM || error == -EACCES || error == -EAFNOSUPPORT)
		return failure_set(failure, FAILURE_NO_PERMISSION, "Run usbpush-exporter by its systemd unit.",
				   "usbpush-exporter may not listen on port %u: %s", port, strerror(-error));
	return failure_set(failure, FAILURE_INTERNAL, NULL, "the Pi could not listen on port %u: %s", port, strerror(-error));
}

static int server_init(struct import_server *server, uint16_t port)
{
	int r = server_listen(server, AF_INET6, port);

	if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)
		r = server_listen(server, AF_INET, port);
	if (r < 0)
		return r;
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return sd_event_add_io(server->event, &server->io, server->fd, EPOLLIN, server_on_connect, server);
}

int import_server_new(sd_event *event, uint16_t port, uint32_t user_timeout_msec, const struct import_server_handlers *handlers,
		      void *userdata, struct import_server **ret_server, struct failure *ret_failure)
{
	struct import_server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return server_fail(-ENOMEM, port, ret_failure);
	*server = (struct import_server){ .event = event,
					  .fd = -EBADF,
					  .spare_fd = -EBADF,
					  .user_timeout_msec = user_timeout_msec,
					  .handlers = *handlers,
					  .userdata = userdata };
	TAILQ_INIT(&server->connections);
	r = server_init(server, port);
	if (r < 0) {
		import_server_free(server);
		return server_fail(r, port, ret_failure);
	}
	*ret_server = server;
	return 0;
}

struct import_server *import_server_free(struct import_server *server)
{
	if (!server)
		return NULL;
	while (!TAILQ_EMPTY(&server->connections))
		connection_free(TAILQ_FIRST(&server->connections));
	sd_event_source_disable_unref(server->io);
	close_fd(server->fd);
	close_fd(server->spare_fd);
	free(server);
	return NULL;
}

uint16_t import_server_get_port(const struct import_server *server)
{
	struct sockaddr_storage address = { 0 };
	socklen_t size = sizeof(address);

	if (getsockname(server->fd, (struct sockaddr *)&address, &size) < 0)
		return 0;
	return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port :
						     ((struct sockaddr_in *)&address)->sin_port);
}
