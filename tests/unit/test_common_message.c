/* The lines of the control channel: what is written is read back, and what makes no sense is refused with a reason. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "line.h"
#include "message.h"

/* Writes message as a line and reads it back. */
static struct message *travel(const struct message *message)
{
	_cleanup_free_ char *line = message_format(message);
	struct message *arrived = NULL;
	struct failure failure;

	ck_assert_ptr_nonnull(line);
	ck_assert_uint_lt(strlen(line), LINE_MAX_SIZE);
	ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
	ck_assert_msg(message_parse(line, strlen(line) - 1, &arrived, &failure) == 0, "%s: %s", line, failure.text);
	ck_assert_int_eq(arrived->type, message->type);
	return arrived;
}

static struct message *parse(const char *line)
{
	struct message *message = NULL;
	struct failure failure = { 0 };

	ck_assert_msg(message_parse(line, strlen(line), &message, &failure) == 0, "%s: %s", line, failure.text);
	return message;
}

/* ---- there and back ---- */

START_TEST(hello_tells_who_speaks)
{
	const struct message hello = {
		.type = MESSAGE_HELLO,
		.hello = { .protocol = PROTOCOL_VERSION,
			   .software = "0.1.0",
			   .role = "vm",
			   .id = "0123456789abcdef0123456789abcdef",
			   .name = "wohnzimmer-ü",
			   .boot_id = "fedcba9876543210fedcba9876543210",
			   .patience_ms = 8000,
			   .ports = 240,
			   .can_direct = true,
			   .can_partial = true },
	};
	_cleanup_(message_freep) struct message *arrived = travel(&hello);

	ck_assert_mem_eq(&arrived->hello, &hello.hello, sizeof(hello.hello));
}
END_TEST

START_TEST(a_pis_hello_has_no_ports)
{
	const struct message hello = {
		.type = MESSAGE_HELLO,
		.hello = { .protocol = PROTOCOL_VERSION,
			   .software = "0.1.0",
			   .role = "pi",
			   .id = "a",
			   .name = "",
			   .boot_id = "b",
			   .patience_ms = 1000 },
	};
	_cleanup_free_ char *line = message_format(&hello);
	_cleanup_(message_freep) struct message *arrived = travel(&hello);

	ck_assert_ptr_null(strstr(line, "ports"));
	ck_assert_uint_eq(arrived->hello.ports, 0);
}
END_TEST

START_TEST(another_versions_hello_is_read_as_far_as_its_version)
{
	_cleanup_(message_freep) struct message *message = parse("{\"type\":\"hello\",\"protocol\":2,\"caps\":[\"x\"]}");

	ck_assert_int_eq(message->type, MESSAGE_HELLO);
	ck_assert_uint_eq(message->hello.protocol, 2);
}
END_TEST

START_TEST(a_hello_without_the_direct_road_does_not_speak_of_it)
{
	const struct message hello = {
		.type = MESSAGE_HELLO,
		.hello = { .protocol = PROTOCOL_VERSION, .role = "vm", .id = "a", .boot_id = "b", .patience_ms = 8000 }
	};
	_cleanup_free_ char *line = message_format(&hello);
	_cleanup_(message_freep) struct message *arrived = travel(&hello);

	ck_assert_ptr_null(strstr(line, "direct"));
	ck_assert(!arrived->hello.can_direct);
	ck_assert_ptr_null(strstr(line, "partial"));
	ck_assert(!arrived->hello.can_partial);
}
END_TEST

START_TEST(sync_lists_offers_and_which_of_them_stream)
{
	struct sync_entry entries[] = { { "a1-1", true }, { "a1-2", false } };
	const struct message sync = { .type = MESSAGE_SYNC, .seq = 7, .entries = entries, .n_entries = 2 };
	_cleanup_(message_freep) struct message *arrived = travel(&sync);

	ck_assert_uint_eq(arrived->seq, 7);
	ck_assert_uint_eq(arrived->n_entries, 2);
	ck_assert_str_eq(arrived->entries[0].id, "a1-1");
	ck_assert(arrived->entries[0].is_streaming);
	ck_assert_str_eq(arrived->entries[1].id, "a1-2");
	ck_assert(!arrived->entries[1].is_streaming);
}
END_TEST

START_TEST(the_largest_sync_fits_a_line)
{
	static struct sync_entry entries[MESSAGE_MAX_OFFERS];
	const struct message sync = { .type = MESSAGE_SYNC, .seq = INT64_MAX, .entries = entries, .n_entries = MESSAGE_MAX_OFFERS };
	struct message *arrived;

	for (size_t i = 0; i < MESSAGE_MAX_OFFERS; i++)
		memset(entries[i].id, 'f', MESSAGE_ID_SIZE - 1);
	arrived = travel(&sync);
	ck_assert_uint_eq(arrived->n_entries, MESSAGE_MAX_OFFERS);
	ck_assert_uint_eq(arrived->seq, INT64_MAX);
	message_free(arrived);
}
END_TEST

START_TEST(synced_lists_what_is_kept)
{
	struct sync_entry entries[] = { { "a1-2", false } };
	const struct message synced = { .type = MESSAGE_SYNCED, .seq = 7, .entries = entries, .n_entries = 1 };
	_cleanup_free_ char *line = message_format(&synced);
	_cleanup_(message_freep) struct message *arrived = travel(&synced);

	ck_assert_ptr_nonnull(strstr(line, "\"keep\":[\"a1-2\"]"));
	ck_assert_uint_eq(arrived->n_entries, 1);
	ck_assert_str_eq(arrived->entries[0].id, "a1-2");
}
END_TEST

static const struct offer OFFER = {
	.id = "5e0f1a2b-17",
	.busid = { "1-1.4" },
	.devid = 1 << 16 | 9,
	.speed = 12,
	.identity = { .vid = 0x303a,
		      .pid = 0x1001,
		      .bcd_device = 0x0101,
		      .serial = "F4:12:FA",
		      .manufacturer = "Espressif",
		      .product = "USB \"JTAG\"/serial" },
	.name = "printer",
};

START_TEST(an_offer_on_the_direct_road_has_its_port)
{
	struct message connect = { .type = MESSAGE_CONNECT, .offer = OFFER };
	_cleanup_free_ char *tunnelled = message_format(&connect), *direct = NULL;
	_cleanup_(message_freep) struct message *arrived = NULL;

	ck_assert_ptr_null(strstr(tunnelled, "direct_port"));
	connect.offer.direct_port = 3240;
	direct = message_format(&connect);
	ck_assert_ptr_nonnull(strstr(direct, "\"direct_port\":3240"));
	arrived = travel(&connect);
	ck_assert_uint_eq(arrived->offer.direct_port, 3240);
}
END_TEST

START_TEST(an_offer_says_that_the_rest_of_it_is_to_come)
{
	struct message connect = { .type = MESSAGE_CONNECT, .offer = OFFER };
	_cleanup_free_ char *whole = message_format(&connect);
	_cleanup_(message_freep) struct message *arrived = NULL;

	ck_assert_ptr_null(strstr(whole, "partial"));
	connect.offer.is_partial = true;
	arrived = travel(&connect);
	ck_assert(arrived->offer.is_partial);
}
END_TEST

START_TEST(connect_carries_the_whole_offer)
{
	const struct message connect = { .type = MESSAGE_CONNECT, .offer = OFFER };
	_cleanup_(message_freep) struct message *arrived = travel(&connect);

	ck_assert_mem_eq(&arrived->offer, &OFFER, sizeof(OFFER));
}
END_TEST

START_TEST(an_offer_without_a_name_needs_none)
{
	_cleanup_json_ json_t *object = offer_to_json(&OFFER);
	struct failure failure;
	struct offer offer;

	json_object_del(object, "name");
	ck_assert_int_eq(offer_from_json(object, &offer, &failure), 0);
	ck_assert_str_eq(offer.name, "");
}
END_TEST

START_TEST(disconnect_and_detached_carry_their_reason)
{
	static const enum message_type types[] = { MESSAGE_DISCONNECT, MESSAGE_DETACHED };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		const struct message message = { .type = types[i], .id = "a1-1", .reason = "unplugged" };
		_cleanup_(message_freep) struct message *arrived = travel(&message);

		ck_assert_str_eq(arrived->id, "a1-1");
		ck_assert_str_eq(arrived->reason, "unplugged");
	}
}
END_TEST

START_TEST(ping_and_pong_carry_their_number)
{
	static const enum message_type types[] = { MESSAGE_PING, MESSAGE_PONG };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		const struct message message = { .type = types[i], .seq = 123456789012 };
		_cleanup_(message_freep) struct message *arrived = travel(&message);

		ck_assert_uint_eq(arrived->seq, 123456789012);
	}
}
END_TEST

START_TEST(attached_tells_port_nodes_links_and_times)
{
	_cleanup_json_ json_t *steps = json_pack("{s:f, s:i}", "attach", 3.5, "nodes", 410);
	struct attached attached = {
		.port = 3,
		.busid = { "1-4" },
		.n_nodes = 2,
		.n_links = 1,
		.nodes = { "/dev/ttyUSB0", "/dev/hidraw0" },
		.links = { "/dev/serial/by-id/usb-FTDI_FT232R" },
		.steps_ms = steps,
	};
	const struct message message = { .type = MESSAGE_ATTACHED, .id = "a1-1", .attached = &attached };
	_cleanup_(message_freep) struct message *arrived = travel(&message);

	ck_assert_uint_eq(arrived->attached->port, 3);
	ck_assert(busid_equal(&arrived->attached->busid, &attached.busid));
	ck_assert_uint_eq(arrived->attached->n_nodes, 2);
	ck_assert_str_eq(arrived->attached->nodes[1], "/dev/hidraw0");
	ck_assert_uint_eq(arrived->attached->n_links, 1);
	ck_assert_str_eq(arrived->attached->links[0], "/dev/serial/by-id/usb-FTDI_FT232R");
	ck_assert(json_equal(arrived->attached->steps_ms, steps));
}
END_TEST

START_TEST(attached_without_times_or_nodes_is_read_back_too)
{
	struct attached attached = { .port = 0, .busid = { "1-1" } };
	const struct message message = { .type = MESSAGE_ATTACHED, .id = "a1-1", .attached = &attached };
	_cleanup_(message_freep) struct message *arrived = travel(&message);

	ck_assert_uint_eq(arrived->attached->n_nodes, 0);
	ck_assert_uint_eq(json_object_size(arrived->attached->steps_ms), 0);
}
END_TEST

START_TEST(failed_and_refused_carry_code_text_and_cure)
{
	static const enum message_type types[] = { MESSAGE_FAILED, MESSAGE_REFUSED };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		const struct message message = { .type = types[i],
						 .id = "a1-1",
						 .failure = { FAILURE_NO_FREE_PORT, "30 of 30 in use", "Detach one." } };
		_cleanup_(message_freep) struct message *arrived = travel(&message);

		ck_assert_int_eq(arrived->failure.code, FAILURE_NO_FREE_PORT);
		ck_assert_str_eq(arrived->failure.text, "30 of 30 in use");
		ck_assert_str_eq(arrived->failure.cure, "Detach one.");
	}
}
END_TEST

START_TEST(resync_spare_stream_and_unknown_survive_the_way)
{
	const struct message resync = { .type = MESSAGE_RESYNC }, stream = { .type = MESSAGE_STREAM, .id = "a1-1" };
	const struct message unknown = { .type = MESSAGE_UNKNOWN, .of = "teleport" };
	const struct message spare = { .type = MESSAGE_SPARE };
	_cleanup_(message_freep) struct message *first = travel(&resync), *second = travel(&stream), *third = travel(&unknown),
						*fourth = travel(&spare);

	(void)first;
	(void)fourth;
	ck_assert_str_eq(second->id, "a1-1");
	ck_assert_str_eq(third->of, "teleport");
}
END_TEST

START_TEST(unpair_and_its_answer_survive_the_way)
{
	const struct message unpair = { .type = MESSAGE_UNPAIR }, done = { .type = MESSAGE_UNPAIRED };
	struct message left = { .type = MESSAGE_UNPAIRED };
	_cleanup_(message_freep) struct message *first = travel(&unpair), *second = travel(&done), *third = NULL;

	failure_set(&left.failure, FAILURE_TIMEOUT, "Take it out.", "its key is still there");
	third = travel(&left);
	(void)first;
	ck_assert_int_eq(second->failure.code, FAILURE_NONE);
	ck_assert_int_eq(third->failure.code, FAILURE_TIMEOUT);
	ck_assert_str_eq(third->failure.text, "its key is still there");
	ck_assert_str_eq(third->failure.cure, "Take it out.");
}
END_TEST

START_TEST(the_stream_line_is_the_protocols)
{
	const struct message stream = { .type = MESSAGE_STREAM, .id = "a1-1" };
	_cleanup_free_ char *line = message_format(&stream);
	_cleanup_json_ json_t *object = json_loads(line, 0, NULL),
			      *expected = json_loads("{\"type\":\"stream\",\"offer\":\"a1-1\"}", 0, NULL);

	ck_assert(json_equal(object, expected));
}
END_TEST

/* ---- what the reader passes over ---- */

START_TEST(an_unknown_type_is_told_by_its_name)
{
	_cleanup_(message_freep) struct message *message = parse("{\"type\":\"teleport\",\"where\":17}");

	ck_assert_int_eq(message->type, MESSAGE_UNRECOGNIZED);
	ck_assert_str_eq(message->of, "teleport");
	ck_assert_ptr_null(message_format(message));
}
END_TEST

START_TEST(the_name_of_an_unknown_type_is_cut_and_cleaned)
{
	_cleanup_(message_freep) struct message *message = parse("{\"type\":\"\\u001b[2J and so on, for longer than a type is\"}");

	ck_assert_int_eq(message->type, MESSAGE_UNRECOGNIZED);
	ck_assert_str_eq(message->of, "?[2J and so on, for longer than");
}
END_TEST

START_TEST(an_unknown_field_is_passed_over)
{
	_cleanup_(message_freep) struct message *message = parse("{\"type\":\"ping\",\"seq\":1,\"mood\":{\"is\":[\"good\"]}}");

	ck_assert_int_eq(message->type, MESSAGE_PING);
}
END_TEST

START_TEST(an_error_code_of_a_later_version_is_no_bad_line)
{
	_cleanup_(message_freep) struct message *message =
		parse("{\"type\":\"failed\",\"id\":\"a\",\"code\":\"moon-phase\",\"text\":\"it is waning\",\"cure\":\"\"}");

	ck_assert_int_eq(message->failure.code, FAILURE_INTERNAL);
	ck_assert_str_eq(message->failure.text, "it is waning");
}
END_TEST

START_TEST(a_refusal_is_understood_whatever_it_lacks)
{
	_cleanup_(message_freep) struct message *message = parse("{\"type\":\"refused\",\"code\":\"version\"}");

	ck_assert_int_eq(message->failure.code, FAILURE_VERSION);
	ck_assert_str_eq(message->failure.text, "");
}
END_TEST

/* ---- what makes no sense ---- */

#define HELLO(protocol, role, id, boot_id, patience)                                                    \
	"{\"type\":\"hello\",\"protocol\":" protocol ",\"software\":\"1\",\"role\":" role ",\"id\":" id \
	",\"name\":\"n\",\"boot_id\":" boot_id ",\"patience_ms\":" patience "}"
#define OFFER_WITH(id, busid, devid, speed, vid, serial)                                                                          \
	"{\"type\":\"connect\",\"offer\":{\"id\":" id ",\"busid\":" busid ",\"devid\":" devid ",\"speed\":" speed ",\"vid\":" vid \
	",\"pid\":1,\"bcd\":1,\"serial\":" serial ",\"manufacturer\":\"\",\"product\":\"\"}}"
#define ATTACHED_WITH(port, busid, nodes, links, steps)                                                                  \
	"{\"type\":\"attached\",\"id\":\"a\",\"port\":" port ",\"busid\":" busid ",\"nodes\":" nodes ",\"links\":" links \
	",\"steps_ms\":" steps "}"
#define LONG_ID "\"123456789012345678901234567890123456789012345678\"" /* 48 characters */

static const char *const BAD_LINES[] = {
	/* no JSON object */
	"",
	" ",
	"hello",
	"null",
	"17",
	"\"ping\"",
	"[]",
	"[{\"type\":\"ping\",\"seq\":1}]",
	"{",
	"{\"type\":\"ping\",\"seq\":1",
	"{'type':'ping'}",
	"{\"type\":\"ping\",\"seq\":1} {}",
	"{\"type\":\"ping\",\"seq\":1}garbage",
	"{\"type\":\"ping\",\"type\":\"pong\",\"seq\":1}",
	"{\"type\":\"a\\u0000b\"}",
	"{\"type\":\"\xff\xfe\"}",
	"{\"type\":\"ping\",\"seq\":01}",
	/* no type */
	"{}",
	"{\"Type\":\"ping\"}",
	"{\"type\":17}",
	"{\"type\":null}",
	"{\"type\":{}}",
	"{\"type\":[\"ping\"]}",
	/* hello */
	"{\"type\":\"hello\"}",
	HELLO("\"1\"", "\"pi\"", "\"a\"", "\"b\"", "8000"),
	HELLO("-1", "\"pi\"", "\"a\"", "\"b\"", "8000"),
	HELLO("1.0", "\"pi\"", "\"a\"", "\"b\"", "8000"),
	HELLO("4294967296", "\"pi\"", "\"a\"", "\"b\"", "8000"),
	HELLO("1", "\"pipipipi\"", "\"a\"", "\"b\"", "8000"),
	HELLO("1", "17", "\"a\"", "\"b\"", "8000"),
	HELLO("1", "\"pi\"", "\"\"", "\"b\"", "8000"),
	HELLO("1", "\"pi\"", "\"../a\"", "\"b\"", "8000"),
	HELLO("1", "\"pi\"", LONG_ID, "\"b\"", "8000"),
	HELLO("1", "\"pi\"", "\"a\"", "\"b b\"", "8000"),
	HELLO("1", "\"pi\"", "\"a\"", "\"b\"", "999"),
	HELLO("1", "\"pi\"", "\"a\"", "\"b\"", "600001"),
	HELLO("1", "\"pi\"", "\"a\"", "\"b\"", "8000,\"ports\":-1"),
	/* sync, synced */
	"{\"type\":\"sync\",\"offers\":[]}",
	"{\"type\":\"sync\",\"seq\":1}",
	"{\"type\":\"sync\",\"seq\":-1,\"offers\":[]}",
	"{\"type\":\"sync\",\"seq\":1,\"offers\":{}}",
	"{\"type\":\"sync\",\"seq\":1,\"offers\":[1]}",
	"{\"type\":\"sync\",\"seq\":1,\"offers\":[\"a\"]}",
	"{\"type\":\"sync\",\"seq\":1,\"offers\":[{}]}",
	"{\"type\":\"sync\",\"seq\":1,\"offers\":[{\"id\":\"a\"}]}",
	"{\"type\":\"sync\",\"seq\":1,\"offers\":[{\"id\":\"a\",\"streaming\":1}]}",
	"{\"type\":\"sync\",\"seq\":1,\"offers\":[{\"id\":\"a/b\",\"streaming\":true}]}",
	"{\"type\":\"synced\",\"seq\":1}",
	"{\"type\":\"synced\",\"seq\":1,\"keep\":[null]}",
	"{\"type\":\"synced\",\"seq\":1,\"keep\":[\"\"]}",
	"{\"type\":\"synced\",\"seq\":1,\"keep\":[{\"id\":\"a\"}]}",
	"{\"type\":\"synced\",\"seq\":\"1\",\"keep\":[]}",
	/* connect */
	"{\"type\":\"connect\"}",
	"{\"type\":\"connect\",\"offer\":[]}",
	"{\"type\":\"connect\",\"offer\":{}}",
	OFFER_WITH("17", "\"1-1\"", "65538", "12", "1", "\"\""),
	OFFER_WITH("\"a\"", "\"1-1/../..\"", "65538", "12", "1", "\"\""),
	OFFER_WITH("\"a\"", "\"usb1\"", "65538", "12", "1", "\"\""),
	OFFER_WITH("\"a\"", "17", "65538", "12", "1", "\"\""),
	OFFER_WITH("\"a\"", "\"1-1\"", "-1", "12", "1", "\"\""),
	OFFER_WITH("\"a\"", "\"1-1\"", "4294967296", "12", "1", "\"\""),
	OFFER_WITH("\"a\"", "\"1-1\"", "65538", "1.5", "1", "\"\""),
	OFFER_WITH("\"a\"", "\"1-1\"", "65538", "12", "65536", "\"\""),
	OFFER_WITH("\"a\"", "\"1-1\"", "65538", "12", "1", "null"),
	OFFER_WITH("\"a\"", "\"1-1\"", "65538", "12", "1", "\"\",\"name\":17"),
	OFFER_WITH("\"a\"", "\"1-1\"", "65538", "12", "1", "\"\",\"direct_port\":65536"),
	OFFER_WITH("\"a\"", "\"1-1\"", "65538", "12", "1", "\"\",\"direct_port\":-1"),
	OFFER_WITH("\"a\"", "\"1-1\"", "65538", "12", "1", "\"\",\"direct_port\":\"3240\""),
	/* disconnect, detached, ping, pong */
	"{\"type\":\"disconnect\"}",
	"{\"type\":\"disconnect\",\"id\":\"a\"}",
	"{\"type\":\"disconnect\",\"id\":\"a b\",\"reason\":\"\"}",
	"{\"type\":\"detached\",\"id\":\"a\",\"reason\":17}",
	"{\"type\":\"ping\"}",
	"{\"type\":\"ping\",\"seq\":-1}",
	"{\"type\":\"ping\",\"seq\":9223372036854775808}",
	"{\"type\":\"pong\",\"seq\":null}",
	"{\"type\":\"pong\",\"seq\":1.0}",
	/* attached */
	"{\"type\":\"attached\"}",
	"{\"type\":\"attached\",\"id\":\"a\"}",
	ATTACHED_WITH("-1", "\"1-1\"", "[]", "[]", "{}"),
	ATTACHED_WITH("1", "\"\"", "[]", "[]", "{}"),
	ATTACHED_WITH("1", "\"1-1\"", "\"/dev/ttyUSB0\"", "[]", "{}"),
	ATTACHED_WITH("1", "\"1-1\"", "[17]", "[]", "{}"),
	ATTACHED_WITH("1", "\"1-1\"", "[]", "{}", "{}"),
	ATTACHED_WITH("1", "\"1-1\"", "[]", "[]", "[]"),
	ATTACHED_WITH("1", "\"1-1\"", "[]", "[]", "null"),
	ATTACHED_WITH("1", "\"1-1\"", "[]", "[]", "{\"a\":[1]}"),
	/* failed, stream, unknown */
	"{\"type\":\"failed\"}",
	"{\"type\":\"failed\",\"id\":\"a\"}",
	"{\"type\":\"failed\",\"id\":\"a\",\"code\":17,\"text\":\"\",\"cure\":\"\"}",
	"{\"type\":\"failed\",\"code\":\"gone\",\"text\":\"\",\"cure\":\"\"}",
	"{\"type\":\"stream\"}",
	"{\"type\":\"stream\",\"offer\":17}",
	"{\"type\":\"stream\",\"offer\":\"\"}",
	"{\"type\":\"unknown\"}",
	"{\"type\":\"unknown\",\"of\":[]}",
};

START_TEST(a_line_that_makes_no_sense_is_refused_with_a_reason)
{
	struct message *message = NULL;
	struct failure failure = { 0 };

	ck_assert_msg(message_parse(BAD_LINES[_i], strlen(BAD_LINES[_i]), &message, &failure) == -EBADMSG, "%s passed", BAD_LINES[_i]);
	ck_assert_ptr_null(message);
	ck_assert_int_eq(failure.code, FAILURE_BAD_REQUEST);
	ck_assert_str_ne(failure.text, "");
}
END_TEST

START_TEST(the_reason_names_type_and_field)
{
	static const char line[] = "{\"type\":\"ping\",\"seq\":\"one\"}";
	struct message *message;
	struct failure failure;

	ck_assert_int_eq(message_parse(line, strlen(line), &message, &failure), -EBADMSG);
	ck_assert_str_eq(failure.text, "message \"ping\": field \"seq\" must be a whole number in its range");
}
END_TEST

/* A list of n times item under key. */
static char *compose_list(const char *start, const char *item, size_t n, const char *end)
{
	size_t size = strlen(start) + n * (strlen(item) + 1) + strlen(end) + 1;
	char *line = calloc(1, size), *at = line;

	ck_assert_ptr_nonnull(line);
	at = stpcpy(at, start);
	for (size_t i = 0; i < n; i++) {
		at = stpcpy(at, i ? "," : "");
		at = stpcpy(at, item);
	}
	strcpy(at, end);
	return line;
}

static const struct {
	const char *start, *item, *end;
	size_t max;
} LISTS[] = {
	{ "{\"type\":\"sync\",\"seq\":1,\"offers\":[", "{\"id\":\"a\",\"streaming\":true}", "]}", MESSAGE_MAX_OFFERS },
	{ "{\"type\":\"synced\",\"seq\":1,\"keep\":[", "\"a\"", "]}", MESSAGE_MAX_OFFERS },
	{ "{\"type\":\"attached\",\"id\":\"a\",\"port\":1,\"busid\":\"1-1\",\"steps_ms\":{},\"links\":[],\"nodes\":[", "\"/dev/ttyUSB0\"",
	  "]}", MESSAGE_MAX_NODES },
	{ "{\"type\":\"attached\",\"id\":\"a\",\"port\":1,\"busid\":\"1-1\",\"steps_ms\":{},\"nodes\":[],\"links\":[", "\"/dev/x\"", "]}",
	  MESSAGE_MAX_NODES },
};

START_TEST(a_list_is_bounded)
{
	_cleanup_free_ char *good = compose_list(LISTS[_i].start, LISTS[_i].item, LISTS[_i].max, LISTS[_i].end);
	_cleanup_free_ char *bad = compose_list(LISTS[_i].start, LISTS[_i].item, LISTS[_i].max + 1, LISTS[_i].end);
	_cleanup_free_ char *flood = compose_list(LISTS[_i].start, LISTS[_i].item, 10000, LISTS[_i].end);
	_cleanup_(message_freep) struct message *message = parse(good);
	struct message *none = NULL;
	struct failure failure;

	ck_assert_ptr_nonnull(message);
	ck_assert_int_eq(message_parse(bad, strlen(bad), &none, &failure), -EBADMSG);
	ck_assert_int_eq(message_parse(flood, strlen(flood), &none, &failure), -EBADMSG);
}
END_TEST

START_TEST(times_are_at_most_sixteen)
{
	_cleanup_json_ json_t *steps = json_object();
	char key[8];

	for (unsigned i = 0; i < MESSAGE_MAX_STEPS + 1; i++) {
		struct attached attached = { .busid = { "1-1" }, .steps_ms = steps };
		const struct message message = { .type = MESSAGE_ATTACHED, .id = "a", .attached = &attached };
		_cleanup_(message_freep) struct message *arrived = travel(&message);

		ck_assert_uint_eq(json_object_size(arrived->attached->steps_ms), i);
		snprintf(key, sizeof(key), "s%u", i);
		json_object_set_new(steps, key, json_integer(i));
	}
	struct attached attached = { .busid = { "1-1" }, .steps_ms = steps };
	const struct message message = { .type = MESSAGE_ATTACHED, .id = "a", .attached = &attached };
	_cleanup_free_ char *line = message_format(&message);
	struct message *none = NULL;
	struct failure failure;

	ck_assert_int_eq(message_parse(line, strlen(line), &none, &failure), -EBADMSG);
}
END_TEST

START_TEST(nesting_without_end_is_refused)
{
	_cleanup_free_ char *line = malloc(LINE_MAX_SIZE);
	struct message *none = NULL;
	struct failure failure;

	memset(line, '[', LINE_MAX_SIZE - 1);
	memcpy(line, "{\"type\":", 8);
	ck_assert_int_eq(message_parse(line, LINE_MAX_SIZE - 1, &none, &failure), -EBADMSG);
}
END_TEST

START_TEST(a_message_too_long_for_a_line_is_not_written)
{
	static struct attached attached = { .busid = { "1-1" }, .n_nodes = MESSAGE_MAX_NODES };
	const struct message message = { .type = MESSAGE_ATTACHED, .id = "a", .attached = &attached };
	_cleanup_json_ json_t *steps = json_object();

	for (unsigned i = 0; i < 8000; i++) {
		char key[16];
		snprintf(key, sizeof(key), "step%u", i);
		json_object_set_new(steps, key, json_integer(i));
	}
	attached.steps_ms = steps;
	ck_assert_ptr_null(message_format(&message));
}
END_TEST

START_TEST(a_valid_line_with_any_byte_changed_never_harms)
{
	const struct message connect = { .type = MESSAGE_CONNECT, .offer = OFFER };
	_cleanup_free_ char *line = message_format(&connect);
	size_t size = strlen(line) - 1;
	unsigned seed = 1;

	for (size_t at = 0; at < size; at++) {
		char kept = line[at];

		for (unsigned round = 0; round < 8; round++) {
			struct message *message = NULL;
			struct failure failure = { 0 };

			line[at] = (char)(rand_r(&seed) % 256);
			if (message_parse(line, size, &message, &failure) < 0)
				ck_assert_str_ne(failure.text, "");
			message_free(message);
		}
		line[at] = kept;
	}
}
END_TEST

int main(void)
{
	TCase *travelling = tcase_create("there and back"), *lenient = tcase_create("passed over"), *bad = tcase_create("makes no sense");

	tcase_add_test(travelling, hello_tells_who_speaks);
	tcase_add_test(travelling, a_pis_hello_has_no_ports);
	tcase_add_test(travelling, a_hello_without_the_direct_road_does_not_speak_of_it);
	tcase_add_test(travelling, an_offer_on_the_direct_road_has_its_port);
	tcase_add_test(travelling, another_versions_hello_is_read_as_far_as_its_version);
	tcase_add_test(travelling, sync_lists_offers_and_which_of_them_stream);
	tcase_add_test(travelling, the_largest_sync_fits_a_line);
	tcase_add_test(travelling, synced_lists_what_is_kept);
	tcase_add_test(travelling, an_offer_says_that_the_rest_of_it_is_to_come);
	tcase_add_test(travelling, connect_carries_the_whole_offer);
	tcase_add_test(travelling, an_offer_without_a_name_needs_none);
	tcase_add_test(travelling, disconnect_and_detached_carry_their_reason);
	tcase_add_test(travelling, ping_and_pong_carry_their_number);
	tcase_add_test(travelling, attached_tells_port_nodes_links_and_times);
	tcase_add_test(travelling, attached_without_times_or_nodes_is_read_back_too);
	tcase_add_test(travelling, failed_and_refused_carry_code_text_and_cure);
	tcase_add_test(travelling, resync_spare_stream_and_unknown_survive_the_way);
	tcase_add_test(travelling, unpair_and_its_answer_survive_the_way);
	tcase_add_test(travelling, the_stream_line_is_the_protocols);
	tcase_add_test(lenient, an_unknown_type_is_told_by_its_name);
	tcase_add_test(lenient, the_name_of_an_unknown_type_is_cut_and_cleaned);
	tcase_add_test(lenient, an_unknown_field_is_passed_over);
	tcase_add_test(lenient, an_error_code_of_a_later_version_is_no_bad_line);
	tcase_add_test(lenient, a_refusal_is_understood_whatever_it_lacks);
	tcase_add_loop_test(bad, a_line_that_makes_no_sense_is_refused_with_a_reason, 0, ARRAY_SIZE(BAD_LINES));
	tcase_add_test(bad, the_reason_names_type_and_field);
	tcase_add_loop_test(bad, a_list_is_bounded, 0, ARRAY_SIZE(LISTS));
	tcase_add_test(bad, times_are_at_most_sixteen);
	tcase_add_test(bad, nesting_without_end_is_refused);
	tcase_add_test(bad, a_message_too_long_for_a_line_is_not_written);
	tcase_add_test(bad, a_valid_line_with_any_byte_changed_never_harms);
	return check_program_run("common_message", travelling, lenient, bad, NULL);
}
