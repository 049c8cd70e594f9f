/* usbip-host's files: what is written where and in which order, and what its refusals mean. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "fake_kernel.h"
#include "usbip_host.h"

static const struct busid SOCKET = { "1-1.2" };

static struct fake_kernel kernel;
static struct usbip_host *host;
static struct usbip_hold hold;
static struct failure failure;

static void setup(void)
{
	fake_kernel_new(&kernel, true);
	ck_assert_int_eq(usbip_host_new(kernel.sysfs, kernel.dev, &host), 0);
	hold = USBIP_HOLD_NONE;
	failure = (struct failure){ 0 };
	fake_kernel_have(&kernel, "1-1.2", &FT232R, "usb");
}

static void teardown(void)
{
	usbip_hold_done(&hold);
	host = usbip_host_unref(host);
	fake_kernel_free(&kernel);
}

static void bind_it(void)
{
	ck_assert_msg(usbip_host_bind(host, &SOCKET, &hold, &failure) == 0, "%s", failure.text);
	ck_assert_str_eq(fake_kernel_driver(&kernel, "1-1.2"), "usbip-host");
	fake_kernel_writes(&kernel);
}

/* A session; our end of it. */
static int start_session(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(usbip_host_start_session(host, &SOCKET, fds[1], &failure), 0);
	close(fds[1]);
	return fds[0];
}

static enum usbip_host_status status_of(void)
{
	enum usbip_host_status status;

	ck_assert_int_eq(usbip_host_get_status(host, &SOCKET, &status), 0);
	return status;
}

/* ---- binding ---- */

START_TEST(a_device_is_taken_from_its_driver_entered_and_bound_in_this_order)
{
	ck_assert_int_eq(usbip_host_bind(host, &SOCKET, &hold, &failure), 0);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "usb/unbind 1-1.2; usbip-host/match_busid add 1-1.2; usbip-host/bind 1-1.2");
	ck_assert_int_ge(hold.device_fd, 0);
	ck_assert_int_ge(hold.hub_fd, 0);
	ck_assert_int_eq(status_of(), USBIP_HOST_AVAILABLE);
}
END_TEST

START_TEST(a_device_without_a_driver_is_bound_all_the_same)
{
	fake_kernel_have(&kernel, "1-3", &CP2102, "");
	ck_assert_int_eq(usbip_host_bind(host, &(struct busid){ "1-3" }, &hold, &failure), 0);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "usbip-host/match_busid add 1-3; usbip-host/bind 1-3");
}
END_TEST

static const struct {
	const char *file;
	int error;
	enum failure_code code;
} REFUSALS[] = {
	{ "usb/unbind", ENODEV, FAILURE_GONE },
	{ "usb/unbind", EACCES, FAILURE_NO_PERMISSION },
	{ "usb/unbind", EROFS, FAILURE_NO_PERMISSION },
	{ "usb/unbind", EIO, FAILURE_KERNEL },
	{ "usbip-host/match_busid", ENOMEM, FAILURE_TABLE_FULL },
	{ "usbip-host/match_busid", EPERM, FAILURE_NO_PERMISSION },
	{ "usbip-host/match_busid", EINVAL, FAILURE_KERNEL },
	{ "usbip-host/bind", ENODEV, FAILURE_GONE },
	{ "usbip-host/bind", EBUSY, FAILURE_KERNEL },
};

START_TEST(a_refusal_has_its_code_and_the_device_is_back_with_its_driver)
{
	fake_kernel_refuse(&kernel, REFUSALS[_i].file, REFUSALS[_i].error, 1);
	ck_assert_int_lt(usbip_host_bind(host, &SOCKET, &hold, &failure), 0);
	ck_assert_msg(failure.code == REFUSALS[_i].code, "%s: %s", failure_code_to_string(failure.code), failure.text);
	ck_assert_ptr_eq(strstr(failure.text, "1-1.2: "), failure.text);
	ck_assert_int_lt(hold.device_fd, 0);
	ck_assert_str_eq(fake_kernel_driver(&kernel, "1-1.2"), "usb");
}
END_TEST

START_TEST(a_seventeenth_device_finds_the_table_full)
{
	struct usbip_hold holds[FAKE_KERNEL_TABLE + 1];

	for (unsigned i = 0; i <= FAKE_KERNEL_TABLE; i++) {
		struct busid busid;

		snprintf(busid.text, sizeof(busid.text), "1-2.%u", i + 1);
		fake_kernel_have(&kernel, busid.text, &FT232R, "usb");
		if (i == FAKE_KERNEL_TABLE)
			break;
		ck_assert_int_eq(usbip_host_bind(host, &busid, &holds[i], &failure), 0);
	}
	ck_assert_int_eq(usbip_host_bind(host, &(struct busid){ "1-2.17" }, &hold, &failure), -ENOSPC);
	ck_assert_int_eq(failure.code, FAILURE_TABLE_FULL);
	ck_assert_ptr_nonnull(strstr(failure.cure, "usbpush detach"));
	ck_assert_str_eq(fake_kernel_driver(&kernel, "1-2.17"), "usb");
	for (unsigned i = 0; i < FAKE_KERNEL_TABLE; i++)
		usbip_hold_done(&holds[i]);
}
END_TEST

START_TEST(a_device_that_is_gone_is_gone_and_no_error)
{
	fake_kernel_unplug(&kernel, "1-1.2");
	ck_assert_int_eq(usbip_host_bind(host, &SOCKET, &hold, &failure), -ENODEV);
	ck_assert_int_eq(failure.code, FAILURE_GONE);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
}
END_TEST

START_TEST(a_node_that_is_missing_in_dev_stops_before_anything_is_written)
{
	temp_tree_remove(&kernel.tree, "dev/bus/usb/001");
	ck_assert_int_lt(usbip_host_bind(host, &SOCKET, &hold, &failure), 0);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
}
END_TEST

START_TEST(somebody_elses_session_is_left_alone)
{
	_cleanup_close_ int fd = -EBADF;

	bind_it();
	usbip_hold_done(&hold); /* as if usbipd had bound it */
	fd = start_session();
	fake_kernel_writes(&kernel);
	ck_assert_int_eq(usbip_host_bind(host, &SOCKET, &hold, &failure), -EBUSY);
	ck_assert_int_eq(failure.code, FAILURE_BUSY);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
	ck_assert_int_eq(usbip_host_claim(host, &SOCKET, &hold, &failure), -EBUSY);
	ck_assert_int_eq(failure.code, FAILURE_BUSY);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
}
END_TEST

START_TEST(what_is_to_be_claimed_is_taken_from_usbip_host_before)
{
	bind_it();
	usbip_hold_done(&hold);
	fake_kernel_writes(&kernel);
	ck_assert_int_lt(usbip_host_claim(host, &SOCKET, &hold, &failure), 0); /* its node is no usbfs here */
	ck_assert_str_eq(fake_kernel_writes(&kernel), "usbip-host/unbind 1-1.2; usbip-host/rebind 1-1.2");
	ck_assert_str_eq(fake_kernel_driver(&kernel, "1-1.2"), "usb");
}
END_TEST

/* ---- sessions ---- */

START_TEST(a_session_is_started_with_our_own_number_of_the_socket)
{
	_cleanup_close_ int fd = -EBADF;
	char text[8] = "";

	kernel.is_echoing = true;
	bind_it();
	fd = start_session();
	ck_assert_int_eq(status_of(), USBIP_HOST_USED);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "1-1.2/usbip_sockfd FD");
	ck_assert_int_eq(send(fd, "urb", 3, 0), 3);
	ck_assert_int_eq(recv(fd, text, sizeof(text), 0), 3);
	ck_assert_str_eq(text, "urb");
}
END_TEST

START_TEST(a_session_on_a_device_that_is_gone_says_so)
{
	bind_it();
	fake_kernel_unplug(&kernel, "1-1.2");
	ck_assert_int_eq(usbip_host_start_session(host, &SOCKET, STDIN_FILENO, &failure), -ENODEV);
	ck_assert_int_eq(failure.code, FAILURE_GONE);
}
END_TEST

/* ---- giving back ---- */

START_TEST(a_device_is_unbound_first_and_its_entry_cleared_after)
{
	bind_it();
	ck_assert_int_eq(usbip_host_release(host, &SOCKET, &hold, &failure), 0);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "usbip-host/unbind 1-1.2; usbip-host/rebind 1-1.2");
	ck_assert_str_eq(fake_kernel_driver(&kernel, "1-1.2"), "usb");
	ck_assert_uint_eq(fake_kernel_count_table(&kernel), 0);
	ck_assert_int_lt(hold.device_fd, 0);
}
END_TEST

START_TEST(a_device_with_a_session_is_not_unbound)
{
	_cleanup_close_ int fd = -EBADF;

	bind_it();
	fd = start_session();
	fake_kernel_writes(&kernel);
	ck_assert_int_eq(usbip_host_release(host, &SOCKET, &hold, &failure), -EBUSY);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
	ck_assert_int_ge(hold.device_fd, 0); /* to be tried again */
}
END_TEST

START_TEST(a_device_that_was_unplugged_leaves_no_entry)
{
	bind_it();
	fake_kernel_unplug(&kernel, "1-1.2");
	ck_assert_int_eq(usbip_host_release(host, &SOCKET, &hold, &failure), 0);
	ck_assert_uint_eq(fake_kernel_count_table(&kernel), 0);
}
END_TEST

/* `rebind` on it would take the entry that its disconnect needs. */
START_TEST(a_device_whose_state_can_not_be_read_keeps_its_entry_and_is_tried_again)
{
	bind_it();
	temp_tree_remove(&kernel.tree, "sys/devices/pci0000:00/usb1/1-1.2/usbip_status");
	ck_assert_int_eq(usbip_host_release(host, &SOCKET, &hold, &failure), -EIO);
	ck_assert_int_eq(failure.code, FAILURE_KERNEL);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
	ck_assert_int_ge(hold.device_fd, 0);
	fake_kernel_set(&kernel, "1-1.2", "usbip_status", "1\n");
	ck_assert_int_eq(usbip_host_release(host, &SOCKET, &hold, &failure), 0);
	ck_assert_uint_eq(fake_kernel_count_table(&kernel), 0);
}
END_TEST

START_TEST(a_device_is_forgotten_after_its_unplug)
{
	bind_it();
	fake_kernel_unplug(&kernel, "1-1.2");
	ck_assert_int_eq(usbip_host_forget(host, &SOCKET, &hold), 0);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "usbip-host/rebind 1-1.2");
	ck_assert_uint_eq(fake_kernel_count_table(&kernel), 0);
	ck_assert_int_lt(hold.device_fd, 0);
}
END_TEST

START_TEST(an_entry_that_can_not_be_cleared_keeps_the_references_for_the_next_try)
{
	bind_it();
	fake_kernel_unplug(&kernel, "1-1.2");
	temp_tree_remove(&kernel.tree, "sys/bus/usb/drivers/usbip-host/rebind");
	ck_assert_int_eq(usbip_host_forget(host, &SOCKET, &hold), -ENOENT);
	ck_assert_int_ge(hold.device_fd, 0);
	temp_tree_put(&kernel.tree, "sys/bus/usb/drivers/usbip-host/rebind", "");
	ck_assert_int_eq(usbip_host_forget(host, &SOCKET, &hold), 0);
	ck_assert_uint_eq(fake_kernel_count_table(&kernel), 0);
	ck_assert_int_lt(hold.device_fd, 0);
}
END_TEST

START_TEST(an_entry_is_not_taken_from_the_next_device_in_the_socket_that_is_bound_by_it)
{
	bind_it();
	fake_kernel_unplug(&kernel, "1-1.2");
	fake_kernel_have(&kernel, "1-1.2", &CP2102, "usbip-host");
	ck_assert_int_eq(usbip_host_forget(host, &SOCKET, &hold), 0);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
	ck_assert_uint_eq(fake_kernel_count_table(&kernel), 1);
}
END_TEST

START_TEST(nothing_is_forgotten_without_the_references)
{
	bind_it();
	fake_kernel_unplug(&kernel, "1-1.2");
	usbip_hold_done(&hold);
	ck_assert_int_eq(usbip_host_forget(host, &SOCKET, &hold), 0);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
}
END_TEST

START_TEST(a_predecessors_device_is_adopted_and_any_other_is_not)
{
	fake_kernel_have(&kernel, "1-4", &CP2102, "usbip-host");
	ck_assert_int_eq(usbip_host_adopt(host, &(struct busid){ "1-4" }, &hold), 0);
	ck_assert_int_ge(hold.device_fd, 0);
	usbip_hold_done(&hold);
	ck_assert_int_eq(usbip_host_adopt(host, &SOCKET, &hold), -ENODEV);
	ck_assert_int_eq(usbip_host_adopt(host, &(struct busid){ "1-9" }, &hold), -ENOENT);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
}
END_TEST

/* ---- what there is ---- */

static char listed[512];

static void on_listed(const struct busid *busid, const char *syspath, const char *driver, void *userdata)
{
	size_t used = strlen(listed);

	ck_assert_ptr_eq(userdata, &kernel);
	snprintf(listed + used, sizeof(listed) - used, "%s %s %s; ", busid->text, syspath, driver);
}

START_TEST(every_device_is_listed_with_path_and_driver_and_nothing_else)
{
	temp_tree_link(&kernel.tree, "sys/bus/usb/devices/usb1", "../../../devices/pci0000:00/usb1");
	temp_tree_link(&kernel.tree, "sys/bus/usb/devices/1-1.2:1.0", "../../../devices/pci0000:00/usb1/1-1.2");
	listed[0] = '\0';
	ck_assert_int_eq(usbip_host_enumerate(host, on_listed, &kernel), 0);
	ck_assert_str_eq(listed, "1-1.2 /sys/devices/pci0000:00/usb1/1-1.2 usb; ");
}
END_TEST

START_TEST(a_status_beyond_two_is_an_error)
{
	bind_it();
	fake_kernel_set(&kernel, "1-1.2", "usbip_status", "3\n");
	ck_assert_int_eq(status_of(), USBIP_HOST_ERROR);
	fake_kernel_set(&kernel, "1-1.2", "usbip_status", "77\n");
	ck_assert_int_eq(status_of(), USBIP_HOST_ERROR);
}
END_TEST

START_TEST(a_device_that_is_not_bound_has_no_status)
{
	enum usbip_host_status status;

	ck_assert_int_eq(usbip_host_get_status(host, &SOCKET, &status), -ENOENT);
	ck_assert(!usbip_host_is_bound(host, &SOCKET));
	bind_it();
	ck_assert(usbip_host_is_bound(host, &SOCKET));
}
END_TEST

START_TEST(a_loaded_module_is_no_problem)
{
	ck_assert_int_eq(usbip_host_check(host, &failure), 0);
}
END_TEST

START_TEST(a_missing_module_is_told_with_the_command_that_loads_it)
{
	temp_tree_remove(&kernel.tree, "sys/bus/usb/drivers/usbip-host");
	ck_assert_int_lt(usbip_host_check(host, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_NO_MODULE);
	ck_assert_ptr_nonnull(strstr(failure.text, "usbip-host"));
	ck_assert_ptr_nonnull(strstr(failure.cure, "modprobe usbip-host"));
	ck_assert_int_lt(usbip_host_bind(host, &SOCKET, &hold, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_NO_MODULE);
	ck_assert_str_eq(fake_kernel_writes(&kernel), "");
}
END_TEST

START_TEST(a_kernel_without_usb_is_told_with_the_kernel_to_install)
{
	temp_tree_remove(&kernel.tree, "sys/bus/usb");
	ck_assert_int_lt(usbip_host_check(host, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_NO_USB);
	ck_assert_ptr_nonnull(strstr(failure.text, "no USB support"));
	ck_assert_ptr_nonnull(strstr(failure.cure, "linux-image"));
	ck_assert_int_eq(usbip_host_enumerate(host, on_listed, &kernel), 0);
}
END_TEST

START_TEST(a_tree_that_is_not_there_is_told)
{
	struct usbip_host *none = NULL;

	ck_assert_int_eq(usbip_host_new("/nonexistent/sys", kernel.dev, &none), -ENOENT);
	ck_assert_int_eq(usbip_host_new(kernel.sysfs, "/nonexistent/dev", &none), -ENOENT);
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(twenty_rounds_leave_no_entry_and_no_file_descriptor)
{
	unsigned fds = count_fds();

	for (unsigned i = 0; i < 20; i++) {
		bind_it();
		if (i % 2) {
			ck_assert_int_eq(usbip_host_release(host, &SOCKET, &hold, &failure), 0);
			continue;
		}
		fake_kernel_unplug(&kernel, "1-1.2");
		ck_assert_int_eq(usbip_host_forget(host, &SOCKET, &hold), 0);
		fake_kernel_have(&kernel, "1-1.2", &FT232R, "usb");
	}
	ck_assert_uint_eq(fake_kernel_count_table(&kernel), 0);
	ck_assert_uint_eq(count_fds(), fds);
}
END_TEST

int main(void)
{
	TCase *binding = tcase_create("binding"), *sessions = tcase_create("sessions"), *back = tcase_create("giving back"),
	      *looking = tcase_create("looking");
	TCase *const all[] = { binding, sessions, back, looking };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		tcase_add_checked_fixture(all[i], setup, teardown);
	tcase_add_test(binding, a_device_is_taken_from_its_driver_entered_and_bound_in_this_order);
	tcase_add_test(binding, a_device_without_a_driver_is_bound_all_the_same);
	tcase_add_loop_test(binding, a_refusal_has_its_code_and_the_device_is_back_with_its_driver, 0, ARRAY_SIZE(REFUSALS));
	tcase_add_test(binding, a_seventeenth_device_finds_the_table_full);
	tcase_add_test(binding, a_device_that_is_gone_is_gone_and_no_error);
	tcase_add_test(binding, a_node_that_is_missing_in_dev_stops_before_anything_is_written);
	tcase_add_test(binding, somebody_elses_session_is_left_alone);
	tcase_add_test(binding, what_is_to_be_claimed_is_taken_from_usbip_host_before);
	tcase_add_test(sessions, a_session_is_started_with_our_own_number_of_the_socket);
	tcase_add_test(sessions, a_session_on_a_device_that_is_gone_says_so);
	tcase_add_test(back, a_device_is_unbound_first_and_its_entry_cleared_after);
	tcase_add_test(back, a_device_with_a_session_is_not_unbound);
	tcase_add_test(back, a_device_that_was_unplugged_leaves_no_entry);
	tcase_add_test(back, a_device_whose_state_can_not_be_read_keeps_its_entry_and_is_tried_again);
	tcase_add_test(back, a_device_is_forgotten_after_its_unplug);
	tcase_add_test(back, an_entry_that_can_not_be_cleared_keeps_the_references_for_the_next_try);
	tcase_add_test(back, an_entry_is_not_taken_from_the_next_device_in_the_socket_that_is_bound_by_it);
	tcase_add_test(back, nothing_is_forgotten_without_the_references);
	tcase_add_test(back, a_predecessors_device_is_adopted_and_any_other_is_not);
	tcase_add_test(looking, every_device_is_listed_with_path_and_driver_and_nothing_else);
	tcase_add_test(looking, a_status_beyond_two_is_an_error);
	tcase_add_test(looking, a_device_that_is_not_bound_has_no_status);
	tcase_add_test(looking, a_loaded_module_is_no_problem);
	tcase_add_test(looking, a_missing_module_is_told_with_the_command_that_loads_it);
	tcase_add_test(looking, a_kernel_without_usb_is_told_with_the_kernel_to_install);
	tcase_add_test(looking, a_tree_that_is_not_there_is_told);
	tcase_add_test(looking, twenty_rounds_leave_no_entry_and_no_file_descriptor);
	return check_program_run("pi_usbip_host", binding, sessions, back, looking, NULL);
}
