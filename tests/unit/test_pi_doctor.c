/* usbpush doctor: a Pi on which something is not as it should be. */

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic_file.h"
#include "check_program.h"
#include "cleanup.h"
#include "doctor_bed.h"
#include "pi_doctor.h"
#include "transport.h"

#define HOST_KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJvZ3VzYm9ndXNib2d1c2JvZ3VzYm9ndXNib2d1c2Jv"

static struct doctor_bed bed;

static void setup(void)
{
	doctor_bed_setup(&bed);
}

static void teardown(void)
{
	doctor_bed_teardown(&bed);
}

/* ---- usbip-host ---- */

static void put_driver(const char *table)
{
	temp_tree_put(&bed.tree, "sys/bus/usb/drivers/usbip-host/match_busid", table);
	temp_tree_put(&bed.tree, "sys/bus/usb/drivers/usbip-host/bind", "");
	temp_tree_put(&bed.tree, "sys/bus/usb/drivers/usbip-host/unbind", "");
	temp_tree_put(&bed.tree, "sys/bus/usb/drivers/usb/unbind", "");
	temp_tree_put(&bed.tree, "sys/bus/usb/drivers_probe", "");
}

START_TEST(a_driver_that_is_there_is_good)
{
	put_driver("1-1 1-2 \n");
	doctor_bed_run_one(&bed, "usbip", pi_doctor_check_usbip);
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
	expect_finding(&bed, DOCTOR_OK, "2 of 16 places");
}
END_TEST

START_TEST(a_full_table_is_noted)
{
	put_driver("1-1 1-2 1-3 1-4 1-5 1-6 1-7 1-8 2-1 2-2 2-3 2-4 2-5 2-6 2-7 2-8 \n");
	doctor_bed_run_one(&bed, "usbip", pi_doctor_check_usbip);
	expect_finding(&bed, DOCTOR_NOTE, "all 16 places");
}
END_TEST

START_TEST(files_that_root_can_not_write_or_that_are_missing_are_told)
{
	put_driver("");
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, "sys/bus/usb/drivers/usbip-host/bind"), 0444), 0);
	temp_tree_remove(&bed.tree, "sys/bus/usb/drivers_probe");
	doctor_bed_run_one(&bed, "usbip", pi_doctor_check_usbip);
	expect_finding(&bed, DOCTOR_WRONG, "usbip-host/bind can't be written");
	expect_finding(&bed, DOCTOR_WRONG, "drivers_probe is missing");
}
END_TEST

/* ---- settings, key ---- */

START_TEST(a_line_of_vm_conf_that_makes_no_sense_is_told)
{
	temp_tree_put(&bed.tree, "etc/usbpush/vm.conf", "VM_PORT=none\nVM_HOST=vm\nVM_HOST_KEY=" HOST_KEY "\n");
	doctor_bed_run_one(&bed, "settings", pi_doctor_check_settings);
	expect_finding(&bed, DOCTOR_WRONG, "VM_PORT=none makes no sense");
}
END_TEST

START_TEST(an_unpaired_pi_is_noted_and_a_paired_one_says_with_whom)
{
	doctor_bed_run_one(&bed, "settings", pi_doctor_check_settings);
	expect_finding(&bed, DOCTOR_NOTE, "no VM is paired");
	temp_tree_put(&bed.tree, "etc/usbpush/vm.conf", "VM_HOST=vm.example\nVM_HOST_KEY=" HOST_KEY "\n");
	doctor_bed_run_one(&bed, "settings", pi_doctor_check_settings);
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
	expect_finding(&bed, DOCTOR_OK, "usbpush@vm.example port 22");
}
END_TEST

START_TEST(a_key_that_others_can_read_or_that_is_none_is_told)
{
	char path[256];
	struct failure failure;

	doctor_bed_run_one(&bed, "key", pi_doctor_check_key);
	expect_finding(&bed, DOCTOR_NOTE, "has no key");
	temp_tree_make_dir(&bed.tree, "var/lib/usbpush");
	snprintf(path, sizeof(path), "%s/var/lib/usbpush/id_ed25519", bed.tree.path);
	ck_assert_int_eq(transport_key_ensure(path, &failure), 0);
	doctor_bed_run_one(&bed, "key", pi_doctor_check_key);
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
	ck_assert_int_eq(chmod(path, 0644), 0);
	doctor_bed_run_one(&bed, "key", pi_doctor_check_key);
	expect_finding(&bed, DOCTOR_WRONG, "can be read by others (mode 0644)");
	temp_tree_put(&bed.tree, "var/lib/usbpush/id_ed25519", "nonsense");
	doctor_bed_run_one(&bed, "key", pi_doctor_check_key);
	expect_finding(&bed, DOCTOR_WRONG, "no usable SSH key");
}
END_TEST

/* ---- the way to the VM ---- */

/* A port of this machine on which somebody says banner; fd, to be closed. */
static int listen_somewhere(uint16_t *ret_port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void put_vm(const char *host, unsigned port)
{
	char text[512];

	snprintf(text, sizeof(text), "VM_HOST=%s\nVM_PORT=%u\nVM_HOST_KEY=" HOST_KEY "\n", host, port);
	temp_tree_put(&bed.tree, "etc/usbpush/vm.conf", text);
}

static void run_network_against(int listener, const char *banner)
{
	pid_t pid;

	ck_assert_int_eq(listen(listener, 4), 0);
	pid = fork();
	if (pid == 0) {
		int fd = accept(listener, NULL, NULL);

		_exit(fd < 0 || write(fd, banner, strlen(banner)) < 0);
	}
	doctor_bed_run_one(&bed, "network", pi_doctor_check_network);
}

START_TEST(an_sshd_that_answers_is_good)
{
	uint16_t port;
	_cleanup_close_ int listener = listen_somewhere(&port);

	put_vm("127.0.0.1", port);
	run_network_against(listener, "SSH-2.0-OpenSSH_9.2\r\n");
	expect_finding(&bed, DOCTOR_OK, "an sshd answers");
}
END_TEST

START_TEST(a_port_that_is_something_elses_is_told)
{
	uint16_t port;
	_cleanup_close_ int listener = listen_somewhere(&port);

	put_vm("127.0.0.1", port);
	run_network_against(listener, "220 mail ready\r\n");
	expect_finding(&bed, DOCTOR_WRONG, "what is there is no sshd");
}
END_TEST

START_TEST(a_port_that_says_nothing_is_told)
{
	uint16_t port;
	_cleanup_close_ int listener = listen_somewhere(&port);

	put_vm("127.0.0.1", port);
	ck_assert_int_eq(listen(listener, 1), 0); /* the kernel takes the connection, and nobody else */
	doctor_bed_run_one(&bed, "network", pi_doctor_check_network);
	expect_finding(&bed, DOCTOR_WRONG, "takes connections, and says nothing");
}
END_TEST

START_TEST(a_port_that_refuses_is_told)
{
	uint16_t port;
	_cleanup_close_ int listener = listen_somewhere(&port); /* bound, and not listening */

	ck_assert_int_ge(listener, 0);
	put_vm("127.0.0.1", port);
	doctor_bed_run_one(&bed, "network", pi_doctor_check_network);
	expect_finding(&bed, DOCTOR_WRONG, "Connection refused");
}
END_TEST

START_TEST(a_name_without_an_address_is_told_with_what_mdns_lacks)
{
	put_vm("no-such-vm.local", 22);
	temp_tree_put(&bed.tree, "etc/nsswitch.conf", "passwd: files\nhosts: files dns\nservices: mdns\n");
	doctor_bed_run_one(&bed, "name", pi_doctor_check_name);
	expect_finding(&bed, DOCTOR_WRONG, "does not look names up there");
	temp_tree_put(&bed.tree, "etc/nsswitch.conf", "hosts: files mdns4_minimal [NOTFOUND=return] dns\n");
	doctor_bed_run_one(&bed, "name", pi_doctor_check_name);
	expect_finding(&bed, DOCTOR_WRONG, "has no address");
	put_vm("127.0.0.1", 22);
	doctor_bed_run_one(&bed, "name", pi_doctor_check_name);
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
}
END_TEST

/* ---- what the exporter says ---- */

static void run_on_status(const char *status)
{
	static const struct doctor_check checks[] = { { "exporter", pi_doctor_check_exporter },
						      { "link", pi_doctor_check_link },
						      { "direct", pi_doctor_check_direct },
						      { "devices", pi_doctor_check_devices } };

	doctor_bed_serve(&bed, "/run/usbpush/control.sock", status);
	doctor_bed_run(&bed, checks, ARRAY_SIZE(checks));
}

START_TEST(a_link_that_is_up_is_good)
{
	run_on_status("{\"ok\":true,\"software\":\"" USBPUSH_VERSION
		      "\",\"problem\":null,\"link\":{\"state\":\"UP\",\"vm\":\"bench\",\"rtt_ms\":1.5,"
		      "\"vm_software\":\"" USBPUSH_VERSION
		      "\"},\"devices\":[{\"busid\":\"1-1\",\"state\":\"ATTACHED\"},{\"state\":\"IGNORED\"}]}");
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
	expect_finding(&bed, DOCTOR_OK, "usbpush-handler on bench answers");
	expect_finding(&bed, DOCTOR_OK, "1 of 2 on the VM");
}
END_TEST

START_TEST(what_the_exporter_says_is_wrong_is_said_with_its_cure)
{
	run_on_status(
		"{\"ok\":true,\"software\":\"" USBPUSH_VERSION
		"\",\"problem\":{\"code\":\"no-module\",\"text\":\"the module\",\"cure\":\"load "
		"it\"},\"link\":{\"state\":\"REFUSED\",\"error\":{\"code\":\"host-key\",\"text\":\"another host key\",\"cure\":\"pair "
		"anew\"}},\"devices\":[{\"busid\":\"1-1\",\"state\":\"FAILED\",\"error\":{\"code\":\"busy\",\"text\":\"somebody has it\",\"cure\":"
		"\"ask him\"}}]}");
	expect_finding(&bed, DOCTOR_WRONG, "the module");
	expect_finding(&bed, DOCTOR_WRONG, "REFUSED: another host key");
	expect_finding(&bed, DOCTOR_WRONG, "1-1: somebody has it");
}
END_TEST

#define UP "\"software\":\"" USBPUSH_VERSION "\",\"link\":{\"state\":\"UP\",\"vm\":\"bench\"}"

START_TEST(a_direct_road_that_answers_is_good_and_says_how_many_take_it)
{
	char status[512];
	uint16_t port;
	_cleanup_close_ int listener = listen_somewhere(&port);

	ck_assert_int_eq(listen(listener, 4), 0);
	snprintf(status, sizeof(status),
		 "{\"ok\":true," UP ",\"direct_port\":%u,\"devices\":[{\"transport\":\"direct\",\"state\":\"ATTACHED\"},"
		 "{\"transport\":\"direct\",\"state\":\"IGNORED\"},{\"transport\":\"tunnel\",\"state\":\"ATTACHED\"}]}",
		 port);
	run_on_status(status);
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
	expect_finding(&bed, DOCTOR_OK, "1 devices take it");
}
END_TEST

START_TEST(a_direct_road_on_which_nobody_listens_is_told)
{
	char status[512];
	uint16_t port;
	_cleanup_close_ int listener = listen_somewhere(&port); /* bound, and not listening */

	ck_assert_int_ge(listener, 0);
	snprintf(status, sizeof(status), "{\"ok\":true," UP ",\"direct_port\":%u,\"devices\":[]}", port);
	run_on_status(status);
	expect_finding(&bed, DOCTOR_WRONG, "nothing answers there");
}
END_TEST

START_TEST(a_direct_road_that_is_closed_where_a_device_is_to_take_it_is_told)
{
	run_on_status("{\"ok\":true," UP ",\"direct_port\":null,\"devices\":[{\"transport\":\"direct\",\"state\":\"FAILED\"}]}");
	expect_finding(&bed, DOCTOR_WRONG, "1 devices are to take the direct road, and it is closed");
}
END_TEST

START_TEST(a_direct_road_that_nobody_wants_is_good_when_it_is_closed)
{
	run_on_status("{\"ok\":true," UP ",\"direct_port\":null,\"devices\":[{\"transport\":\"tunnel\",\"state\":\"ATTACHED\"}]}");
	expect_finding(&bed, DOCTOR_OK, "nothing listens for them");
}
END_TEST

START_TEST(two_versions_are_noted)
{
	run_on_status("{\"ok\":true,\"software\":\"" USBPUSH_VERSION
		      "\",\"link\":{\"state\":\"UP\",\"vm\":\"bench\",\"vm_software\":\"9.9\"},"
		      "\"devices\":[]}");
	expect_finding(&bed, DOCTOR_NOTE, "the VM has usbpush 9.9");
}
END_TEST

START_TEST(an_answer_that_makes_no_sense_breaks_nothing)
{
	run_on_status("{\"ok\":true,\"software\":7,\"link\":[],\"devices\":{\"a\":1},\"problem\":\"x\"}");
	expect_finding(&bed, DOCTOR_WRONG, "version ?");
}
END_TEST

/* A check as the command has it. */
static const struct doctor_check *find_check(const char *name)
{
	size_t n;
	const struct doctor_check *checks = pi_doctor_checks(&n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(checks[i].name, name) == 0)
			return &checks[i];
	ck_abort_msg("no check is called %s", name);
}

START_TEST(the_firewall_is_looked_at_for_the_port_that_portal_conf_says)
{
	doctor_bed_put_program(
		&bed, "/usr/sbin/nft",
		"table inet f {\n chain input {\n  type filter hook input priority 0; policy drop;\n  tcp dport 8081 accept\n }\n}", 0);
	doctor_bed_run(&bed, find_check("firewall"), 1);
	expect_finding(&bed, DOCTOR_NOTE, "port 8080");
	temp_tree_put(&bed.tree, "etc/usbpush/portal.conf", "PORTAL_PORT=8081\n");
	doctor_bed_run(&bed, find_check("firewall"), 1);
	expect_finding(&bed, DOCTOR_OK, "port 8081");
	doctor_bed_run(&bed, find_check("portal"), 1);
	expect_finding(&bed, DOCTOR_NOTE, "port 8081");
}
END_TEST

START_TEST(without_the_exporter_the_rest_is_skipped)
{
	size_t n;
	const struct doctor_check *checks = pi_doctor_checks(&n);

	doctor_bed_run(&bed, checks, n);
	expect_finding(&bed, DOCTOR_WRONG, "usbpush-exporter is not running");
	expect_finding(&bed, DOCTOR_SKIPPED, "usbpush-exporter does not answer");
	for (size_t i = 0; i < n; i++) { /* each check says something */
		bool is_said = false;

		for (size_t j = 0; j < bed.doctor.n; j++)
			is_said = is_said || strcmp(bed.doctor.findings[j].check, checks[i].name) == 0;
		ck_assert_msg(is_said, "%s", checks[i].name);
	}
}
END_TEST

START_TEST(the_archive_has_which_devices_are_with_the_vm_and_which_were_detached_by_hand)
{
	_cleanup_free_ char *content = NULL;
	size_t n;
	const struct doctor_part *parts = pi_doctor_parts(&n);
	struct failure failure;
	char path[256];
	ssize_t size;

	temp_tree_put(&bed.tree, "run/usbpush/held", "1-1.2\n");
	temp_tree_put(&bed.tree, "run/usbpush/kept", "1-1.3 7\n");
	doctor_bed_run_one(&bed, "usbip", pi_doctor_check_usbip);
	snprintf(path, sizeof(path), "%s/report.tar", bed.tree.path);
	ck_assert_int_eq(doctor_archive_write(&bed.doctor, path, parts, n, &failure), 0);
	size = file_read(path, 1 << 20, &content);
	ck_assert_int_gt(size, 0);
	ck_assert_ptr_nonnull(memmem(content, (size_t)size, "1-1.2\n", 6));
	ck_assert_ptr_nonnull(memmem(content, (size_t)size, "1-1.3 7\n", 8));
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("pi doctor");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, a_driver_that_is_there_is_good);
	tcase_add_test(tests, a_full_table_is_noted);
	tcase_add_test(tests, files_that_root_can_not_write_or_that_are_missing_are_told);
	tcase_add_test(tests, a_line_of_vm_conf_that_makes_no_sense_is_told);
	tcase_add_test(tests, an_unpaired_pi_is_noted_and_a_paired_one_says_with_whom);
	tcase_add_test(tests, a_key_that_others_can_read_or_that_is_none_is_told);
	tcase_add_test(tests, an_sshd_that_answers_is_good);
	tcase_add_test(tests, a_port_that_is_something_elses_is_told);
	tcase_add_test(tests, a_port_that_says_nothing_is_told);
	tcase_add_test(tests, a_port_that_refuses_is_told);
	tcase_add_test(tests, a_name_without_an_address_is_told_with_what_mdns_lacks);
	tcase_add_test(tests, a_link_that_is_up_is_good);
	tcase_add_test(tests, what_the_exporter_says_is_wrong_is_said_with_its_cure);
	tcase_add_test(tests, a_direct_road_that_answers_is_good_and_says_how_many_take_it);
	tcase_add_test(tests, a_direct_road_on_which_nobody_listens_is_told);
	tcase_add_test(tests, a_direct_road_that_is_closed_where_a_device_is_to_take_it_is_told);
	tcase_add_test(tests, a_direct_road_that_nobody_wants_is_good_when_it_is_closed);
	tcase_add_test(tests, two_versions_are_noted);
	tcase_add_test(tests, an_answer_that_makes_no_sense_breaks_nothing);
	tcase_add_test(tests, the_firewall_is_looked_at_for_the_port_that_portal_conf_says);
	tcase_add_test(tests, without_the_exporter_the_rest_is_skipped);
	tcase_add_test(tests, the_archive_has_which_devices_are_with_the_vm_and_which_were_detached_by_hand);
	return check_program_run("pi_doctor", tests, NULL);
}
