#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "busid.h"
#include "failure.h"
#include "identity.h"

/* The lines of the control channel, as PROTOCOL.md describes them. */

#define PROTOCOL_VERSION    1
#define MESSAGE_ID_SIZE     48 /* an offer's or a machine's id, with the NUL */
#define MESSAGE_NAME_SIZE   64
#define MESSAGE_MAX_OFFERS  256
#define MESSAGE_MAX_NODES   32
#define MESSAGE_MAX_STEPS   16
#define MESSAGE_NODE_SIZE   128 /* "/dev/ttyUSB0" or a link; by-id links are long */
#define DEFAULT_PATIENCE_MS 8000

/* The Pi says something that often, so that a cut is noticed as one; in ms. */
static inline uint32_t patience_to_beat(uint32_t patience_ms)
{
	return patience_ms / 5;
}

/* The silence after which either side acts alone; in ms. A cut may begin a beat after the last word and end a retransmission before the next one: one of three
 * quarters of the patience is never noticed. */
static inline uint32_t patience_to_limit(uint32_t patience_ms)
{
	return patience_ms + patience_ms / 8;
}

/* The reason in `detached` when the VM's owner took the device away: the Pi then keeps it. Any other reason leads to another offer. */
#define DETACHED_BY_HAND "by hand on the VM"

enum message_type {
	MESSAGE_HELLO,
	MESSAGE_SYNC,
	MESSAGE_SYNCED,
	MESSAGE_CONNECT,
	MESSAGE_DISCONNECT,
	MESSAGE_BEAT,
	MESSAGE_PING,
	MESSAGE_PONG,
	MESSAGE_ATTACHED,
	MESSAGE_FAILED,
	MESSAGE_DETACHED,
	MESSAGE_REFUSED,
	MESSAGE_RESYNC,
	MESSAGE_SPARE,
	MESSAGE_STREAM,
	MESSAGE_UNPAIR,
	MESSAGE_UNPAIRED,
	MESSAGE_UNKNOWN,      /* the peer did not know the type `of` */
	MESSAGE_UNRECOGNIZED, /* a type that this version does not know; `of` has it */
};

struct offer {
	char id[MESSAGE_ID_SIZE];
	struct busid busid; /* on the Pi */
	uint32_t devid;     /* busnum << 16 | devnum on the Pi */
	uint32_t speed;     /* Mbit/s as sysfs says; 1 stands for low speed's 1.5 */
	struct identity identity;
	bool is_partial;              /* made before the Pi could read the strings: they, and the name, come with a second `connect` */
	char name[MESSAGE_NAME_SIZE]; /* the owner's; empty without one */
	uint16_t direct_port;         /* of the Pi, where the VM is to import it from; 0: its stream comes through the tunnel */
};

struct hello {
	uint32_t protocol;
	char software[32];
	char role[8];
	char id[MESSAGE_ID_SIZE];
	char name[MESSAGE_NAME_SIZE];
	char boot_id[MESSAGE_ID_SIZE];
	uint32_t patience_ms;
	uint32_t ports;   /* of the VM, in all; 0 from a Pi */
	bool can_direct;  /* from a VM: it can import devices by TCP */
	bool can_partial; /* from a VM: it takes offers that are completed later */
};

/* One list for `sync` (with is_streaming) and for `synced`'s keep (without). */
struct sync_entry {
	char id[MESSAGE_ID_SIZE];
	bool is_streaming;
};

struct attached {
	uint32_t port;
	struct busid busid; /* on the VM */
	size_t n_nodes, n_links;
	char nodes[MESSAGE_MAX_NODES][MESSAGE_NODE_SIZE];
	char links[MESSAGE_MAX_NODES][MESSAGE_NODE_SIZE];
	json_t *steps_ms; /* borrowed when writing; owned by the message when read; may be NULL */
};

struct message {
	enum message_type type;
	char id[MESSAGE_ID_SIZE]; /* disconnect, attached, failed, detached, stream */
	uint64_t seq;             /* sync, synced, ping, pong */
	char reason[128];         /* disconnect, detached */
	char of[32];              /* unknown, unrecognized */
	struct hello hello;
	struct offer offer;         /* connect */
	struct failure failure;     /* failed, refused, unpaired (FAILURE_NONE: all is done) */
	struct attached *attached;  /* owned; attached only */
	struct sync_entry *entries; /* owned; sync, synced */
	size_t n_entries;
};

/* Decodes one line (foreign bytes). A negative errno, and what is wrong in ret_failure, for no JSON object, a missing field, a value out of
 * range, more than MESSAGE_MAX_OFFERS entries: -EBADMSG. On success the message is the caller's to free. */
int message_parse(const char *line, size_t size, struct message **ret_message, struct failure *ret_failure);

/* Releases it; takes NULL. */
struct message *message_free(struct message *message);

/* For _cleanup_(message_freep). */
static inline void message_freep(struct message **message)
{
	message_free(*message);
}

/* Encodes a message as one line with its newline, malloc'ed, the caller's. NULL without memory or if it would be too long. */
char *message_format(const struct message *message);

/* The object of an offer as in `connect`, and back (-EBADMSG). Also used for state files. */
json_t *offer_to_json(const struct offer *offer);

/* Reads such an object: -EBADMSG, and what is wrong in ret_failure. */
int offer_from_json(const json_t *object, struct offer *ret_offer, struct failure *ret_failure);
