/* What this VM takes, whatever a Pi offers. By USB class alone: there is no module index in the tests' directory. */

#include <string.h>

#include "acceptance.h"
#include "check_program.h"
#include "cleanup.h"
#include "temp_tree.h"
#include "usb_sample.h"

static struct temp_tree modules;
static struct acceptance *acceptance;
static struct failure failure;
static char rules_path[128];

static void setup(void)
{
	temp_tree_new(&modules);
	snprintf(rules_path, sizeof(rules_path), "%s/accept.conf", modules.path);
	ck_assert_int_eq(acceptance_new(modules.path, rules_path, &acceptance), 0);
}

static void teardown(void)
{
	acceptance = acceptance_free(acceptance);
	temp_tree_free(&modules);
}

static int judge(const struct usb_sample *sample)
{
	struct identity identity = { .vid = sample->vid, .pid = sample->pid };
	struct descriptors descriptors;
	const struct acceptance_device device = { "desk-pi", &identity, &descriptors };

	snprintf(identity.serial, sizeof(identity.serial), "%s", sample->serial ? sample->serial : "");
	usb_sample_parse(sample, &descriptors);
	return acceptance_check(acceptance, &device, &failure);
}

START_TEST(devices_with_a_cdc_acm_port_are_taken)
{
	ck_assert_int_eq(judge(&ARDUINO_UNO), 0);
	ck_assert_int_eq(judge(&ESP32_S3), 0);
}
END_TEST

START_TEST(a_bootloader_beside_the_port_is_taken)
{
	struct usb_sample sample = ARDUINO_UNO;

	sample.interfaces[sample.n_interfaces++] = (struct usb_interface){ 2, 0xfe, 0x01, 0x01 }; /* DFU, run time */
	ck_assert_int_eq(judge(&sample), 0);
}
END_TEST

static const struct {
	const struct usb_sample *sample;
	const char *reason; /* in the text */
} REFUSED[] = {
	{ &HUB, "a hub" },         { &KEYBOARD_DEVICE, "keyboard" },    { &DISK, "a disk" },
	{ &ECM_MODEM, "network" }, { &RNDIS_PHONE, "the VM does not" }, { &MYSTERY, "the VM does not" },
};

START_TEST(everything_else_is_refused_with_the_reason)
{
	ck_assert_int_lt(judge(REFUSED[_i].sample), 0);
	ck_assert_int_eq(failure.code, FAILURE_NOT_ACCEPTED);
	ck_assert_msg(strstr(failure.text, REFUSED[_i].reason), "%s", failure.text);
	ck_assert_str_ne(failure.cure, "");
}
END_TEST

/* One interface beside a good port, each of a class that has its own way of doing harm. */
static const struct usb_interface HARMFUL[] = {
	{ 2, 0x03, 0x01, 0x01 }, /* keyboard */
	{ 2, 0x03, 0x00, 0x00 }, /* any HID */
	{ 2, 0x08, 0x06, 0x50 }, /* disk */
	{ 2, 0x02, 0x06, 0x00 }, /* Ethernet model */
	{ 2, 0x02, 0x0d, 0x00 }, /* NCM */
	{ 2, 0x02, 0x02, 0xff }, /* RNDIS in CDC-ACM's clothes */
	{ 2, 0xe0, 0x01, 0x03 }, /* RNDIS */
	{ 2, 0xef, 0x04, 0x01 }, /* RNDIS */
	{ 2, 0x01, 0x01, 0x00 }, /* audio */
	{ 2, 0x09, 0x00, 0x00 }, /* hub */
	{ 2, 0x06, 0x01, 0x01 }, /* a class nobody thought of */
};

START_TEST(one_harmful_interface_spoils_a_serial_device)
{
	struct usb_sample sample = ARDUINO_UNO;

	sample.interfaces[sample.n_interfaces++] = HARMFUL[_i];
	ck_assert_int_lt(judge(&sample), 0);
	ck_assert_int_eq(failure.code, FAILURE_NOT_ACCEPTED);
}
END_TEST

START_TEST(a_device_without_interfaces_is_refused)
{
	struct usb_sample sample = ARDUINO_UNO;

	sample.n_interfaces = 0;
	ck_assert_int_lt(judge(&sample), 0);
}
END_TEST

/* ---- the owner's rules ---- */

static void rules(const char *content)
{
	bool is_in_force;

	temp_tree_put(&modules, "accept.conf", content);
	acceptance_reload(acceptance);
	ck_assert_ptr_null(acceptance_get_problem(acceptance, &is_in_force));
}

START_TEST(a_rule_takes_what_the_default_refuses)
{
	rules("# for the lab\naccept class=keyboard pi=desk-*\naccept 0781:5581 serial=4C*\n");
	ck_assert_int_eq(judge(&KEYBOARD_DEVICE), 0);
	ck_assert_int_eq(judge(&DISK), 0);
	ck_assert_int_lt(judge(&ECM_MODEM), 0);
	rules("accept class=keyboard pi=other\n");
	ck_assert_int_lt(judge(&KEYBOARD_DEVICE), 0);
	ck_assert(!acceptance_reload(acceptance)); /* nothing changed */
	rules("");
	ck_assert_int_lt(judge(&DISK), 0);
}
END_TEST

START_TEST(a_rule_refuses_what_the_default_takes)
{
	rules("default serial=7533*\nrefuse 2341:*\naccept *:*\n");
	ck_assert_int_eq(judge(&ARDUINO_UNO), 0);
	rules("refuse 2341:*\naccept *:*\n");
	ck_assert_int_lt(judge(&ARDUINO_UNO), 0);
	ck_assert_int_eq(failure.code, FAILURE_NOT_ACCEPTED);
	ck_assert_msg(strstr(failure.text, "accept.conf:1"), "%s", failure.text);
	ck_assert_int_eq(judge(&MYSTERY), 0);
}
END_TEST

START_TEST(no_rule_takes_a_hub)
{
	struct usb_sample sample = ARDUINO_UNO;

	rules("accept *:*\n");
	ck_assert_int_lt(judge(&HUB), 0);
	sample.interfaces[sample.n_interfaces++] = (struct usb_interface){ 2, 0x09, 0x00, 0x00 };
	ck_assert_int_lt(judge(&sample), 0);
}
END_TEST

START_TEST(a_broken_line_leaves_the_rules_as_they_were)
{
	const struct config_problem *problem;
	bool is_in_force;

	rules("accept class=storage\n");
	temp_tree_put(&modules, "accept.conf", "accept class=keyboard\nshare *:*\n");
	ck_assert(!acceptance_reload(acceptance));
	ck_assert_int_eq(judge(&DISK), 0);
	ck_assert_int_lt(judge(&KEYBOARD_DEVICE), 0);
	problem = acceptance_get_problem(acceptance, &is_in_force);
	ck_assert_msg(strstr(problem->text, "accept.conf:2: \"share\" is no action; expected one of accept, refuse, default"), "%s",
		      problem->text);
	ck_assert(!is_in_force);
	rules("");
	ck_assert_ptr_null(acceptance_get_problem(acceptance, &is_in_force));
}
END_TEST

START_TEST(a_line_that_is_broken_at_the_start_refuses_what_it_may_be_about)
{
	bool is_in_force;

	temp_tree_put(&modules, "accept.conf", "accept class=storage\nrefsue 2341:*\naccept *:*\n");
	acceptance = acceptance_free(acceptance);
	ck_assert_int_eq(acceptance_new(modules.path, rules_path, &acceptance), 0);
	ck_assert_int_eq(judge(&DISK), 0);
	ck_assert_int_lt(judge(&KEYBOARD_DEVICE), 0);
	ck_assert_int_lt(judge(&ARDUINO_UNO), 0);
	ck_assert_msg(strstr(failure.text, "accept.conf:2: ") && strstr(failure.text, "it may be about this device"), "%s", failure.text);
	ck_assert_str_eq(failure.cure, "Mend that line on the VM.");
	ck_assert_ptr_nonnull(acceptance_get_problem(acceptance, &is_in_force));
	ck_assert(is_in_force);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("acceptance");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, devices_with_a_cdc_acm_port_are_taken);
	tcase_add_test(tests, a_bootloader_beside_the_port_is_taken);
	tcase_add_loop_test(tests, everything_else_is_refused_with_the_reason, 0, ARRAY_SIZE(REFUSED));
	tcase_add_loop_test(tests, one_harmful_interface_spoils_a_serial_device, 0, ARRAY_SIZE(HARMFUL));
	tcase_add_test(tests, a_device_without_interfaces_is_refused);
	tcase_add_test(tests, a_rule_takes_what_the_default_refuses);
	tcase_add_test(tests, a_rule_refuses_what_the_default_takes);
	tcase_add_test(tests, no_rule_takes_a_hub);
	tcase_add_test(tests, a_broken_line_leaves_the_rules_as_they_were);
	tcase_add_test(tests, a_line_that_is_broken_at_the_start_refuses_what_it_may_be_about);
	return check_program_run("vm_acceptance", tests, NULL);
}
