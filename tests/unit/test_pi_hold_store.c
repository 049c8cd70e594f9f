/* What systemd keeps of a killed exporter: the real exporter on a fake kernel, and this test in the place of systemd. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "hold_store.h"
#include "pi_bed.h"

#define STATES_MAX 16384
#define FDS_MAX    8

static struct pi_bed bed;
static struct hold_store *holds;
static int systemd_fd;
static char states[STATES_MAX]; /* all that was said, a datagram behind the other */
static int fds[FDS_MAX];        /* that came with it */
static size_t n_fds;

static void open_systemd(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", temp_tree_path(&bed.vm.tree, "notify"));
	systemd_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(systemd_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
}

static void setup(void)
{
	pi_bed_setup(&bed);
	pi_bed_pair(&bed);
	open_systemd();
	ck_assert_int_eq(hold_store_new(&holds), 0);
	bed.options.holds = holds;
	ssh_vm_answer_connect(&bed.vm, SSH_VM_ATTACHED);
	states[0] = '\0';
	n_fds = 0;
}

static void teardown(void)
{
	pi_bed_teardown(&bed);
	holds = hold_store_free(holds);
	close_fd(systemd_fd);
	for (size_t i = 0; i < n_fds; i++)
		close_fd(fds[i]);
}

static void take_fds(struct msghdr *header)
{
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
		size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		ck_assert_uint_le(n_fds + n, FDS_MAX);
		memcpy(fds + n_fds, CMSG_DATA(cmsg), n * sizeof(int));
		n_fds += n;
	}
}

static bool listen_once(void)
{
	size_t used = strlen(states);
	struct iovec iovec = { states + used, sizeof(states) - used - 2 };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct msghdr header = { .msg_iov = &iovec, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(systemd_fd, &header, MSG_CMSG_CLOEXEC);

	if (n <= 0)
		return false;
	memcpy(states + used + n, "\n", 2);
	take_fds(&header);
	return true;
}

static void listen_to_exporter(void)
{
	while (listen_once())
		;
}

static bool has_let_go(struct pi_bed *own)
{
	(void)own;
	listen_to_exporter();
	return strstr(states, "FDSTOREREMOVE=1\nFDNAME=hold-1-1\n") != NULL;
}

static void come_up(void)
{
	pi_bed_start(&bed);
	pi_bed_wait_link(&bed, "UP");
}

static void attach(void)
{
	come_up();
	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	listen_to_exporter();
	ck_assert_uint_eq(n_fds, 2);
}

/* Its memory dies with it; systemd has the doubles. */
static void kill_exporter(void)
{
	pi_bed_kill(&bed);
	holds = hold_store_free(holds);
}

static void prepare_successor(void)
{
	ck_assert_int_eq(hold_store_new(&holds), 0);
	for (size_t i = 0; i < n_fds; i++)
		hold_store_add_former(holds, "hold-1-1", fcntl(fds[i], F_DUPFD_CLOEXEC, 3));
	bed.options.holds = holds;
	states[0] = '\0';
}

START_TEST(what_is_held_is_kept_once_and_let_go_of)
{
	attach();
	ck_assert_uint_eq(count_in(states, "FDSTORE=1\nFDPOLL=0\nFDNAME=hold-1-1\n"), 1);
	ck_assert_uint_eq(count_in(states, "FDSTOREREMOVE"), 0);
	fake_kernel_unplug(&bed.kernel, "1-1");
	pi_bed_wait_gone(&bed, "1-1");
	pi_bed_until(&bed, has_let_go, "FDSTOREREMOVE");
}
END_TEST

START_TEST(a_device_that_is_given_back_is_let_go_of)
{
	attach();
	device_detach(pi_bed_device(&bed, "1-1"), "detached by hand");
	pi_bed_wait(&bed, "1-1", "IGNORED");
	pi_bed_until(&bed, has_let_go, "FDSTOREREMOVE");
	ck_assert_uint_eq(count_in(states, "FDSTOREREMOVE"), 1);
}
END_TEST

START_TEST(the_next_device_in_a_socket_is_kept_instead)
{
	attach();
	fake_kernel_unplug(&bed.kernel, "1-1");
	fake_kernel_plug(&bed.kernel, "1-1", &CP2102);
	pi_bed_until(&bed, has_let_go, "FDSTOREREMOVE");
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	listen_to_exporter();
	ck_assert_uint_eq(count_in(states, "FDSTORE=1\n"), 2);
	ck_assert_uint_eq(n_fds, 4);
}
END_TEST

/* The fake kernel ends the test for a rebind that follows a pointer which nobody holds. */
START_TEST(unplugged_without_an_exporter_it_leaves_no_entry_to_the_next)
{
	attach();
	kill_exporter();
	fake_kernel_unplug(&bed.kernel, "1-1");
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), 1);
	if (_i)
		fake_kernel_have(&bed.kernel, "1-1", &CP2102, "usb"); /* and another one came */
	prepare_successor();
	come_up();
	pi_bed_until(&bed, has_let_go, "FDSTOREREMOVE");
	if (_i)
		pi_bed_wait(&bed, "1-1", "ATTACHED");
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), (unsigned)_i);
}
END_TEST

START_TEST(what_is_still_there_is_taken_over_and_stays_kept)
{
	attach();
	kill_exporter();
	prepare_successor();
	come_up();
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	listen_to_exporter();
	ck_assert_uint_eq(count_in(states, "FDSTORE"), 0); /* systemd has it already */
	fake_kernel_unplug(&bed.kernel, "1-1");
	pi_bed_until(&bed, has_let_go, "FDSTOREREMOVE");
}
END_TEST

START_TEST(without_systemd_nothing_is_kept)
{
	unsetenv("NOTIFY_SOCKET");
	come_up();
	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	fake_kernel_unplug(&bed.kernel, "1-1");
	pi_bed_wait_gone(&bed, "1-1");
	ck_assert_uint_eq(n_fds, 0);
}
END_TEST

START_TEST(what_systemd_has_of_others_is_closed)
{
	static const char *const names[] = { "", "control", "hold-", "hold-../../etc", "hold-1-1", "hold-1-1", "hold-1-1" };
	unsigned before = count_fds();

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		hold_store_add_former(holds, names[i], open("/dev/null", O_RDONLY | O_CLOEXEC));
	ck_assert_uint_eq(count_fds(), before + 2);
	come_up(); /* it is not in the kernel's table: nothing to be cleared */
	pi_bed_until(&bed, has_let_go, "FDSTOREREMOVE");
}
END_TEST

START_TEST(systemd_has_no_more_than_there_is_room_for)
{
	unsigned before = count_fds();

	for (unsigned i = 1; i < 100; i++) {
		char name[32];

		snprintf(name, sizeof(name), "hold-2-%u", i);
		hold_store_add_former(holds, name, open("/dev/null", O_RDONLY | O_CLOEXEC));
	}
	ck_assert_uint_le(count_fds(), before + 40);
	bed.options.holds = NULL;
	come_up();
}
END_TEST

int main(int argc, char **argv)
{
	TCase *tests = tcase_create("hold store");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, what_is_held_is_kept_once_and_let_go_of);
	tcase_add_test(tests, a_device_that_is_given_back_is_let_go_of);
	tcase_add_test(tests, the_next_device_in_a_socket_is_kept_instead);
	tcase_add_loop_test(tests, unplugged_without_an_exporter_it_leaves_no_entry_to_the_next, 0, 2);
	tcase_add_test(tests, what_is_still_there_is_taken_over_and_stays_kept);
	tcase_add_test(tests, without_systemd_nothing_is_kept);
	tcase_add_test(tests, what_systemd_has_of_others_is_closed);
	tcase_add_test(tests, systemd_has_no_more_than_there_is_room_for);
	return check_program_run("pi_hold_store", tests, NULL);
}
