#include "lobby.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arrival.h"
#include "cleanup.h"
#include "log.h"

#define LOBBY_MAX_UNREAD  64
#define LOBBY_MAX_STREAMS 32
#define LOBBY_MAX_SPARES  128

struct lobby {
	sd_event *event;                         /* borrowed: outlives us */
	const char *name;                        /* borrowed: outlives us */
	const struct lobby_callbacks *callbacks; /* borrowed: outlives us */
	void *userdata;                          /* borrowed: outlives us */
	size_t n;
	struct arrival *arrivals[LOBBY_MAX_UNREAD + LOBBY_MAX_STREAMS + LOBBY_MAX_SPARES]; /* owned */
};

struct lobby *lobby_new(sd_event *event, const char *name, const struct lobby_callbacks *callbacks, void *userdata)
{
	struct lobby *lobby = calloc(1, sizeof(*lobby));

	if (!lobby)
		return NULL;
	lobby->event = event;
	lobby->name = name;
	lobby->callbacks = callbacks;
	lobby->userdata = userdata;
	return lobby;
}

void lobby_clear(struct lobby *lobby)
{
	while (lobby->n > 0)
		arrival_free(lobby->arrivals[--lobby->n]);
}

struct lobby *lobby_free(struct lobby *lobby)
{
	if (!lobby)
		return NULL;
	lobby_clear(lobby);
	free(lobby);
	return NULL;
}

static void lobby_drop(struct lobby *lobby, struct arrival *arrival)
{
	for (size_t i = 0; i < lobby->n; i++) {
		if (lobby->arrivals[i] != arrival)
			continue;
		lobby->arrivals[i] = lobby->arrivals[--lobby->n];
		arrival_free(arrival);
		return;
	}
}

static struct arrival *lobby_find_stream(const struct lobby *lobby, const char *offer_id)
{
	for (size_t i = 0; i < lobby->n; i++)
		if (strcmp(arrival_get_offer(lobby->arrivals[i]), offer_id) == 0)
			return lobby->arrivals[i];
	return NULL;
}

static size_t lobby_count(const struct lobby *lobby, enum arrival_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < lobby->n; i++)
		n += arrival_get_kind(lobby->arrivals[i]) == kind;
	return n;
}

int lobby_take_stream(struct lobby *lobby, const char *offer_id)
{
	struct arrival *arrival = lobby_find_stream(lobby, offer_id);
	int fd;

	if (!arrival)
		return -ENOENT;
	fd = arrival_take_fd(arrival);
	lobby_drop(lobby, arrival);
	return fd;
}

static void lobby_refuse(struct lobby *lobby, struct arrival *arrival, bool is_stream, const struct failure *failure)
{
	log_warning("%s: a %s was refused: %s", lobby->name, is_stream ? "stream" : "connection", failure->text);
	arrival_refuse(arrival, is_stream, failure);
	lobby_drop(lobby, arrival);
}

static void lobby_on_stream(struct lobby *lobby, struct arrival *arrival, const char *offer_id)
{
	struct failure failure;
	int r;

	if (lobby_find_stream(lobby, offer_id)) {
		failure_set(&failure, FAILURE_BUSY, NULL, "offer %s has a stream already", offer_id);
		lobby_refuse(lobby, arrival, true, &failure);
		return;
	}
	r = lobby->callbacks->on_stream(offer_id, &failure, lobby->userdata);
	if (r == 0 && lobby_count(lobby, ARRIVAL_STREAM) >= LOBBY_MAX_STREAMS)
		r = failure_set(&failure, FAILURE_BUSY, NULL, "more than %d streams without an offer", LOBBY_MAX_STREAMS);
	if (r < 0) {
		lobby_refuse(lobby, arrival, true, &failure);
	} else if (r == 0) {
		arrival_keep_stream(arrival, offer_id);
	} else {
		int fd = arrival_take_fd(arrival);

		lobby_drop(lobby, arrival);
		lobby->callbacks->on_stream_ready(offer_id, fd, lobby->userdata);
	}
}

/* They are counted apart: many of them must not keep a control channel out. */
static void lobby_on_spare(struct lobby *lobby, struct arrival *arrival)
{
	if (arrival_get_kind(arrival) == ARRIVAL_SPARE || lobby_count(lobby, ARRIVAL_SPARE) < LOBBY_MAX_SPARES) {
		arrival_keep_spare(arrival);
		return;
	}
	log_warning("%s: more than %d streams opened ahead; one was closed", lobby->name, LOBBY_MAX_SPARES);
	lobby_drop(lobby, arrival);
}

static void lobby_on_hello(struct lobby *lobby, struct arrival *arrival, const struct hello *hello)
{
	struct failure failure;
	int fd;

	if (hello->protocol != PROTOCOL_VERSION) {
		failure_set(&failure, FAILURE_VERSION, "Install the same version of usbpush on the Pi and on the VM",
			    "the Pi speaks protocol version %u, this VM version %d", hello->protocol, PROTOCOL_VERSION);
		lobby_refuse(lobby, arrival, false, &failure);
		return;
	}
	fd = arrival_take_fd(arrival);
	lobby_drop(lobby, arrival);
	lobby->callbacks->on_hello(fd, hello, lobby->userdata);
}

static void lobby_on_result(struct arrival *arrival, const struct message *first, const struct failure *failure, void *userdata)
{
	struct lobby *lobby = userdata;
	struct failure misplaced;

	if (!first && failure->code == FAILURE_NONE) {
		lobby_drop(lobby, arrival);
	} else if (!first) {
		lobby_refuse(lobby, arrival, arrival_get_offer(arrival)[0] != '\0', failure);
	} else if (first->type == MESSAGE_HELLO) {
		lobby_on_hello(lobby, arrival, &first->hello);
	} else if (first->type == MESSAGE_SPARE) {
		lobby_on_spare(lobby, arrival);
	} else if (first->type == MESSAGE_STREAM) {
		lobby_on_stream(lobby, arrival, first->id);
	} else {
		failure_set(&misplaced, FAILURE_BAD_REQUEST, NULL, "a first line that is neither hello nor spare nor stream");
		lobby_refuse(lobby, arrival, false, &misplaced);
	}
}

void lobby_enter(struct lobby *lobby, int fd)
{
	int err;

	if (lobby_count(lobby, ARRIVAL_UNREAD) >= LOBBY_MAX_UNREAD) {
		log_warning("%s: more than %d connections without a first line; one was closed", lobby->name, LOBBY_MAX_UNREAD);
		close_fd(fd);
		return;
	}
	err = arrival_new(lobby->event, fd, lobby_on_result, lobby, &lobby->arrivals[lobby->n]);
	if (err < 0)
		log_error("%s: a connection could not be taken: %s", lobby->name, strerror(-err));
	else
		lobby->n++;
}
