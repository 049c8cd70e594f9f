/* A Pi in foreign hands has the key, and says to the handler what it likes. Each row is one way in which it does not keep to common/PROTOCOL.md, and what the handler
 * has to make of it; beside it a good Pi has a device attached, to which nothing may happen. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon_watch.h"
#include "log.h"
#include "vm_bed.h"

#define DEVID(bus, device) ((bus) << 16 | (device))
#define MEMORY_MAX         ((size_t)2 * 1024 * 1024) /* more than before, at any moment */

enum outcome {
	REFUSED,  /* `refused` with the code and the text, the link ends, and the log says it of this Pi */
	ANSWERED, /* a message of that type (text) comes, and the link goes on */
	GOES_ON,  /* nothing comes of it, and the link goes on */
	TOLD_NO,  /* of a stream: NO with the code and the text */
	ENDED,    /* the connection ends without a word */
};

struct row {
	const char *name, *sent;
	enum outcome outcome;
	const char *code, *text;
	size_t size; /* of what is sent where it has a NUL in it */
};

#define HELLO(fields) "{\"type\":\"hello\"," fields "}\n"
#define GOOD_ID       "\"id\":\"aa\",\"name\":\"pi\",\"boot_id\":\"bb\""
#define GREETING(protocol, patience) \
	HELLO("\"protocol\":" protocol ",\"software\":\"t\",\"role\":\"pi\"," GOOD_ID ",\"patience_ms\":" patience)
#define SYNC(rest)          "{\"type\":\"sync\"," rest "}\n"
#define IDENTITY            "\"vid\":12346,\"pid\":4097,\"bcd\":256,\"serial\":\"F4:12\",\"manufacturer\":\"\",\"product\":\"\""
#define CONNECT(id, place)  "{\"type\":\"connect\",\"offer\":{\"id\":" id "," place "," IDENTITY "}}\n"
#define PLACE(busid, devid) "\"busid\":\"" busid "\",\"devid\":" devid ",\"speed\":12"
#define DEVICE(fields)      "{\"type\":\"connect\",\"offer\":{\"id\":\"o-1\"," PLACE("1-1", "65538") "," fields "}}\n"
#define TEN                 "aaaaaaaaaa"
#define FIFTY               TEN TEN TEN TEN TEN
#define A128                FIFTY FIFTY TEN TEN "aaaaaaaa"
#define A384                A128 A128 A128

/* ---- the first line ---- */

static const struct row FIRST[] = {
	{ "HTTP", "GET / HTTP/1.1\n", REFUSED, "bad-request", "no JSON object" },
	{ "TLS", "\x16\x03\x01\x02\x00\x01\n", REFUSED, "bad-request", "no text", 7 },
	{ "no bytes but the newline", "\n", REFUSED, "bad-request", "no JSON object" },
	{ "a list", "[1,2]\n", REFUSED, "bad-request", "no JSON object" },
	{ "a string", "\"hello\"\n", REFUSED, "bad-request", "no JSON object" },
	{ "null", "null\n", REFUSED, "bad-request", "no JSON object" },
	{ "half an object", "{\"type\":\n", REFUSED, "bad-request", "no JSON object" },
	{ "two objects in a line", "{\"type\":\"ping\",\"seq\":1}{\"type\":\"ping\",\"seq\":2}\n", REFUSED, "bad-request",
	  "no JSON object" },
	{ "no UTF-8", "{\"type\":\"\xff\xfe\"}\n", REFUSED, "bad-request", "no JSON object" },
	{ "an overlong slash", "{\"type\":\"\xc0\xaf\"}\n", REFUSED, "bad-request", "no JSON object" },
	{ "half a surrogate", "{\"type\":\"\\ud800\"}\n", REFUSED, "bad-request", "no JSON object" },
	{ "a NUL", "{\"type\":\"hel\0lo\"}\n", REFUSED, "bad-request", "no text", 18 },
	{ "a NUL, escaped", "{\"type\":\"hello\\u0000\"}\n", REFUSED, "bad-request", "no JSON object" },
	{ "the same key twice", "{\"type\":\"hello\",\"type\":\"stream\"}\n", REFUSED, "bad-request", "duplicate" },
	{ "no type", "{}\n", REFUSED, "bad-request", "without a type" },
	{ "a type that is a number", "{\"type\":1}\n", REFUSED, "bad-request", "without a type" },
	{ "a type that is an object", "{\"type\":{\"type\":\"hello\"}}\n", REFUSED, "bad-request", "without a type" },
	{ "a type that nobody knows", "{\"type\":\"sing\"}\n", REFUSED, "bad-request", "neither hello nor spare nor stream" },
	{ "a sync", SYNC("\"seq\":1,\"offers\":[]"), REFUSED, "bad-request", "neither hello nor spare nor stream" },
	{ "an offer", CONNECT("\"o-1\"", PLACE("1-1", "65538")), REFUSED, "bad-request", "neither hello nor spare nor stream" },
	{ "an end of the pairing", "{\"type\":\"unpair\"}\n", REFUSED, "bad-request", "neither hello nor spare nor stream" },
	{ "what a VM says", "{\"type\":\"resync\"}\n", REFUSED, "bad-request", "neither hello nor spare nor stream" },
	{ "the request of a local user", "{\"request\":\"detach\",\"device\":\"1-1\"}\n", REFUSED, "bad-request", "without a type" },
	{ "version 0", GREETING("0", "8000"), REFUSED, "version", "version 0" },
	{ "version 2", GREETING("2", "8000"), REFUSED, "version", "version 2" },
	{ "version -1", GREETING("-1", "8000"), REFUSED, "bad-request", "\"protocol\"" },
	{ "version 2^32 + 1", GREETING("4294967297", "8000"), REFUSED, "bad-request", "\"protocol\"" },
	{ "version 10^40", GREETING("10000000000000000000000000000000000000000", "8000"), REFUSED, "bad-request", "no JSON object" },
	{ "version 1.0", GREETING("1.0", "8000"), REFUSED, "bad-request", "\"protocol\"" },
	{ "version \"1\"", GREETING("\"1\"", "8000"), REFUSED, "bad-request", "\"protocol\"" },
	{ "no version", HELLO("\"software\":\"t\",\"role\":\"pi\"," GOOD_ID ",\"patience_ms\":8000"), REFUSED, "bad-request",
	  "\"protocol\"" },
	{ "no id", HELLO("\"protocol\":1,\"software\":\"t\",\"role\":\"pi\",\"name\":\"pi\",\"boot_id\":\"bb\",\"patience_ms\":8000"),
	  REFUSED, "bad-request", "\"id\"" },
	{ "an id with a path in it",
	  HELLO("\"protocol\":1,\"software\":\"t\",\"role\":\"pi\",\"id\":\"../../x\",\"name\":\"pi\",\"boot_id\":\"bb\",\"patience_ms\":8000"),
	  REFUSED, "bad-request", "\"id\"" },
	{ "a name that is longer than names are",
	  HELLO("\"protocol\":1,\"software\":\"t\",\"role\":\"pi\",\"id\":\"aa\",\"name\":\"" A128
		"\",\"boot_id\":\"bb\",\"patience_ms\":8000"),
	  REFUSED, "bad-request", "\"name\"" },
	{ "software that is a list", HELLO("\"protocol\":1,\"software\":[],\"role\":\"pi\"," GOOD_ID ",\"patience_ms\":8000"), REFUSED,
	  "bad-request", "\"software\"" },
	{ "no patience", GREETING("1", "0"), REFUSED, "bad-request", "\"patience_ms\"" },
	{ "patience for ever", GREETING("1", "4294967295"), REFUSED, "bad-request", "\"patience_ms\"" },
	{ "patience below nothing", GREETING("1", "-8000"), REFUSED, "bad-request", "\"patience_ms\"" },
	{ "a stream of no offer", "{\"type\":\"stream\"}\n", REFUSED, "bad-request", "\"offer\"" },
	{ "a stream of an offer with a path in it", "{\"type\":\"stream\",\"offer\":\"../../etc\"}\n", REFUSED, "bad-request",
	  "\"offer\"" },
	{ "a stream of an offer whose name never ends", "{\"type\":\"stream\",\"offer\":\"" A128 "\"}\n", REFUSED, "bad-request",
	  "\"offer\"" },
	{ "a spare one, and then garbage", "{\"type\":\"spare\"}\nxx\n", REFUSED, "bad-request", "no JSON object" },
	{ "half a line, and an end", "{\"type\":\"hel", ENDED, NULL, NULL },
};

/* ---- behind hello, before any sync ---- */

static const struct row GREETED[] = {
	{ "hello once more", GREETING("1", "8000"), REFUSED, "bad-request", "no place here" },
	{ "a stream on this very channel", "{\"type\":\"stream\",\"offer\":\"o-1\"}\n", REFUSED, "bad-request", "no place here" },
	{ "a sync without a number", SYNC("\"offers\":[]"), REFUSED, "bad-request", "\"seq\"" },
	{ "a sync without a list", SYNC("\"seq\":1"), REFUSED, "bad-request", "\"offers\"" },
};

/* ---- while the link is up, with a device attached ---- */

static const struct row UP[] = {
	{ "hello once more", GREETING("1", "8000"), REFUSED, "bad-request", "no place here" },
	{ "synced", "{\"type\":\"synced\",\"seq\":1,\"keep\":[]}\n", REFUSED, "bad-request", "no place here" },
	{ "pong", "{\"type\":\"pong\",\"seq\":1}\n", REFUSED, "bad-request", "no place here" },
	{ "attached", "{\"type\":\"attached\",\"id\":\"o-9\",\"port\":1,\"busid\":\"1-1\",\"nodes\":[],\"links\":[],\"steps_ms\":{}}\n",
	  REFUSED, "bad-request", "no place here" },
	{ "failed", "{\"type\":\"failed\",\"id\":\"o-9\",\"code\":\"gone\",\"text\":\"\",\"cure\":\"\"}\n", REFUSED, "bad-request",
	  "no place here" },
	{ "detached", "{\"type\":\"detached\",\"id\":\"o-9\",\"reason\":\"\"}\n", REFUSED, "bad-request", "no place here" },
	{ "refused", "{\"type\":\"refused\",\"code\":\"busy\"}\n", REFUSED, "bad-request", "no place here" },
	{ "resync", "{\"type\":\"resync\"}\n", REFUSED, "bad-request", "no place here" },
	{ "unpaired", "{\"type\":\"unpaired\"}\n", REFUSED, "bad-request", "no place here" },
	{ "spare", "{\"type\":\"spare\"}\n", REFUSED, "bad-request", "no place here" },
	{ "stream", "{\"type\":\"stream\",\"offer\":\"o-9\"}\n", REFUSED, "bad-request", "no place here" },
	{ "a type that nobody knows", "{\"type\":\"sing\",\"loud\":true}\n", ANSWERED, NULL, "unknown" },
	{ "a type that a terminal obeys", "{\"type\":\"\\u001b[2J\\u0007\"}\n", ANSWERED, NULL, "unknown" },
	{ "a type of 384 bytes", "{\"type\":\"" A384 "\"}\n", ANSWERED, NULL, "unknown" },
	{ "that it does not know what was never asked", "{\"type\":\"unknown\",\"of\":\"hello\"}\n", GOES_ON, NULL, NULL },
	{ "fields that nobody knows", "{\"type\":\"ping\",\"seq\":7,\"color\":{\"red\":[1,2,3]}}\n", ANSWERED, NULL, "pong" },
	{ "a ping without a number", "{\"type\":\"ping\"}\n", REFUSED, "bad-request", "\"seq\"" },
	{ "a ping whose number is text", "{\"type\":\"ping\",\"seq\":\"1\"}\n", REFUSED, "bad-request", "\"seq\"" },
	{ "a ping of -1", "{\"type\":\"ping\",\"seq\":-1}\n", REFUSED, "bad-request", "\"seq\"" },
	{ "a ping of 2^63", "{\"type\":\"ping\",\"seq\":9223372036854775808}\n", REFUSED, "bad-request", "no JSON object" },
	{ "a ping of not a number", "{\"type\":\"ping\",\"seq\":NaN}\n", REFUSED, "bad-request", "no JSON object" },
	{ "a sync of offers by name", SYNC("\"seq\":2,\"offers\":{\"o-1\":true}"), REFUSED, "bad-request", "\"offers\"" },
	{ "a sync of an offer without an id", SYNC("\"seq\":2,\"offers\":[{\"streaming\":true}]"), REFUSED, "bad-request", "\"id\"" },
	{ "a sync of an offer that is a list", SYNC("\"seq\":2,\"offers\":[[]]"), REFUSED, "bad-request", "\"id\"" },
	{ "a sync of an offer whose stream is a word", SYNC("\"seq\":2,\"offers\":[{\"id\":\"o-1\",\"streaming\":\"yes\"}]"), REFUSED,
	  "bad-request", "\"streaming\"" },
	{ "the same offer twice in a sync",
	  SYNC("\"seq\":2,\"offers\":[{\"id\":\"o-1\",\"streaming\":true},{\"id\":\"o-1\",\"streaming\":false}]"), ANSWERED, NULL,
	  "synced" },
	{ "offers in a sync that it never made",
	  SYNC("\"seq\":2,\"offers\":[{\"id\":\"o-1\",\"streaming\":true},{\"id\":\"o-7\",\"streaming\":true}]"), ANSWERED, NULL,
	  "synced" },
	{ "the good Pi's offer in a sync", SYNC("\"seq\":2,\"offers\":[{\"id\":\"good-1\",\"streaming\":true}]"), ANSWERED, NULL,
	  "synced" },
	{ "connect without an offer", "{\"type\":\"connect\"}\n", REFUSED, "bad-request", "\"offer\"" },
	{ "connect of a list", "{\"type\":\"connect\",\"offer\":[]}\n", REFUSED, "bad-request", "\"offer\"" },
	{ "an offer without an id", CONNECT("null", PLACE("1-2", "65539")), REFUSED, "bad-request", "\"id\"" },
	{ "an offer with an empty id", CONNECT("\"\"", PLACE("1-2", "65539")), REFUSED, "bad-request", "\"id\"" },
	{ "an offer whose id a file system obeys", CONNECT("\"../../x\"", PLACE("1-2", "65539")), REFUSED, "bad-request", "\"id\"" },
	{ "an offer whose id is too long", CONNECT("\"" FIFTY "\"", PLACE("1-2", "65539")), REFUSED, "bad-request", "\"id\"" },
	{ "a bus id with a path before it", CONNECT("\"o-2\"", PLACE("../1-2", "65539")), REFUSED, "bad-request", "\"busid\"" },
	{ "a bus id with a path behind it", CONNECT("\"o-2\"", PLACE("1-2/..", "65539")), REFUSED, "bad-request", "\"busid\"" },
	{ "a bus id with a space", CONNECT("\"o-2\"", PLACE("1-2 5", "65539")), REFUSED, "bad-request", "\"busid\"" },
	{ "no bus id", CONNECT("\"o-2\"", "\"devid\":65539,\"speed\":12"), REFUSED, "bad-request", "\"busid\"" },
	{ "a bus id of eight hubs in a row", CONNECT("\"o-2\"", PLACE("1-1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1", "65539")), REFUSED,
	  "bad-request", "\"busid\"" },
	{ "a devid below nothing", CONNECT("\"o-2\"", PLACE("1-2", "-65539")), REFUSED, "bad-request", "\"devid\"" },
	{ "a devid beyond 32 bits", CONNECT("\"o-2\"", PLACE("1-2", "4295032835")), REFUSED, "bad-request", "\"devid\"" },
	{ "a devid with words for the kernel behind it", CONNECT("\"o-2\"", "\"busid\":\"1-2\",\"devid\":\"65539 3\",\"speed\":12"),
	  REFUSED, "bad-request", "\"devid\"" },
	{ "a devid of another bus", CONNECT("\"o-2\"", PLACE("1-2", "131075")), REFUSED, "bad-request", "can't be that of bus id 1-2" },
	{ "a devid without a device", CONNECT("\"o-2\"", PLACE("1-2", "65536")), REFUSED, "bad-request", "can't be that of bus id 1-2" },
	{ "device 128 of 127", CONNECT("\"o-2\"", PLACE("1-2", "65664")), REFUSED, "bad-request", "can't be that of bus id 1-2" },
	{ "the devid of its other device", CONNECT("\"o-2\"", PLACE("1-2", "65538")), REFUSED, "bad-request",
	  "for the device of offer o-1" },
	{ "the bus id of its other device", CONNECT("\"o-2\"", PLACE("1-1", "65539")), REFUSED, "bad-request",
	  "for the device of offer o-1" },
	{ "an offer once more for another device", CONNECT("\"o-1\"", PLACE("1-2", "65539")), REFUSED, "bad-request",
	  "came again for another device" },
	{ "an offer once more with another identity",
	  DEVICE("\"vid\":1,\"pid\":2,\"bcd\":256,\"serial\":\"\",\"manufacturer\":\"\",\"product\":\"\""), REFUSED, "bad-request",
	  "came again for another device" },
	{ "the same offer once more", DEVICE(IDENTITY), ANSWERED, NULL, "attached" },
	{ "the good Pi's offer", CONNECT("\"good-1\"", PLACE("1-2", "65539")), REFUSED, "bad-request", "is another Pi's" },
	{ "a speed in words", CONNECT("\"o-2\"", "\"busid\":\"1-2\",\"devid\":65539,\"speed\":\"high\""), REFUSED, "bad-request",
	  "\"speed\"" },
	{ "a vendor of 17 bits",
	  "{\"type\":\"connect\",\"offer\":{\"id\":\"o-2\"," PLACE(
		  "1-2", "65539") ",\"vid\":65536,\"pid\":1,\"bcd\":1,\"serial\":\"\",\"manufacturer\":\"\",\"product\":\"\"}}\n",
	  REFUSED, "bad-request", "vid, pid" },
	{ "a serial number that does not end",
	  "{\"type\":\"connect\",\"offer\":{\"id\":\"o-2\"," PLACE("1-2", "65539") ",\"vid\":1,\"pid\":1,\"bcd\":1,\"serial\":\"" A384
										   "\",\"manufacturer\":\"\",\"product\":\"\"}}\n",
	  REFUSED, "bad-request", "vid, pid" },
	{ "a name that a file system obeys", DEVICE(IDENTITY ",\"name\":\"../../../etc/passwd\""), ANSWERED, NULL, "attached" },
	{ "a name that is a number", DEVICE(IDENTITY ",\"name\":17"), REFUSED, "bad-request", "\"name\"" },
	{ "a port of 17 bits on the direct road", CONNECT("\"o-2\"", PLACE("1-2", "65539") ",\"direct_port\":65536"), REFUSED,
	  "bad-request", "\"direct_port\"" },
	{ "an end of what was never offered", "{\"type\":\"disconnect\",\"id\":\"o-77\",\"reason\":\"\"}\n", ANSWERED, NULL, "detached" },
	{ "an end of the good Pi's offer", "{\"type\":\"disconnect\",\"id\":\"good-1\",\"reason\":\"\"}\n", ANSWERED, NULL, "detached" },
	{ "an end without a reason", "{\"type\":\"disconnect\",\"id\":\"o-1\"}\n", REFUSED, "bad-request", "\"reason\"" },
	{ "an end whose reason does not end", "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"" A128 "\"}\n", REFUSED, "bad-request",
	  "\"reason\"" },
	{ "a line before the answer to the last", "{\"type\":\"ping\",\"seq\":1}\n{\"type\":\"ping\",\"seq\":1}\n{\"type\":\"beat\"}\n",
	  ANSWERED, NULL, "pong" },
	{ "a good line and a bad one behind it", "{\"type\":\"beat\"}\nx\n{\"type\":\"unpair\"}\n", REFUSED, "bad-request",
	  "no JSON object" },
};

/* ---- streams, beside a link that is up ---- */

static const struct row STREAM[] = {
	{ "of an offer that has one", "{\"type\":\"stream\",\"offer\":\"o-1\"}\n", TOLD_NO, "busy", "has a stream already" },
	{ "of an offer that was never made", "{\"type\":\"stream\",\"offer\":\"o-99\"}\n", TOLD_NO, "not-found", "no offer o-99 came" },
	{ "of the good Pi's offer", "{\"type\":\"stream\",\"offer\":\"good-2\"}\n", TOLD_NO, "not-found", "no offer good-2 came" },
	{ "of an offer of its own, kept for later twice",
	  "{\"type\":\"spare\"}\n{\"type\":\"spare\"}\n{\"type\":\"stream\",\"offer\":\"o-1\"}\n", TOLD_NO, "busy",
	  "has a stream already" },
};

static struct vm_bed bed;
static struct vm_pi good, pi, stream;
static uint32_t good_port;
static size_t memory_before;

static void setup(void)
{
	vm_bed_setup(&bed);
	good.fd = pi.fd = stream.fd = -EBADF;
	vm_pi_come_up(&good, &bed, BED_OTHER);
	vm_pi_offer(&good, "good-2", "1-9", DEVID(1, 9), &ACM); /* waits for its stream */
	vm_pi_offer(&good, "good-1", "1-8", DEVID(1, 8), &ACM);
	vm_pi_open_stream(&stream, &bed, BED_OTHER, "good-1");
	vm_pi_expect_text(&stream, "OK");
	good_port = vm_bed_enumerate(&bed, &ACM);
	vm_bed_expect_state(&bed, "good-1", "settling");
	vm_bed_add_tty(&bed, good_port, "/dev/ttyACM0", "/dev/serial/by-path/x /dev/serial/by-id/usb-good");
	json_decref(vm_pi_expect(&good, "attached"));
	vm_pi_close(&stream);
	daemon_watch_begin();
	memory_before = daemon_watch_memory();
}

static void teardown(void)
{
	daemon_watch_end();
	close_fd(good.fd);
	close_fd(pi.fd);
	close_fd(stream.fd);
	vm_bed_teardown(&bed);
}

static void expect_memory(void)
{
	size_t now = daemon_watch_memory();

	ck_assert_msg(now < memory_before + MEMORY_MAX, "%zu bytes more than before", now - memory_before);
}

/* The good Pi is up, and its device where it was. */
static void expect_good_unharmed(void)
{
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_OTHER), "up");
	ck_assert_str_eq(vm_bed_device_state(&bed, "good-1"), "attached");
	ck_assert(vm_bed_is_authorized(&bed, good_port));
	vm_pi_say(&good, "{\"type\":\"ping\",\"seq\":4711}");
	json_decref(vm_pi_expect(&good, "pong"));
	expect_memory();
}

/* Offers an ACM device as "o-1" and brings it to its node. */
static uint32_t attach_own(void)
{
	uint32_t port;

	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	port = vm_bed_enumerate(&bed, &ACM);
	vm_bed_expect_state(&bed, "o-1", "settling");
	vm_bed_add_tty(&bed, port, "/dev/ttyACM1", "/dev/serial/by-path/y /dev/serial/by-id/usb-own");
	json_decref(vm_pi_expect(&pi, "attached"));
	vm_pi_close(&stream);
	return port;
}

static void expect_text(const struct row *row, const json_t *object)
{
	const char *text = json_string_value(json_object_get(object, "text"));

	ck_assert_msg(text && strstr(text, row->text), "%s: \"%s\" is not in \"%s\"", row->name, row->text, text ? text : "(nothing)");
	ck_assert_str_eq(json_string_value(json_object_get(object, "code")), row->code);
}

static void expect_logged(const struct row *row)
{
	const char *log = daemon_watch_log(), *line = strstr(log, row->text);

	ck_assert_msg(line, "%s: the log says: %s", row->name, log);
	while (line > log && line[-1] != '\n')
		line--;
	ck_assert_msg(strstr(line, "pi1: ") && strstr(line, "pi1: ") < strchr(line, '\n'), "%s: not of which Pi: %s", row->name, line);
}

static void expect_refused(const struct row *row)
{
	_cleanup_json_ json_t *refused = vm_pi_expect(&pi, "refused");

	expect_text(row, refused);
	vm_pi_expect_end(&pi);
	expect_logged(row);
}

static void expect_no(const struct row *row)
{
	_cleanup_json_ json_t *object = NULL;
	char answer[1024];
	size_t n;

	n = loop_hear(bed.event, pi.fd, answer, 3);
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(memcmp(answer, "NO ", 3), 0);
	n = loop_hear(bed.event, pi.fd, answer, sizeof(answer) - 1);
	answer[n] = '\0';
	object = json_loads(answer, 0, NULL);
	ck_assert_msg(object, "%s: %s", row->name, answer);
	expect_text(row, object);
	expect_logged(row);
}

static void expect_outcome(const struct row *row)
{
	switch (row->outcome) {
	case REFUSED:
		expect_refused(row);
		break;
	case ANSWERED:
		json_decref(vm_pi_expect(&pi, row->text));
		vm_pi_say(&pi, "{\"type\":\"ping\",\"seq\":4712}");
		json_decref(vm_pi_expect(&pi, "pong"));
		break;
	case GOES_ON:
		vm_pi_say(&pi, "{\"type\":\"ping\",\"seq\":4712}");
		json_decref(vm_pi_expect(&pi, "pong"));
		break;
	case TOLD_NO:
		expect_no(row);
		break;
	case ENDED:
		shutdown(pi.fd, SHUT_WR);
		vm_pi_expect_end(&pi);
		break;
	}
	expect_good_unharmed();
}

static void act(const struct row *row)
{
	daemon_watch_mark();
	vm_pi_write(&pi, row->sent, row->size ? row->size : strlen(row->sent));
	expect_outcome(row);
}

START_TEST(a_hijacked_pi_begins_with)
{
	unsigned fds = count_fds();

	vm_pi_connect(&pi, &bed, BED_PI);
	act(&FIRST[_i]);
	vm_pi_close(&pi);
	ck_assert_uint_eq(count_fds(), fds);
	ck_assert_uint_eq(vm_bed_count_used(&bed), 1);
	ck_assert_str_eq(vm_bed_take_write(&bed, "attach"), "");
}
END_TEST

START_TEST(a_hijacked_pi_says_before_any_sync)
{
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 8000);
	json_decref(vm_pi_expect(&pi, "hello"));
	act(&GREETED[_i]);
	ck_assert_uint_eq(vm_bed_count_used(&bed), 1);
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "away");
}
END_TEST

START_TEST(a_hijacked_pi_says_while_its_device_is_attached)
{
	const struct row *row = &UP[_i];
	uint32_t port, written;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_own();
	act(row);
	if (row->outcome == REFUSED) { /* its device goes with its link */
		ck_assert_int_eq(sscanf(vm_bed_take_write(&bed, "detach"), "%u", &written), 1);
		ck_assert_uint_eq(written, port);
		vm_bed_remove(&bed, port);
		ck_assert_uint_eq(vm_bed_count_used(&bed), 1);
	}
	ck_assert_str_eq(vm_bed_take_write(&bed, "attach"), "");
	expect_good_unharmed();
}
END_TEST

START_TEST(a_hijacked_pi_opens_a_stream)
{
	uint32_t port;

	vm_pi_come_up(&stream, &bed, BED_PI);
	pi = stream;
	port = attach_own();
	ck_assert_uint_ne(port, good_port);
	stream = pi;
	vm_pi_connect(&pi, &bed, BED_PI);
	act(&STREAM[_i]);
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "attached"); /* the one that has its stream keeps it */
}
END_TEST

/* ---- floods ---- */

static void come_up(void)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
}

/* Writes the same again and again until the handler has had so much of it or hangs up; reads nothing. */
static void flood(const char *what, size_t total)
{
	size_t size = strlen(what);

	for (size_t sent = 0; sent < total; sent += size) {
		if (send(pi.fd, what, size, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
			return;
		vm_bed_settle(&bed);
		if (sent % (512 * size) == 0) {
			vm_pi_say(&good, "{\"type\":\"beat\"}");
			expect_memory();
		}
	}
}

static const struct flood_row {
	const char *name, *what;
	bool is_first, is_endured; /* endured: the link goes on */
} FLOODS[] = {
	{ "a first line without end", A384, true, false },
	{ "a line without end", A384, false, false },
	{ "open brackets", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", false, false },
	{ "pings, and does not read the answers", "{\"type\":\"ping\",\"seq\":1}\n", false, false },
	{ "what nobody knows, and does not read the answers", "{\"type\":\"" TEN "\"}\n", false, false },
	{ "syncs, and does not read the answers", SYNC("\"seq\":1,\"offers\":[{\"id\":\"o-1\",\"streaming\":true}]"), false, false },
	{ "ends of what was never offered", "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"\"}\n", false, false },
	{ "beats", "{\"type\":\"beat\"}\n", false, true },
	{ "unknown unknowns", "{\"type\":\"unknown\",\"of\":\"x\"}\n", false, true },
};

START_TEST(a_hijacked_pi_floods_with)
{
	const struct flood_row *row = &FLOODS[_i];

	if (row->is_first)
		vm_pi_connect(&pi, &bed, BED_PI);
	else
		come_up();
	flood(row->what, (size_t)4 * 1024 * 1024);
	if (row->is_endured) {
		vm_pi_write(&pi, "\n", strchr(row->what, '\n') ? 0 : 1);
		vm_pi_say(&pi, "{\"type\":\"ping\",\"seq\":4712}");
		json_decref(vm_pi_expect(&pi, "pong"));
	} else {
		vm_pi_expect_end(&pi);
	}
	expect_good_unharmed();
	ck_assert_uint_eq(vm_bed_count_used(&bed), 1);
	ck_assert_uint_lt(strlen(daemon_watch_log()), 1024 * 1024); /* the journal is not flooded */
}
END_TEST

/* 300 offers, 256 of which it may make; 300 in one sync; nested beyond all reason. */
START_TEST(a_hijacked_pi_makes_too_much_of)
{
	static char line[65536];
	const struct row too_many = {
		"offers", "", REFUSED, "bad-request", _i == 0 ? "more than 256 offers" : _i == 1 ? "at most 256" : "no JSON object", 0
	};
	size_t used = 0;

	come_up();
	daemon_watch_mark();
	for (unsigned i = 0; _i == 0 && i < 300; i++) {
		snprintf(line, sizeof(line), "o-%u", i);
		snprintf(line + 100, 20, "%u-%u", 2 + i / 100, 1 + i % 100);
		vm_pi_offer(&pi, line, line + 100, DEVID(2 + i / 100, 1 + i % 100), &ACM);
	}
	if (_i == 1) {
		used = (size_t)snprintf(line, sizeof(line), "{\"type\":\"sync\",\"seq\":2,\"offers\":[");
		for (unsigned i = 0; i < 300; i++)
			used += (size_t)snprintf(line + used, sizeof(line) - used, "%s{\"id\":\"o-%u\",\"streaming\":false}", i ? "," : "",
						 i);
		snprintf(line + used, sizeof(line) - used, "]}");
	} else if (_i == 2) {
		memset(line, '[', 30000);
		memset(line + 30000, ']', 30000);
		line[60000] = '\0';
	} else if (_i == 3) {
		for (used = 0; used < 60000; used += 5)
			memcpy(line + used, "{\"a\":", 5);
		line[used] = '\0';
	}
	if (_i > 0) {
		vm_pi_write(&pi, line, strlen(line));
		vm_pi_write(&pi, "\n", 1);
	}
	expect_outcome(&too_many);
}
END_TEST

int main(void)
{
	TCase *words = tcase_create("words"), *floods = tcase_create("floods");

	log_init("test_vm_hijacked", false);
	tcase_add_checked_fixture(words, setup, teardown);
	tcase_add_checked_fixture(floods, setup, teardown);
	tcase_add_loop_test(words, a_hijacked_pi_begins_with, 0, ARRAY_SIZE(FIRST));
	tcase_add_loop_test(words, a_hijacked_pi_says_before_any_sync, 0, ARRAY_SIZE(GREETED));
	tcase_add_loop_test(words, a_hijacked_pi_says_while_its_device_is_attached, 0, ARRAY_SIZE(UP));
	tcase_add_loop_test(words, a_hijacked_pi_opens_a_stream, 0, ARRAY_SIZE(STREAM));
	tcase_add_loop_test(floods, a_hijacked_pi_floods_with, 0, ARRAY_SIZE(FLOODS));
	tcase_add_loop_test(floods, a_hijacked_pi_makes_too_much_of, 0, 4);
	return check_program_run("vm_hijacked", words, floods, NULL);
}
