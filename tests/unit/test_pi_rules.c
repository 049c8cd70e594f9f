/* The owner's rules while the exporter runs: changed in the file or by request, they act on what is plugged in. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "control_ask.h"
#include "pi_bed.h"

static struct pi_bed bed;
static struct control *control;
static char socket_path[128];

static void setup(void)
{
	pi_bed_setup(&bed);
	ssh_vm_script(&bed.vm, "control", "serve\n");
	pi_bed_pair(&bed);
	pi_bed_start(&bed);
	snprintf(socket_path, sizeof(socket_path), "%s/control.sock", bed.run_dir);
	ck_assert_int_eq(control_new(bed.daemon.event, socket_path, bed.exporter, &control), 0);
	pi_bed_wait_link(&bed, "UP");
}

static void teardown(void)
{
	control = control_free(control);
	pi_bed_teardown(&bed);
}

static void plug(const char *busid, const struct usb_sample *sample, const char *state)
{
	fake_kernel_plug(&bed.kernel, busid, sample);
	pi_bed_wait(&bed, busid, state);
}

static void rules(const char *content)
{
	temp_tree_put(&bed.vm.tree, "devices.conf", content);
}

static const char *file(void)
{
	return temp_tree_get(&bed.vm.tree, "devices.conf");
}

/* The answer's error code; "" if it was done. */
static const char *ask(json_t *request)
{
	static char code[64];
	_cleanup_json_ json_t *answer = control_ask(bed.daemon.event, socket_path, request);
	const char *error = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));

	snprintf(code, sizeof(code), "%s", error ? error : "");
	return code;
}

static const char *ask_about(const char *request, const char *device)
{
	return ask(json_pack("{s:s, s:s}", "request", request, "device", device));
}

static const char *awaited_heard, *awaited_policy;

static bool is_heard(struct pi_bed *of)
{
	return ssh_vm_count_heard(&of->vm, awaited_heard) > 0;
}

static void wait_heard(const char *text)
{
	awaited_heard = text;
	pi_bed_until(&bed, is_heard, text);
}

static bool has_policy(struct pi_bed *of)
{
	return strstr(pi_bed_field(of, "1-1", "policy"), awaited_policy) != NULL;
}

static void expect_policy(const char *text)
{
	awaited_policy = text;
	pi_bed_until(&bed, has_policy, text);
}

/* ---- the file ---- */

START_TEST(a_rule_takes_a_device_from_the_vm_and_brings_it_back)
{
	plug("1-1", &FT232R, "ATTACHED");
	rules("ignore 0403:6001\n");
	pi_bed_wait(&bed, "1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "reason"), "stays here: a rule keeps it here");
	ck_assert_msg(strstr(pi_bed_field(&bed, "1-1", "rule"), "devices.conf:1: ignore 0403:6001"), "%s",
		      pi_bed_field(&bed, "1-1", "rule"));
	rules("share 0403:6001\n");
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	temp_tree_remove(&bed.vm.tree, "devices.conf");
	expect_policy("serial driver ftdi_sio");
	pi_bed_wait(&bed, "1-1", "ATTACHED");
}
END_TEST

/* As vim does it, whose new file may be some time coming. */
START_TEST(an_editor_that_renames_the_rules_away_while_it_saves_moves_no_device)
{
	char old[128], backup[128];

	snprintf(old, sizeof(old), "%s", temp_tree_path(&bed.vm.tree, "devices.conf"));
	snprintf(backup, sizeof(backup), "%s", temp_tree_path(&bed.vm.tree, "devices.conf~"));
	rules("ignore 0403:6001\nshare class=storage\n");
	pi_bed_run(&bed, 20000);
	plug("1-1", &FT232R, "IGNORED");
	plug("1-2", &DISK, "ATTACHED");
	(void)fake_kernel_writes(&bed.kernel);
	ck_assert_int_eq(rename(old, backup), 0);
	pi_bed_run(&bed, 200000);
	rules("ignore 0403:6001\nshare class=storage name=disk\n");
	wait_heard("\"name\":\"disk\"");
	pi_bed_run(&bed, 1200000);
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "IGNORED");
	ck_assert_str_eq(pi_bed_field(&bed, "1-2", "state"), "ATTACHED");
	pi_bed_expect_heard(&bed, "\"disconnect\"", 0);
	ck_assert_int_eq(rename(old, backup), 0); /* this time for good */
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	pi_bed_wait(&bed, "1-2", "IGNORED");
}
END_TEST

/* Nothing in its directory changes: it is read again because it could not be. */
START_TEST(rules_that_can_not_be_read_at_the_start_are_read_again)
{
	control = control_free(control);
	pi_bed_kill(&bed);
	temp_tree_make_dir(&bed.vm.tree, "elsewhere/rules"); /* EISDIR */
	temp_tree_link(&bed.vm.tree, "devices.conf", "elsewhere/rules");
	pi_bed_start(&bed);
	plug("1-1", &FT232R, "IGNORED");
	expect_policy("it waits for your yes");
	temp_tree_remove(&bed.vm.tree, "elsewhere/rules");
	temp_tree_put(&bed.vm.tree, "elsewhere/rules", "share 0403:6001\n");
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	expect_policy("a rule shares it");
}
END_TEST

START_TEST(what_was_detached_by_hand_stays_here_whatever_the_rules_say)
{
	plug("1-1", &FT232R, "ATTACHED");
	ck_assert_str_eq(ask_about("detach", "1-1"), "");
	pi_bed_wait(&bed, "1-1", "IGNORED");
	rules("share 0403:6001\n");
	expect_policy("a rule shares it");
	pi_bed_run(&bed, 100000);
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "IGNORED");
	ck_assert_str_eq(ask_about("attach", "1-1"), "");
	pi_bed_wait(&bed, "1-1", "ATTACHED");
}
END_TEST

static bool has_problem(struct pi_bed *of)
{
	_cleanup_json_ json_t *status = exporter_to_json(of->exporter);

	return json_is_object(json_object_get(status, "problem"));
}

START_TEST(a_line_that_makes_no_sense_takes_nothing_away)
{
	_cleanup_json_ json_t *status = NULL;

	plug("1-1", &FT232R, "ATTACHED");
	rules("ignroe 0403:6001\nignore *:*\n");
	pi_bed_until(&bed, has_problem, "problem");
	status = exporter_to_json(bed.exporter);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(status, "problem"), "cure")),
			 "Mend that line. Until then the rules from before hold.");
	pi_bed_run(&bed, 100000);
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "ATTACHED");
	rules("ignore 0403:6001\n");
	pi_bed_wait(&bed, "1-1", "IGNORED");
	ck_assert(!has_problem(&bed));
}
END_TEST

START_TEST(rules_that_come_and_go_fast_leave_it_as_the_last_one_says)
{
	plug("1-1", &FT232R, "ATTACHED");
	for (unsigned i = 0; i < 20; i++) {
		rules(i % 2 ? "share 0403:6001\n" : "ignore 0403:6001\n");
		pi_bed_run(&bed, i * 1000);
	}
	rules("ignore 0403:6001\n");
	pi_bed_wait(&bed, "1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	rules("");
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "ATTACHED");
}
END_TEST

/* ---- requests ---- */

START_TEST(a_request_shares_what_the_default_does_not)
{
	plug("1-1", &KEYBOARD_DEVICE, "IGNORED");
	ck_assert_str_eq(ask_about("attach", "1-1"), "not-allowed"); /* with the reason, not with silence */
	ck_assert_str_eq(ask_about("share", "046d:c31c"), "");
	ck_assert_str_eq(file(), "share 046d:c31c socket=1-1\n");
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	ck_assert_str_eq(ask_about("ignore", "1-1"), "");
	ck_assert_str_eq(file(), "ignore 046d:c31c socket=1-1\n");
	pi_bed_wait(&bed, "1-1", "IGNORED");
}
END_TEST

START_TEST(what_is_never_shared_is_refused)
{
	plug("1-1", &RTL8153, "IGNORED");
	ck_assert_str_eq(ask_about("share", "1-1"), "not-allowed");
	ck_assert_str_eq(ask_about("attach", "1-1"), "not-allowed");
	ck_assert_str_eq(ask_about("ignore", "1-1"), "");
	ck_assert_str_eq(ask_about("share", "1-7"), "not-found");
}
END_TEST

START_TEST(a_device_that_is_asked_for_waits_for_the_yes)
{
	_cleanup_json_ json_t *status = NULL;

	rules("ask 0403:*\n");
	pi_bed_run(&bed, 20000);
	plug("1-1", &FT232R, "IGNORED");
	status = exporter_to_json(bed.exporter);
	ck_assert(json_is_true(json_object_get(json_array_get(json_object_get(status, "devices"), 0), "is_asking")));
	ck_assert_str_eq(ask(json_pack("{s:s, s:s}", "request", "answer", "device", "1-1")), "bad-request");
	ck_assert_str_eq(ask(json_pack("{s:s, s:s, s:b}", "request", "answer", "device", "1-1", "yes", 0)), "");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "reason"), "stays here: you said no");
	ck_assert_str_eq(ask(json_pack("{s:s, s:s, s:b}", "request", "answer", "device", "1-1", "yes", 1)), "bad-request");
	plug("1-2", &CH340, "ATTACHED");
	ck_assert_str_eq(ask(json_pack("{s:s, s:s, s:b}", "request", "answer", "device", "1-2", "yes", 1)), "bad-request");
}
END_TEST

START_TEST(a_yes_holds_for_a_board_that_resets)
{
	rules("ask 0403:*\n");
	pi_bed_run(&bed, 20000);
	plug("1-1", &FT232R, "IGNORED");
	ck_assert_str_eq(ask_about("attach", "1-1"), "");
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	fake_kernel_unplug(&bed.kernel, "1-1");
	pi_bed_wait_gone(&bed, "1-1");
	plug("1-1", &FT232R, "ATTACHED");
}
END_TEST

/* ---- names ---- */

static const char *name_it(const char *device, const char *name)
{
	return ask(json_pack("{s:s, s:s, s:s}", "request", "name", "device", device, "name", name));
}

START_TEST(a_name_goes_with_the_offer_and_selects_the_device)
{
	rules("share 0403:6001 serial=A50285BI name=bench\n");
	pi_bed_run(&bed, 20000);
	plug("1-1", &FT232R, "ATTACHED");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "name"), "bench");
	wait_heard("\"name\":\"bench\"");
	ck_assert_str_eq(ask_about("detach", "bench"), "");
	pi_bed_wait(&bed, "1-1", "IGNORED");
}
END_TEST

START_TEST(a_new_name_is_told_without_taking_the_device_away)
{
	plug("1-1", &FT232R, "ATTACHED");
	pi_bed_expect_heard(&bed, "\"connect\"", 2); /* its strings came with the second */
	ck_assert_str_eq(name_it("1-1", "bench"), "");
	ck_assert_str_eq(file(), "default 0403:6001 serial=A50285BI name=bench\n");
	wait_heard("\"name\":\"bench\"");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "ATTACHED");
	pi_bed_expect_heard(&bed, "\"connect\"", 3);
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
	pi_bed_expect_heard(&bed, "\"disconnect\"", 0);
}
END_TEST

START_TEST(a_new_name_is_told_also_with_a_carrier_that_the_device_has_already)
{
	rules("share 0403:6001\n");
	pi_bed_run(&bed, 20000);
	plug("1-1", &FT232R, "ATTACHED");
	rules("share 0403:6001 backend=usbip-host name=bench\n");
	wait_heard("\"name\":\"bench\"");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "ATTACHED");
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
	pi_bed_expect_heard(&bed, "\"disconnect\"", 0);
}
END_TEST

START_TEST(a_name_follows_the_board_to_another_socket_and_into_its_boot_loader)
{
	struct usb_sample loader = ARDUINO_UNO;

	loader.serial = NULL;
	plug("1-1", &FT232R, "ATTACHED");
	ck_assert_str_eq(ask(json_pack("{s:s, s:s, s:s, s:s}", "request", "name", "device", "1-1", "name", "bench", "also", "2341:0043")),
			 "");
	fake_kernel_unplug(&bed.kernel, "1-1");
	pi_bed_wait_gone(&bed, "1-1");
	plug("1-2", &FT232R, "ATTACHED");
	ck_assert_str_eq(pi_bed_field(&bed, "1-2", "name"), "bench");
	fake_kernel_unplug(&bed.kernel, "1-2");
	pi_bed_wait_gone(&bed, "1-2");
	plug("1-3", &CH340, "ATTACHED");
	fake_kernel_unplug(&bed.kernel, "1-3");
	pi_bed_wait_gone(&bed, "1-3");
	plug("1-3", &loader, "ATTACHED");
	ck_assert_str_eq(pi_bed_field(&bed, "1-3", "name"), ""); /* of another board */
	plug("1-2", &loader, "ATTACHED");
	ck_assert_str_eq(pi_bed_field(&bed, "1-2", "name"), "bench");
}
END_TEST

START_TEST(a_name_that_is_none_or_taken_is_refused)
{
	plug("1-1", &FT232R, "ATTACHED");
	plug("1-2", &CH340, "ATTACHED");
	ck_assert_str_eq(name_it("1-1", "../../x"), "bad-request");
	ck_assert_str_eq(name_it("1-1", "a b"), "bad-request");
	ck_assert_str_eq(name_it("1-1", ""), "bad-request");
	ck_assert_str_eq(ask_about("name", "1-1"), "bad-request");
	ck_assert_str_eq(name_it("1-1", "bench"), "");
	ck_assert_str_eq(name_it("1-2", "bench"), "bad-request");
	ck_assert_str_eq(ask(json_pack("{s:s, s:s, s:s, s:s}", "request", "name", "device", "1-1", "name", "x", "also", "zz")),
			 "bad-request");
}
END_TEST

START_TEST(a_selection_that_fits_several_is_refused_with_the_list)
{
	_cleanup_json_ json_t *answer = NULL;
	struct usb_sample second = FT232R;
	const char *text;

	second.serial = "B1";
	plug("1-1", &FT232R, "ATTACHED");
	plug("1-2", &second, "ATTACHED");
	answer = control_ask(bed.daemon.event, socket_path, json_pack("{s:s, s:s}", "request", "share", "device", "0403:6001"));
	text = json_string_value(json_object_get(json_object_get(answer, "error"), "text"));
	ck_assert_str_eq(text, "0403:6001 fits 2 devices: 1-1 (0403:6001 A50285BI), 1-2 (0403:6001 B1)");
	ck_assert_str_eq(ask_about("ignore", "b1"), "not-found"); /* a serial number is taken by the letter */
	ck_assert_str_eq(ask_about("ignore", "B1"), "");
}
END_TEST

START_TEST(a_device_without_a_chance_to_be_reset_is_shared_all_the_same)
{
	rules("share 0403:6001 reset-before-share\n");
	pi_bed_run(&bed, 20000);
	plug("1-1", &FT232R, "ATTACHED"); /* the fake kernel's node knows no reset */
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "ATTACHED");
}
END_TEST

/* ---- getting it going again ---- */

static const char *reset(const char *device, bool is_hard)
{
	return ask(json_pack("{s:s, s:s, s:b}", "request", "reset", "device", device, "hard", is_hard));
}

static json_int_t count_of(const char *busid, const char *field)
{
	_cleanup_json_ json_t *status = exporter_to_json(bed.exporter);
	const json_t *device;
	size_t i;

	json_array_foreach(json_object_get(status, "devices"), i, device)
		if (strcmp(json_string_value(json_object_get(device, "busid")), busid) == 0)
			return json_integer_value(json_object_get(device, field));
	return -1;
}

static bool is_attached_again(struct pi_bed *of)
{
	return count_of("1-1", "attached_count") == 2 && strcmp(pi_bed_field(of, "1-1", "state"), "ATTACHED") == 0;
}

START_TEST(a_reset_takes_the_device_away_and_brings_it_back)
{
	plug("1-1", &FT232R, "ATTACHED");
	fake_kernel_hold(&bed.kernel, "usbip-host/unbind 1-1");
	ck_assert_str_eq(reset("1-1", false), "");
	ck_assert_str_eq(reset("1-1", false), "busy");
	fake_kernel_release(&bed.kernel);
	pi_bed_until(&bed, is_attached_again, "second attachment");
	ck_assert_int_eq(count_of("1-1", "reset_count"), 1);
	wait_heard("it is reset");
}
END_TEST

START_TEST(a_device_that_stays_here_is_reset_where_it_is)
{
	plug("1-1", &KEYBOARD_DEVICE, "IGNORED");
	(void)fake_kernel_writes(&bed.kernel);
	ck_assert_str_eq(reset("1-1", false), "");
	pi_bed_run(&bed, 100000);
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "IGNORED");
	ck_assert_str_eq(reset("1-9", false), "not-found");
}
END_TEST

START_TEST(where_the_hub_switches_no_power_it_is_bound_anew)
{
	plug("1-1", &FT232R, "ATTACHED");
	(void)fake_kernel_writes(&bed.kernel);
	ck_assert_str_eq(reset("1-1", true), "");
	pi_bed_until(&bed, is_attached_again, "second attachment");
	ck_assert_msg(strstr(fake_kernel_writes(&bed.kernel), "usbip-host/unbind 1-1"), "not unbound");
}
END_TEST

static bool has_left(struct pi_bed *of)
{
	return !pi_bed_field(of, "1-1", "state")[0];
}

START_TEST(a_hub_that_can_switches_the_power_off_and_on)
{
	fake_kernel_add_port_switch(&bed.kernel, "1-1");
	plug("1-1", &FT232R, "ATTACHED");
	ck_assert_str_eq(reset("1-1", true), "");
	pi_bed_until(&bed, has_left, "unplug");
	pi_bed_wait(&bed, "1-1", "ATTACHED");
}
END_TEST

START_TEST(an_unplug_during_a_reset_is_an_unplug)
{
	fake_kernel_refuse(&bed.kernel, "usbip-host/unbind", EIO, 1);
	plug("1-1", &FT232R, "ATTACHED");
	ck_assert_str_eq(reset("1-1", true), "");
	fake_kernel_unplug(&bed.kernel, "1-1");
	pi_bed_wait_gone(&bed, "1-1");
	plug("1-1", &FT232R, "ATTACHED");
	ck_assert_int_eq(count_of("1-1", "reset_count"), 0);
}
END_TEST

static bool is_reset_once(struct pi_bed *of)
{
	(void)of;
	return count_of("1-1", "reset_count") == 1;
}

static bool has_switched_power(struct pi_bed *of)
{
	return strstr(of->kernel.writes, "ports/1-1/disable 1") != NULL;
}

START_TEST(what_fails_again_and_again_is_recovered_as_far_as_the_rule_lets)
{
	ssh_vm_answer_connect(&bed.vm, "{\"type\":\"failed\",\"code\":\"enumeration\",\"text\":\"it can't be read\",\"cure\":\"\"}");
	rules("share 0403:* recover=power\nshare 10c4:*\n");
	pi_bed_run(&bed, 20000);
	fake_kernel_add_port_switch(&bed.kernel, "1-1");
	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	fake_kernel_plug(&bed.kernel, "1-2", &CP2102);
	pi_bed_until(&bed, is_reset_once, "reset");
	pi_bed_until(&bed, has_switched_power, "power cut");
	ck_assert_int_gt(count_of("1-2", "failed_count"), 2);
	ck_assert_int_eq(count_of("1-2", "reset_count"), 0);
	ssh_vm_answer_connect(&bed.vm, SSH_VM_ATTACHED);
	ck_assert_str_eq(ask_about("attach", "1-2"), "");
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	pi_bed_wait(&bed, "1-2", "ATTACHED");
}
END_TEST

int main(int argc, char **argv)
{
	TCase *tests = tcase_create("rules");

	ssh_vm_play(argc, argv);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_rule_takes_a_device_from_the_vm_and_brings_it_back);
	tcase_add_test(tests, an_editor_that_renames_the_rules_away_while_it_saves_moves_no_device);
	tcase_add_test(tests, rules_that_can_not_be_read_at_the_start_are_read_again);
	tcase_add_test(tests, what_was_detached_by_hand_stays_here_whatever_the_rules_say);
	tcase_add_test(tests, a_line_that_makes_no_sense_takes_nothing_away);
	tcase_add_test(tests, rules_that_come_and_go_fast_leave_it_as_the_last_one_says);
	tcase_add_test(tests, a_request_shares_what_the_default_does_not);
	tcase_add_test(tests, what_is_never_shared_is_refused);
	tcase_add_test(tests, a_device_that_is_asked_for_waits_for_the_yes);
	tcase_add_test(tests, a_yes_holds_for_a_board_that_resets);
	tcase_add_test(tests, a_name_goes_with_the_offer_and_selects_the_device);
	tcase_add_test(tests, a_new_name_is_told_without_taking_the_device_away);
	tcase_add_test(tests, a_new_name_is_told_also_with_a_carrier_that_the_device_has_already);
	tcase_add_test(tests, a_name_follows_the_board_to_another_socket_and_into_its_boot_loader);
	tcase_add_test(tests, a_name_that_is_none_or_taken_is_refused);
	tcase_add_test(tests, a_selection_that_fits_several_is_refused_with_the_list);
	tcase_add_test(tests, a_device_without_a_chance_to_be_reset_is_shared_all_the_same);
	tcase_add_test(tests, a_reset_takes_the_device_away_and_brings_it_back);
	tcase_add_test(tests, a_device_that_stays_here_is_reset_where_it_is);
	tcase_add_test(tests, where_the_hub_switches_no_power_it_is_bound_anew);
	tcase_add_test(tests, a_hub_that_can_switches_the_power_off_and_on);
	tcase_add_test(tests, an_unplug_during_a_reset_is_an_unplug);
	tcase_add_test(tests, what_fails_again_and_again_is_recovered_as_far_as_the_rule_lets);
	return check_program_run("pi_rules", tests, NULL);
}
