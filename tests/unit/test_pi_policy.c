/* Which devices are shared, by what they are. */

#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "fake_modules.h"
#include "policy.h"
#include "serial_driver.h"
#include "usb_sample.h"

#define ON_THE_PI "/sys/devices/platform/scb/fd500000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/usb1/1-1/1-1.4"

static struct temp_tree tree;
static struct policy *policy;

static void setup(void)
{
	temp_tree_new(&tree);
	ck_assert_int_eq(policy_new(fake_modules_make(&tree, SERIAL_AND_OTHER_MODULES, NULL), &policy), 0);
}

static void teardown(void)
{
	policy = policy_free(policy);
	temp_tree_free(&tree);
}

static struct policy_decision decide(const struct usb_sample *sample, const char *syspath)
{
	struct policy_decision decision;
	struct descriptors descriptors;

	usb_sample_parse(sample, &descriptors);
	memset(&decision, 'x', sizeof(decision));
	policy_decide(policy, syspath, &descriptors, &decision);
	return decision;
}

static const struct {
	const struct usb_sample *device;
	bool is_shared;
	const char *reason;
} DECISIONS[] = {
	{ &FT232R, true, "serial driver ftdi_sio" },
	{ &CP2102, true, "serial driver cp210x" },
	{ &CH340, true, "serial driver ch341" },
	{ &ESP32_S3, true, "serial driver cdc_acm" },
	{ &ARDUINO_UNO, true, "serial driver cdc_acm" },
	{ &HUB, false, "a hub" },
	{ &KEYBOARD_DEVICE, false, "no serial driver fits it" },
	{ &DISK, false, "no serial driver fits it" },
	{ &MYSTERY, false, "no serial driver fits it" },  /* only usbserial's generic driver would */
	{ &RTL8153, false, "has a network interface" },   /* by its driver alone */
	{ &ECM_MODEM, false, "has a network interface" }, /* whatever else it has */
	{ &RNDIS_PHONE, false, "has a network interface" },
	{ &LTE_MODEM, false, "has a network interface" },
};

START_TEST(a_device_is_shared_for_what_it_is)
{
	struct policy_decision decision = decide(DECISIONS[_i].device, ON_THE_PI);

	ck_assert_str_eq(decision.reason, DECISIONS[_i].reason);
	ck_assert(decision.is_shared == DECISIONS[_i].is_shared);
}
END_TEST

START_TEST(a_device_that_came_over_the_network_is_not_pushed_on)
{
	struct policy_decision decision = decide(&FT232R, "/sys/devices/platform/vhci_hcd.0/usb3/3-1");

	ck_assert(!decision.is_shared);
	ck_assert_str_eq(decision.reason, "itself attached over the network");
}
END_TEST

START_TEST(a_hub_by_an_interface_alone_is_a_hub)
{
	struct usb_sample odd = FT232R;

	odd.n_interfaces = 2;
	odd.interfaces[1] = (struct usb_interface){ 1, 0x09, 0, 0 };
	ck_assert_str_eq(decide(&odd, ON_THE_PI).reason, "a hub");
}
END_TEST

/* One more interface makes an FT232R taboo, wherever it stands. */
static const struct usb_interface NETWORKS[] = {
	{ 1, 0x02, 0x06, 0x00 }, /* CDC Ethernet */
	{ 1, 0x02, 0x0d, 0x00 }, /* NCM */
	{ 1, 0x02, 0x0e, 0x00 }, /* MBIM */
	{ 1, 0xe0, 0x01, 0x03 }, /* RNDIS */
	{ 1, 0xef, 0x04, 0x01 }, /* RNDIS, as Windows phones say it */
};

START_TEST(a_network_interface_outweighs_a_serial_one_in_any_place)
{
	struct usb_sample both = FT232R;

	both.n_interfaces = 2;
	both.interfaces[1] = NETWORKS[_i];
	ck_assert(!decide(&both, ON_THE_PI).is_shared);
	both.interfaces[0] = NETWORKS[_i];
	both.interfaces[1] = FT232R.interfaces[0];
	ck_assert(!decide(&both, ON_THE_PI).is_shared);
}
END_TEST

START_TEST(bluetooth_is_no_network_of_its_own)
{
	struct usb_sample dongle = MYSTERY;

	dongle.interfaces[0] = (struct usb_interface){ 0, 0xe0, 0x01, 0x01 };
	ck_assert_str_eq(decide(&dongle, ON_THE_PI).reason, "no serial driver fits it");
}
END_TEST

START_TEST(a_serial_interface_counts_also_behind_others)
{
	struct usb_sample composite = KEYBOARD_DEVICE;

	composite.n_interfaces = 4;
	composite.interfaces[2] = (struct usb_interface){ 2, 0x02, 0x02, 0x01 };
	composite.interfaces[3] = (struct usb_interface){ 3, 0x0a, 0x00, 0x00 };
	ck_assert_str_eq(decide(&composite, ON_THE_PI).reason, "serial driver cdc_acm");
}
END_TEST

START_TEST(a_device_without_interfaces_is_not_shared)
{
	struct usb_sample bare = FT232R;

	bare.n_interfaces = 0;
	ck_assert(!decide(&bare, ON_THE_PI).is_shared);
}
END_TEST

START_TEST(a_driver_built_into_the_kernel_counts_as_one)
{
	static const struct fake_module none[] = { { 0 } };
	struct temp_tree built;
	struct policy *own = NULL;
	struct policy_decision decision;
	struct descriptors descriptors;

	temp_tree_new(&built);
	ck_assert_int_eq(policy_new(fake_modules_make(
					    &built, none,
					    "cdc_acm.alias=usb:v*p*d*dc*dsc*dp*ic02isc02ip01in*\ncdc_acm.file=drivers/usb/class/cdc-acm\n"),
				    &own),
			 0);
	usb_sample_parse(&ARDUINO_UNO, &descriptors);
	policy_decide(own, ON_THE_PI, &descriptors, &decision);
	ck_assert_str_eq(decision.reason, "serial driver cdc_acm");
	policy_free(own);
	temp_tree_free(&built);
}
END_TEST

START_TEST(without_a_module_index_nothing_is_shared_and_the_reason_told)
{
	struct policy *own = NULL;
	struct policy_decision decision;
	struct descriptors descriptors;

	ck_assert_int_eq(policy_new("/nonexistent/modules", &own), 0);
	usb_sample_parse(&FT232R, &descriptors);
	policy_decide(own, ON_THE_PI, &descriptors, &decision);
	ck_assert(!decision.is_shared);
	ck_assert_msg(strstr(decision.reason, "module index"), "%s", decision.reason);
	policy_free(own);
}
END_TEST

START_TEST(an_interface_knows_its_serial_driver)
{
	struct serial_driver_index *index = NULL;
	struct descriptors descriptors;
	char driver[64] = "";

	ck_assert_int_eq(serial_driver_index_new(temp_tree_path(&tree, "lib/modules/1.0"), &index), 0);
	usb_sample_parse(&LTE_MODEM, &descriptors);
	ck_assert_int_eq(serial_driver_lookup(index, &descriptors, &descriptors.interfaces[0], driver, sizeof(driver)), 1);
	ck_assert_str_eq(driver, "option");
	ck_assert_int_eq(serial_driver_is_network(index, &descriptors, &descriptors.interfaces[0]), 0);
	ck_assert_int_eq(serial_driver_is_network(index, &descriptors, &descriptors.interfaces[2]), 1);
	ck_assert_int_eq(serial_driver_lookup(index, &descriptors, &descriptors.interfaces[2], driver, sizeof(driver)), 0);
	serial_driver_index_free(index);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("policy");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_loop_test(tests, a_device_is_shared_for_what_it_is, 0, ARRAY_SIZE(DECISIONS));
	tcase_add_test(tests, a_device_that_came_over_the_network_is_not_pushed_on);
	tcase_add_test(tests, a_hub_by_an_interface_alone_is_a_hub);
	tcase_add_loop_test(tests, a_network_interface_outweighs_a_serial_one_in_any_place, 0, ARRAY_SIZE(NETWORKS));
	tcase_add_test(tests, bluetooth_is_no_network_of_its_own);
	tcase_add_test(tests, a_serial_interface_counts_also_behind_others);
	tcase_add_test(tests, a_device_without_interfaces_is_not_shared);
	tcase_add_test(tests, a_driver_built_into_the_kernel_counts_as_one);
	tcase_add_test(tests, without_a_module_index_nothing_is_shared_and_the_reason_told);
	tcase_add_test(tests, an_interface_knows_its_serial_driver);
	return check_program_run("pi_policy", tests, NULL);
}
