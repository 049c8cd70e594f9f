#include "message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json_text.h"
#include "line.h"

static const char *const TYPE_NAMES[] = {
	[MESSAGE_HELLO] = "hello",
	[MESSAGE_SYNC] = "sync",
	[MESSAGE_SYNCED] = "synced",
	[MESSAGE_CONNECT] = "connect",
	[MESSAGE_DISCONNECT] = "disconnect",
	[MESSAGE_BEAT] = "beat",
	[MESSAGE_PING] = "ping",
	[MESSAGE_PONG] = "pong",
	[MESSAGE_ATTACHED] = "attached",
	[MESSAGE_FAILED] = "failed",
	[MESSAGE_DETACHED] = "detached",
	[MESSAGE_REFUSED] = "refused",
	[MESSAGE_RESYNC] = "resync",
	[MESSAGE_SPARE] = "spare",
	[MESSAGE_STREAM] = "stream",
	[MESSAGE_UNKNOWN] = "unknown",
	[MESSAGE_UNPAIR] = "unpair",
	[MESSAGE_UNPAIRED] = "unpaired",
};

/* ---- reading: every field is checked before anything is copied ---- */

static int field_error(struct failure *failure, const char *type, const char *key, const char *expected)
{
	return failure_set(failure, FAILURE_BAD_REQUEST, NULL, "message \"%s\": field \"%s\" must be %s", type, key, expected);
}

static int read_string(const json_t *object, const char *type, const char *key, char *buffer, size_t size, struct failure *failure)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_string(value) || json_string_length(value) >= size || strlen(json_string_value(value)) != json_string_length(value))
		return field_error(failure, type, key, "a string within its bound");
	identity_clean_string(json_string_value(value), buffer, size);
	return 0;
}

/* An id is made of letters, digits and '-': it goes into state files and log lines. */
static int read_id(const json_t *object, const char *type, const char *key, char *buffer, struct failure *failure)
{
	int r = read_string(object, type, key, buffer, MESSAGE_ID_SIZE, failure);

	if (r < 0)
		return r;
	if (!buffer[0] || strspn(buffer, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != strlen(buffer))
		return field_error(failure, type, key, "an id of letters, digits and '-'");
	return 0;
}

static int read_number(const json_t *object, const char *type, const char *key, uint64_t max, uint64_t *ret_value, struct failure *failure)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > max)
		return field_error(failure, type, key, "a whole number in its range");
	*ret_value = (uint64_t)json_integer_value(value);
	return 0;
}

static int read_uint32(const json_t *object, const char *type, const char *key, uint32_t *ret_value, struct failure *failure)
{
	uint64_t value = 0;
	int r = read_number(object, type, key, UINT32_MAX, &value, failure);

	if (r < 0)
		return r;
	*ret_value = (uint32_t)value;
	return 0;
}

static int read_busid(const json_t *object, const char *type, struct busid *ret_busid, struct failure *failure)
{
	const json_t *value = json_object_get(object, "busid");

	if (!json_is_string(value) || busid_parse(json_string_value(value), ret_busid) < 0)
		return field_error(failure, type, "busid", "a bus id such as 1-1.4");
	return 0;
}

static int read_hello(const json_t *object, struct hello *hello, struct failure *failure)
{
	int r = read_uint32(object, "hello", "protocol", &hello->protocol, failure);

	if (r < 0)
		return r;
	if (hello->protocol != PROTOCOL_VERSION)
		return 0; /* the other fields are another version's; the caller refuses by this one */
	r = read_string(object, "hello", "software", hello->software, sizeof(hello->software), failure);
	if (r < 0)
		return r;
	r = read_string(object, "hello", "role", hello->role, sizeof(hello->role), failure);
	if (r < 0)
		return r;
	r = read_id(object, "hello", "id", hello->id, failure);
	if (r < 0)
		return r;
	r = read_string(object, "hello", "name", hello->name, sizeof(hello->name), failure);
	if (r < 0)
		return r;
	r = read_id(object, "hello", "boot_id", hello->boot_id, failure);
	if (r < 0)
		return r;
	r = read_uint32(object, "hello", "patience_ms", &hello->patience_ms, failure);
	if (r < 0)
		return r;
	if (hello->patience_ms < 1000 || hello->patience_ms > 600000)
		return field_error(failure, "hello", "patience_ms", "from 1000 to 600000");
	hello->can_direct = json_is_true(json_object_get(object, "direct"));
	hello->can_partial = json_is_true(json_object_get(object, "partial"));
	if (json_object_get(object, "ports"))
		return read_uint32(object, "hello", "ports", &hello->ports, failure);
	return 0;
}

static int read_direct_port(const json_t *object, uint16_t *ret_port, struct failure *failure)
{
	uint64_t port = 0;
	int r = json_object_get(object, "direct_port") ? read_number(object, "connect", "direct_port", UINT16_MAX, &port, failure) : 0;

	*ret_port = (uint16_t)port;
	return r;
}

int offer_from_json(const json_t *object, struct offer *ret_offer, struct failure *ret_failure)
{
	struct offer offer = { 0 };
	int r;

	if (!json_is_object(object))
		return field_error(ret_failure, "connect", "offer", "an object");
	r = read_id(object, "connect", "id", offer.id, ret_failure);
	if (r < 0)
		return r;
	r = read_busid(object, "connect", &offer.busid, ret_failure);
	if (r < 0)
		return r;
	r = read_uint32(object, "connect", "devid", &offer.devid, ret_failure);
	if (r < 0)
		return r;
	r = read_uint32(object, "connect", "speed", &offer.speed, ret_failure);
	if (r < 0)
		return r;
	if (identity_from_json(object, &offer.identity) < 0)
		return field_error(ret_failure, "connect", "vid, pid, bcd, serial, manufacturer, product",
				   "numbers and strings in their range");
	if (json_object_get(object, "name"))
		r = read_string(object, "connect", "name", offer.name, sizeof(offer.name), ret_failure);
	if (r == 0)
		r = read_direct_port(object, &offer.direct_port, ret_failure);
	if (r < 0)
		return r;
	offer.is_partial = json_is_true(json_object_get(object, "partial"));
	*ret_offer = offer;
	return 0;
}

static int read_offer_entry(const json_t *item, struct sync_entry *entry, struct failure *failure)
{
	const json_t *streaming = json_object_get(item, "streaming");
	int r = read_id(item, "sync", "id", entry->id, failure);

	if (r < 0)
		return r;
	if (!json_is_boolean(streaming))
		return field_error(failure, "sync", "streaming", "true or false");
	entry->is_streaming = json_is_true(streaming);
	return 0;
}

static int read_kept_entry(json_t *item, struct sync_entry *entry, struct failure *failure)
{
	_cleanup_json_ json_t *wrapped = json_pack("{s:O}", "id", item);

	return read_id(wrapped, "synced", "id", entry->id, failure);
}

/* `offers` of sync holds objects, `keep` of synced plain ids. */
static int read_entries(const json_t *object, const char *type, const char *key, struct message *message, struct failure *failure)
{
	const json_t *list = json_object_get(object, key);
	json_t *item;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > MESSAGE_MAX_OFFERS)
		return field_error(failure, type, key, "a list of at most 256 entries");
	message->entries = calloc(json_array_size(list) + 1, sizeof(*message->entries));
	if (!message->entries)
		return failure_set(failure, FAILURE_INTERNAL, NULL, "out of memory");
	json_array_foreach(list, i, item) {
		struct sync_entry *entry = &message->entries[i];
		int r = message->type == MESSAGE_SYNC ? read_offer_entry(item, entry, failure) : read_kept_entry(item, entry, failure);

		if (r < 0)
			return r;
		message->n_entries++;
	}
	return 0;
}

static int read_names(const json_t *object, const char *key, char names[][MESSAGE_NODE_SIZE], size_t *ret_n, struct failure *failure)
{
	const json_t *list = json_object_get(object, key), *item;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > MESSAGE_MAX_NODES)
		return field_error(failure, "attached", key, "a list of at most 32 paths");
	json_array_foreach(list, i, item) {
		if (!json_is_string(item) || json_string_length(item) >= MESSAGE_NODE_SIZE)
			return field_error(failure, "attached", key, "a list of paths");
		identity_clean_string(json_string_value(item), names[i], MESSAGE_NODE_SIZE);
		(*ret_n)++;
	}
	return 0;
}

/* How long each step took; kept as it is, for display. */
static int read_steps(const json_t *object, json_t **ret_steps, struct failure *failure)
{
	json_t *steps = json_object_get(object, "steps_ms"), *value;
	const char *key;
	bool is_good = json_is_object(steps) && json_object_size(steps) <= MESSAGE_MAX_STEPS;

	json_object_foreach(steps, key, value)
		is_good = is_good && json_is_number(value);
	if (!is_good)
		return field_error(failure, "attached", "steps_ms", "an object of at most 16 numbers");
	*ret_steps = json_incref(steps);
	return 0;
}

static int read_attached(const json_t *object, struct message *message, struct failure *failure)
{
	struct attached *attached = message->attached = calloc(1, sizeof(*message->attached));
	int r;

	if (!attached)
		return failure_set(failure, FAILURE_INTERNAL, NULL, "out of memory");
	r = read_uint32(object, "attached", "port", &attached->port, failure);
	if (r < 0)
		return r;
	r = read_busid(object, "attached", &attached->busid, failure);
	if (r < 0)
		return r;
	r = read_names(object, "nodes", attached->nodes, &attached->n_nodes, failure);
	if (r < 0)
		return r;
	r = read_names(object, "links", attached->links, &attached->n_links, failure);
	if (r < 0)
		return r;
	return read_steps(object, &attached->steps_ms, failure);
}

/* An error code that this version does not know is none here: the text says it. */
static int read_failure(const json_t *object, const char *type, struct failure *ret_failure, struct failure *failure)
{
	static const char *const keys[] = { "code", "text", "cure" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!json_is_string(json_object_get(object, keys[i])))
			return field_error(failure, type, keys[i], "a string");
	failure_from_json(object, ret_failure);
	return 0;
}

static int message_read_fields(const json_t *object, struct message *message, struct failure *failure)
{
	const char *type = message->type < ARRAY_SIZE(TYPE_NAMES) ? TYPE_NAMES[message->type] : "";
	int r;

	switch (message->type) {
	case MESSAGE_HELLO:
		return read_hello(object, &message->hello, failure);
	case MESSAGE_SYNC:
		r = read_number(object, type, "seq", INT64_MAX, &message->seq, failure);
		return r < 0 ? r : read_entries(object, type, "offers", message, failure);
	case MESSAGE_SYNCED:
		r = read_number(object, type, "seq", INT64_MAX, &message->seq, failure);
		return r < 0 ? r : read_entries(object, type, "keep", message, failure);
	case MESSAGE_CONNECT:
		return offer_from_json(json_object_get(object, "offer"), &message->offer, failure);
	case MESSAGE_DISCONNECT:
	case MESSAGE_DETACHED:
		r = read_id(object, type, "id", message->id, failure);
		return r < 0 ? r : read_string(object, type, "reason", message->reason, sizeof(message->reason), failure);
	case MESSAGE_PING:
	case MESSAGE_PONG:
		return read_number(object, type, "seq", INT64_MAX, &message->seq, failure);
	case MESSAGE_ATTACHED:
		r = read_id(object, type, "id", message->id, failure);
		return r < 0 ? r : read_attached(object, message, failure);
	case MESSAGE_FAILED:
		r = read_failure(object, type, &message->failure, failure);
		return r < 0 ? r : read_id(object, type, "id", message->id, failure);
	case MESSAGE_REFUSED:
		failure_from_json(object, &message->failure); /* also of a version whose fields are others: what is missing is empty */
		return 0;
	case MESSAGE_UNPAIRED:
		if (json_object_get(object, "code"))
			failure_from_json(object, &message->failure);
		return 0;
	case MESSAGE_STREAM:
		return read_id(object, type, "offer", message->id, failure);
	case MESSAGE_UNKNOWN:
		return read_string(object, type, "of", message->of, sizeof(message->of), failure);
	case MESSAGE_BEAT:
	case MESSAGE_RESYNC:
	case MESSAGE_SPARE:
	case MESSAGE_UNPAIR:
	case MESSAGE_UNRECOGNIZED:
		return 0;
	}
	return -EBADMSG;
}

static enum message_type message_type_from_string(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(TYPE_NAMES); i++)
		if (strcmp(TYPE_NAMES[i], name) == 0)
			return (enum message_type)i;
	return MESSAGE_UNRECOGNIZED;
}

int message_parse(const char *line, size_t size, struct message **ret_message, struct failure *ret_failure)
{
	_cleanup_json_ json_t *object = NULL;
	_cleanup_(message_freep) struct message *message = NULL;
	const char *type;
	json_error_t error;
	int r;

	object = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(object))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "a line that is no JSON object (%s)",
				   object ? "another type" : error.text);
	type = json_string_value(json_object_get(object, "type"));
	if (!type)
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "a message without a type");
	message = calloc(1, sizeof(*message));
	if (!message)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	message->type = message_type_from_string(type);
	if (message->type == MESSAGE_UNRECOGNIZED)
		identity_clean_string(type, message->of, sizeof(message->of));
	r = message_read_fields(object, message, ret_failure);
	if (r < 0)
		return r;
	*ret_message = TAKE_PTR(message);
	return 0;
}

struct message *message_free(struct message *message)
{
	if (!message)
		return NULL;
	if (message->attached)
		json_decref(message->attached->steps_ms);
	free(message->attached);
	free(message->entries);
	free(message);
	return NULL;
}

/* ---- writing ---- */

/* What could not be composed in whole. */
static json_t *json_drop(json_t *json)
{
	json_decref(json);
	return NULL;
}

json_t *offer_to_json(const struct offer *offer)
{
	json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:s}", "id", offer->id, "busid", offer->busid.text, "devid",
				   (json_int_t)offer->devid, "speed", (json_int_t)offer->speed, "name", offer->name);

	if (object && offer->direct_port && json_object_set_new(object, "direct_port", json_integer(offer->direct_port)) < 0)
		return json_drop(object);
	if (object && offer->is_partial && json_object_set_new(object, "partial", json_true()) < 0)
		return json_drop(object);
	if (object && identity_to_json(&offer->identity, object) < 0)
		return json_drop(object);
	return object;
}

static json_t *names_to_json(const char names[][MESSAGE_NODE_SIZE], size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(list, json_string(names[i])) < 0)
			return json_drop(list);
	return list;
}

static json_t *entries_to_json(const struct message *message)
{
	json_t *list = json_array();

	for (size_t i = 0; i < message->n_entries; i++) {
		const struct sync_entry *entry = &message->entries[i];
		json_t *item = message->type == MESSAGE_SYNCED ? json_string(entry->id) :
								 json_pack("{s:s, s:b}", "id", entry->id, "streaming", entry->is_streaming);

		if (json_array_append_new(list, item) < 0)
			return json_drop(list); /* never half a list: what is not in it is detached */
	}
	return list;
}

static json_t *hello_to_json(const struct hello *hello)
{
	json_t *object = json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I}", "protocol", (json_int_t)hello->protocol, "software",
				   hello->software, "role", hello->role, "id", hello->id, "name", hello->name, "boot_id", hello->boot_id,
				   "patience_ms", (json_int_t)hello->patience_ms);

	if (hello->ports && json_object_set_new(object, "ports", json_integer(hello->ports)) < 0)
		return json_drop(object);
	if (hello->can_direct && json_object_set_new(object, "direct", json_true()) < 0)
		return json_drop(object);
	if (hello->can_partial && json_object_set_new(object, "partial", json_true()) < 0)
		return json_drop(object);
	return object;
}

static json_t *attached_to_json(const struct message *message)
{
	const struct attached *attached = message->attached;

	return json_pack("{s:s, s:I, s:s, s:o, s:o, s:o}", "id", message->id, "port", (json_int_t)attached->port, "busid",
			 attached->busid.text, "nodes", names_to_json(attached->nodes, attached->n_nodes), "links",
			 names_to_json(attached->links, attached->n_links), "steps_ms",
			 attached->steps_ms ? json_incref(attached->steps_ms) : json_object());
}

static json_t *failed_to_json(const struct message *message)
{
	json_t *object = failure_to_json(&message->failure);

	return json_object_set_new(object, "id", json_string(message->id)) < 0 ? json_drop(object) : object;
}

static json_t *message_to_json(const struct message *message)
{
	json_int_t seq = (json_int_t)message->seq;

	switch (message->type) {
	case MESSAGE_HELLO:
		return hello_to_json(&message->hello);
	case MESSAGE_SYNC:
		return json_pack("{s:I, s:o}", "seq", seq, "offers", entries_to_json(message));
	case MESSAGE_SYNCED:
		return json_pack("{s:I, s:o}", "seq", seq, "keep", entries_to_json(message));
	case MESSAGE_CONNECT:
		return json_pack("{s:o}", "offer", offer_to_json(&message->offer));
	case MESSAGE_DISCONNECT:
	case MESSAGE_DETACHED:
		return json_pack("{s:s, s:s}", "id", message->id, "reason", message->reason);
	case MESSAGE_PING:
	case MESSAGE_PONG:
		return json_pack("{s:I}", "seq", seq);
	case MESSAGE_ATTACHED:
		return attached_to_json(message);
	case MESSAGE_FAILED:
		return failed_to_json(message);
	case MESSAGE_REFUSED:
		return failure_to_json(&message->failure);
	case MESSAGE_UNPAIRED:
		return message->failure.code == FAILURE_NONE ? json_object() : failure_to_json(&message->failure);
	case MESSAGE_STREAM:
		return json_pack("{s:s}", "offer", message->id);
	case MESSAGE_UNKNOWN:
		return json_pack("{s:s}", "of", message->of);
	case MESSAGE_BEAT:
	case MESSAGE_RESYNC:
	case MESSAGE_SPARE:
	case MESSAGE_UNPAIR:
		return json_object();
	case MESSAGE_UNRECOGNIZED:
		return NULL; /* never written */
	}
	return NULL;
}

char *message_format(const struct message *message)
{
	_cleanup_json_ json_t *object = message_to_json(message);
	_cleanup_free_ char *line = NULL;
	size_t length;

	if (!object || json_object_set_new(object, "type", json_string(TYPE_NAMES[message->type])) < 0)
		return NULL;
	line = json_text(object, 0);
	length = line ? strlen(line) : LINE_MAX_SIZE;
	if (length + 1 > LINE_MAX_SIZE)
		return NULL;
	line[length] = '\n';
	line[length + 1] = '\0';
	return TAKE_PTR(line);
}
