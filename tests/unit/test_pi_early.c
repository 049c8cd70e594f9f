/* What happens between the uevents `add` and `bind` of a device, to the offer that is made there: the real exporter on a fake kernel, a scripted VM behind a real sshd. */

#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "device.h"
#include "pi_bed.h"

static struct pi_bed bed;
static unsigned n_offers;

static void setup_up(void)
{
	pi_bed_setup_up(&bed);
}

static void setup_paired(void)
{
	pi_bed_setup(&bed);
	pi_bed_pair(&bed);
}

static void teardown(void)
{
	pi_bed_teardown(&bed);
}

/* Its drivers are still at it. */
static void add(const struct usb_sample *sample)
{
	fake_kernel_have(&bed.kernel, "1-1", sample, "");
}

/* One of them has it. */
static void probe(void)
{
	fake_kernel_probe(&bed.kernel, "1-1");
}

static void expect_device(const char *state)
{
	pi_bed_wait(&bed, "1-1", state);
}

static bool has_offers(struct pi_bed *own)
{
	return ssh_vm_count_offers(&own->vm) == n_offers;
}

static void expect_offers(unsigned n)
{
	n_offers = n;
	pi_bed_until(&bed, has_offers, "offers");
}

static void expect_heard(const char *text, unsigned times)
{
	pi_bed_expect_heard(&bed, text, times);
}

static const char *awaited;

static bool is_heard(struct pi_bed *own)
{
	return ssh_vm_count_heard(&own->vm, awaited) > 0;
}

static void wait_heard(const char *text)
{
	awaited = text;
	pi_bed_until(&bed, is_heard, text);
}

static void expect_one_attached(void)
{
	expect_device("ATTACHED");
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 1);
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), 1);
}

static struct device *the_device(void)
{
	struct device *device;

	ck_assert_uint_eq(exporter_select(bed.exporter, "1-1", &device, 1), 1);
	return device;
}

static void rules(const char *content)
{
	temp_tree_put(&bed.vm.tree, "devices.conf", content);
}

static void start_up(void)
{
	ssh_vm_answer_connect(&bed.vm, SSH_VM_ATTACHED);
	pi_bed_start(&bed);
	pi_bed_wait_link(&bed, "UP");
}

/* ---- offered ---- */

START_TEST(a_serial_device_is_offered_before_its_drivers_have_it)
{
	add(&FT232R);
	expect_offers(1);
	expect_heard("\"partial\":true", 1);
	expect_heard("\"serial\":\"\"", 1);
	expect_heard("\"devid\":65538", 1);
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "SEEN");
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), ""); /* it is not touched yet */
	probe();
	expect_one_attached();
	expect_heard("\"type\":\"connect\"", 2);
	expect_heard("\"serial\":\"A50285BI\"", 1);
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel),
			 "usb/unbind 1-1; usbip-host/match_busid add 1-1; usbip-host/bind 1-1; 1-1/usbip_sockfd FD");
}
END_TEST

START_TEST(a_name_that_hangs_on_the_serial_number_comes_with_it)
{
	rules("share 0403:6001 serial=A50285BI name=scale\n");
	start_up();
	add(&FT232R);
	expect_offers(1);
	expect_heard("scale", 0);
	probe();
	expect_one_attached();
	expect_heard("\"name\":\"scale\"", 1);
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
}
END_TEST

static const struct {
	const char *rules;
	const struct usb_sample *device;
} UNSURE[] = {
	{ "", &KEYBOARD_DEVICE },
	{ "", &ECM_MODEM },
	{ "", &HUB },
	{ "share driver=*\n", &DISK },
	{ "ignore serial=A5*\n", &FT232R },
	{ "ask 0403:6001\n", &FT232R },
	{ "share 0403:6001 reset-before-share\n", &FT232R },
	{ "share 0403:6001 transport=direct\n", &FT232R },
	{ "share 0403:9999 name=other also=0403:6001\nignore 0403:*\n", &FT232R },
	{ "nonsense\n", &FT232R },
};

START_TEST(what_may_yet_turn_out_otherwise_is_not_offered_early)
{
	rules(UNSURE[_i].rules);
	start_up();
	add(UNSURE[_i].device);
	expect_device("SEEN");
	pi_bed_run(&bed, 100000);
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 0);
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "SEEN");
	probe();
}
END_TEST

START_TEST(a_vm_that_takes_no_partial_offers_gets_none)
{
	ssh_vm_script(&bed.vm, "control", "old\nserve\n");
	start_up();
	add(&FT232R);
	expect_device("SEEN");
	pi_bed_run(&bed, 100000);
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 0);
	probe();
	expect_one_attached();
	expect_heard("partial", 0);
	expect_heard("\"type\":\"connect\"", 1);
}
END_TEST

/* ---- and then ---- */

START_TEST(unplugged_before_its_drivers_have_it_it_leaves_nothing_behind)
{
	add(&FT232R);
	if (_i)
		expect_offers(1);
	fake_kernel_unplug(&bed.kernel, "1-1");
	pi_bed_wait_gone(&bed, "1-1");
	pi_bed_run(&bed, 100000);
	expect_heard("\"type\":\"disconnect\"", ssh_vm_count_offers(&bed.vm));
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	add(&CP2102);
	probe();
	expect_one_attached();
}
END_TEST

START_TEST(one_that_is_not_to_be_shared_after_all_is_withdrawn)
{
	add(&FT232R);
	expect_offers(1);
	rules("ignore serial=A50285BI\n");
	exporter_reload(bed.exporter);
	probe();
	expect_device("IGNORED");
	expect_heard("\"type\":\"disconnect\"", 1);
	expect_heard("\"type\":\"connect\"", 1);
	expect_heard("A50285BI", 0);
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
}
END_TEST

START_TEST(one_that_is_to_take_another_way_is_offered_anew)
{
	add(&FT232R);
	expect_offers(1);
	rules("share serial=A50285BI reset-before-share\n");
	exporter_reload(bed.exporter);
	probe();
	expect_one_attached();
	expect_heard("\"type\":\"disconnect\"", 1);
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 2);
}
END_TEST

START_TEST(another_number_is_another_device)
{
	add(&FT232R);
	expect_offers(1);
	fake_kernel_set(&bed.kernel, "1-1", _i ? "idProduct" : "speed", _i ? "6015\n" : "480\n");
	probe();
	wait_heard("another device is in its place");
	expect_heard("\"type\":\"disconnect\"", 1);
	expect_offers(2);
}
END_TEST

START_TEST(one_that_no_driver_ever_has_is_withdrawn_and_taken_when_one_has)
{
	add(&FT232R);
	expect_offers(1);
	wait_heard("\"type\":\"disconnect\"");
	pi_bed_run(&bed, 100000);
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "SEEN");
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	probe();
	expect_one_attached();
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 2);
}
END_TEST

START_TEST(what_the_vm_refused_early_has_failed_when_it_is_bound)
{
	ssh_vm_answer_connect(&bed.vm, "{\"type\":\"failed\",\"code\":\"no-free-port\",\"text\":\"as the test wants\",\"cure\":\"\"}");
	add(&FT232R);
	expect_offers(1);
	pi_bed_run(&bed, 50000);
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "SEEN");
	probe();
	expect_device("FAILED");
	ck_assert_ptr_nonnull(strstr(pi_bed_field(&bed, "1-1", "reason"), "as the test wants"));
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
	expect_heard("\"type\":\"connect\"", 1);
	ssh_vm_answer_connect(&bed.vm, SSH_VM_ATTACHED);
	expect_one_attached();
	ck_assert_uint_ge(ssh_vm_count_offers(&bed.vm), 2);
}
END_TEST

START_TEST(what_the_vm_refused_early_is_withdrawn_there)
{
	ssh_vm_answer_connect(&bed.vm, "{\"type\":\"failed\",\"code\":\"no-free-port\",\"text\":\"as the test wants\",\"cure\":\"\"}");
	add(&FT232R);
	wait_heard("\"type\":\"disconnect\"");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "SEEN"); /* and may stay with the Pi after all */
	ck_assert(!device_has_offer(the_device()));
	ssh_vm_answer_connect(&bed.vm, SSH_VM_ATTACHED);
	probe();
	expect_one_attached();
}
END_TEST

START_TEST(what_the_vm_let_go_of_early_is_offered_anew_when_it_is_bound)
{
	ssh_vm_answer_connect(&bed.vm, "{\"type\":\"detached\",\"reason\":\"r\"}");
	add(&FT232R);
	wait_heard("\"type\":\"disconnect\"");
	ssh_vm_answer_connect(&bed.vm, SSH_VM_ATTACHED);
	probe();
	expect_one_attached();
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 2);
}
END_TEST

START_TEST(a_stream_that_ends_early_is_replaced_when_it_is_bound)
{
	ssh_vm_script(&bed.vm, "stream", "end\n");
	add(&FT232R);
	wait_heard("\"type\":\"disconnect\"");
	ssh_vm_script(&bed.vm, "stream", "session\n");
	probe();
	expect_device("ATTACHED");
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 1);
}
END_TEST

START_TEST(an_early_offer_goes_with_its_link)
{
	add(&FT232R);
	expect_offers(1);
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	ck_assert(!device_has_offer(the_device()));
	if (_i)
		pi_bed_wait_link(&bed, "UP");
	probe();
	expect_one_attached();
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 2);
}
END_TEST

START_TEST(a_person_may_take_it_back_before_its_drivers_have_it)
{
	add(&FT232R);
	expect_offers(1);
	device_release(the_device(), "by hand");
	expect_device("IGNORED");
	probe();
	pi_bed_run(&bed, 100000);
	expect_device("IGNORED");
	expect_heard("\"type\":\"disconnect\"", 1);
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	device_share(the_device());
	expect_one_attached();
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 2);
}
END_TEST

START_TEST(an_exporter_that_is_killed_in_between_has_a_successor_that_offers_it)
{
	add(&FT232R);
	expect_offers(1);
	pi_bed_kill(&bed);
	if (_i)
		probe();
	pi_bed_start(&bed);
	if (!_i)
		probe();
	expect_one_attached();
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 2);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *up = tcase_create("up"), *paired = tcase_create("not up yet");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(up, setup_up, teardown);
	tcase_set_timeout(up, 100);
	tcase_add_checked_fixture(paired, setup_paired, teardown);
	tcase_set_timeout(paired, 100);
	tcase_add_test(up, a_serial_device_is_offered_before_its_drivers_have_it);
	tcase_add_test(paired, a_name_that_hangs_on_the_serial_number_comes_with_it);
	tcase_add_loop_test(paired, what_may_yet_turn_out_otherwise_is_not_offered_early, 0, ARRAY_SIZE(UNSURE));
	tcase_add_test(paired, a_vm_that_takes_no_partial_offers_gets_none);
	tcase_add_loop_test(up, unplugged_before_its_drivers_have_it_it_leaves_nothing_behind, 0, 2);
	tcase_add_test(up, one_that_is_not_to_be_shared_after_all_is_withdrawn);
	tcase_add_test(up, one_that_is_to_take_another_way_is_offered_anew);
	tcase_add_loop_test(up, another_number_is_another_device, 0, 2);
	tcase_add_test(up, one_that_no_driver_ever_has_is_withdrawn_and_taken_when_one_has);
	tcase_add_test(up, what_the_vm_refused_early_has_failed_when_it_is_bound);
	tcase_add_test(up, what_the_vm_refused_early_is_withdrawn_there);
	tcase_add_test(up, what_the_vm_let_go_of_early_is_offered_anew_when_it_is_bound);
	tcase_add_test(up, a_stream_that_ends_early_is_replaced_when_it_is_bound);
	tcase_add_loop_test(up, an_early_offer_goes_with_its_link, 0, 2);
	tcase_add_test(up, a_person_may_take_it_back_before_its_drivers_have_it);
	tcase_add_loop_test(up, an_exporter_that_is_killed_in_between_has_a_successor_that_offers_it, 0, 2);
	return check_program_run("pi_early", up, paired, NULL);
}
