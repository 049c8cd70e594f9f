#include "local_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cleanup.h"
#include "json_text.h"
#include "json_whole.h"
#include "line.h"
#include "log.h"

#define LOCAL_OUTPUT_MAX ((size_t)1024 * 1024)

struct local_client {
	LIST_ENTRY(local_client) entry;
	struct local_server *server; /* borrowed: outlives us */
	int fd;                      /* owned */
	uid_t uid;
	bool is_foreign;         /* it has its share of the places, and no more */
	sd_event_source *source; /* owned */
	sd_event_source *reaper; /* owned; set once the client is to go */
	struct line_buffer input;
	char *output; /* owned */
	size_t output_used;
	bool is_subscriber;
	void *data; /* borrowed */
};

LIST_HEAD(local_client_list, local_client);

struct local_server {
	sd_event *event;         /* borrowed: outlives us */
	sd_event_source *source; /* owned */
	int fd;                  /* owned */
	int spare_fd;            /* owned: for the day when there is no other */
	char *path;              /* owned */
	unsigned n_clients, max_clients;
	local_request_fn on_request;
	local_gone_fn on_gone;
	local_own_fn is_own; /* NULL: the places are not shared out */
	void *userdata;      /* borrowed */
	struct local_client_list clients;
};

static void local_client_destroy(struct local_client *client)
{
	LIST_REMOVE(client, entry);
	client->server->n_clients--;
	sd_event_source_disable_unref(client->source);
	sd_event_source_disable_unref(client->reaper);
	close_fd(client->fd);
	line_buffer_done(&client->input);
	free(client->output);
	free(client);
}

static int local_client_on_reap(sd_event_source *source, void *userdata)
{
	struct local_client *client = userdata;

	(void)source;
	if (client->server->on_gone)
		client->server->on_gone(client, client->server->userdata);
	local_client_destroy(client);
	return 0;
}

/* Never frees at once: the client may be in use further up the stack. */
static void local_client_end(struct local_client *client)
{
	if (client->reaper)
		return;
	client->is_subscriber = false;
	client->source = sd_event_source_disable_unref(client->source);
	if (sd_event_add_defer(client->server->event, &client->reaper, local_client_on_reap, client) < 0)
		log_error("%s: out of memory, a client stays open", client->server->path);
}

static void local_client_flush(struct local_client *client)
{
	while (client->output_used > 0) {
		ssize_t n = send(client->fd, client->output, client->output_used, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			local_client_end(client);
			return;
		}
		client->output_used -= (size_t)n;
		memmove(client->output, client->output + n, client->output_used);
	}
	if (client->output_used == 0) {
		free(client->output);
		client->output = NULL;
	}
	if (client->source)
		sd_event_source_set_io_events(client->source, client->output_used ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void local_client_send(struct local_client *client, const char *text, size_t size)
{
	char *grown;

	if (client->reaper)
		return;
	if (client->output_used + size > LOCAL_OUTPUT_MAX) {
		log_warning("%s: a client does not read what it asked for; its connection is closed", client->server->path);
		local_client_end(client);
		return;
	}
	grown = realloc(client->output, client->output_used + size);
	if (!grown) {
		local_client_end(client);
		return;
	}
	client->output = grown;
	memcpy(client->output + client->output_used, text, size);
	client->output_used += size;
	local_client_flush(client);
}

/* The object as a line, malloc'ed and without a NUL: the line's end takes its place. NULL without memory. */
static char *line_of_json(const json_t *object, size_t *ret_size)
{
	char *line = json_text(object, JSON_REAL_PRECISION(6));

	if (!line)
		return NULL;
	*ret_size = strlen(line) + 1;
	line[*ret_size - 1] = '\n';
	return line;
}

/* A line that could not be made for want of memory ends the connection: who waits for it must not wait for ever. */
static void local_client_send_line(struct local_client *client, const char *line, size_t size)
{
	if (line)
		local_client_send(client, line, size);
	else
		local_client_end(client);
}

static void local_client_send_json(struct local_client *client, const json_t *object)
{
	size_t size = 0;
	_cleanup_free_ char *line = line_of_json(object, &size);

	local_client_send_line(client, line, size);
}

void local_client_reply(struct local_client *client, json_t *object)
{
	_cleanup_json_ json_t *answer = object;

	json_whole_set(&answer, "ok", json_true());
	local_client_send_json(client, answer);
}

void local_client_done(struct local_client *client)
{
	local_client_reply(client, json_object());
}

void local_client_fail(struct local_client *client, const struct failure *failure)
{
	_cleanup_json_ json_t *answer = json_pack("{s:b, s:o}", "ok", 0, "error", failure_to_json(failure));

	local_client_send_json(client, answer);
}

static void local_client_handle(struct local_client *client, const char *line, size_t size)
{
	_cleanup_json_ json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
	const char *request = json_string_value(json_object_get(object, "request"));
	struct failure failure;

	if (request) {
		client->server->on_request(client, request, object, client->server->userdata);
		return;
	}
	failure_set(&failure, FAILURE_BAD_REQUEST, NULL, "a request must be one line of JSON with a string \"request\"");
	local_client_fail(client, &failure);
	local_client_flush(client);
	local_client_end(client);
}

/* Reads up to the newline and not a byte more, so that a socket can be handed on after it. Bytes without a newline belong to the line for sure and are
 * taken, too: left in the socket they would wake the loop for ever. Returns 1 with the line, 0 for "not yet", negative errno. */
static int local_client_read_line(struct local_client *client, char **ret_line, size_t *ret_size)
{
	char data[4096];
	ssize_t n = recv(client->fd, data, sizeof(data), MSG_PEEK | MSG_DONTWAIT);
	const char *end;
	int r;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	end = memchr(data, '\n', (size_t)n);
	n = recv(client->fd, data, end ? (size_t)(end - data) + 1 : (size_t)n, MSG_DONTWAIT);
	if (n <= 0)
		return -EIO;
	r = line_buffer_add(&client->input, data, (size_t)n);
	explicit_bzero(data, (size_t)n);
	return r < 0 ? r : line_buffer_take(&client->input, ret_line, ret_size);
}

static int local_client_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct local_client *client = userdata;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int r;

	(void)source;
	(void)fd;
	if (events & EPOLLOUT)
		local_client_flush(client);
	if (client->reaper || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return 0;
	r = local_client_read_line(client, &line, &size);
	if (r < 0 || (r == 0 && (events & (EPOLLHUP | EPOLLERR))))
		local_client_end(client);
	else if (r > 0)
		local_client_handle(client, line, size);
	if (line)
		explicit_bzero(line, size); /* there may have been a password in it */
	return 0;
}

static int local_client_new(struct local_server *server, int fd, uid_t uid, bool is_foreign)
{
	struct local_client *client = calloc(1, sizeof(*client));
	int r;

	if (!client) {
		close_fd(fd);
		return -ENOMEM;
	}
	client->server = server;
	client->fd = fd;
	client->uid = uid;
	client->is_foreign = is_foreign;
	LIST_INSERT_HEAD(&server->clients, client, entry);
	server->n_clients++;
	r = sd_event_add_io(server->event, &client->source, fd, EPOLLIN, local_client_on_io, client);
	if (r < 0)
		local_client_destroy(client);
	return r < 0 ? r : 0;
}

/* ---- who has a place ---- */

static bool local_server_is_foreign(const struct local_server *server, uid_t uid)
{
	return server->is_own && !server->is_own(uid, server->userdata);
}

/* Whose share one more of a foreign uid would exceed: its own, or that of all of them, so that who has uids to spare (subuid(5)) gets no more by it. NULL: nobody's. */
static const char *local_server_exceeds(const struct local_server *server, uid_t uid)
{
	unsigned n_his = 0, n_foreign = 0, share = server->max_clients / 4;
	const struct local_client *client;

	LIST_FOREACH(client, &server->clients, entry) {
		n_his += client->uid == uid;
		n_foreign += client->is_foreign;
	}
	if (n_his >= (share ? share : 1))
		return "one user";
	return n_foreign >= server->max_clients - share ? "all users together" : NULL;
}

/* fd is closed. What it was told is there to be read all the same. */
static void local_server_refuse(const struct local_server *server, int fd, uid_t uid, const char *who)
{
	_cleanup_json_ json_t *answer = NULL;
	_cleanup_free_ char *line = NULL;
	struct failure failure;
	size_t size = 0;

	failure_set(&failure, FAILURE_BUSY, "Which programs hold them: sudo ss -xp. End what was left running, as with --watch.",
		    "%s: as many connections as %s may have are open already", server->path, who);
	answer = json_pack("{s:b, s:o}", "ok", 0, "error", failure_to_json(&failure));
	line = line_of_json(answer, &size);
	if (line)
		(void)send(fd, line, size, MSG_NOSIGNAL | MSG_DONTWAIT); /* who does not hear it sees the end */
	log_warning("%s: more connections of uid %u than %s may have of the %u; one was closed", server->path, (unsigned)uid, who,
		    server->max_clients);
	close_fd(fd);
}

/* The connection has a place, or it is closed. */
static void local_server_admit(struct local_server *server, int fd)
{
	struct ucred credentials;
	socklen_t size = sizeof(credentials);
	const char *exceeded;
	bool is_foreign;
	int r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
		log_error("%s: who connects is not known: %s", server->path, strerror(errno));
		close_fd(fd);
		return;
	}
	is_foreign = local_server_is_foreign(server, credentials.uid);
	exceeded = is_foreign ? local_server_exceeds(server, credentials.uid) : NULL;
	if (exceeded) {
		local_server_refuse(server, fd, credentials.uid, exceeded);
		return;
	}
	r = local_client_new(server, fd, credentials.uid, is_foreign);
	if (r < 0)
		log_error("%s: a connection could not be accepted: %s", server->path, strerror(-r));
}

/* Out of file descriptors: the one kept for that takes the connection off the backlog, or the loop would spin on it. */
static void local_server_shed(struct local_server *server)
{
	log_warning("%s: out of file descriptors; a connection was closed", server->path);
	close_fd(server->spare_fd);
	close_fd(accept4(server->fd, NULL, NULL, SOCK_CLOEXEC));
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int local_server_on_connect(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct local_server *server = userdata;
	int client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)source;
	(void)events;
	if (client_fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		local_server_shed(server);
		return 0;
	}
	if (client_fd < 0)
		return 0; /* it went away meanwhile */
	if (server->n_clients >= server->max_clients) {
		log_warning("%s: more than %u connections at once; one was closed", server->path, server->max_clients);
		close_fd(client_fd);
		return 0;
	}
	local_server_admit(server, client_fd);
	return 0;
}

static int local_server_listen(struct local_server *server, mode_t mode)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t old_mask;
	int r;

	if (strlen(server->path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, server->path, strlen(server->path));
	server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->fd < 0)
		return -errno;
	unlink(server->path);
	old_mask = umask(0777 & ~mode);
	r = bind(server->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(old_mask);
	if (r < 0)
		return r;
	return listen(server->fd, 128) < 0 ? -errno : 0;
}

int local_server_new(sd_event *event, const char *path, mode_t mode, unsigned max_clients, local_request_fn on_request,
		     local_gone_fn on_gone, void *userdata, struct local_server **ret_server)
{
	struct local_server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	*server = (struct local_server){ .event = event,
					 .fd = -EBADF,
					 .spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC),
					 .path = strdup(path),
					 .max_clients = max_clients,
					 .on_request = on_request,
					 .on_gone = on_gone,
					 .userdata = userdata };
	LIST_INIT(&server->clients);
	r = server->path ? local_server_listen(server, mode) : -ENOMEM;
	if (r == 0)
		r = sd_event_add_io(event, &server->source, server->fd, EPOLLIN, local_server_on_connect, server);
	if (r < 0) {
		local_server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

void local_server_share_places(struct local_server *server, local_own_fn is_own)
{
	server->is_own = is_own;
}

struct local_server *local_server_free(struct local_server *server)
{
	if (!server)
		return NULL;
	while (!LIST_EMPTY(&server->clients))
		local_client_destroy(LIST_FIRST(&server->clients));
	sd_event_source_disable_unref(server->source);
	if (server->fd >= 0)
		unlink(server->path);
	close_fd(server->fd);
	close_fd(server->spare_fd);
	free(server->path);
	free(server);
	return NULL;
}

uid_t local_client_uid(const struct local_client *client)
{
	return client->uid;
}

void local_client_subscribe(struct local_client *client)
{
	client->is_subscriber = true;
}

int local_client_take_fd(struct local_client *client)
{
	int fd = TAKE_FD(client->fd);

	/* The epoll entry must go before the fd has another owner. */
	client->source = sd_event_source_disable_unref(client->source);
	client->reaper = sd_event_source_disable_unref(client->reaper);
	client->server->n_clients--;
	LIST_REMOVE(client, entry);
	line_buffer_done(&client->input);
	free(client->output);
	free(client);
	return fd;
}

void local_client_set_data(struct local_client *client, void *data)
{
	client->data = data;
}

void *local_client_get_data(const struct local_client *client)
{
	return client->data;
}

void local_server_publish(struct local_server *server, json_t *object)
{
	struct local_client *client, *next;
	size_t size = 0;
	_cleanup_free_ char *line = local_server_has_subscribers(server) ? line_of_json(object, &size) : NULL;

	for (client = LIST_FIRST(&server->clients); client; client = next) {
		next = LIST_NEXT(client, entry);
		if (client->is_subscriber)
			local_client_send_line(client, line, size);
	}
}

bool local_server_has_subscribers(const struct local_server *server)
{
	const struct local_client *client;

	LIST_FOREACH(client, &server->clients, entry)
		if (client->is_subscriber)
			return true;
	return false;
}
