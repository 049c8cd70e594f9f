#include "pair_portal.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "control_ask.h"

#define PATH_START  "POST /api/v1/pairing/"
#define MAX_CLIENTS 32

struct client {
	struct pair_portal *portal;
	int fd;
	sd_event_source *source, *answer_source;
	char input[16384];
	size_t used;
	char step[16];
	struct control_ask ask;
	bool is_asking;
};

struct pair_portal {
	sd_event *event;
	const char *socket_path;
	int fd, fd6;
	uint16_t port;
	sd_event_source *source, *source6;
	struct client *clients[MAX_CLIENTS];
	char lost_step[16];
	enum pair_portal_loss loss;
	int n_losses;
	pair_portal_tamper_fn tamper;
	const char *raw;
	char steps[8192]; /* that came, each followed by a blank */
};

static void client_end(struct client *client)
{
	struct pair_portal *portal = client->portal;

	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (portal->clients[i] == client)
			portal->clients[i] = NULL;
	sd_event_source_disable_unref(client->source);
	sd_event_source_disable_unref(client->answer_source);
	if (client->is_asking)
		control_ask_drop(&client->ask);
	close_fd(client->fd);
	free(client);
}

static bool portal_loses(struct pair_portal *portal, const char *step, enum pair_portal_loss loss)
{
	if (portal->loss != loss || portal->n_losses == 0 || (portal->lost_step[0] && strcmp(portal->lost_step, step) != 0))
		return false;
	if (portal->n_losses < 0)
		portal->lost_step[0] = '\0'; /* from now on the network is dead */
	else
		portal->n_losses--;
	return true;
}

static void client_write(const struct client *client, const char *text)
{
	if (send(client->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return; /* it went away; its next request will tell */
}

static int client_on_answer(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct client *client = userdata;
	_cleanup_json_ json_t *answer = control_ask_take(&client->ask);
	_cleanup_free_ char *body = NULL;
	char head[256];

	(void)source;
	(void)fd;
	(void)events;
	if (!answer)
		return 0;
	client->is_asking = false;
	client->answer_source = sd_event_source_disable_unref(client->answer_source);
	if (client->portal->tamper)
		client->portal->tamper(client->step, true, answer);
	if (!portal_loses(client->portal, client->step, LOSS_ANSWER)) {
		body = json_dumps(answer, JSON_COMPACT);
		snprintf(head, sizeof(head),
			 "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
			 json_is_true(json_object_get(answer, "ok")) ? "200 OK" : "400 Bad Request", strlen(body));
		client_write(client, head);
		client_write(client, body);
	}
	client_end(client);
	return 0;
}

static void client_handle(struct client *client, const char *body)
{
	struct pair_portal *portal = client->portal;
	json_t *message = json_loads(body, 0, NULL);

	ck_assert_ptr_nonnull(message);
	strcat(portal->steps, client->step);
	strcat(portal->steps, " ");
	if (portal->raw || portal_loses(portal, client->step, LOSS_REQUEST)) {
		if (portal->raw)
			client_write(client, portal->raw);
		json_decref(message);
		client_end(client);
		return;
	}
	if (portal->tamper)
		portal->tamper(client->step, false, message);
	control_ask_start(&client->ask, portal->socket_path,
			  json_pack("{s:s, s:s, s:s, s:o}", "request", "pairing", "step", client->step, "from", "127.0.0.1", "message",
				    message));
	client->is_asking = true;
	ck_assert_int_ge(sd_event_add_io(portal->event, &client->answer_source, client->ask.fd, EPOLLIN, client_on_answer, client), 0);
}

/* The whole request is there: its first line, a Content-Length, an empty line, the body. */
static int client_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct client *client = userdata;
	ssize_t n = recv(fd, client->input + client->used, sizeof(client->input) - 1 - client->used, MSG_DONTWAIT);
	const char *length, *body;

	(void)source;
	(void)events;
	if (n <= 0) {
		client_end(client); /* the VM went away */
		return 0;
	}
	client->used += (size_t)n;
	client->input[client->used] = '\0';
	body = strstr(client->input, "\r\n\r\n");
	length = strcasestr(client->input, "\r\ncontent-length:");
	if (!body || !length || strlen(body + 4) < (size_t)atol(length + strlen("\r\ncontent-length:")))
		return 0;
	ck_assert_msg(strncmp(client->input, PATH_START, strlen(PATH_START)) == 0, "%s", client->input);
	ck_assert_msg(strcasestr(client->input, "\r\ncontent-type: application/json\r\n") != NULL, "%s", client->input);
	ck_assert_msg(strcasestr(client->input, "\r\nhost: 127.0.0.1:") || strcasestr(client->input, "\r\nhost: [::1]:"), "%s",
		      client->input);
	snprintf(client->step, sizeof(client->step), "%.*s", (int)strcspn(client->input + strlen(PATH_START), " "),
		 client->input + strlen(PATH_START));
	client_handle(client, body + 4);
	return 0;
}

static int portal_on_connect(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct pair_portal *portal = userdata;
	struct client *client = calloc(1, sizeof(*client));

	(void)source;
	(void)events;
	client->portal = portal;
	client->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(client->fd, 0);
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (!portal->clients[i]) {
			portal->clients[i] = client;
			break;
		}
	ck_assert_int_ge(sd_event_add_io(portal->event, &client->source, client->fd, EPOLLIN, client_on_io, client), 0);
	return 0;
}

/* At the same port; a machine without IPv6 goes without. */
static void portal_listen_ipv6(struct pair_portal *portal)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(portal->port) };

	portal->fd6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (portal->fd6 < 0 || bind(portal->fd6, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(portal->fd6, 16) < 0) {
		portal->fd6 = close_fd(portal->fd6);
		return;
	}
	ck_assert_int_ge(sd_event_add_io(portal->event, &portal->source6, portal->fd6, EPOLLIN, portal_on_connect, portal), 0);
}

bool pair_portal_has_ipv6(const struct pair_portal *portal)
{
	return portal->fd6 >= 0;
}

struct pair_portal *pair_portal_new(sd_event *event, const char *socket_path)
{
	struct pair_portal *portal = calloc(1, sizeof(*portal));
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	portal->event = event;
	portal->socket_path = socket_path;
	portal->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(portal->fd, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(listen(portal->fd, 16), 0);
	ck_assert_int_eq(getsockname(portal->fd, (struct sockaddr *)&address, &size), 0);
	portal->port = ntohs(address.sin_port);
	ck_assert_int_ge(sd_event_add_io(event, &portal->source, portal->fd, EPOLLIN, portal_on_connect, portal), 0);
	portal_listen_ipv6(portal);
	return portal;
}

struct pair_portal *pair_portal_free(struct pair_portal *portal)
{
	if (!portal)
		return NULL;
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (portal->clients[i])
			client_end(portal->clients[i]);
	sd_event_source_disable_unref(portal->source);
	sd_event_source_disable_unref(portal->source6);
	close_fd(portal->fd);
	close_fd(portal->fd6);
	free(portal);
	return NULL;
}

uint16_t pair_portal_port(const struct pair_portal *portal)
{
	return portal->port;
}

void pair_portal_lose(struct pair_portal *portal, const char *step, enum pair_portal_loss loss, int n)
{
	snprintf(portal->lost_step, sizeof(portal->lost_step), "%s", step);
	portal->loss = loss;
	portal->n_losses = n;
}

void pair_portal_tamper(struct pair_portal *portal, pair_portal_tamper_fn fn)
{
	portal->tamper = fn;
}

void pair_portal_answer(struct pair_portal *portal, const char *raw)
{
	portal->raw = raw;
}

unsigned pair_portal_count(const struct pair_portal *portal, const char *step)
{
	unsigned n = 0;
	char wanted[20];

	snprintf(wanted, sizeof(wanted), "%s ", step);
	for (const char *at = strstr(portal->steps, wanted); at; at = strstr(at + 1, wanted))
		n++;
	return n;
}
