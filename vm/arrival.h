#pragma once

#include <systemd/sd-event.h>

#include "failure.h"
#include "message.h"

/* A connection of a Pi that has no place yet: its first line has not come, or it is a stream whose offer has not come. Of the bytes behind
 * the first line none is read: they are the kernel's. */
struct arrival;

enum arrival_kind {
	ARRIVAL_UNREAD, /* its first line has not come */
	ARRIVAL_SPARE,  /* opened ahead: its real first line has not come */
	ARRIVAL_STREAM, /* waits for its offer */
};

/* What became of it: the message of its first line (borrowed), or NULL with the failure (FAILURE_NONE: it just went away). Then free it or
 * take its fd. */
typedef void (*arrival_fn)(struct arrival *arrival, const struct message *first, const struct failure *failure, void *userdata);

/* Takes fd (non-blocking) over, also on failure. The first line must come within 10 s. 0 or negative errno. */
int arrival_new(sd_event *event, int fd, arrival_fn on_result, void *userdata, struct arrival **ret_arrival);

/* Closes it. Takes NULL, returns NULL. Allowed from the callback. */
struct arrival *arrival_free(struct arrival *arrival);

/* It is the stream of an offer that is not known yet: wait at most 5 s for that. on_result tells the end of the wait, with a failure. */
void arrival_keep_stream(struct arrival *arrival, const char *offer_id);

/* It is a channel that the Pi opened ahead of an offer: its real first line may come at any time. */
void arrival_keep_spare(struct arrival *arrival);

/* What it is so far. */
enum arrival_kind arrival_get_kind(const struct arrival *arrival);

/* The id of the offer that it waits for; "" while its first line has not come. */
const char *arrival_get_offer(const struct arrival *arrival);

/* The socket is the caller's; the arrival is to be freed. */
int arrival_take_fd(struct arrival *arrival);

/* Answers a stream with `NO`, or any other first line with `refused`. The arrival is to be freed. */
void arrival_refuse(struct arrival *arrival, bool is_stream, const struct failure *failure);
