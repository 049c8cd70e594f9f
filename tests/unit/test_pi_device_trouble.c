/* A device when the VM, the link, the kernel or a person come in between: the real exporter on a fake kernel, a scripted VM behind a real sshd. */

#include <errno.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "device_internal.h"
#include "pi_bed.h"

static struct pi_bed bed;

static void setup_up(void)
{
	pi_bed_setup_up(&bed);
}

static void teardown(void)
{
	pi_bed_teardown(&bed);
}

static void plug(const char *busid, const struct usb_sample *sample)
{
	fake_kernel_plug(&bed.kernel, busid, sample);
}

static void expect_device(const char *busid, const char *state)
{
	pi_bed_wait(&bed, busid, state);
}

static void expect_reason(const char *busid, const char *part)
{
	ck_assert_msg(strstr(pi_bed_field(&bed, busid, "reason"), part), "%s: %s", busid, pi_bed_field(&bed, busid, "reason"));
}

static void vm_fails(const char *code)
{
	char answer[256];

	snprintf(answer, sizeof(answer), "{\"type\":\"failed\",\"code\":\"%s\",\"text\":\"as the test wants\",\"cure\":\"\"}", code);
	ssh_vm_answer_connect(&bed.vm, answer);
}

static void vm_attaches(void)
{
	ssh_vm_answer_connect(&bed.vm, SSH_VM_ATTACHED);
}

/* ---- what may go wrong ---- */

START_TEST(a_lost_link_brings_every_device_back_when_it_returns)
{
	bed.kernel.teardown_msec = 50;
	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	expect_device("1-1", "ATTACHED");
	expect_device("1-2", "ATTACHED");
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	pi_bed_wait_link(&bed, "UP");
	expect_device("1-1", "ATTACHED");
	expect_device("1-2", "ATTACHED");
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 2);
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), 2);
}
END_TEST

START_TEST(a_session_that_leaves_the_device_unusable_is_mended_by_binding_anew)
{
	bed.kernel.end_status = 3;
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	fake_kernel_writes(&bed.kernel);
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	expect_device("1-1", "ATTACHED");
	ck_assert_int_eq(strncmp(fake_kernel_writes(&bed.kernel), "usbip-host/unbind 1-1; usbip-host/rebind 1-1; usb/unbind 1-1; ", 62), 0);
}
END_TEST

START_TEST(a_failure_that_time_may_mend_is_tried_again_with_patience)
{
	vm_fails("no-free-port");
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	expect_reason("1-1", "as the test wants");
	pi_bed_run(&bed, 2000000);
	ck_assert_uint_le(ssh_vm_count_offers(&bed.vm), 5);
	vm_attaches();
	expect_device("1-1", "ATTACHED");
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 1);
}
END_TEST

START_TEST(a_failure_that_only_a_person_mends_is_not_tried_again)
{
	vm_fails(_i ? "not-accepted" : "identity");
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	pi_bed_run(&bed, 1500000);
	expect_device("1-1", "FAILED");
	ck_assert_uint_le(ssh_vm_count_offers(&bed.vm), 2);
	vm_attaches();
	device_share(pi_bed_device(&bed, "1-1")); /* the person */
	expect_device("1-1", "ATTACHED");
}
END_TEST

static bool says_its_own_reason_four_times(struct pi_bed *own)
{
	const char *reason = pi_bed_field(own, "1-1", "reason");

	ck_assert_msg(!strstr(reason, "as the test wants"), "%s", reason);
	return ssh_vm_count_offers(&own->vm) >= 4;
}

/* The offer was made while the bind was under way. Its end was the end of its stream, of which the VM complains. */
START_TEST(what_the_pi_fails_at_is_not_hidden_by_what_the_vm_makes_of_it)
{
	fake_kernel_refuse(&bed.kernel, "usbip-host/bind", EIO, 5);
	vm_fails(_i ? "no-free-port" : "stream");
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	expect_reason("1-1", "bind it to usbip-host");
	pi_bed_until(&bed, says_its_own_reason_four_times, "offers");
	vm_attaches();
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(a_stream_that_the_vm_refuses_is_a_failure_with_its_reason)
{
	ssh_vm_script(&bed.vm, "stream", "say NO {\"code\":\"no-module\",\"text\":\"vhci_hcd is not loaded\",\"cure\":\"Load it.\"}\n");
	ssh_vm_answer_connect(&bed.vm, "");
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	expect_reason("1-1", "vhci_hcd is not loaded");
	ssh_vm_script(&bed.vm, "stream", "session\n");
	vm_attaches();
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(a_stream_that_ends_at_once_is_not_opened_again_at_once)
{
	ssh_vm_script(&bed.vm, "stream", "say OK\nend\n");
	ssh_vm_answer_connect(&bed.vm, "");
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	pi_bed_run(&bed, 2000000);
	ck_assert_uint_le(ssh_vm_count_offers(&bed.vm), 6);
}
END_TEST

/* The VM lost it by the very end that the Pi has told of already. */
START_TEST(what_the_vm_lost_by_the_same_end_explains_nothing)
{
	static const enum failure_code codes[] = { FAILURE_GONE, FAILURE_STREAM };
	struct message word = { .type = MESSAGE_FAILED };

	ssh_vm_script(&bed.vm, "stream", "say OK\nend\n");
	ssh_vm_answer_connect(&bed.vm, "");
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	expect_reason("1-1", "the VM ended the channel");
	failure_set(&word.failure, codes[_i], NULL, "as the test wants");
	device_handle_message(pi_bed_device(&bed, "1-1"), &word);
	expect_reason("1-1", "the VM ended the channel");
}
END_TEST

START_TEST(a_full_table_is_told_and_does_not_make_the_device_flap)
{
	temp_tree_put(&bed.vm.tree, "devices.conf", "share *:* backend=usbip-host\n"); /* else it is carried by usbfs */
	pi_bed_run(&bed, 200000);
	fake_kernel_refuse(&bed.kernel, "usbip-host/match_busid", ENOMEM, 1000);
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	expect_reason("1-1", "16 devices");
	pi_bed_run(&bed, 2000000);
	ck_assert_uint_le(count_in(fake_kernel_writes(&bed.kernel), "usb/unbind"), 6);
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
}
END_TEST

START_TEST(a_bind_that_fails_once_is_made_good)
{
	fake_kernel_refuse(&bed.kernel,
			   _i == 0 ? "usb/unbind" :
			   _i == 1 ? "usbip-host/match_busid" :
				     "usbip-host/bind",
			   _i == 1 ? EPERM : EIO, 1);
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(a_kernel_that_does_not_take_the_socket_is_a_failure)
{
	fake_kernel_refuse(&bed.kernel, "1-1/usbip_sockfd", EINVAL, 1);
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(a_device_with_more_interfaces_than_fit_is_never_taken)
{
	uint8_t bytes[18 + 9 * (DESCRIPTOR_MAX_INTERFACES + 1)] = { 18, 1, 0, 2, 0xef, 2, 1, 64 };

	for (size_t i = 0; i <= DESCRIPTOR_MAX_INTERFACES; i++)
		memcpy(bytes + 18 + 9 * i, (const uint8_t[]){ 9, 4, (uint8_t)i, 0, 0, 0x0e, 2, (uint8_t)(i >> 8), 0 }, 9);
	fake_kernel_have(&bed.kernel, "1-1", &FT232R, "");
	temp_tree_put_bytes(&bed.kernel.tree, "sys/devices/pci0000:00/usb1/1-1/descriptors", bytes, sizeof(bytes));
	fake_kernel_probe(&bed.kernel, "1-1");
	expect_device("1-1", "IGNORED");
	expect_reason("1-1", "descriptors");
	pi_bed_run(&bed, 700000);
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
}
END_TEST

START_TEST(a_device_that_can_not_be_read_is_looked_at_again_and_not_taken_before)
{
	fake_kernel_have(&bed.kernel, "1-1", &FT232R, "");
	fake_kernel_set(&bed.kernel, "1-1", "idVendor", "nonsense\n");
	fake_kernel_probe(&bed.kernel, "1-1");
	expect_device("1-1", "FAILED");
	pi_bed_run(&bed, 700000);
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
	fake_kernel_set(&bed.kernel, "1-1", "idVendor", "0403\n");
	expect_device("1-1", "ATTACHED");
}
END_TEST

/* As found by an exporter that starts while the kernel resets what its predecessor had shared. */
START_TEST(a_device_without_a_number_is_not_offered_until_it_has_one)
{
	fake_kernel_have(&bed.kernel, "1-1", &FT232R, "");
	fake_kernel_set(&bed.kernel, "1-1", "devnum", "0\n");
	fake_kernel_probe(&bed.kernel, "1-1");
	expect_device("1-1", "FAILED");
	fake_kernel_set(&bed.kernel, "1-1", "devnum", "2\n");
	expect_device("1-1", "ATTACHED");
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
	pi_bed_expect_heard(&bed, "\"devid\":65538", 1);
}
END_TEST

START_TEST(without_the_module_the_failure_says_so_and_nothing_is_touched)
{
	temp_tree_remove(&bed.kernel.tree, "sys/bus/usb/drivers/usbip-host");
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	expect_reason("1-1", "usbip-host is not loaded");
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
}
END_TEST

/* ---- by hand ---- */

START_TEST(a_device_detached_here_stays_here_until_it_is_attached_again)
{
	bed.kernel.teardown_msec = 30;
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	device_detach(pi_bed_device(&bed, "1-1"), "detached by hand");
	expect_device("1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	pi_bed_run(&bed, 500000);
	expect_device("1-1", "IGNORED");
	expect_reason("1-1", "detached by hand");
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), 0);
	device_share(pi_bed_device(&bed, "1-1"));
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(a_device_detached_on_the_vm_by_hand_stays_with_the_pi)
{
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	ssh_vm_answer_connect(&bed.vm, "{\"type\":\"detached\",\"reason\":\"by hand on the VM\"}");
	ssh_vm_kill(&bed.vm); /* it says so at the next connect */
	expect_device("1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	pi_bed_run(&bed, 500000);
	expect_device("1-1", "IGNORED");
}
END_TEST

/* While the link was away: the VM says so before it answers the sync, and the Pi has made no new offer of it yet. */
START_TEST(a_device_detached_on_the_vm_by_hand_meanwhile_stays_with_the_pi_when_the_link_is_back)
{
	char script[1024];
	const char *id;

	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	id = strstr(ssh_vm_heard(&bed.vm, "control"), "{\"offer\":{\"id\":\"");
	ck_assert_ptr_nonnull(id);
	id += strlen("{\"offer\":{\"id\":\"");
	snprintf(
		script, sizeof(script),
		"hear hello\nsay {\"type\":\"hello\",\"protocol\":1,\"software\":\"t\",\"role\":\"vm\",\"id\":\"ab\",\"name\":\"v\",\"boot_id\":\"cd\","
		"\"patience_ms\":8000,\"ports\":60}\nhear sync\n"
		"say {\"type\":\"detached\",\"id\":\"%.*s\",\"reason\":\"by hand on the VM\"}\n"
		"say {\"type\":\"synced\",\"seq\":2,\"keep\":[]}\nhear ping\nserve\n",
		(int)strcspn(id, "\""), id);
	ssh_vm_script(&bed.vm, "control", script);
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	pi_bed_wait_link(&bed, "UP");
	expect_device("1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
}
END_TEST

START_TEST(a_device_detached_and_attached_in_one_breath_ends_attached)
{
	bed.kernel.teardown_msec = 30;
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	device_detach(pi_bed_device(&bed, "1-1"), "detached by hand");
	device_share(pi_bed_device(&bed, "1-1"));
	pi_bed_run(&bed, 500000);
	expect_device("1-1", "ATTACHED");
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 1);
}
END_TEST

START_TEST(a_hub_that_is_attached_by_hand_stays_what_it_is)
{
	plug("1-1", &HUB);
	expect_device("1-1", "IGNORED");
	device_share(pi_bed_device(&bed, "1-1"));
	pi_bed_run(&bed, 200000);
	expect_device("1-1", "IGNORED");
	expect_reason("1-1", "a hub");
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
}
END_TEST

/* A new name is on its way when the VM lets go of the device: there it is another offer of it, and has to end before the next one comes. */
START_TEST(what_the_vm_lets_go_of_is_withdrawn_before_it_is_offered_anew)
{
	struct message word = { .type = MESSAGE_DETACHED, .reason = "its stream ended" };
	char withdrawn[512], *heard, *renamed, *end;
	struct device *device;
	bool is_streaming;

	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	device = pi_bed_device(&bed, "1-1");
	snprintf(word.id, sizeof(word.id), "%s", device_offer_id(device, &is_streaming));
	snprintf(withdrawn, sizeof(withdrawn), "{\"id\":\"%s\",\"reason\":\"%s\",\"type\":\"disconnect\"}", word.id,
		 _i ? word.reason : "failed");
	if (_i)
		device->attached_usec -= UINT64_C(60000000); /* for a minute by now */
	temp_tree_put(&bed.vm.tree, "devices.conf", "share 0403:6001 name=meter\n");
	exporter_reload(bed.exporter);
	device_handle_message(device, &word);
	expect_device("1-1", "ATTACHED");
	pi_bed_expect_heard(&bed, withdrawn, 1);
	heard = strdup(ssh_vm_heard(&bed.vm, "control"));
	ck_assert_ptr_nonnull(heard);
	renamed = strstr(heard, "\"name\":\"meter\"");
	end = strstr(heard, withdrawn);
	ck_assert(renamed && renamed < end && strstr(end, "\"name\":\"meter\""));
	free(heard);
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 2);
}
END_TEST

START_TEST(an_event_that_was_told_before_changes_nothing)
{
	const struct uevent add = {
		.action = UEVENT_ADD, .subsystem = "usb", .devtype = "usb_device", .syspath = "/sys/x", .sysname = "1-1", .driver = ""
	};
	const struct uevent bind = {
		.action = UEVENT_BIND, .subsystem = "usb", .devtype = "usb_device", .syspath = "/sys/x", .sysname = "1-1", .driver = "usb"
	};

	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	fake_kernel_writes(&bed.kernel);
	exporter_handle_uevent(bed.exporter, &add);
	exporter_handle_uevent(bed.exporter, &bind);
	pi_bed_run(&bed, 200000);
	expect_device("1-1", "ATTACHED");
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
}
END_TEST

/* One that came and went before it was looked at: what is in the socket now was found in its place, and its own events are behind. */
START_TEST(a_removal_of_the_device_before_takes_nothing_from_the_one_that_is_there)
{
	struct uevent removal = { .action = UEVENT_REMOVE,
				  .subsystem = "usb",
				  .devtype = "usb_device",
				  .syspath = "/sys/x",
				  .sysname = "1-1",
				  .driver = "",
				  .devnode = "",
				  .devlinks = "" };

	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	removal.devnum = bed.kernel.next_devnum - 2;
	exporter_handle_uevent(bed.exporter, &removal);
	pi_bed_run(&bed, 200000);
	expect_device("1-1", "ATTACHED");
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
	removal.devnum = bed.kernel.next_devnum - 1;
	fake_kernel_unplug(&bed.kernel, "1-1");
	exporter_handle_uevent(bed.exporter, &removal);
	pi_bed_wait_gone(&bed, "1-1");
}
END_TEST

START_TEST(events_of_interfaces_hubs_roots_and_other_subsystems_are_passed_over)
{
	static const struct uevent events[] = {
		{ .action = UEVENT_ADD, .subsystem = "usb", .devtype = "usb_interface", .sysname = "1-9:1.0" },
		{ .action = UEVENT_ADD, .subsystem = "usb", .devtype = "usb_device", .sysname = "usb9" },
		{ .action = UEVENT_ADD, .subsystem = "usb", .devtype = "usb_device", .sysname = "../1-9" },
		{ .action = UEVENT_ADD, .subsystem = "tty", .devtype = "usb_device", .sysname = "1-9" },
		{ .action = UEVENT_REMOVE, .subsystem = "usb", .devtype = "usb_device", .sysname = "1-9" },
		{ .action = UEVENT_CHANGE, .subsystem = "usb", .devtype = "usb_device", .sysname = "1-9" },
	};
	_cleanup_json_ json_t *status = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		struct uevent event = events[i];

		event.syspath = event.driver = event.devnode = event.devlinks = "";
		exporter_handle_uevent(bed.exporter, &event);
	}
	status = exporter_to_json(bed.exporter);
	ck_assert_uint_eq(json_array_size(json_object_get(status, "devices")), 0);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *wrong = tcase_create("what may go wrong"), *hand = tcase_create("by hand");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(wrong, setup_up, teardown);
	tcase_set_timeout(wrong, 100);
	tcase_add_checked_fixture(hand, setup_up, teardown);
	tcase_set_timeout(hand, 100);
	tcase_add_test(wrong, a_lost_link_brings_every_device_back_when_it_returns);
	tcase_add_test(wrong, a_session_that_leaves_the_device_unusable_is_mended_by_binding_anew);
	tcase_add_test(wrong, a_failure_that_time_may_mend_is_tried_again_with_patience);
	tcase_add_loop_test(wrong, a_failure_that_only_a_person_mends_is_not_tried_again, 0, 2);
	tcase_add_loop_test(wrong, what_the_pi_fails_at_is_not_hidden_by_what_the_vm_makes_of_it, 0, 2);
	tcase_add_test(wrong, a_stream_that_the_vm_refuses_is_a_failure_with_its_reason);
	tcase_add_test(wrong, a_stream_that_ends_at_once_is_not_opened_again_at_once);
	tcase_add_loop_test(wrong, what_the_vm_lost_by_the_same_end_explains_nothing, 0, 2);
	tcase_add_test(wrong, a_full_table_is_told_and_does_not_make_the_device_flap);
	tcase_add_loop_test(wrong, a_bind_that_fails_once_is_made_good, 0, 3);
	tcase_add_test(wrong, a_kernel_that_does_not_take_the_socket_is_a_failure);
	tcase_add_test(wrong, a_device_with_more_interfaces_than_fit_is_never_taken);
	tcase_add_test(wrong, a_device_that_can_not_be_read_is_looked_at_again_and_not_taken_before);
	tcase_add_test(wrong, a_device_without_a_number_is_not_offered_until_it_has_one);
	tcase_add_test(wrong, without_the_module_the_failure_says_so_and_nothing_is_touched);
	tcase_add_test(hand, a_device_detached_here_stays_here_until_it_is_attached_again);
	tcase_add_test(hand, a_device_detached_on_the_vm_by_hand_stays_with_the_pi);
	tcase_add_test(hand, a_device_detached_on_the_vm_by_hand_meanwhile_stays_with_the_pi_when_the_link_is_back);
	tcase_add_test(hand, a_device_detached_and_attached_in_one_breath_ends_attached);
	tcase_add_test(hand, a_hub_that_is_attached_by_hand_stays_what_it_is);
	tcase_add_loop_test(hand, what_the_vm_lets_go_of_is_withdrawn_before_it_is_offered_anew, 0, 2);
	tcase_add_test(hand, an_event_that_was_told_before_changes_nothing);
	tcase_add_test(hand, a_removal_of_the_device_before_takes_nothing_from_the_one_that_is_there);
	tcase_add_test(hand, events_of_interfaces_hubs_roots_and_other_subsystems_are_passed_over);
	return check_program_run("pi_device_trouble", wrong, hand, NULL);
}
