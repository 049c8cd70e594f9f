/* The jobs of a device: what was judged is what is bound, whatever else is in its socket by then. Found by property_device. */

#include <errno.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "device_job.h"
#include "fake_kernel.h"

static const struct busid SOCKET = { "1-1.2" };

static struct fake_kernel kernel;
static struct usbip_host *host;
static struct device_job *job;

static void setup(void)
{
	fake_kernel_new(&kernel, true);
	ck_assert_int_eq(usbip_host_new(kernel.sysfs, kernel.dev, &host), 0);
	fake_kernel_have(&kernel, "1-1.2", &FT232R, "usb");
	job = NULL;
}

static void teardown(void)
{
	if (job)
		device_job_free(job);
	host = usbip_host_unref(host);
	fake_kernel_free(&kernel);
}

static uint32_t number_now(void)
{
	uint32_t devnum;

	ck_assert_int_eq(usbip_host_get_devnum(host, &SOCKET, &devnum), 0);
	return devnum;
}

static void make_job(uint32_t devnum)
{
	struct usbip_hold hold = USBIP_HOLD_NONE;

	job = device_job_new(host, &SOCKET, devnum, &hold);
	ck_assert_ptr_nonnull(job);
}

START_TEST(the_device_that_was_looked_at_is_bound)
{
	make_job(number_now());
	ck_assert_int_eq(device_job_bind(job), 0);
	ck_assert_str_eq(fake_kernel_driver(&kernel, "1-1.2"), "usbip-host");
	ck_assert_int_eq(device_job_release(job), 0);
}
END_TEST

START_TEST(another_device_in_its_socket_is_left_alone)
{
	make_job(number_now() + 1);
	ck_assert_int_lt(device_job_bind(job), 0);
	ck_assert_int_eq(job->failure.code, FAILURE_GONE);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
	ck_assert_str_eq(fake_kernel_driver(&kernel, "1-1.2"), "usb");
	ck_assert_int_lt(job->hold.device_fd, 0);
}
END_TEST

START_TEST(another_bound_device_is_not_taken_over)
{
	make_job(number_now());
	ck_assert_int_eq(device_job_bind(job), 0);
	job->devnum++;
	ck_assert_int_lt(device_job_adopt(job), 0);
	job->devnum--;
	ck_assert_int_eq(device_job_release(job), 0);
}
END_TEST

START_TEST(one_that_was_taken_for_its_predecessor_goes_back_to_its_driver)
{
	make_job(number_now());
	ck_assert_int_eq(device_job_bind(job), 0);
	ck_assert_int_eq(device_job_forget(job), 0);
	ck_assert_str_eq(fake_kernel_driver(&kernel, "1-1.2"), "usb");
	ck_assert(!fake_kernel_has_entry(&kernel, "1-1.2"));
	ck_assert_int_lt(job->hold.device_fd, 0);
}
END_TEST

START_TEST(after_an_unplug_its_entry_is_cleared)
{
	make_job(number_now());
	ck_assert_int_eq(device_job_bind(job), 0);
	fake_kernel_unplug(&kernel, "1-1.2");
	ck_assert_int_eq(device_job_forget(job), 0);
	ck_assert(!fake_kernel_has_entry(&kernel, "1-1.2"));
}
END_TEST

/* The bind has worked, and then it is gone before it is looked at once more. */
START_TEST(unplugged_while_it_is_bound_it_leaves_no_entry)
{
	make_job(number_now());
	fake_kernel_unplug_after(&kernel, "usbip-host/bind 1-1.2");
	ck_assert_int_lt(device_job_bind(job), 0);
	ck_assert_int_eq(job->failure.code, FAILURE_GONE);
	ck_assert_int_eq(device_job_forget(job), 0);
	ck_assert_uint_eq(fake_kernel_count_table(&kernel), 0);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("device job");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, the_device_that_was_looked_at_is_bound);
	tcase_add_test(tests, another_device_in_its_socket_is_left_alone);
	tcase_add_test(tests, another_bound_device_is_not_taken_over);
	tcase_add_test(tests, one_that_was_taken_for_its_predecessor_goes_back_to_its_driver);
	tcase_add_test(tests, after_an_unplug_its_entry_is_cleared);
	tcase_add_test(tests, unplugged_while_it_is_bound_it_leaves_no_entry);
	return check_program_run("pi_device_job", tests, NULL);
}
