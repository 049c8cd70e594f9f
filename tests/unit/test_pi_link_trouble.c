/* The link when the VM, its sshd, its handler or the wire are not as they should be. */

#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "link_bed.h"
#include "link_internal.h"

#define PROTOCOL_HELLO \
	"say {\"type\":\"hello\",\"protocol\":1,\"software\":\"t\",\"role\":\"vm\",\"id\":\"f\",\"name\":\"v\",\"boot_id\":\"b\",\"patience_ms\":8000}\n"
#define SYNCED "hear sync\nsay {\"type\":\"synced\",\"seq\":1,\"keep\":[]}\n"

static struct link_bed bed;

static void setup(void)
{
	link_bed_setup(&bed);
}

static void teardown(void)
{
	link_bed_teardown(&bed);
}

/* ---- nonsense ---- */

static const struct {
	const char *script, *text;
} NONSENSE[] = {
	{ "say SSH-2.0-what\n", "no JSON object" },
	{ "say {}\n", "without a type" },
	{ "raw \\0\\0\\0\\n\nwait\n", "NUL byte" },
	{ "raw \xff\xfe\xfd\\n\nwait\n", "no JSON object" },
	{ "say {\"type\":\"hello\"}\nwait\n", "protocol" },
	{ PROTOCOL_HELLO SYNCED "say {\"type\":\"pong\"}\nwait\n", "seq" },
	{ PROTOCOL_HELLO SYNCED "say {\"type\":\"attached\",\"id\":\"../x\"}\nwait\n", "id" },
	{ PROTOCOL_HELLO SYNCED "say {\"type\":\"sync\",\"seq\":1,\"offers\":[]}\nwait\n", "only a Pi may send" },
	{ PROTOCOL_HELLO SYNCED "say {\"type\":\"ping\",\"seq\":1}\nwait\n", "only a Pi may send" },
	{ PROTOCOL_HELLO SYNCED "say {\"type\":\"spare\"}\nwait\n", "only a Pi may send" },
	{ PROTOCOL_HELLO SYNCED "say {\"type\":\"stream\",\"offer\":\"a-1\"}\nwait\n", "only a Pi may send" },
	{ PROTOCOL_HELLO SYNCED "say {\"type\":\"disconnect\",\"id\":\"a-1\",\"reason\":\"\"}\nwait\n", "only a Pi may send" },
	{ PROTOCOL_HELLO SYNCED
	  "say {\"type\":\"connect\",\"offer\":{\"id\":\"a\",\"busid\":\"1-1\",\"devid\":1,\"speed\":12,\"vid\":1,\"pid\":1,\"bcd\":1,"
	  "\"serial\":\"\",\"manufacturer\":\"\",\"product\":\"\"}}\nwait\n",
	  "only a Pi may send" },
	{ "fill 70000\nwait\n", "too long" },
	{ PROTOCOL_HELLO SYNCED "fill 70000\nwait\n", "too long" },
	{ "flood\n", "" },
	{ PROTOCOL_HELLO SYNCED "flood\n", "" },
};

START_TEST(a_vm_that_makes_no_sense_ends_the_link_with_the_reason)
{
	ssh_vm_script(&bed.vm, "control", NONSENSE[_i].script);
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_expect_failure(&bed, FAILURE_BAD_REQUEST);
	ck_assert_msg(strstr(link_bed_failure(&bed).text, NONSENSE[_i].text), "\"%s\"", link_bed_failure(&bed).text);
	ck_assert_uint_eq(bed.n_lost, 1);
	ck_assert_ptr_null(link_get_transport(bed.link));
	ck_assert_ptr_null(strstr(bed.states, "REFUSED"));
}
END_TEST

static bool has_flooded(void *userdata)
{
	_cleanup_json_ json_t *object = link_to_json(bed.link);
	uint64_t *most = userdata;
	uint64_t in = (uint64_t)json_integer_value(json_object_get(object, "bytes_in"));

	*most = in > *most ? in : *most;
	return link_get_state(bed.link) == LINK_DOWN;
}

START_TEST(an_endless_line_is_given_up_after_a_few_of_its_bytes)
{
	uint64_t most = 0;

	ssh_vm_script(&bed.vm, "control", "flood\n");
	link_configure(bed.link, &bed.vm.config);
	ck_assert(loop_until(bed.event, has_flooded, &most));
	ck_assert_uint_lt(most, 4 * 1024 * 1024);
}
END_TEST

/* ---- refusals ---- */

/* Nobody knocks at the VM's door for a while in which a link that is DOWN would do so. */
static void expect_no_further_try(void)
{
	unsigned n = bed.vm.n_connections;

	loop_for(bed.event, 1500000);
	ck_assert_uint_eq(bed.vm.n_connections, n);
}

START_TEST(another_version_is_a_refusal_that_names_both)
{
	ssh_vm_script(&bed.vm, "control", "say {\"type\":\"hello\",\"protocol\":2}\nwait\n");
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_REFUSED);
	link_bed_expect_failure(&bed, FAILURE_VERSION);
	ck_assert_str_eq(link_bed_failure(&bed).text, "the VM speaks protocol 2, this Pi 1");
	expect_no_further_try();
}
END_TEST

START_TEST(a_vm_that_can_not_speak_this_version_says_so)
{
	ssh_vm_script(&bed.vm, "control", "say {\"type\":\"refused\",\"code\":\"version\",\"text\":\"too old\",\"cure\":\"Upgrade.\"}\n");
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_REFUSED);
	link_bed_expect_failure(&bed, FAILURE_VERSION);
	ck_assert_str_eq(link_bed_failure(&bed).cure, "Upgrade.");
}
END_TEST

START_TEST(a_refusal_that_time_may_mend_is_tried_again)
{
	ssh_vm_script(&bed.vm, "control",
		      "say {\"type\":\"refused\",\"code\":\"no-module\",\"text\":\"vhci_hcd is not loaded\",\"cure\":\"Load it.\"}\n");
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_expect_failure(&bed, FAILURE_NO_MODULE);
	ssh_vm_script(&bed.vm, "control", "serve\n");
	link_bed_wait(&bed, LINK_UP);
}
END_TEST

START_TEST(a_changed_host_key_is_refused_and_never_tried_again)
{
	ssh_vm_change_host_key(&bed.vm, "ed25519");
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_REFUSED);
	link_bed_expect_failure(&bed, FAILURE_HOST_KEY);
	ck_assert_str_eq(bed.states, "UNPAIRED CONNECTING AUTHENTICATING REFUSED ");
	expect_no_further_try();
	link_kick(bed.link, false); /* a plug, a knock */
	expect_no_further_try();
	ck_assert_int_eq(link_get_state(bed.link), LINK_REFUSED);
	ck_assert_uint_eq(bed.vm.n_connections, 1);
	ck_assert_str_eq(ssh_vm_heard(&bed.vm, "control"), ""); /* not even a login */
}
END_TEST

START_TEST(a_host_key_that_changes_while_the_link_is_up_is_refused_at_the_next_connection)
{
	link_bed_come_up(&bed);
	ssh_vm_change_host_key(&bed.vm, "ed25519");
	ssh_vm_kill(&bed.vm);
	link_bed_wait(&bed, LINK_REFUSED);
	link_bed_expect_failure(&bed, FAILURE_HOST_KEY);
}
END_TEST

START_TEST(a_host_key_of_another_type_is_a_changed_one)
{
	ssh_vm_change_host_key(&bed.vm, "ecdsa");
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_REFUSED);
	link_bed_expect_failure(&bed, FAILURE_HOST_KEY);
}
END_TEST

START_TEST(a_person_may_try_again_after_a_changed_host_key)
{
	ssh_vm_change_host_key(&bed.vm, "ed25519");
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_REFUSED);
	link_kick(bed.link, true);
	link_bed_wait(&bed, LINK_AUTHENTICATING);
	link_bed_wait(&bed, LINK_REFUSED);
	ck_assert_uint_eq(bed.vm.n_connections, 2);
}
END_TEST

START_TEST(a_key_that_is_not_accepted_is_a_refusal_with_the_cure)
{
	_cleanup_json_ json_t *object = NULL;

	ssh_vm_deauthorize(&bed.vm);
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_REFUSED);
	link_bed_expect_failure(&bed, FAILURE_LOGIN);
	ck_assert_ptr_nonnull(strstr(link_bed_failure(&bed).cure, "usbpush-vm authorize"));
	/* the VM's side can mend that: tried again by itself, but rarely */
	object = link_to_json(bed.link);
	ck_assert_int_gt(json_integer_value(json_object_get(object, "next_try_ms")), 20000);
	expect_no_further_try();
}
END_TEST

START_TEST(a_pis_key_that_can_not_be_read_is_told)
{
	temp_tree_put(&bed.vm.tree, "id_ed25519", "no key\n");
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_expect_failure(&bed, FAILURE_INTERNAL);
	ck_assert_ptr_nonnull(strstr(link_bed_failure(&bed).text, "key"));
}
END_TEST

/* ---- down ---- */

/* Bound but not listening: nobody else can have it, and it refuses. The socket is the caller's. */
static int closed_port(struct vm_config *config)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	config->port = ntohs(address.sin_port);
	return fd;
}

START_TEST(a_closed_port_is_told_and_tried_again)
{
	struct vm_config config = bed.vm.config;
	_cleanup_close_ __attribute__((unused)) int fd = closed_port(&config);

	link_configure(bed.link, &config);
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_expect_failure(&bed, FAILURE_UNREACHABLE);
	ck_assert_ptr_nonnull(strstr(link_bed_failure(&bed).cure, "sshd"));
	link_bed_wait(&bed, LINK_CONNECTING);
}
END_TEST

static long long next_try_msec(void)
{
	_cleanup_json_ json_t *object = link_to_json(bed.link);

	return json_integer_value(json_object_get(object, "next_try_ms"));
}

/* The fifth wait of a backoff would be between two and four seconds. */
START_TEST(a_vm_that_boots_is_asked_again_and_again)
{
	struct vm_config config = bed.vm.config;
	_cleanup_close_ __attribute__((unused)) int fd = closed_port(&config);

	link_configure(bed.link, &config);
	for (unsigned i = 0; i < 6; i++) {
		link_bed_wait(&bed, LINK_DOWN);
		ck_assert_int_le(next_try_msec(), 250);
		ck_assert_int_eq(link_is_repeating(bed.link), i > 0);
		link_bed_wait(&bed, LINK_CONNECTING);
	}
}
END_TEST

START_TEST(a_vm_without_sshd_is_asked_more_and_more_seldom)
{
	struct vm_config config = bed.vm.config;
	_cleanup_close_ __attribute__((unused)) int fd = closed_port(&config);

	link_configure(bed.link, &config);
	for (unsigned i = 0; i < 6; i++) {
		link_bed_wait(&bed, LINK_DOWN);
		bed.link->refused_usec = clock_now_usec() - 200 * UINT64_C(1000000); /* longer ago than any boot takes */
		if (next_try_msec() > 500)
			return;
		link_bed_wait(&bed, LINK_CONNECTING);
	}
	ck_abort_msg("asked as often as one that boots");
}
END_TEST

START_TEST(a_name_that_nobody_knows_is_told)
{
	struct vm_config config = bed.vm.config;

	snprintf(config.host, sizeof(config.host), "no-such-host.invalid");
	link_configure(bed.link, &config);
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_expect_failure(&bed, FAILURE_UNREACHABLE);
	ck_assert_ptr_nonnull(strstr(link_bed_failure(&bed).text, "no-such-host.invalid"));
}
END_TEST

START_TEST(something_else_than_sshd_is_told)
{
	bed.vm.wire = _i ? WIRE_HTTP : WIRE_CLOSED;
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_expect_failure(&bed, FAILURE_UNREACHABLE);
}
END_TEST

START_TEST(a_vm_that_comes_back_is_found_again)
{
	bed.vm.wire = WIRE_CLOSED;
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_DOWN);
	bed.vm.wire = WIRE_SSHD;
	link_bed_wait(&bed, LINK_UP);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
}
END_TEST

START_TEST(a_kick_cuts_the_wait_short)
{
	bed.vm.wire = WIRE_CLOSED;
	link_configure(bed.link, &bed.vm.config);
	for (unsigned i = 0; i < 4; i++) {
		link_bed_wait(&bed, LINK_DOWN);
		link_bed_wait(&bed, LINK_CONNECTING);
	}
	link_bed_wait(&bed, LINK_DOWN); /* the next try is two to four seconds away */
	bed.vm.wire = WIRE_SSHD;
	link_kick(bed.link, false);
	ck_assert_int_eq(link_get_state(bed.link), LINK_CONNECTING);
	link_bed_wait(&bed, LINK_UP);
}
END_TEST

START_TEST(a_connection_that_dies_is_told_once_and_made_anew)
{
	link_bed_come_up(&bed);
	ssh_vm_kill(&bed.vm);
	link_bed_wait(&bed, LINK_DOWN);
	ck_assert_uint_eq(bed.n_lost, 1);
	link_bed_expect_failure(&bed, FAILURE_UNREACHABLE);
	link_bed_wait(&bed, LINK_UP);
	ck_assert_uint_eq(bed.n_lost, 1);
	ck_assert_uint_eq(bed.vm.n_connections, 2);
	ck_assert_int_eq(link_bed_failure(&bed).code, FAILURE_NONE);
}
END_TEST

START_TEST(a_vm_that_falls_silent_is_given_up_when_patience_ends)
{
	uint64_t begin;

	bed.vm.config.patience_ms = 600;
	ssh_vm_script(&bed.vm, "control", PROTOCOL_HELLO SYNCED "wait\n");
	link_bed_come_up(&bed);
	begin = bed.link->heard_usec;
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_expect_failure(&bed, FAILURE_TIMEOUT);
	ck_assert_uint_ge(clock_now_usec() - begin, 600000);
	ck_assert_uint_eq(bed.n_lost, 1);
}
END_TEST

START_TEST(a_vm_that_answers_pings_is_kept_beyond_patience)
{
	bed.vm.config.patience_ms = 1500; /* what its sshd and its player may take on a busy machine */
	link_bed_come_up(&bed);
	loop_for(bed.event, 4000000);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
	ck_assert_uint_eq(bed.vm.n_connections, 1);
}
END_TEST

/* A machine that sleeps: its clock goes on, its loop does not. */
static void sleep_beyond_patience(void)
{
	poll(NULL, 0, 3500);
}

START_TEST(a_pi_that_slept_asks_before_it_gives_the_vm_up)
{
	bed.vm.config.patience_ms = 1000;
	link_bed_come_up(&bed);
	sleep_beyond_patience();
	loop_for(bed.event, 1500000);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
	ck_assert_uint_eq(bed.n_lost, 0);
}
END_TEST

START_TEST(a_pi_that_slept_while_the_vm_went_away_connects_anew_at_once)
{
	uint64_t woke_usec;

	bed.vm.config.patience_ms = 1000;
	link_bed_come_up(&bed);
	ssh_vm_kill(&bed.vm);
	sleep_beyond_patience();
	woke_usec = clock_now_usec();
	link_bed_wait(&bed, LINK_DOWN);
	ck_assert_uint_lt(clock_now_usec() - woke_usec, 1000000 * test_slowness());
	link_bed_wait(&bed, LINK_UP);
	ck_assert_uint_eq(bed.n_lost, 1);
}
END_TEST

START_TEST(a_vm_that_never_answers_is_given_up_after_twenty_seconds)
{
	ssh_vm_script(&bed.vm, "control", "wait\n");
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_SYNCING);
	loop_for(bed.event, 12000000);
	ck_assert_int_eq(link_get_state(bed.link), LINK_SYNCING);
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_expect_failure(&bed, FAILURE_TIMEOUT);
	ck_assert_ptr_nonnull(strstr(link_bed_failure(&bed).text, "SYNCING"));
}
END_TEST

/* ---- a handler that is restarted ---- */

START_TEST(a_restarted_handler_costs_the_control_channel_and_nothing_else)
{
	struct transport *transport;

	ssh_vm_script(&bed.vm, "control", PROTOCOL_HELLO SYNCED "hear ping\nend\n");
	link_bed_come_up(&bed);
	transport = link_get_transport(bed.link);
	ssh_vm_script(&bed.vm, "control", "serve\n");
	link_bed_wait(&bed, LINK_SYNCING);
	ck_assert_ptr_eq(link_get_transport(bed.link), transport);
	link_bed_wait(&bed, LINK_UP);
	ck_assert_uint_eq(bed.n_lost, 0);
	ck_assert_uint_eq(bed.vm.n_connections, 1);
	ck_assert_uint_eq(ssh_vm_count(&bed.vm, "control"), 2);
	ck_assert_uint_eq(bed.n_syncs, 2);
}
END_TEST

START_TEST(a_handler_that_stays_away_costs_the_link_when_patience_ends)
{
	bed.vm.config.patience_ms = 3000; /* in which a busy machine starts some players, too */
	ssh_vm_script(&bed.vm, "control", PROTOCOL_HELLO SYNCED "hear ping\nend\n");
	link_bed_come_up(&bed);
	ssh_vm_script(&bed.vm, "control", "end\n");
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_expect_failure(&bed, FAILURE_STREAM);
	ck_assert_uint_eq(bed.n_lost, 1);
	ck_assert_uint_gt(ssh_vm_count(&bed.vm, "control"), 2); /* tried again meanwhile */
}
END_TEST

START_TEST(a_handler_that_is_not_there_at_first_is_told_with_its_own_words)
{
	ssh_vm_script(&bed.vm, "control", "complain usbpush-handler is not running\nend\n");
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_expect_failure(&bed, FAILURE_STREAM);
	ck_assert_str_eq(link_bed_failure(&bed).text, "usbpush-handler is not running");
}
END_TEST

int main(int argc, char **argv)
{
	TCase *nonsense = tcase_create("nonsense"), *refusals = tcase_create("refusals"), *down = tcase_create("down"),
	      *restarts = tcase_create("restarts");
	TCase *const all[] = { nonsense, refusals, down, restarts };

	ssh_vm_play(argc, argv);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		tcase_add_checked_fixture(all[i], setup, teardown);
		tcase_set_timeout(all[i], 60);
	}
	tcase_add_loop_test(nonsense, a_vm_that_makes_no_sense_ends_the_link_with_the_reason, 0, ARRAY_SIZE(NONSENSE));
	tcase_add_test(nonsense, an_endless_line_is_given_up_after_a_few_of_its_bytes);
	tcase_add_test(refusals, another_version_is_a_refusal_that_names_both);
	tcase_add_test(refusals, a_vm_that_can_not_speak_this_version_says_so);
	tcase_add_test(refusals, a_refusal_that_time_may_mend_is_tried_again);
	tcase_add_test(refusals, a_changed_host_key_is_refused_and_never_tried_again);
	tcase_add_test(refusals, a_host_key_that_changes_while_the_link_is_up_is_refused_at_the_next_connection);
	tcase_add_test(refusals, a_host_key_of_another_type_is_a_changed_one);
	tcase_add_test(refusals, a_person_may_try_again_after_a_changed_host_key);
	tcase_add_test(refusals, a_key_that_is_not_accepted_is_a_refusal_with_the_cure);
	tcase_add_test(refusals, a_pis_key_that_can_not_be_read_is_told);
	tcase_add_test(down, a_closed_port_is_told_and_tried_again);
	tcase_add_test(down, a_vm_that_boots_is_asked_again_and_again);
	tcase_add_test(down, a_vm_without_sshd_is_asked_more_and_more_seldom);
	tcase_add_test(down, a_name_that_nobody_knows_is_told);
	tcase_add_loop_test(down, something_else_than_sshd_is_told, 0, 2);
	tcase_add_test(down, a_vm_that_comes_back_is_found_again);
	tcase_add_test(down, a_kick_cuts_the_wait_short);
	tcase_add_test(down, a_connection_that_dies_is_told_once_and_made_anew);
	tcase_add_test(down, a_vm_that_falls_silent_is_given_up_when_patience_ends);
	tcase_add_test(down, a_vm_that_answers_pings_is_kept_beyond_patience);
	tcase_add_test(down, a_pi_that_slept_asks_before_it_gives_the_vm_up);
	tcase_add_test(down, a_pi_that_slept_while_the_vm_went_away_connects_anew_at_once);
	tcase_add_test(down, a_vm_that_never_answers_is_given_up_after_twenty_seconds);
	tcase_add_test(restarts, a_restarted_handler_costs_the_control_channel_and_nothing_else);
	tcase_add_test(restarts, a_handler_that_stays_away_costs_the_link_when_patience_ends);
	tcase_add_test(restarts, a_handler_that_is_not_there_at_first_is_told_with_its_own_words);
	return check_program_run("pi_link_trouble", nonsense, refusals, down, restarts, NULL);
}
