/* A write to sysfs from which the kernel does not return. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "log.h"
#include "pi_bed.h"
#include "status_view.h"

#define STUCK "1-1.2"
#define OTHER "1-1.3"

static struct pi_bed bed;

static void setup(void)
{
	pi_bed_setup_up(&bed);
}

static void teardown(void)
{
	pi_bed_teardown(&bed);
}

static bool is_held_up(struct pi_bed *any)
{
	return fake_kernel_count_held(&any->kernel) == 1;
}

static void plug_stuck(const char *write)
{
	fake_kernel_hold(&bed.kernel, write);
	fake_kernel_plug(&bed.kernel, STUCK, &FT232R);
	pi_bed_until(&bed, is_held_up, "write that does not return");
}

static bool is_told(struct pi_bed *any)
{
	_cleanup_json_ json_t *status = pi_bed_status(any);

	return json_array_size(json_object_get(status, "blocked")) > 0;
}

static void expect_blocked(const char *busid, const char *step)
{
	_cleanup_json_ json_t *status = NULL;
	const json_t *blocked;

	pi_bed_until(&bed, is_told, "word of the write that does not return");
	status = pi_bed_status(&bed);
	blocked = json_array_get(json_object_get(status, "blocked"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(blocked, "name")), busid);
	ck_assert_str_eq(json_string_value(json_object_get(blocked, "step")), step);
	ck_assert_int_ge(json_integer_value(json_object_get(blocked, "since_ms")), 2000);
}

static void expect_none_blocked(void)
{
	ck_assert(!is_told(&bed));
}

START_TEST(no_other_device_waits)
{
	plug_stuck("usb/unbind " STUCK);
	fake_kernel_plug(&bed.kernel, OTHER, &CP2102);
	pi_bed_wait(&bed, OTHER, "ATTACHED");
	fake_kernel_unplug(&bed.kernel, OTHER);
	pi_bed_wait_gone(&bed, OTHER);
	fake_kernel_release(&bed.kernel);
	pi_bed_wait(&bed, STUCK, "ATTACHED");
	ck_assert_str_eq(pi_bed_field(&bed, STUCK, "state"), "ATTACHED");
}
END_TEST

START_TEST(status_says_which_write_and_since_when)
{
	_cleanup_json_ json_t *status = NULL;
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *stream;

	plug_stuck("usbip-host/bind " STUCK);
	expect_none_blocked(); /* not yet: it has just begun */
	expect_blocked(STUCK, "write bus/usb/drivers/usbip-host/bind");
	ck_assert_ptr_nonnull(
		strstr(pi_bed_field(&bed, STUCK, "reason"), "has not returned from \"write bus/usb/drivers/usbip-host/bind\""));
	status = pi_bed_status(&bed);
	stream = open_memstream(&text, &size);
	status_view_print(status, stream, false);
	fclose(stream);
	ck_assert_ptr_nonnull(
		strstr(text, "Blocked  " STUCK ": the kernel has not returned from \"write bus/usb/drivers/usbip-host/bind\" for "));
	fake_kernel_release(&bed.kernel);
	pi_bed_wait(&bed, STUCK, "ATTACHED");
	expect_none_blocked();
}
END_TEST

START_TEST(a_device_that_is_unplugged_meanwhile_still_shows_what_hangs)
{
	plug_stuck("usb/unbind " STUCK);
	fake_kernel_unplug(&bed.kernel, STUCK);
	fake_kernel_plug(&bed.kernel, STUCK, &CP2102); /* the next in that socket waits for the end of its predecessor */
	expect_blocked(STUCK, "write bus/usb/drivers/usb/unbind");
	fake_kernel_release(&bed.kernel);
	pi_bed_wait(&bed, STUCK, "ATTACHED");
	ck_assert_str_eq(pi_bed_field(&bed, STUCK, "pid"), "ea60");
}
END_TEST

START_TEST(giving_back_that_hangs_shows_and_ends)
{
	fake_kernel_plug(&bed.kernel, STUCK, &FT232R);
	pi_bed_wait(&bed, STUCK, "ATTACHED");
	fake_kernel_hold(&bed.kernel, "usbip-host/unbind " STUCK);
	device_detach(pi_bed_device(&bed, STUCK), "detached by hand");
	expect_blocked(STUCK, "write bus/usb/drivers/usbip-host/unbind");
	fake_kernel_release(&bed.kernel);
	pi_bed_wait(&bed, STUCK, "IGNORED");
	pi_bed_wait_driver(&bed, STUCK, "usb");
}
END_TEST

START_TEST(a_stop_does_not_wait_for_ever)
{
	uint64_t since;

	plug_stuck("usb/unbind " STUCK);
	fake_kernel_plug(&bed.kernel, OTHER, &CP2102);
	pi_bed_wait(&bed, OTHER, "ATTACHED");
	since = clock_now_usec();
	exporter_stop(bed.exporter);
	ck_assert_int_eq(sd_event_loop(bed.daemon.event), 0);
	ck_assert_uint_lt(clock_now_usec() - since, 12000000 * test_slowness());
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, OTHER), "usb");
	bed.exporter = exporter_free(bed.exporter);
	fake_kernel_release(&bed.kernel); /* its thread comes back to a process that goes on, and touches nothing that is gone */
	while (fake_kernel_count_held(&bed.kernel) > 0)
		usleep(1000);
	usleep(100000);
}
END_TEST

/* As the service manager: listens, with a watchdog of 400 ms. */
static int listen_to_notifications(struct temp_tree *tree)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char pid[16];

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", tree->path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	setenv("WATCHDOG_USEC", "400000", 1);
	setenv("WATCHDOG_PID", pid, 1);
	return fd;
}

static int on_notification(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	unsigned *n_feeds = userdata;
	char text[512];
	ssize_t size = recv(fd, text, sizeof(text) - 1, 0);

	(void)source;
	(void)events;
	text[size > 0 ? size : 0] = '\0';
	*n_feeds += strstr(text, "WATCHDOG=1") != NULL;
	return 0;
}

START_TEST(the_watchdog_is_fed_meanwhile)
{
	_cleanup_close_ int fd = -EBADF;
	unsigned n_feeds = 0;
	struct temp_tree tree;

	temp_tree_new(&tree);
	fd = listen_to_notifications(&tree);
	pi_bed_setup(&bed);
	/* Who does not read them holds up the daemon: the socket takes ten. */
	ck_assert_int_ge(sd_event_add_io(bed.daemon.event, NULL, fd, EPOLLIN, on_notification, &n_feeds), 0);
	pi_bed_pair(&bed);
	pi_bed_start(&bed);
	pi_bed_wait_link(&bed, "UP");
	plug_stuck("usb/unbind " STUCK);
	n_feeds = 0;
	pi_bed_run(&bed, 1500000);
	ck_assert_uint_ge(n_feeds, 3);
	fake_kernel_release(&bed.kernel);
	pi_bed_wait(&bed, STUCK, "ATTACHED");
	teardown();
	temp_tree_free(&tree);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *blocked = tcase_create("blocked"), *watched = tcase_create("watched");

	ssh_vm_play(argc, argv);
	log_init("usbpush", false);
	tcase_set_timeout(blocked, 60);
	tcase_add_checked_fixture(blocked, setup, teardown);
	tcase_add_test(blocked, no_other_device_waits);
	tcase_add_test(blocked, status_says_which_write_and_since_when);
	tcase_add_test(blocked, a_device_that_is_unplugged_meanwhile_still_shows_what_hangs);
	tcase_add_test(blocked, giving_back_that_hangs_shows_and_ends);
	tcase_add_test(blocked, a_stop_does_not_wait_for_ever);
	tcase_set_timeout(watched, 60);
	tcase_add_test(watched, the_watchdog_is_fed_meanwhile);
	return check_program_run("blocked", blocked, watched, NULL);
}
