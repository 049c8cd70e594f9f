/* vhci_hcd's files as a temporary tree: the layout of Debian's kernel, seen in the lab, in small. */

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "vhci.h"

#define PLATFORM "devices/platform/"

static char dir[64];
static struct vhci *vhci;

__attribute__((format(printf, 2, 3))) static void put(const char *path, const char *format, ...)
{
	char full[256], *slash;
	va_list arguments;
	FILE *file;

	snprintf(full, sizeof(full), "%s/%s", dir, path);
	for (slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		ck_assert(mkdir(full, 0755) == 0 || errno == EEXIST);
		*slash = '/';
	}
	file = fopen(full, "w");
	ck_assert_ptr_nonnull(file);
	va_start(arguments, format);
	vfprintf(file, format, arguments);
	va_end(arguments);
	fclose(file);
}

static const char *content_of(const char *path)
{
	static char text[64];
	char full[256];
	FILE *file;

	snprintf(full, sizeof(full), "%s/%s", dir, path);
	file = fopen(full, "r");
	ck_assert_ptr_nonnull(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return text;
}

/* Two controllers of three high-speed and three SuperSpeed ports. */
static void put_tree(void)
{
	put(PLATFORM "vhci_hcd.0/nports", "12\n");
	put(PLATFORM "vhci_hcd.0/attach", "%s", "");
	put(PLATFORM "vhci_hcd.0/detach", "%s", "");
	put(PLATFORM "vhci_hcd.0/status",
	    "hub port sta spd dev      sockfd local_busid\n"
	    "hs  0000 006 003 00010007 000003 3-1\nhs  0001 004 000 00000000 000000 0-0\nhs  0002 004 000 00000000 000000 0-0\n"
	    "ss  0003 004 000 00000000 000000 0-0\nss  0004 004 000 00000000 000000 0-0\nss  0005 004 000 00000000 000000 0-0\n");
	/* A controller that is not ready shows the socket as 16 digits. */
	put(PLATFORM "vhci_hcd.0/status.1",
	    "hub port sta spd dev      sockfd local_busid\n"
	    "hs  0006 005 000 00000000 0000000000000000 0-0\nhs  0007 005 000 00000000 0000000000000000 0-0\nhs  0008 004 000 00000000 000000 0-0\n"
	    "ss  0009 004 000 00000000 000000 0-0\nss  0010 004 000 00000000 000000 0-0\nss  0011 004 000 00000000 000000 0-0\n");
	put(PLATFORM "vhci_hcd.0/usb3/authorized_default", "1\n");
	put(PLATFORM "vhci_hcd.0/usb4/authorized_default", "1\n");
	put(PLATFORM "vhci_hcd.1/usb10/authorized_default", "1\n");
	put(PLATFORM "vhci_hcd.1/usb9/authorized_default", "1\n");
	put(PLATFORM "vhci_hcd.0/usb3/3-1/idVendor", "0403\n");
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/vm-vhci.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	put_tree();
	ck_assert_int_eq(vhci_new(dir, dir, &vhci), 0);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void teardown(void)
{
	vhci = vhci_free(vhci);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
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

START_TEST(free_ports_are_given_out_in_a_ring_over_all_controllers)
{
	ck_assert_uint_eq(find_free(480), 1);
	ck_assert_uint_eq(find_free(480), 2);
	ck_assert_uint_eq(find_free(12), 8);
	ck_assert_uint_eq(find_free(1), 1);
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

START_TEST(attach_writes_port_fd_devid_and_speed_code)
{
	struct failure failure;

	ck_assert_int_eq(vhci_attach(vhci, 1, 7, 0x10004, 480, &failure), 0);
	ck_assert_str_eq(content_of(PLATFORM "vhci_hcd.0/attach"), "1 7 65540 3");
	put(PLATFORM "vhci_hcd.0/attach", "%s", "");
	ck_assert_int_eq(vhci_attach(vhci, 3, 7, 0x10004, 10000, &failure), 0);
	ck_assert_str_eq(content_of(PLATFORM "vhci_hcd.0/attach"), "3 7 65540 5");
}
END_TEST

START_TEST(detach_writes_the_port)
{
	ck_assert_int_eq(vhci_detach(vhci, 11), 0);
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
	char path[128];

	snprintf(path, sizeof(path), "%s/" PLATFORM "vhci_hcd.1/usb9/authorized_default", dir);
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	vhci_scan(vhci);
	ck_assert_uint_eq(vhci_count_ports(vhci), 0);
}
END_TEST

/* ---- what is missing is told apart ---- */

static enum failure_code check_with(bool has_usb, bool has_module_file)
{
	struct vhci *bare;
	struct failure failure;
	char root[128], modules[128];

	put("bare/x", "%s", "");
	if (has_usb)
		put("bare/bus/usb/uevent", "%s", "");
	if (has_module_file)
		put("modules/kernel/drivers/usb/usbip/vhci-hcd.ko.xz", "%s", "");
	snprintf(root, sizeof(root), "%s/bare", dir);
	snprintf(modules, sizeof(modules), "%s/modules", dir);
	ck_assert_int_eq(vhci_new(root, modules, &bare), 0);
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
	char path[128];

	if (geteuid() == 0) {
		/* root passes every mode; a directory in the file's place fails with another error, which must not be told as permission. */
		snprintf(path, sizeof(path), "%s/" PLATFORM "vhci_hcd.0/attach", dir);
		unlink(path);
		ck_assert_int_eq(mkdir(path, 0755), 0);
		ck_assert_int_lt(vhci_attach(vhci, 1, 7, 1, 480, &failure), 0);
		ck_assert_int_eq(failure.code, FAILURE_KERNEL);
		return;
	}
	snprintf(path, sizeof(path), "%s/" PLATFORM "vhci_hcd.0/attach", dir);
	chmod(path, 0444);
	ck_assert_int_lt(vhci_attach(vhci, 1, 7, 1, 480, &failure), 0);
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
	Suite *suite = suite_create("vm_vhci");
	TCase *tests = tcase_create("vhci");
	SRunner *runner;
	int n_failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, ports_are_counted_over_all_controllers);
	tcase_add_test(tests, a_used_port_is_read_with_devid_and_bus_id);
	tcase_add_test(tests, free_ports_are_given_out_in_a_ring_over_all_controllers);
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
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed > 0;
}
