#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "failure.h"

/* A daemon's unix socket: requests of one JSON line {"request":...}, each answered with one line. A client may become a subscriber, which
 * gets a line for each event; or its socket may be taken over (the relay's). */
struct local_server;
struct local_client;

/* One request. Answer with local_client_reply() or _fail(), now or later; or take the socket. The client stays valid until on_gone. */
typedef void (*local_request_fn)(struct local_client *client, const char *request, json_t *arguments, void *userdata);
typedef void (*local_gone_fn)(struct local_client *client, void *userdata);

/* Listens at path (a socket that a dead predecessor left is replaced) with mode. At most max_clients at once, whoever they are (local_server_share_places()). systemd's socket activation is not used. */
int local_server_new(sd_event *event, const char *path, mode_t mode, unsigned max_clients, local_request_fn on_request,
		     local_gone_fn on_gone, void *userdata, struct local_server **ret_server);

/* Whether this uid is root's or that of a daemon of ours. */
typedef bool (*local_own_fn)(uid_t uid, void *userdata);

/* From now on the places are shared out, so that no user keeps the others from the daemon: each uid that is not is_own may hold a quarter of them (at least one), and
 * all such uids together three quarters. Who comes for more is answered with FAILURE_BUSY before it has asked, and cut off. is_own has the server's userdata. */
void local_server_share_places(struct local_server *server, local_own_fn is_own);

/* Closes all clients and removes the socket. Takes NULL. */
struct local_server *local_server_free(struct local_server *server);

/* The caller's uid by SO_PEERCRED. */
uid_t local_client_uid(const struct local_client *client);

/* Answers {"ok":true}. */
void local_client_done(struct local_client *client);

/* Answers {"ok":true} with the fields of object added (the reference is taken). NULL is an answer for which there was no memory: the connection ends instead. */
void local_client_reply(struct local_client *client, json_t *object);

/* Answers {"ok":false,"error":{code,text,cure}}. */
void local_client_fail(struct local_client *client, const struct failure *failure);

/* From now on the client gets what local_server_publish() sends, beginning with its reply. */
void local_client_subscribe(struct local_client *client);

/* Takes the socket over: nothing after the request's line has been read from it. The fd (non-blocking, CLOEXEC) is the caller's, and the client is gone
 * without on_gone. Only inside local_request_fn. */
int local_client_take_fd(struct local_client *client);

/* Remembered for the caller; NULL at first. */
void local_client_set_data(struct local_client *client, void *data);

/* What was remembered. */
void *local_client_get_data(const struct local_client *client);

/* Sends object (borrowed) as one line to every subscriber. One that does not read (1 MiB behind) is dropped. */
void local_server_publish(struct local_server *server, json_t *object);

/* Whether there are subscribers, so that nobody composes what nobody reads. */
bool local_server_has_subscribers(const struct local_server *server);
