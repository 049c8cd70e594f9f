/* A VM in foreign hands says to the exporter what it likes, behind an sshd that is as it should be (tests/unit/test_pi_rogue_sshd.c has one that is not). Each row is one
 * way in which it does not keep to common/PROTOCOL.md, and what the Pi has to make of it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon_watch.h"
#include "device.h"
#include "link_bed.h"
#include "pi_bed.h"

#define MEMORY_MAX ((size_t)4 * 1024 * 1024) /* more than before, at any moment: libssh's window is a third of it */

#define SAY(text)      "say " text "\n"
#define GREETING(rest) "{\"type\":\"hello\"," rest "}"
#define ITSELF         "\"software\":\"t\",\"role\":\"vm\",\"id\":\"f\",\"name\":\"v\",\"boot_id\":\"b\""
#define HELLO          SAY(GREETING("\"protocol\":1," ITSELF ",\"patience_ms\":8000"))
#define UP             HELLO "hear sync\n" SAY("{\"type\":\"synced\",\"seq\":1,\"keep\":[]}")
#define ATTACHED(rest) "{\"type\":\"attached\",\"id\":\"a-1\"," rest "}"
#define TEN            "aaaaaaaaaa"
#define FIFTY          TEN TEN TEN TEN TEN
#define A128           FIFTY FIFTY TEN TEN "aaaaaaaa"

/* ---- the control channel: what ends the link ---- */

static const struct foul_row {
	const char *name, *script;
	enum failure_code code;
	const char *text;
} FOUL[] = {
	/* instead of hello */
	{ "another protocol's greeting", SAY("SSH-2.0-what"), FAILURE_BAD_REQUEST, "no JSON object" },
	{ "an empty line", SAY(""), FAILURE_BAD_REQUEST, "no JSON object" },
	{ "a list", SAY("[1]"), FAILURE_BAD_REQUEST, "no JSON object" },
	{ "no UTF-8", "raw \xff\xfe\\n\n", FAILURE_BAD_REQUEST, "no JSON object" },
	{ "half a surrogate", SAY("{\"type\":\"\\ud800\"}"), FAILURE_BAD_REQUEST, "no JSON object" },
	{ "a NUL", "raw {\"type\":\\0}\\n\n", FAILURE_BAD_REQUEST, "NUL byte" },
	{ "a NUL, escaped", SAY("{\"type\":\"hello\\u0000\"}"), FAILURE_BAD_REQUEST, "no JSON object" },
	{ "the same key twice", SAY("{\"type\":\"hello\",\"type\":\"synced\"}"), FAILURE_BAD_REQUEST, "duplicate" },
	{ "no type", SAY("{}"), FAILURE_BAD_REQUEST, "without a type" },
	{ "a type that is a list", SAY("{\"type\":[\"hello\"]}"), FAILURE_BAD_REQUEST, "without a type" },
	{ "a line without end", "flood\n", FAILURE_BAD_REQUEST, "" },
	{ "what only a Pi says", SAY("{\"type\":\"ping\",\"seq\":1}"), FAILURE_BAD_REQUEST, "did not say hello first" },
	{ "the answer to a sync", SAY("{\"type\":\"synced\",\"seq\":1,\"keep\":[]}"), FAILURE_BAD_REQUEST, "did not say hello first" },
	{ "an attached device", SAY(ATTACHED("\"port\":1,\"busid\":\"1-1\",\"nodes\":[],\"links\":[],\"steps_ms\":{}")),
	  FAILURE_BAD_REQUEST, "did not say hello first" },
	{ "a wish for a sync", SAY("{\"type\":\"resync\"}"), FAILURE_BAD_REQUEST, "did not say hello first" },
	{ "what nobody knows", SAY("{\"type\":\"sing\"}"), FAILURE_BAD_REQUEST, "did not say hello first" },
	{ "all that the Pi says, sent back", HELLO "echo\n", FAILURE_BAD_REQUEST, "only a Pi may send" },
	{ "another version", SAY(GREETING("\"protocol\":2")), FAILURE_VERSION, "protocol 2" },
	{ "version -1", SAY(GREETING("\"protocol\":-1")), FAILURE_BAD_REQUEST, "\"protocol\"" },
	{ "version 10^30", SAY(GREETING("\"protocol\":1000000000000000000000000000000")), FAILURE_BAD_REQUEST, "no JSON object" },
	{ "no version", SAY(GREETING(ITSELF ",\"patience_ms\":8000")), FAILURE_BAD_REQUEST, "\"protocol\"" },
	{ "patience for ever", SAY(GREETING("\"protocol\":1," ITSELF ",\"patience_ms\":4294967295")), FAILURE_BAD_REQUEST,
	  "\"patience_ms\"" },
	{ "an id with a path in it",
	  SAY(GREETING(
		  "\"protocol\":1,\"software\":\"t\",\"role\":\"vm\",\"id\":\"../x\",\"name\":\"v\",\"boot_id\":\"b\",\"patience_ms\":8000")),
	  FAILURE_BAD_REQUEST, "\"id\"" },
	{ "a name that does not end",
	  SAY(GREETING("\"protocol\":1,\"software\":\"t\",\"role\":\"vm\",\"id\":\"f\",\"name\":\"" A128
		       "\",\"boot_id\":\"b\",\"patience_ms\":8000")),
	  FAILURE_BAD_REQUEST, "\"name\"" },
	{ "ports below nothing", SAY(GREETING("\"protocol\":1," ITSELF ",\"patience_ms\":8000,\"ports\":-1")), FAILURE_BAD_REQUEST,
	  "\"ports\"" },
	{ "a refusal in words of another version", SAY("{\"type\":\"refused\",\"code\":17,\"text\":[]}"), FAILURE_INTERNAL, NULL },
	{ "a refusal that a terminal obeys", SAY("{\"type\":\"refused\",\"code\":\"busy\",\"text\":\"\\u001b]0;x\\u0007 full\"}"),
	  FAILURE_BUSY, "?]0;x? full" },
	/* behind hello */
	{ "hello twice", HELLO HELLO, FAILURE_BAD_REQUEST, "hello twice" },
	{ "hello once more when it is up", UP HELLO, FAILURE_BAD_REQUEST, "hello twice" },
	{ "an answer before the question", HELLO SAY("{\"type\":\"synced\",\"seq\":9,\"keep\":[]}"), FAILURE_BAD_REQUEST,
	  "a sync that there was not" },
	{ "an answer to sync 0", HELLO "hear sync\n" SAY("{\"type\":\"synced\",\"seq\":0,\"keep\":[]}"), FAILURE_BAD_REQUEST,
	  "a sync that there was not" },
	{ "an answer without a number", HELLO "hear sync\n" SAY("{\"type\":\"synced\",\"keep\":[]}"), FAILURE_BAD_REQUEST, "\"seq\"" },
	{ "an answer of -1", HELLO "hear sync\n" SAY("{\"type\":\"synced\",\"seq\":-1,\"keep\":[]}"), FAILURE_BAD_REQUEST, "\"seq\"" },
	{ "an answer without a list", HELLO "hear sync\n" SAY("{\"type\":\"synced\",\"seq\":1}"), FAILURE_BAD_REQUEST, "\"keep\"" },
	{ "an answer that keeps numbers", HELLO "hear sync\n" SAY("{\"type\":\"synced\",\"seq\":1,\"keep\":[1]}"), FAILURE_BAD_REQUEST,
	  "\"id\"" },
	{ "an answer that keeps null", HELLO "hear sync\n" SAY("{\"type\":\"synced\",\"seq\":1,\"keep\":[null]}"), FAILURE_BAD_REQUEST,
	  "\"id\"" },
	{ "an answer that keeps a path", HELLO "hear sync\n" SAY("{\"type\":\"synced\",\"seq\":1,\"keep\":[\"../a\"]}"),
	  FAILURE_BAD_REQUEST, "\"id\"" },
	/* while it is up: what only a Pi may say */
	{ "sync", UP SAY("{\"type\":\"sync\",\"seq\":1,\"offers\":[]}"), FAILURE_BAD_REQUEST, "only a Pi may send" },
	{ "connect",
	  UP SAY("{\"type\":\"connect\",\"offer\":{\"id\":\"a\",\"busid\":\"1-1\",\"devid\":65537,\"speed\":12,\"vid\":1,\"pid\":1,\"bcd\":1,\"serial\":\"\","
		 "\"manufacturer\":\"\",\"product\":\"\"}}"),
	  FAILURE_BAD_REQUEST, "only a Pi may send" },
	{ "disconnect", UP SAY("{\"type\":\"disconnect\",\"id\":\"a-1\",\"reason\":\"\"}"), FAILURE_BAD_REQUEST, "only a Pi may send" },
	{ "beat", UP SAY("{\"type\":\"beat\"}"), FAILURE_BAD_REQUEST, "only a Pi may send" },
	{ "ping", UP SAY("{\"type\":\"ping\",\"seq\":1}"), FAILURE_BAD_REQUEST, "only a Pi may send" },
	{ "spare", UP SAY("{\"type\":\"spare\"}"), FAILURE_BAD_REQUEST, "only a Pi may send" },
	{ "stream", UP SAY("{\"type\":\"stream\",\"offer\":\"a-1\"}"), FAILURE_BAD_REQUEST, "only a Pi may send" },
	{ "unpair", UP SAY("{\"type\":\"unpair\"}"), FAILURE_BAD_REQUEST, "only a Pi may send" },
	/* fields */
	{ "a pong without a number", UP SAY("{\"type\":\"pong\"}"), FAILURE_BAD_REQUEST, "\"seq\"" },
	{ "a pong of 2^63", UP SAY("{\"type\":\"pong\",\"seq\":9223372036854775808}"), FAILURE_BAD_REQUEST, "no JSON object" },
	{ "a pong of 1e3", UP SAY("{\"type\":\"pong\",\"seq\":1e3}"), FAILURE_BAD_REQUEST, "\"seq\"" },
	{ "attached without a port", UP SAY(ATTACHED("\"busid\":\"1-1\",\"nodes\":[],\"links\":[],\"steps_ms\":{}")), FAILURE_BAD_REQUEST,
	  "\"port\"" },
	{ "attached at port -1", UP SAY(ATTACHED("\"port\":-1,\"busid\":\"1-1\",\"nodes\":[],\"links\":[],\"steps_ms\":{}")),
	  FAILURE_BAD_REQUEST, "\"port\"" },
	{ "attached at port 2^32", UP SAY(ATTACHED("\"port\":4294967296,\"busid\":\"1-1\",\"nodes\":[],\"links\":[],\"steps_ms\":{}")),
	  FAILURE_BAD_REQUEST, "\"port\"" },
	{ "attached at no bus id", UP SAY(ATTACHED("\"port\":1,\"busid\":\"../1\",\"nodes\":[],\"links\":[],\"steps_ms\":{}")),
	  FAILURE_BAD_REQUEST, "\"busid\"" },
	{ "attached with a node that is a number",
	  UP SAY(ATTACHED("\"port\":1,\"busid\":\"1-1\",\"nodes\":[1],\"links\":[],\"steps_ms\":{}")), FAILURE_BAD_REQUEST, "\"nodes\"" },
	{ "attached with a node that does not end",
	  UP SAY(ATTACHED("\"port\":1,\"busid\":\"1-1\",\"nodes\":[\"/dev/" A128 "\"],\"links\":[],\"steps_ms\":{}")), FAILURE_BAD_REQUEST,
	  "\"nodes\"" },
	{ "attached with 33 links",
	  UP SAY(ATTACHED(
		  "\"port\":1,\"busid\":\"1-1\",\"nodes\":[],\"links\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\","
		  "\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"],\"steps_ms\":{}")),
	  FAILURE_BAD_REQUEST, "\"links\"" },
	{ "attached with steps of words",
	  UP SAY(ATTACHED("\"port\":1,\"busid\":\"1-1\",\"nodes\":[],\"links\":[],\"steps_ms\":{\"attach\":\"x\"}")), FAILURE_BAD_REQUEST,
	  "\"steps_ms\"" },
	{ "attached of a path",
	  UP SAY("{\"type\":\"attached\",\"id\":\"/etc\",\"port\":1,\"busid\":\"1-1\",\"nodes\":[],\"links\":[],\"steps_ms\":{}}"),
	  FAILURE_BAD_REQUEST, "\"id\"" },
	{ "failed without a reason", UP SAY("{\"type\":\"failed\",\"id\":\"a-1\"}"), FAILURE_BAD_REQUEST, "\"code\"" },
	{ "failed for reasons of its own", UP SAY("{\"type\":\"failed\",\"id\":\"a-1\",\"code\":\"busy\",\"text\":[],\"cure\":\"\"}"),
	  FAILURE_BAD_REQUEST, "\"text\"" },
	{ "detached without an id", UP SAY("{\"type\":\"detached\",\"reason\":\"\"}"), FAILURE_BAD_REQUEST, "\"id\"" },
	{ "detached for a reason that does not end", UP SAY("{\"type\":\"detached\",\"id\":\"a-1\",\"reason\":\"" A128 "\"}"),
	  FAILURE_BAD_REQUEST, "\"reason\"" },
	{ "unknown what", UP SAY("{\"type\":\"unknown\"}"), FAILURE_BAD_REQUEST, "\"of\"" },
	{ "two lines in one", UP SAY("{\"type\":\"pong\",\"seq\":1}{\"type\":\"pong\",\"seq\":1}"), FAILURE_BAD_REQUEST, "no JSON object" },
	{ "a line without end, later", UP "flood\n", FAILURE_BAD_REQUEST, "" },
	{ "the end of what it said, cut off", UP "raw {\"type\":\"det\nend\n", FAILURE_NONE, NULL },
};

static struct link_bed bed;
static size_t memory_before;

static void setup(void)
{
	link_bed_setup(&bed);
	daemon_watch_begin();
	memory_before = daemon_watch_memory();
}

static void teardown(void)
{
	daemon_watch_end();
	link_bed_teardown(&bed);
}

static void expect_memory(void)
{
	size_t now = daemon_watch_memory();

	ck_assert_msg(now < memory_before + MEMORY_MAX, "%zu bytes more than before", now - memory_before);
}

static bool has_failed(void *userdata)
{
	(void)userdata;
	expect_memory();
	return link_bed_failure(&bed).code != FAILURE_NONE;
}

START_TEST(a_hijacked_vm_ends_the_link_by)
{
	const struct foul_row *row = &FOUL[_i];
	bool is_refusal = row->code == FAILURE_VERSION;
	_cleanup_free_ char *script = NULL;
	struct failure failure;

	ck_assert_int_gt(asprintf(&script, "%swait\n", row->script), 0);
	ssh_vm_script(&bed.vm, "control", script);
	link_configure(bed.link, &bed.vm.config);
	ck_assert(loop_until(bed.event, has_failed, NULL));
	failure = link_bed_failure(&bed);
	if (row->code == FAILURE_NONE) { /* an end like others: the channel is opened again */
		ck_assert_int_eq(failure.code, FAILURE_STREAM);
		ck_assert_int_eq(link_get_state(bed.link), LINK_SYNCING);
		return;
	}
	ck_assert_msg(failure.code == row->code, "%s: %s: %s", row->name, failure_code_to_string(failure.code), failure.text);
	ck_assert_msg(!row->text || strstr(failure.text, row->text), "%s: \"%s\"", row->name, failure.text);
	ck_assert_int_eq(link_get_state(bed.link), is_refusal ? LINK_REFUSED : LINK_DOWN);
	ck_assert_ptr_null(link_get_transport(bed.link));
	ck_assert_uint_eq(bed.n_lost, 1);
	ck_assert_msg(strstr(daemon_watch_log(), is_refusal ? "-> REFUSED" : "-> DOWN"), "%s", daemon_watch_log());
	ck_assert_ptr_nonnull(strstr(daemon_watch_log(), failure.text));
}
END_TEST

/* ---- what is endured ---- */

static const struct {
	const char *name, *says;
} ENDURED[] = {
	{ "what nobody knows", SAY("{\"type\":\"sing\",\"loud\":true}") },
	{ "a type that a terminal obeys", SAY("{\"type\":\"\\u001b[2J\"}") },
	{ "fields that nobody knows", SAY("{\"type\":\"pong\",\"seq\":17,\"color\":{\"red\":[]}}") },
	{ "pongs that nobody asked for",
	  SAY("{\"type\":\"pong\",\"seq\":99}") SAY("{\"type\":\"pong\",\"seq\":1}") SAY("{\"type\":\"pong\",\"seq\":1}") },
	{ "the same answer twice", SAY("{\"type\":\"synced\",\"seq\":1,\"keep\":[]}") },
	{ "that it keeps what was never offered", SAY("{\"type\":\"synced\",\"seq\":1,\"keep\":[\"x-1\",\"x-2\"]}") },
	{ "that it does not know what was never said", SAY("{\"type\":\"unknown\",\"of\":\"song\"}") },
	{ "an end of the pairing that nobody asked for", SAY("{\"type\":\"unpaired\"}") },
	{ "devices that were never offered",
	  SAY("{\"type\":\"attached\",\"id\":\"x-1\",\"port\":1,\"busid\":\"1-1\",\"nodes\":[\"/dev/ttyUSB0\"],\"links\":[],\"steps_ms\":{}}")
		  SAY("{\"type\":\"failed\",\"id\":\"x-1\",\"code\":\"gone\",\"text\":\"\",\"cure\":\"\"}")
			  SAY("{\"type\":\"detached\",\"id\":\"x-1\",\"reason\":\"\"}") },
	{ "words on stderr, for a terminal", "complain \033[2J\033]0;x\007\n" },
};

START_TEST(a_hijacked_vm_is_endured_when_it_says)
{
	_cleanup_free_ char *script = NULL;

	ck_assert_int_gt(asprintf(&script, UP "%s" SAY("{\"type\":\"resync\"}") "hear sync\nwait\n", ENDURED[_i].says), 0);
	ssh_vm_script(&bed.vm, "control", script);
	link_bed_come_up(&bed);
	link_bed_wait_heard(&bed, "\"seq\":2");
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
	ck_assert_uint_eq(bed.vm.n_connections, 1);
	ck_assert_ptr_null(strchr(daemon_watch_log(), '\033'));
	expect_memory();
}
END_TEST

/* Says the same again and again, and reads nothing or everything. */
static const struct {
	const char *name, *says, *end;
	bool is_lost; /* the Pi gives that VM up, because it does not read */
} FLOODS[] = {
	{ "wishes for a sync", "{\"type\":\"resync\"}", "wait\n", false },
	{ "wishes for a sync, and does not read", "{\"type\":\"resync\"}", "sleep\n", true },
	{ "what nobody knows, and does not read", "{\"type\":\"sing-and-dance-and-sing-and-dance\"}", "sleep\n", true },
	{ "pongs", "{\"type\":\"pong\",\"seq\":1}", "wait\n", false },
	{ "answers to the same sync", "{\"type\":\"synced\",\"seq\":1,\"keep\":[]}", "wait\n", false },
};

static bool has_flood_passed(void *userdata)
{
	bool is_lost = *(bool *)userdata;

	expect_memory();
	return is_lost ? bed.n_lost > 0 || link_bed_failure(&bed).code != FAILURE_NONE :
			 ssh_vm_count(&bed.vm, "control") > 0 && strstr(ssh_vm_heard(&bed.vm, "control"), "\"seq\":4711") != NULL;
}

START_TEST(a_hijacked_vm_floods_with)
{
	_cleanup_free_ char *script = NULL;
	bool is_lost = FLOODS[_i].is_lost;

	ck_assert_int_gt(asprintf(&script, UP "repeat 100000 %s\n%s", FLOODS[_i].says, FLOODS[_i].end), 0);
	bed.vm.config.patience_ms = 2000;
	ssh_vm_script(&bed.vm, "control", script);
	link_bed_come_up(&bed);
	for (unsigned i = 0; i < 40 && !is_lost; i++) {
		loop_for(bed.event, 50000);
		expect_memory();
	}
	ck_assert(!is_lost || loop_until(bed.event, has_flood_passed, &is_lost));
	ck_assert_uint_lt(strlen(daemon_watch_log()), 100000);
	expect_memory();
}
END_TEST

/* ---- a stream's answer: that device fails, the other one does not notice ---- */

static const struct {
	const char *name, *script;
	enum failure_code code;
	const char *text;
} ANSWERS[] = {
	{ "nothing, and an end", "end\n", FAILURE_STREAM, "ended the channel" },
	{ "words on stderr, and an end", "complain \033[2Jfull\nend\n", FAILURE_STREAM, "?[2Jfull" },
	{ "an empty line", "say \nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "ok", "say ok\nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "OK and a blank", "say OK \nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "OK and a carriage return", "say OK\r\nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "OK and a NUL", "raw OK\\0\\n\nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "OKOK", "say OKOK\nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "NO alone", "say NO\nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "NO and a list", "say NO []\nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "NO and half an object", "say NO {\"code\":\nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "NO and a key twice", "say NO {\"code\":\"busy\",\"code\":\"gone\"}\nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "NO and a code that there is not", "say NO {\"code\":\"sing\",\"text\":\"x\",\"cure\":\"\"}\nwait\n", FAILURE_INTERNAL, "x" },
	{ "NO and numbers", "say NO {\"code\":1,\"text\":2}\nwait\n", FAILURE_INTERNAL, "" },
	{ "NO and words for a terminal", "say NO {\"code\":\"busy\",\"text\":\"\\u001b[31m\",\"cure\":\"\\u0007\"}\nwait\n", FAILURE_BUSY,
	  "?[31m" },
	{ "a message of the control channel", "say {\"type\":\"attached\",\"id\":\"a-1\"}\nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
	{ "a line of 2,048 bytes", "fill 2048\nsay OK\nwait\n", FAILURE_BAD_REQUEST, "too long" },
	{ "a line without end", "flood\n", FAILURE_BAD_REQUEST, "too long" },
	{ "what it heard", "say {\"offer\":\"a-1\",\"type\":\"stream\"}\nwait\n", FAILURE_BAD_REQUEST, "OK or NO" },
};

static struct pi_bed pi;

static void setup_devices(void)
{
	pi_bed_setup_up(&pi);
	fake_kernel_plug(&pi.kernel, "1-1", &FT232R);
	pi_bed_wait(&pi, "1-1", "ATTACHED");
	daemon_watch_begin();
	memory_before = daemon_watch_memory();
}

static void teardown_devices(void)
{
	daemon_watch_end();
	pi_bed_teardown(&pi);
}

static void expect_other_unharmed(void)
{
	ck_assert_str_eq(pi_bed_field(&pi, "1-1", "state"), "ATTACHED");
	ck_assert_str_eq(fake_kernel_driver(&pi.kernel, "1-1"), "usbip-host");
	ck_assert_uint_eq(pi.vm.n_connections, 1);
	expect_memory();
}

static struct failure device_error(const char *busid)
{
	_cleanup_json_ json_t *status = pi_bed_status(&pi);
	struct failure failure = { .code = FAILURE_NONE };
	const json_t *device;
	size_t i;

	json_array_foreach(json_object_get(status, "devices"), i, device)
		if (strcmp(json_string_value(json_object_get(device, "busid")), busid) == 0 &&
		    json_is_object(json_object_get(device, "error")))
			failure_from_json(json_object_get(device, "error"), &failure);
	return failure;
}

static bool has_second_failed(struct pi_bed *own)
{
	(void)own;
	return device_error("1-2").code != FAILURE_NONE;
}

START_TEST(a_hijacked_vm_answers_a_stream_with)
{
	struct failure failure;

	ssh_vm_script(&pi.vm, "stream", ANSWERS[_i].script);
	fake_kernel_plug(&pi.kernel, "1-2", &CP2102);
	pi_bed_until(&pi, has_second_failed, "the second device to fail");
	failure = device_error("1-2");
	ck_assert_msg(failure.code == ANSWERS[_i].code, "%s: %s: %s", ANSWERS[_i].name, failure_code_to_string(failure.code), failure.text);
	ck_assert_msg(strstr(failure.text, ANSWERS[_i].text), "%s: \"%s\"", ANSWERS[_i].name, failure.text);
	ck_assert_msg(strstr(daemon_watch_log(), "1-2: "), "%s", daemon_watch_log());
	ck_assert_ptr_null(strchr(daemon_watch_log(), '\033'));
	expect_other_unharmed();
}
END_TEST

/* ---- about devices: what it says of one is about that one ---- */

static const struct {
	const char *name, *says; /* %s is the second device's offer */
	const char *state;
	enum failure_code code;
} ABOUT[] = {
	{ "attached, elsewhere",
	  "{\"type\":\"attached\",\"id\":\"%s\",\"port\":4294967295,\"busid\":\"9-9\",\"nodes\":[],\"links\":[],\"steps_ms\":{}}\n",
	  "ATTACHED", FAILURE_NONE },
	{ "attached, with nodes for a terminal",
	  "{\"type\":\"attached\",\"id\":\"%s\",\"port\":1,\"busid\":\"1-1\",\"nodes\":[\"\\u001b[2J\"],\"links\":[\"<b>\"],\"steps_ms\":{\"\\u001b\":1e308}}\n",
	  "ATTACHED", FAILURE_NONE },
	{ "failed, for a person to mend",
	  "{\"type\":\"failed\",\"id\":\"%s\",\"code\":\"identity\",\"text\":\"\\u001b[2J\",\"cure\":\"\"}\n", "FAILED", FAILURE_IDENTITY },
	{ "failed, twice",
	  "{\"type\":\"failed\",\"id\":\"%1$s\",\"code\":\"identity\",\"text\":\"\",\"cure\":\"\"}\n{\"type\":\"failed\",\"id\":\"%1$s\",\"code\":\"not-accepted\",\"text\":\"\",\"cure\":\"\"}\n",
	  "FAILED", FAILURE_IDENTITY },
	{ "failed, with a code of the link", "{\"type\":\"failed\",\"id\":\"%s\",\"code\":\"host-key\",\"text\":\"\",\"cure\":\"\"}\n",
	  "FAILED", FAILURE_HOST_KEY },
	{ "detached by hand, twice",
	  "{\"type\":\"detached\",\"id\":\"%1$s\",\"reason\":\"by hand on the VM\"}\n{\"type\":\"detached\",\"id\":\"%1$s\",\"reason\":\"by hand on the VM\"}\n",
	  "IGNORED", FAILURE_NONE },
	{ "attached, when it has failed",
	  "{\"type\":\"failed\",\"id\":\"%1$s\",\"code\":\"identity\",\"text\":\"\",\"cure\":\"\"}\n{\"type\":\"attached\",\"id\":\"%1$s\",\"port\":1,\"busid\":\"1-1\",\"nodes\":[],\"links\":[],\"steps_ms\":{}}\n",
	  "FAILED", FAILURE_IDENTITY },
	{ "nothing, but of the pairing", "{\"type\":\"unpaired\",\"of\":\"%s\"}\n{\"type\":\"unknown\",\"of\":\"unpair\"}\n", "ATTACHED",
	  FAILURE_NONE },
};

static bool has_answered_marker(struct pi_bed *own)
{
	return ssh_vm_count_heard(&own->vm, "\"of\":\"marker\"") > 0;
}

START_TEST(a_hijacked_vm_says_of_a_device_that_it_is)
{
	bool is_streaming;
	char words[1024];

	fake_kernel_plug(&pi.kernel, "1-2", &CP2102);
	pi_bed_wait(&pi, "1-2", "ATTACHED");
	daemon_watch_mark();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(words, sizeof(words) - 32, ABOUT[_i].says, device_offer_id(pi_bed_device(&pi, "1-2"), &is_streaming));
#pragma GCC diagnostic pop
	strcat(words, "{\"type\":\"marker\"}\n");
	ssh_vm_say_now(&pi.vm, words);
	pi_bed_until(&pi, has_answered_marker, "all of that to be read");
	pi_bed_wait(&pi, "1-2", ABOUT[_i].state);
	ck_assert_msg(device_error("1-2").code == ABOUT[_i].code, "%s: %s", ABOUT[_i].name, device_error("1-2").text);
	ck_assert_ptr_null(strchr(daemon_watch_log(), '\033'));
	expect_other_unharmed();
	pi_bed_wait_link(&pi, "UP");
}
END_TEST

int main(int argc, char **argv)
{
	TCase *control = tcase_create("control"), *devices = tcase_create("devices");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(control, setup, teardown);
	tcase_add_checked_fixture(devices, setup_devices, teardown_devices);
	tcase_add_loop_test(control, a_hijacked_vm_ends_the_link_by, 0, ARRAY_SIZE(FOUL));
	tcase_add_loop_test(control, a_hijacked_vm_is_endured_when_it_says, 0, ARRAY_SIZE(ENDURED));
	tcase_add_loop_test(control, a_hijacked_vm_floods_with, 0, ARRAY_SIZE(FLOODS));
	tcase_add_loop_test(devices, a_hijacked_vm_answers_a_stream_with, 0, ARRAY_SIZE(ANSWERS));
	tcase_add_loop_test(devices, a_hijacked_vm_says_of_a_device_that_it_is, 0, ARRAY_SIZE(ABOUT));
	return check_program_run("pi_hijacked", control, devices, NULL);
}
