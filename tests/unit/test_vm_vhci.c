/* vhci_hcd's files as a temporary tree: the layout of Debian's kernel, seen in the lab, in small. */

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "temp_tree.h"
#include "vhci.h"

#define PLATFORM "devices/platform/"

static struct temp_tree tree; /* /sys */
static struct vhci *vhci;

static const char *content_of(const char *path)
{
	return temp_tree_get(&tree, path);
}

/* Two controllers of three high-speed and three SuperSpeed ports. */
static void put_tree(void)
{
	temp_tree_put(&tree, PLATFORM "vhci_hcd.0/nports", "12\n");
	temp_tree_put(&tree, PLATFORM "vhci_hcd.0/attach", "");
	temp_tree_put(&tree, PLATFORM "vhci_hcd.0/detach", "");
	temp_tree_put(&tree, PLATFORM "vhci_hcd.0/status",
		      "hub port sta spd dev      sockfd local_busid\n"
		      "hs  0000 006 003 00010007 000003 3-1\nhs  0001 004 000 00000000 000000 0-0\nhs  0002 004 000 00000000 000000 0-0\n"
		      "ss  0003 004 000 00000000 000000 0-0\nss  0004 004 000 00000000 000000 0-0\nss  0005 004 000 00000000 000000 0-0\n");
	/* A controller that is not ready shows the socket as 16 digits. */
	temp_tree_put(
		&tree, PLATFORM "vhci_hcd.0/status.1",
		"hub port sta spd dev      sockfd local_busid\n"
		"hs  0006 005 000 00000000 0000000000000000 0-0\nhs  0007 005 000 00000000 0000000000000000 0-0\nhs  0008 004 000 00000000 000000 0-0\n"
		"ss  0009 004 000 00000000 000000 0-0\nss  0010 004 000 00000000 000000 0-0\nss  0011 004 000 00000000 000000 0-0\n");
	temp_tree_put(&tree, PLATFORM "vhci_hcd.0/usb3/authorized_default", "1\n");
	temp_tree_put(&tree, PLATFORM "vhci_hcd.0/usb4/authorized_default", "1\n");
	temp_tree_put(&tree, PLATFORM "vhci_hcd.1/usb10/authorized_default", "1\n");
	temp_tree_put(&tree, PLATFORM "vhci_hcd.1/usb9/authorized_default", "1\n");
	temp_tree_put(&tree, PLATFORM "vhci_hcd.0/usb3/3-1/idVendor", "0403\n");
}

static void setup(void)
{
	temp_tree_new(&tree);
	put_tree();
	ck_assert_int_eq(vhci_new(tree.path, tree.path, &vhci), 0);
}

static void teardown(void)
{
	vhci = vhci_free(vhci);
	temp_tree_free(&tree);
}

static uint32_t find_free(uint32_t speed)
{
	struct failure failure;
	uint32_t port;

	ck_assert_int_eq(vhci_find_free_port(vhci, speed, NULL, NULL, &port, &failure), 0);
	return port;
}

START_TEST(ports_are_counted_over_all_controllers)
{
	ck_assert_uint_eq(vhci_count_ports(vhci), 12);
}
END_TEST

START_TEST(a_used_port_is_read_with_devid_and_bus_id)
{
	struct vhci_port port;

	ck_assert_int_eq(vhci_read_port(vhci, 0, &port), 0);
	ck_assert_int_eq(port.state, VHCI_PORT_USED);
	ck_assert_uint_eq(port.devid, 0x10007);
	ck_assert_str_eq(port.busid.text, "3-1");
	ck_assert_int_eq(vhci_read_port(vhci, 6, &port), 0);
	ck_assert_int_eq(port.state, VHCI_PORT_ASSIGNED);
	ck_assert_int_eq(vhci_read_port(vhci, 12, &port), -ENOENT);
}
END_TEST

/* As on Debian: eight controllers of 15 high-speed ports, 15 SuperSpeed ones, all free. */
static void put_debian_tree(void)
{
	char path[64], status[4096];

	temp_tree_put(&tree, PLATFORM "vhci_hcd.0/nports", "240\n");
	for (unsigned i = 0; i < 8; i++) {
		size_t n = 0;

		n += (size_t)snprintf(status + n, sizeof(status) - n, "hub port sta spd dev      sockfd local_busid\n");
		for (unsigned port = 0; port < 30; port++)
			n += (size_t)snprintf(status + n, sizeof(status) - n, "%s  %04u 004 000 00000000 000000 0-0\n",
					      port < 15 ? "hs" : "ss", 30 * i + port);
		snprintf(path, sizeof(path), i ? PLATFORM "vhci_hcd.0/status.%u" : PLATFORM "vhci_hcd.0/status", i);
		temp_tree_put(&tree, path, status);
		for (unsigned bus = 2 * i + 1; bus <= 2 * i + 2; bus++) {
			snprintf(path, sizeof(path), PLATFORM "vhci_hcd.%u/usb%u/authorized_default", i, bus);
			temp_tree_put(&tree, path, "1\n");
		}
	}
}

static void use_debian_tree(void)
{
	teardown();
	temp_tree_new(&tree);
	put_debian_tree();
	ck_assert_int_eq(vhci_new(tree.path, tree.path, &vhci), 0);
	ck_assert_uint_eq(vhci_count_ports(vhci), 240);
}

START_TEST(free_ports_are_given_out_in_a_ring_over_all_controllers)
{
	use_debian_tree();
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < 64; i++)
			ck_assert_uint_eq(find_free(12), 30 * (i % 8) + i / 8);
}
END_TEST

START_TEST(the_next_port_of_the_ring_is_found_by_asking_its_own_controller_alone)
{
	char path[64];

	use_debian_tree();
	for (unsigned i = 1; i < 8; i++) {
		snprintf(path, sizeof(path), PLATFORM "vhci_hcd.0/status.%u", i);
		temp_tree_put(&tree, path, "nobody reads this\n");
	}
	ck_assert_uint_eq(find_free(12), 0);
}
END_TEST

START_TEST(a_speed_stays_on_its_own_ports)
{
	const uint32_t speeds[] = { 1, 12, 480, 5000 };
	uint32_t speed_of_port[240] = { 0 };

	use_debian_tree();
	for (unsigned i = 0; i < 500; i++) {
		for (unsigned s = 0; s < 4; s++) {
			uint32_t port = find_free(speeds[s]);

			ck_assert(speed_of_port[port] == 0 || speed_of_port[port] == speeds[s]);
			speed_of_port[port] = speeds[s];
		}
	}
	for (unsigned port = 0; port < 240; port++)
		ck_assert_uint_ne(speed_of_port[port], 0);
}
END_TEST

static bool is_taken(uint32_t port, void *userdata)
{
	return ((const bool *)userdata)[port];
}

START_TEST(a_speed_without_a_port_of_its_own_takes_anothers)
{
	const uint32_t speeds[] = { 1, 12, 480 };

	use_debian_tree();
	for (unsigned s = 0; s < 3; s++) {
		bool taken[240] = { false };
		struct failure failure;
		uint32_t port;

		for (unsigned i = 0; i < 120; i++) {
			ck_assert_int_eq(vhci_find_free_port(vhci, speeds[s], is_taken, taken, &port, &failure), 0);
			ck_assert(!taken[port] && port % 30 < 15);
			taken[port] = true;
		}
		ck_assert_int_lt(vhci_find_free_port(vhci, speeds[s], is_taken, taken, &port, &failure), 0);
		ck_assert_int_eq(failure.code, FAILURE_NO_FREE_PORT);
	}
}
END_TEST

START_TEST(with_few_ports_each_speed_still_has_one)
{
	ck_assert_uint_eq(find_free(12), 1); /* its own: 0 and 6, not free */
	ck_assert_uint_eq(find_free(1), 1);
	ck_assert_uint_eq(find_free(480), 2);
	ck_assert_uint_eq(find_free(480), 8);
	ck_assert_uint_eq(find_free(480), 2);
}
END_TEST

START_TEST(a_superspeed_device_gets_a_superspeed_port)
{
	ck_assert_uint_eq(find_free(5000), 3);
	ck_assert_uint_eq(find_free(10000), 9);
}
END_TEST

static bool is_low_port(uint32_t port, void *userdata)
{
	(void)userdata;
	return port < 8;
}

START_TEST(a_reserved_port_is_passed_over)
{
	struct failure failure;
	uint32_t port;

	ck_assert_int_eq(vhci_find_free_port(vhci, 480, is_low_port, NULL, &port, &failure), 0);
	ck_assert_uint_eq(port, 8);
}
END_TEST

static bool is_any_port(uint32_t port, void *userdata)
{
	(void)port;
	(void)userdata;
	return true;
}

START_TEST(without_a_free_port_the_failure_counts_them)
{
	struct failure failure;
	uint32_t port;

	ck_assert_int_lt(vhci_find_free_port(vhci, 480, is_any_port, NULL, &port, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_NO_FREE_PORT);
	ck_assert_str_eq(failure.text, "VM has no free high-speed port (6 of 6 in use)");
	ck_assert_str_eq(failure.cure, "Detach a device there: usbpush-vm detach DEVICE");
}
END_TEST

START_TEST(a_speed_that_usb_does_not_have_is_refused)
{
	struct failure failure;
	uint32_t port;

	ck_assert_int_lt(vhci_find_free_port(vhci, 53, NULL, NULL, &port, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_BAD_REQUEST);
}
END_TEST

/* Gives it a socket of its own. */
static int write_attach(uint32_t port, uint32_t speed, struct failure *ret_failure)
{
	struct vhci_write *write;
	int fds[2], r;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	write = vhci_write_new_attach(vhci, port, fds[0], 0x10004, speed);
	ck_assert_ptr_nonnull(write);
	r = vhci_write_run(write);
	if (r < 0)
		vhci_write_explain(write, r, ret_failure);
	vhci_write_free(write);
	ck_assert_int_eq(send(fds[0], "x", 1, 0), 1); /* it is still ours */
	close(fds[0]);
	close(fds[1]);
	return r;
}

static void expect_attach(uint32_t port, unsigned speed_code)
{
	unsigned written_port, devid, speed;
	int fd;

	ck_assert_int_eq(sscanf(content_of(PLATFORM "vhci_hcd.0/attach"), "%u %d %u %u", &written_port, &fd, &devid, &speed), 4);
	ck_assert_uint_eq(written_port, port);
	ck_assert_int_gt(fd, 2);
	ck_assert_uint_eq(devid, 65540);
	ck_assert_uint_eq(speed, speed_code);
}

START_TEST(attach_writes_port_fd_devid_and_speed_code)
{
	ck_assert_int_eq(write_attach(1, 480, NULL), 0);
	expect_attach(1, 3);
	temp_tree_put(&tree, PLATFORM "vhci_hcd.0/attach", "");
	ck_assert_int_eq(write_attach(3, 10000, NULL), 0);
	expect_attach(3, 5);
}
END_TEST

START_TEST(detach_writes_the_port)
{
	struct vhci_write *write = vhci_write_new_detach(vhci, 11);

	ck_assert_int_eq(vhci_write_run(write), 0);
	vhci_write_free(write);
	ck_assert_str_eq(content_of(PLATFORM "vhci_hcd.0/detach"), "11");
}
END_TEST

START_TEST(all_root_hubs_are_told_to_authorize_nothing)
{
	struct failure failure;

	ck_assert_int_eq(vhci_prepare(vhci, &failure), 0);
	ck_assert_int_eq(content_of(PLATFORM "vhci_hcd.0/usb3/authorized_default")[0], '0');
	ck_assert_int_eq(content_of(PLATFORM "vhci_hcd.0/usb4/authorized_default")[0], '0');
	ck_assert_int_eq(content_of(PLATFORM "vhci_hcd.1/usb9/authorized_default")[0], '0');
	ck_assert_int_eq(content_of(PLATFORM "vhci_hcd.1/usb10/authorized_default")[0], '0');
}
END_TEST

static const struct {
	const char *syspath;
	uint32_t port; /* UINT32_MAX: none */
	const char *busid;
} PATHS[] = {
	{ "/sys/devices/platform/vhci_hcd.0/usb3/3-1", 0, "3-1" },
	{ "/sys/devices/platform/vhci_hcd.0/usb3/3-3/3-3:1.0/tty/ttyACM0", 2, "3-3" },
	{ "/sys/devices/platform/vhci_hcd.0/usb4/4-1", 3, "4-1" },
	/* The smaller bus number is the high-speed hub, whatever the order of the directory. */
	{ "/sys/devices/platform/vhci_hcd.1/usb9/9-2", 7, "9-2" },
	{ "/sys/devices/platform/vhci_hcd.1/usb10/10-3/10-3.1", 11, "10-3" },
	{ "/sys/devices/platform/vhci_hcd.0/usb3", UINT32_MAX, NULL },
	{ "/sys/devices/platform/vhci_hcd.0/usb3/3-0:1.0", UINT32_MAX, NULL },
	{ "/sys/devices/platform/vhci_hcd.0/usb3/3-4", UINT32_MAX, NULL },
	{ "/sys/devices/platform/vhci_hcd.0/usb9/9-1", UINT32_MAX, NULL },
	{ "/sys/devices/platform/vhci_hcd.2/usb3/3-1", UINT32_MAX, NULL },
	{ "/sys/devices/platform/vhci_hcd.0/usb3/4-1", UINT32_MAX, NULL },
	{ "/sys/devices/pci0000:00/usb3/3-1", UINT32_MAX, NULL },
	{ "", UINT32_MAX, NULL },
};

START_TEST(a_path_leads_to_its_port)
{
	struct busid busid = { "untouched" };
	uint32_t port = UINT32_MAX;
	bool is_found = vhci_find_port(vhci, PATHS[_i].syspath, &port, &busid);

	ck_assert_int_eq(is_found, PATHS[_i].port != UINT32_MAX);
	ck_assert_uint_eq(port, PATHS[_i].port);
	ck_assert_str_eq(busid.text, PATHS[_i].busid ? PATHS[_i].busid : "untouched");
}
END_TEST

START_TEST(the_device_at_a_port_can_be_opened)
{
	struct busid busid;
	int fd = vhci_open_device(vhci, 0, &busid);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(faccessat(fd, "idVendor", F_OK, 0), 0);
	ck_assert_str_eq(busid.text, "3-1");
	close(fd);
	ck_assert_int_eq(vhci_open_device(vhci, 1, &busid), -ENOENT);
}
END_TEST

START_TEST(a_controller_without_its_root_hubs_is_not_ready)
{
	temp_tree_remove(&tree, PLATFORM "vhci_hcd.1/usb9/authorized_default");
	temp_tree_remove(&tree, PLATFORM "vhci_hcd.1/usb9");
	vhci_scan(vhci);
	ck_assert_uint_eq(vhci_count_ports(vhci), 0);
}
END_TEST

/* ---- what is missing is told apart ---- */

static enum failure_code check_with(bool has_usb, bool has_module_file)
{
	struct vhci *bare;
	struct failure failure;
	temp_tree_put(&tree, "bare/x", "");
	if (has_usb)
		temp_tree_put(&tree, "bare/bus/usb/uevent", "");
	if (has_module_file)
		temp_tree_put(&tree, "modules/kernel/drivers/usb/usbip/vhci-hcd.ko.xz", "");
	ck_assert_int_eq(vhci_new(temp_tree_path(&tree, "bare"), temp_tree_path(&tree, "modules"), &bare), 0);
	ck_assert_int_lt(vhci_check(bare, &failure), 0);
	ck_assert_str_ne(failure.cure, "");
	vhci_free(bare);
	return failure.code;
}

START_TEST(a_kernel_without_usb_is_told_from_a_missing_module)
{
	ck_assert_int_eq(check_with(false, false), FAILURE_NO_USB);
	ck_assert_int_eq(check_with(true, false), FAILURE_NO_MODULE);
	ck_assert_int_eq(check_with(false, true), FAILURE_NO_MODULE);
}
END_TEST

START_TEST(a_forbidden_write_is_told_as_such)
{
	struct failure failure;
	const char *attach = temp_tree_path(&tree, PLATFORM "vhci_hcd.0/attach");

	if (geteuid() == 0) {
		/* root passes every mode; a directory in the file's place fails with another error, which must not be told as permission. */
		temp_tree_remove(&tree, PLATFORM "vhci_hcd.0/attach");
		temp_tree_make_dir(&tree, PLATFORM "vhci_hcd.0/attach");
		ck_assert_int_lt(write_attach(1, 480, &failure), 0);
		ck_assert_int_eq(failure.code, FAILURE_KERNEL);
		return;
	}
	ck_assert_int_eq(chmod(attach, 0444), 0);
	ck_assert_int_lt(write_attach(1, 480, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_NO_PERMISSION);
}
END_TEST

/* ---- foreign text ---- */

static const char *const BROKEN_ROWS[] = {
	"hs  0000 004 000 00000000 000000",           /* a column too few */
	"hs  0000 004 000 00000000 000000 0-0 more",  /* one too many */
	"xs  0000 004 000 00000000 000000 0-0",       /* no hub of ours */
	"hs  -001 004 000 00000000 000000 0-0",       /* a sign */
	"hs  0000 009 000 00000000 000000 0-0",       /* no state */
	"hs  0000 006 003 00010002 000003 ../../etc", /* no bus id */
	"hs  0000 004 000 100000000000 000000 0-0",   /* too large */
	"hs  0000 004 000 zz 000000 0-0",             /* no number */
};

START_TEST(a_broken_status_row_is_refused)
{
	struct vhci_port ports[4];
	size_t n = 99;

	ck_assert_int_eq(vhci_status_parse(BROKEN_ROWS[_i], ports, 4, &n), -EBADMSG);
	ck_assert_uint_eq(n, 99);
}
END_TEST

START_TEST(more_rows_than_ports_are_refused)
{
	struct vhci_port ports[1];
	size_t n;

	ck_assert_int_eq(vhci_status_parse("hs 0 4 0 0 0 0-0\nhs 1 4 0 0 0 0-0\n", ports, 1, &n), -E2BIG);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("vhci");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, ports_are_counted_over_all_controllers);
	tcase_add_test(tests, a_used_port_is_read_with_devid_and_bus_id);
	tcase_add_test(tests, free_ports_are_given_out_in_a_ring_over_all_controllers);
	tcase_add_test(tests, the_next_port_of_the_ring_is_found_by_asking_its_own_controller_alone);
	tcase_add_test(tests, a_speed_stays_on_its_own_ports);
	tcase_add_test(tests, a_speed_without_a_port_of_its_own_takes_anothers);
	tcase_add_test(tests, with_few_ports_each_speed_still_has_one);
	tcase_add_test(tests, a_superspeed_device_gets_a_superspeed_port);
	tcase_add_test(tests, a_reserved_port_is_passed_over);
	tcase_add_test(tests, without_a_free_port_the_failure_counts_them);
	tcase_add_test(tests, a_speed_that_usb_does_not_have_is_refused);
	tcase_add_test(tests, attach_writes_port_fd_devid_and_speed_code);
	tcase_add_test(tests, detach_writes_the_port);
	tcase_add_test(tests, all_root_hubs_are_told_to_authorize_nothing);
	tcase_add_loop_test(tests, a_path_leads_to_its_port, 0, ARRAY_SIZE(PATHS));
	tcase_add_test(tests, the_device_at_a_port_can_be_opened);
	tcase_add_test(tests, a_controller_without_its_root_hubs_is_not_ready);
	tcase_add_test(tests, a_kernel_without_usb_is_told_from_a_missing_module);
	tcase_add_test(tests, a_forbidden_write_is_told_as_such);
	tcase_add_loop_test(tests, a_broken_status_row_is_refused, 0, ARRAY_SIZE(BROKEN_ROWS));
	tcase_add_test(tests, more_rows_than_ports_are_refused);
	return check_program_run("vm_vhci", tests, NULL);
}
