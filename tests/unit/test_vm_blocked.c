/* A write to the VM's sysfs from which the kernel does not return. */

#include <poll.h>
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
static struct vm_pi pi, stream, other_stream;
static int gate[2]; /* closed at its writing end: open */

/* Writes to the `authorized` of port 0 wait at the gate. */
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
	if (strstr(path, "/1-1/authorized")) {
		struct pollfd end = { .fd = gate[0] };

		poll(&end, 1, -1);
	}
	return false;
}

static void setup(void)
{
	vm_bed_setup(&bed);
	pi.fd = stream.fd = other_stream.fd = -EBADF;
	ck_assert_int_eq(pipe(gate), 0);
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
	uint64_t since = clock_now_usec();
	bool is_stopped = false;

	attach_stuck();
	handler_stop(bed.handler, note_stop, &is_stopped); /* and the kernel does not free the port either */
	ck_assert(loop_until(bed.event, has_stopped, &is_stopped));
	ck_assert_uint_lt(clock_now_usec() - since, 8000000);
}
END_TEST

int main(void)
{
	TCase *blocked = tcase_create("blocked");

	log_init("usbpush-handler", false);
	tcase_set_timeout(blocked, 60);
	tcase_add_checked_fixture(blocked, setup, teardown);
	tcase_add_test(blocked, no_other_device_waits);
	tcase_add_test(blocked, status_says_which_write_and_since_when);
	tcase_add_test(blocked, after_ten_seconds_the_pi_is_told_and_the_port_given_back);
	tcase_add_test(blocked, a_stop_does_not_wait_for_ever);
	return check_program_run("blocked", blocked, NULL);
}
