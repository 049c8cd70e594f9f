#pragma once

#include "attachment.h"

/* What the Pi is told of one of its offers. channel may be NULL: then nobody is there to be told. */

struct pi_channel;

/* Any message. */
void peer_report_send(struct pi_channel *channel, const struct message *message);

/* `attached`: port, nodes, times. */
void peer_report_attached(struct pi_channel *channel, const struct attachment *attachment);

/* `failed`, with the attachment's failure. */
void peer_report_failed(struct pi_channel *channel, const struct attachment *attachment);

/* `detached`. */
void peer_report_detached(struct pi_channel *channel, const char *offer_id, const char *reason);

/* `refused`: the channel ends with it. */
void peer_report_refused(struct pi_channel *channel, const struct failure *failure);
