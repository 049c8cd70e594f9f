/* A write to the VM's sysfs from which the kernel does not return. */

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "inject.h"
#include "log.h"
#include "vm_bed.h"
#include "vm_status_view.h"

#define DEVID(bus, device) ((bus) << 16 | (device))

static struct vm_bed bed;
static struct vm_pi pi, stream, other_stream, more_streams[BED_HS];
static int gate[2]; /* closed at its writing end: open */
static const char *gated;
static atomic_uint n_waiting;

/* Writes to the gated file wait at the gate. */
static bool wait_at_gate(int fd, const void *data, size_t size, ssize_t *ret_result, void *userdata)
{
	char link[64], path[512];
	ssize_t n;

	(void)data;
	(void)size;
	(void)ret_result;
	(void)userdata;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	if (strstr(path, gated)) {
		struct pollfd end = { .fd = gate[0] };

		n_waiting++;
		poll(&end, 1, -1);
	}
	return false;
}

static void setup(void)
{
	vm_bed_setup(&bed);
	pi.fd = stream.fd = other_stream.fd = -EBADF;
	for (size_t i = 0; i < ARRAY_SIZE(more_streams); i++)
		more_streams[i].fd = -EBADF;
	ck_assert_int_eq(pipe(gate), 0);
	gated = "/1-1/authorized"; /* of port 0 */
	n_waiting = 0;
	inject_answer_writes(wait_at_gate, NULL);
	vm_pi_come_up(&pi, &bed, BED_PI);
}

static void open_gate(void)
{
	gate[1] = close_fd(gate[1]);
}

static void teardown(void)
{
	open_gate();
	close_fd(pi.fd);
	close_fd(stream.fd);
	close_fd(other_stream.fd);
	for (size_t i = 0; i < ARRAY_SIZE(more_streams); i++)
		close_fd(more_streams[i].fd);
	vm_bed_teardown(&bed);
	usleep(50000); /* a thread that was held up ends by itself */
	close_fd(gate[0]);
}

static uint32_t attach(struct vm_pi *on, const char *offer, const char *busid, uint32_t devid)
{
	vm_pi_offer(&pi, offer, busid, devid, &ACM);
	vm_pi_open_stream(on, &bed, BED_PI, offer);
	vm_pi_expect_text(on, "OK");
	return vm_bed_enumerate(&bed, &ACM);
}

static void attach_stuck(void)
{
	ck_assert_uint_eq(attach(&stream, "o-1", "1-1.4", DEVID(1, 7)), 0);
	vm_bed_expect_state(&bed, "o-1", "authorizing");
}

static void attach_other(void)
{
	uint32_t port = attach(&other_stream, "o-2", "1-1.2", DEVID(1, 8));

	vm_bed_expect_state(&bed, "o-2", "settling");
	vm_bed_add_tty(&bed, port, "/dev/ttyACM0", "/dev/serial/by-id/usb-acm");
	vm_bed_expect_state(&bed, "o-2", "attached");
}

static bool is_told(void *userdata)
{
	json_t **ret_status = userdata;

	json_decref(*ret_status);
	*ret_status = handler_status_to_json(bed.handler);
	return json_array_size(json_object_get(*ret_status, "blocked")) > 0;
}

START_TEST(no_other_device_waits)
{
	attach_stuck();
	attach_other();
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "authorizing");
	open_gate();
	vm_bed_expect_state(&bed, "o-1", "settling");
}
END_TEST

/* The Pi was unpaired while there was no handler, and its session ends before the kernel takes the successor's `detach`. */
START_TEST(a_former_handlers_port_is_nobodys_before_its_detach_is_written)
{
	uint32_t port, next;

	gated = "/detach";
	port = attach(&stream, "o-1", "1-1.4", DEVID(1, 7));
	vm_bed_expect_state(&bed, "o-1", "settling");
	temp_tree_put(&bed.tree, "pi.conf", "PI=" BED_OTHER " pi2\n");
	vm_bed_restart_handler(&bed);
	vm_bed_remove(&bed, port);
	pi.fd = close_fd(pi.fd);
	vm_pi_come_up(&pi, &bed, BED_OTHER);
	vm_pi_offer(&pi, "o-2", "1-1.2", DEVID(1, 8), &ACM);
	vm_pi_open_stream(&other_stream, &bed, BED_OTHER, "o-2");
	vm_pi_expect_text(&other_stream, "OK");
	next = vm_bed_enumerate(&bed, &ACM);
	ck_assert_uint_eq(n_waiting, 1);
	ck_assert_uint_ne(next, port);
	open_gate();
	vm_bed_settle(&bed);
	vm_bed_add_tty(&bed, next, "/dev/ttyACM0", "");
	vm_bed_expect_state(&bed, "o-2", "attached");
}
END_TEST

START_TEST(status_says_which_write_and_since_when)
{
	_cleanup_json_ json_t *status = NULL;
	_cleanup_free_ char *text = NULL;
	const json_t *blocked;
	size_t size;
	FILE *file;

	attach_stuck();
	ck_assert(!is_told(&status));
	ck_assert(loop_until(bed.event, is_told, &status));
	blocked = json_array_get(json_object_get(status, "blocked"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(blocked, "name")), "pi1: 1-1.4");
	ck_assert_str_eq(json_string_value(json_object_get(blocked, "step")), "write authorized");
	ck_assert_int_ge(json_integer_value(json_object_get(blocked, "since_ms")), 2000);
	file = open_memstream(&text, &size);
	vm_status_view_print(status, file, false);
	fclose(file);
	ck_assert_ptr_nonnull(strstr(text, "Blocked  pi1: 1-1.4: the kernel has not returned from \"write authorized\" for "));
}
END_TEST

START_TEST(after_ten_seconds_the_pi_is_told_and_the_port_given_back)
{
	_cleanup_json_ json_t *failed = NULL, *status = NULL;

	attach_stuck();
	vm_pi_say(&pi, "{\"type\":\"beat\"}");
	loop_for(bed.event, 7000000);
	vm_pi_say(&pi, "{\"type\":\"beat\"}");
	failed = vm_pi_expect(&pi, "failed");
	ck_assert_str_eq(json_string_value(json_object_get(failed, "code")), "timeout");
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(failed, "text")), "authorizing"));
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "0");
	ck_assert(is_told(&status)); /* its thread is still there, and seen */
	vm_bed_remove(&bed, 0);
	vm_bed_expect_state(&bed, "o-1", "failed");
	open_gate();
	attach_other();
}
END_TEST

static void note_stop(void *userdata)
{
	*(bool *)userdata = true;
}

static bool has_stopped(void *userdata)
{
	return *(bool *)userdata;
}

START_TEST(a_stop_does_not_wait_for_ever)
{
	bool is_stopped = false;
	uint64_t since;

	attach_stuck();
	since = clock_now_usec();
	handler_stop(bed.handler, note_stop, &is_stopped); /* and the kernel does not free the port either */
	ck_assert(loop_until(bed.event, has_stopped, &is_stopped));
	ck_assert_uint_lt(clock_now_usec() - since, 8000000 * test_slowness());
}
END_TEST

/* ---- the writes to vhci_hcd itself ---- */

static bool is_waiting(void *userdata)
{
	(void)userdata;
	return n_waiting == 1;
}

static void offer_stuck(void)
{
	gated = "/vhci_hcd.0/attach";
	vm_pi_offer(&pi, "o-1", "1-1.4", DEVID(1, 7), &ACM);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	ck_assert(loop_until(bed.event, is_waiting, NULL));
	gated = "nothing";
}

static void expect_step(const char *step)
{
	_cleanup_json_ json_t *status = NULL;

	ck_assert(loop_until(bed.event, is_told, &status));
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(status, "blocked"), 0), "step")), step);
}

START_TEST(an_attach_that_does_not_return_is_shown_and_no_other_device_waits)
{
	offer_stuck();
	ck_assert_uint_eq(attach(&other_stream, "o-2", "1-1.2", DEVID(1, 8)), 1); /* and not at the same port */
	vm_bed_add_tty(&bed, 1, "/dev/ttyACM0", "/dev/serial/by-id/usb-acm");
	vm_bed_expect_state(&bed, "o-2", "attached");
	expect_step("write devices/platform/vhci_hcd.0/attach");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "attaching");
	open_gate();
	ck_assert_uint_eq(vm_bed_enumerate(&bed, &ACM), 0);
	vm_bed_expect_state(&bed, "o-1", "settling");
}
END_TEST

/* It waits because the port's former device is still being taken down: its end is heard now. */
START_TEST(the_end_of_a_ports_former_device_is_not_taken_for_the_new_ones)
{
	offer_stuck();
	vm_bed_remove(&bed, 0);
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "attaching");
	open_gate();
	ck_assert_uint_eq(vm_bed_enumerate(&bed, &ACM), 0);
	vm_bed_expect_state(&bed, "o-1", "settling");
}
END_TEST

START_TEST(after_ten_seconds_such_an_attach_has_failed_and_when_it_returns_it_is_taken_back)
{
	_cleanup_json_ json_t *failed = NULL;

	offer_stuck();
	loop_for(bed.event, 6000000);
	vm_pi_say(&pi, "{\"type\":\"beat\"}");
	failed = vm_pi_expect(&pi, "failed");
	ck_assert_str_eq(json_string_value(json_object_get(failed, "code")), "timeout");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "detaching");
	vm_pi_expect_end(&stream);
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), ""); /* nothing is detached that may not be attached yet */
	open_gate();
	ck_assert_uint_eq(vm_bed_take_attach(&bed), 0);
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "0");
	vm_bed_remove(&bed, 0);
	vm_bed_expect_state(&bed, "o-1", "failed");
}
END_TEST

START_TEST(a_withdrawn_offer_whose_attach_comes_late_is_detached)
{
	offer_stuck();
	vm_pi_say(&pi, "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"unplugged\"}");
	vm_bed_expect_state(&bed, "o-1", "detaching");
	open_gate();
	ck_assert_uint_eq(vm_bed_take_attach(&bed), 0);
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "0");
	vm_bed_remove(&bed, 0);
	vm_bed_expect_state(&bed, "o-1", "");
}
END_TEST

START_TEST(a_detach_that_does_not_return_is_shown_and_its_port_is_used_for_nothing_else)
{
	gated = "nothing";
	ck_assert_uint_eq(attach(&stream, "o-1", "1-1.4", DEVID(1, 7)), 0);
	vm_bed_expect_state(&bed, "o-1", "settling");
	vm_bed_add_tty(&bed, 0, "/dev/ttyACM1", "/dev/serial/by-id/usb-acm1");
	vm_bed_expect_state(&bed, "o-1", "attached");
	gated = "/vhci_hcd.0/detach";
	vm_pi_say(&pi, "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"unplugged\"}");
	vm_bed_expect_state(&bed, "o-1", "detaching");
	attach_other();
	vm_bed_remove(&bed, 0); /* its stream has ended, too: the port is free, but the write is still under way */
	expect_step("write devices/platform/vhci_hcd.0/detach");
	for (unsigned i = 0; i < BED_HS - 2; i++) {
		char offer[16], busid[16];

		snprintf(offer, sizeof(offer), "p-%u", i);
		snprintf(busid, sizeof(busid), "1-2.%u", i + 1);
		ck_assert_uint_gt(attach(&more_streams[i], offer, busid, DEVID(1, 20 + i)), 1);
	}
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "detaching");
	open_gate();
	vm_bed_expect_state(&bed, "o-1", "");
}
END_TEST

START_TEST(a_stop_waits_for_no_attach_either)
{
	bool is_stopped = false;
	uint64_t since;

	offer_stuck();
	since = clock_now_usec();
	handler_stop(bed.handler, note_stop, &is_stopped);
	ck_assert(loop_until(bed.event, has_stopped, &is_stopped));
	ck_assert_uint_lt(clock_now_usec() - since, 8000000 * test_slowness());
}
END_TEST

int main(void)
{
	TCase *blocked = tcase_create("blocked"), *vhci = tcase_create("vhci");

	log_init("usbpush-handler", false);
	tcase_set_timeout(blocked, 60);
	tcase_add_checked_fixture(blocked, setup, teardown);
	tcase_add_test(blocked, no_other_device_waits);
	tcase_add_test(blocked, a_former_handlers_port_is_nobodys_before_its_detach_is_written);
	tcase_add_test(blocked, status_says_which_write_and_since_when);
	tcase_add_test(blocked, after_ten_seconds_the_pi_is_told_and_the_port_given_back);
	tcase_add_test(blocked, a_stop_does_not_wait_for_ever);
	tcase_set_timeout(vhci, 60);
	tcase_add_checked_fixture(vhci, setup, teardown);
	tcase_add_test(vhci, an_attach_that_does_not_return_is_shown_and_no_other_device_waits);
	tcase_add_test(vhci, the_end_of_a_ports_former_device_is_not_taken_for_the_new_ones);
	tcase_add_test(vhci, after_ten_seconds_such_an_attach_has_failed_and_when_it_returns_it_is_taken_back);
	tcase_add_test(vhci, a_withdrawn_offer_whose_attach_comes_late_is_detached);
	tcase_add_test(vhci, a_detach_that_does_not_return_is_shown_and_its_port_is_used_for_nothing_else);
	tcase_add_test(vhci, a_stop_waits_for_no_attach_either);
	return check_program_run("blocked", blocked, vhci, NULL);
}
