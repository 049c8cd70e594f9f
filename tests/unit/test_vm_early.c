/* An offer that was made before the Pi could read all of the device: the real handler on a fake sysfs. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "vm_bed.h"

#define DEVID(bus, device) ((bus) << 16 | (device))

static struct vm_bed bed;
static struct vm_pi pi, stream;

static void setup(void)
{
	vm_bed_setup(&bed);
	pi.fd = stream.fd = -EBADF;
}

static void teardown(void)
{
	close_fd(pi.fd);
	close_fd(stream.fd);
	vm_bed_teardown(&bed);
}

static void offer_partial(const struct vm_device *device)
{
	vm_pi_say(
		&pi,
		"{\"type\":\"connect\",\"offer\":{\"id\":\"o-1\",\"busid\":\"1-1.4\",\"devid\":%d,\"speed\":12,\"vid\":%d,\"pid\":%d,\"bcd\":256,"
		"\"partial\":true,\"serial\":\"\",\"manufacturer\":\"\",\"product\":\"\",\"name\":\"\"}}",
		DEVID(1, 7), device->vid, device->pid);
}

static void complete(const struct vm_device *device, const char *name)
{
	vm_pi_offer_named(&pi, "o-1", "1-1.4", DEVID(1, 7), device, name);
}

static void offer_and_stream(void)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	offer_partial(&ACM);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
}

static void expect_refused(void)
{
	_cleanup_json_ json_t *message = vm_pi_expect(&pi, "refused");

	ck_assert_str_eq(json_string_value(json_object_get(message, "code")), "bad-request");
	vm_pi_expect_end(&pi);
}

START_TEST(the_hello_says_that_partial_offers_are_taken)
{
	_cleanup_json_ json_t *hello = NULL;

	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 8000);
	hello = vm_pi_expect(&pi, "hello");
	ck_assert(json_is_true(json_object_get(hello, "partial")));
}
END_TEST

START_TEST(a_partial_offer_is_attached_and_waits_for_the_rest_before_any_driver)
{
	_cleanup_json_ json_t *attached = NULL;
	uint32_t port;

	offer_and_stream();
	port = vm_bed_enumerate(&bed, &ACM);
	vm_bed_settle(&bed);
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "enumerating");
	ck_assert(!vm_bed_is_authorized(&bed, port));
	complete(&ACM, "bench");
	vm_bed_expect_state(&bed, "o-1", "settling");
	ck_assert(vm_bed_is_authorized(&bed, port));
	vm_bed_add_tty(&bed, port, "/dev/ttyACM0", "/dev/usbpush/bench");
	attached = vm_pi_expect(&pi, "attached");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(attached, "links"), 0)), "/dev/usbpush/bench");
}
END_TEST

START_TEST(the_rest_may_come_at_any_time_before)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	offer_partial(&ACM);
	if (_i == 0)
		complete(&ACM, "");
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	port = vm_bed_take_attach(&bed); /* a port that stays free for half a second has lost its device */
	if (_i == 1)
		complete(&ACM, "");
	vm_bed_show_device(&bed, port, &ACM);
	if (_i == 2)
		complete(&ACM, "");
	vm_bed_expect_state(&bed, "o-1", "settling");
}
END_TEST

START_TEST(what_was_read_is_compared_with_the_whole)
{
	struct vm_device impostor = ACM;
	_cleanup_json_ json_t *failed = NULL;
	uint32_t port;

	impostor.serial = "another";
	offer_and_stream();
	port = vm_bed_enumerate(&bed, &impostor);
	vm_bed_settle(&bed);
	complete(&ACM, "");
	failed = vm_pi_expect(&pi, "failed");
	ck_assert_str_eq(json_string_value(json_object_get(failed, "code")), "identity");
	ck_assert(!vm_bed_is_authorized(&bed, port));
}
END_TEST

START_TEST(the_rest_of_another_device_ends_the_link)
{
	struct vm_device other = ACM;

	other.pid++;
	offer_and_stream();
	(void)vm_bed_enumerate(&bed, &ACM); /* or it would be unplugged after half a second */
	if (_i == 0)
		complete(&other, "");
	else
		vm_pi_offer(&pi, "o-1", "1-1.4", DEVID(1, 8), &ACM);
	expect_refused();
}
END_TEST

START_TEST(a_whole_offer_does_not_become_partial_again)
{
	offer_and_stream();
	(void)vm_bed_enumerate(&bed, &ACM);
	complete(&ACM, "");
	offer_partial(&ACM);
	expect_refused();
}
END_TEST

START_TEST(a_partial_offer_that_is_withdrawn_leaves_nothing)
{
	uint32_t port;

	offer_and_stream();
	port = vm_bed_enumerate(&bed, &ACM);
	vm_pi_say(&pi, "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"unplugged\"}");
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
	vm_bed_remove(&bed, port);
	json_decref(vm_pi_expect(&pi, "detached"));
	vm_bed_expect_state(&bed, "o-1", "");
}
END_TEST

/* The rest may have been lost with the connection. */
START_TEST(one_of_another_connection_is_kept_only_if_it_is_whole)
{
	_cleanup_json_ json_t *synced = NULL;

	offer_and_stream();
	(void)vm_bed_enumerate(&bed, &ACM);
	if (_i)
		complete(&ACM, "");
	vm_bed_settle(&bed);
	vm_pi_close(&pi);
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 8000);
	json_decref(vm_pi_expect(&pi, "hello"));
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":1,\"offers\":[{\"id\":\"o-1\",\"streaming\":true}]}");
	synced = vm_pi_expect(&pi, "synced");
	ck_assert_uint_eq(json_array_size(json_object_get(synced, "keep")), (size_t)_i);
}
END_TEST

START_TEST(a_successor_knows_that_the_rest_has_come_or_has_not)
{
	uint32_t port;

	offer_and_stream();
	port = vm_bed_enumerate(&bed, &ACM);
	if (_i)
		complete(&ACM, "");
	vm_bed_settle(&bed);
	vm_bed_restart_handler(&bed);
	vm_bed_settle(&bed);
	vm_bed_expect_state(&bed, "o-1", _i ? "settling" : "enumerating");
	ck_assert_int_eq(vm_bed_is_authorized(&bed, port), _i);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("early");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, the_hello_says_that_partial_offers_are_taken);
	tcase_add_test(tests, a_partial_offer_is_attached_and_waits_for_the_rest_before_any_driver);
	tcase_add_loop_test(tests, the_rest_may_come_at_any_time_before, 0, 3);
	tcase_add_test(tests, what_was_read_is_compared_with_the_whole);
	tcase_add_loop_test(tests, the_rest_of_another_device_ends_the_link, 0, 2);
	tcase_add_test(tests, a_whole_offer_does_not_become_partial_again);
	tcase_add_test(tests, a_partial_offer_that_is_withdrawn_leaves_nothing);
	tcase_add_loop_test(tests, one_of_another_connection_is_kept_only_if_it_is_whole, 0, 2);
	tcase_add_loop_test(tests, a_successor_knows_that_the_rest_has_come_or_has_not, 0, 2);
	return check_program_run("vm_early", tests, NULL);
}
