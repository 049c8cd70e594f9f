#pragma once

#include "attachment.h"

/* What the Pi is told of one of its offers. channel may be NULL: then nobody is there to be told. */

struct channel;

/* Any message. */
void report_send(struct channel *channel, const struct message *message);

/* `attached`: port, nodes, times. */
void report_attached(struct channel *channel, const struct attachment *attachment);

/* `failed`, with the attachment's failure. */
void report_failed(struct channel *channel, const struct attachment *attachment);

/* `detached`. */
void report_detached(struct channel *channel, const char *offer_id, const char *reason);

/* `refused`: the channel ends with it. */
void report_refused(struct channel *channel, const struct failure *failure);
