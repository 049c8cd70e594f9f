/* The link to the VM as it should be, against a real sshd and a scripted handler behind it. */

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "link_bed.h"

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

/* ---- up ---- */

START_TEST(an_unpaired_link_does_nothing)
{
	const struct vm_config nobody = { .patience_ms = 8000 };

	link_configure(bed.link, &nobody);
	loop_for(bed.event, 100000);
	link_kick(bed.link, true);
	loop_for(bed.event, 100000);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UNPAIRED);
	ck_assert_uint_eq(bed.vm.n_connections, 0);
}
END_TEST

START_TEST(a_link_comes_up_step_by_step)
{
	link_bed_come_up(&bed);
	ck_assert_str_eq(bed.states, "UNPAIRED CONNECTING AUTHENTICATING SYNCING UP ");
	ck_assert_uint_eq(bed.vm.n_connections, 1);
	ck_assert_uint_eq(bed.n_syncs, 1);
	ck_assert_int_eq(link_bed_failure(&bed).code, FAILURE_NONE);
}
END_TEST

START_TEST(the_first_line_is_hello_and_the_second_sync)
{
	link_bed_come_up(&bed);
	ck_assert_ptr_eq(strstr(ssh_vm_heard(&bed.vm, "control"), "{\"protocol\":1"), ssh_vm_heard(&bed.vm, "control"));
	ck_assert_ptr_nonnull(strstr(ssh_vm_heard(&bed.vm, "control"), "\"role\":\"pi\""));
	ck_assert_ptr_nonnull(strstr(ssh_vm_heard(&bed.vm, "control"), "\"type\":\"hello\"}\n{\"seq\":1,\"offers\":["));
}
END_TEST

START_TEST(what_is_sent_too_early_does_not_go_before_hello)
{
	struct message disconnect = { .type = MESSAGE_DISCONNECT, .id = "a-1", .reason = "unplugged" };

	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_SYNCING);
	link_send(bed.link, &disconnect);
	link_bed_wait(&bed, LINK_UP);
	ck_assert_ptr_null(strstr(ssh_vm_heard(&bed.vm, "control"), "disconnect"));
}
END_TEST

START_TEST(what_the_vm_keeps_is_passed_on)
{
	link_bed_come_up(&bed);
	ck_assert_int_eq(atoi(bed.messages), MESSAGE_SYNCED);
}
END_TEST

static bool has_round_trip(void *userdata)
{
	_cleanup_json_ json_t *object = link_to_json(bed.link);

	(void)userdata;
	return json_is_number(json_object_get(object, "rtt_ms"));
}

START_TEST(the_status_tells_vm_address_steps_and_round_trip)
{
	_cleanup_json_ json_t *object = NULL;
	const json_t *steps;

	link_bed_come_up(&bed);
	ck_assert(loop_until(bed.event, has_round_trip, NULL));
	object = link_to_json(bed.link);
	steps = json_object_get(object, "steps_ms");
	ck_assert_str_eq(json_string_value(json_object_get(object, "vm")), "bench-vm");
	ck_assert_str_eq(json_string_value(json_object_get(object, "address")), "127.0.0.1");
	ck_assert_double_gt(json_number_value(json_object_get(object, "rtt_ms")), 0);
	ck_assert_uint_eq(json_object_size(steps), 5);
	ck_assert_double_lt(json_number_value(json_object_get(steps, "tcp")), json_number_value(json_object_get(steps, "sync")));
	ck_assert_int_gt(json_integer_value(json_object_get(object, "bytes_out")), 0);
}
END_TEST

START_TEST(a_round_trip_asked_for_is_a_new_one)
{
	link_bed_come_up(&bed);
	ck_assert(loop_until(bed.event, has_round_trip, NULL));
	link_ping(bed.link);
	ck_assert(!has_round_trip(NULL));
	ck_assert(loop_until(bed.event, has_round_trip, NULL));
}
END_TEST

START_TEST(the_vm_may_ask_for_a_sync)
{
	ssh_vm_script(&bed.vm, "control", PROTOCOL_HELLO SYNCED "say {\"type\":\"resync\"}\nhear sync\nwait\n");
	link_bed_come_up(&bed);
	link_bed_wait_heard(&bed, "\"seq\":2");
	ck_assert_uint_eq(bed.n_syncs, 2);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
}
END_TEST

START_TEST(a_type_that_is_not_known_is_answered_and_the_link_stays)
{
	ssh_vm_script(&bed.vm, "control",
		      PROTOCOL_HELLO SYNCED
		      "say {\"type\":\"teleport\",\"to\":17}\nsay {\"type\":\"unknown\",\"of\":\"ping\"}\nhear unknown\nwait\n");
	link_bed_come_up(&bed);
	link_bed_wait_heard(&bed, "\"of\":\"teleport\"");
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
}
END_TEST

START_TEST(messages_about_devices_are_passed_on_in_order)
{
	char expected[32];

	ssh_vm_script(&bed.vm, "control",
		      PROTOCOL_HELLO SYNCED
		      "say {\"type\":\"attached\",\"id\":\"a-1\",\"port\":1,\"busid\":\"1-1\",\"nodes\":[],\"links\":[],\"steps_ms\":{}}\n"
		      "say {\"type\":\"failed\",\"id\":\"a-2\",\"code\":\"identity\",\"text\":\"t\",\"cure\":\"\"}\n"
		      "say {\"type\":\"detached\",\"id\":\"a-1\",\"reason\":\"r\"}\nsay {\"type\":\"resync\"}\nhear sync\nwait\n");
	link_bed_come_up(&bed);
	link_bed_wait_heard(&bed, "\"seq\":2");
	snprintf(expected, sizeof(expected), "%d %d %d %d ", MESSAGE_SYNCED, MESSAGE_ATTACHED, MESSAGE_FAILED, MESSAGE_DETACHED);
	ck_assert_str_eq(bed.messages, expected);
}
END_TEST

/* ---- life ---- */

START_TEST(a_link_may_be_ended_at_any_moment)
{
	link_configure(bed.link, &bed.vm.config);
	for (int i = 0; i < _i * 4 && link_get_state(bed.link) != LINK_UP; i++)
		ck_assert_int_ge(sd_event_run(bed.event, 20000), 0);
	/* teardown frees it, counts file descriptors, and ASan looks */
}
END_TEST

START_TEST(a_link_may_be_given_another_vm_at_any_moment)
{
	const struct vm_config nobody = { .patience_ms = 8000 };

	link_configure(bed.link, &bed.vm.config);
	for (int i = 0; i < _i * 4 && link_get_state(bed.link) != LINK_UP; i++)
		ck_assert_int_ge(sd_event_run(bed.event, 20000), 0);
	link_configure(bed.link, &nobody);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UNPAIRED);
	ck_assert_ptr_null(link_get_transport(bed.link));
	loop_for(bed.event, 50000);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UNPAIRED);
	link_bed_come_up(&bed);
}
END_TEST

START_TEST(five_connections_one_after_the_other_leave_nothing_behind)
{
	unsigned fds;

	link_bed_come_up(&bed);
	fds = count_fds();
	for (unsigned i = 0; i < 5; i++) {
		ssh_vm_kill(&bed.vm);
		link_bed_wait(&bed, LINK_DOWN);
		link_kick(bed.link, false);
		link_bed_wait(&bed, LINK_UP);
	}
	expect_fds(fds);
	ck_assert_uint_eq(bed.n_lost, 5);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *up = tcase_create("up"), *life = tcase_create("life");
	TCase *const all[] = { up, life };

	ssh_vm_play(argc, argv);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		tcase_add_checked_fixture(all[i], setup, teardown);
		tcase_set_timeout(all[i], 60);
	}
	tcase_add_test(up, an_unpaired_link_does_nothing);
	tcase_add_test(up, a_link_comes_up_step_by_step);
	tcase_add_test(up, the_first_line_is_hello_and_the_second_sync);
	tcase_add_test(up, what_is_sent_too_early_does_not_go_before_hello);
	tcase_add_test(up, what_the_vm_keeps_is_passed_on);
	tcase_add_test(up, the_status_tells_vm_address_steps_and_round_trip);
	tcase_add_test(up, a_round_trip_asked_for_is_a_new_one);
	tcase_add_test(up, the_vm_may_ask_for_a_sync);
	tcase_add_test(up, a_type_that_is_not_known_is_answered_and_the_link_stays);
	tcase_add_test(up, messages_about_devices_are_passed_on_in_order);
	tcase_add_loop_test(life, a_link_may_be_ended_at_any_moment, 0, 9);
	tcase_add_loop_test(life, a_link_may_be_given_another_vm_at_any_moment, 0, 9);
	tcase_add_test(life, five_connections_one_after_the_other_leave_nothing_behind);
	return check_program_run("pi_link", up, life, NULL);
}
