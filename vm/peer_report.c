#include "peer_report.h"

#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"
#include "pi_channel.h"

void peer_report_send(struct pi_channel *channel, const struct message *message)
{
	_cleanup_free_ char *line = NULL;

	if (!channel)
		return;
	line = message_format(message);
	if (line) {
		pi_channel_send(channel, line, strlen(line));
		return;
	}
	/* A Pi that missed a message is set right by the sync of its next connection. */
	log_error("a message to a Pi could not be composed: out of memory, or too long; the connection is made anew");
	pi_channel_break(channel);
}

void peer_report_attached(struct pi_channel *channel, const struct attachment *attachment)
{
	const struct attachment_info *info = attachment_get_info(attachment);
	_cleanup_json_ json_t *steps = attachment_steps_to_json(attachment);
	struct attached attached = { .port = info->port, .busid = info->busid, .steps_ms = steps };
	struct message message = { .type = MESSAGE_ATTACHED, .attached = &attached };

	snprintf(message.id, sizeof(message.id), "%s", info->offer.id);
	node_list_to_attached(&info->nodes, &attached);
	peer_report_send(channel, &message);
}

void peer_report_failed(struct pi_channel *channel, const struct attachment *attachment)
{
	const struct attachment_info *info = attachment_get_info(attachment);
	struct message message = { .type = MESSAGE_FAILED, .failure = info->failure };

	snprintf(message.id, sizeof(message.id), "%s", info->offer.id);
	peer_report_send(channel, &message);
}

void peer_report_detached(struct pi_channel *channel, const char *offer_id, const char *reason)
{
	struct message message = { .type = MESSAGE_DETACHED };

	snprintf(message.id, sizeof(message.id), "%s", offer_id);
	snprintf(message.reason, sizeof(message.reason), "%s", reason);
	peer_report_send(channel, &message);
}

void peer_report_refused(struct pi_channel *channel, const struct failure *failure)
{
	struct message message = { .type = MESSAGE_REFUSED, .failure = *failure };

	peer_report_send(channel, &message);
}
