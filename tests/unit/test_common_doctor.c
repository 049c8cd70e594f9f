/* What doctor says of a machine, and what leaves it in an archive. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "atomic_file.h"
#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "doctor_archive.h"
#include "doctor_bed.h"
#include "doctor_cli.h"
#include "doctor_machine.h"

static struct doctor_bed bed;

static void setup(void)
{
	doctor_bed_setup(&bed);
}

static void teardown(void)
{
	doctor_bed_teardown(&bed);
}

/* ---- findings ---- */

static void say_some(struct doctor *doctor)
{
	doctor_say(doctor, DOCTOR_OK, NULL, "good");
	doctor_say(doctor, DOCTOR_NOTE, "read", "so so");
}

static void say_wrong(struct doctor *doctor)
{
	doctor_say(doctor, DOCTOR_WRONG, "do \x1b[2J this", "bad\nthing \xff");
}

START_TEST(only_what_is_wrong_makes_the_exit_status_one)
{
	static const struct doctor_check checks[] = { { "a", say_some }, { "b", say_wrong } };

	doctor_bed_run(&bed, checks, 1);
	ck_assert_int_eq(doctor_exit_status(&bed.doctor), 0);
	doctor_bed_run(&bed, checks, 2);
	ck_assert_int_eq(doctor_exit_status(&bed.doctor), 1);
	ck_assert_int_eq(doctor_worst_of(&bed.doctor, "a"), DOCTOR_NOTE);
	ck_assert_int_eq(doctor_worst_of(&bed.doctor, "b"), DOCTOR_WRONG);
	ck_assert_int_eq(doctor_worst_of(&bed.doctor, "c"), DOCTOR_OK);
}
END_TEST

START_TEST(what_is_found_reaches_no_terminal_as_it_came)
{
	doctor_bed_run_one(&bed, "b", say_wrong);
	ck_assert_str_eq(bed.doctor.findings[0].text, "bad?thing ?");
	ck_assert_str_eq(bed.doctor.findings[0].cure, "do ?[2J this");
}
END_TEST

START_TEST(people_read_each_finding_with_its_cure_and_the_sum)
{
	static const struct doctor_check checks[] = { { "a", say_some }, { "b", say_wrong } };
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	doctor_bed_run(&bed, checks, 2);
	doctor_print(&bed.doctor, stream, false);
	fclose(stream);
	ck_assert_str_eq(text, "ok       a           good\n"
			       "note     a           so so\n"
			       "                     read\n"
			       "wrong    b           bad?thing ?\n"
			       "                     do ?[2J this\n"
			       "\n1 thing is wrong, and there are notes. What to do stands below each.\n");
}
END_TEST

START_TEST(scripts_read_the_same)
{
	_cleanup_json_ json_t *object = NULL;
	const json_t *finding;

	doctor_bed_run_one(&bed, "b", say_wrong);
	object = doctor_to_json(&bed.doctor);
	ck_assert(json_is_false(json_object_get(object, "ok")));
	finding = json_array_get(json_object_get(object, "findings"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(finding, "check")), "b");
	ck_assert_str_eq(json_string_value(json_object_get(finding, "state")), "wrong");
}
END_TEST

static void say_many(struct doctor *doctor)
{
	for (unsigned i = 0; i < 2 * DOCTOR_MAX_FINDINGS; i++)
		doctor_say(doctor, DOCTOR_OK, NULL, "%u", i);
}

START_TEST(too_many_findings_are_cut_off)
{
	doctor_bed_run_one(&bed, "a", say_many);
	ck_assert_uint_eq(bed.doctor.n, DOCTOR_MAX_FINDINGS);
}
END_TEST

/* ---- kernel ---- */

static const struct {
	const char *version, *release;
	unsigned expected[3];
} VERSIONS[] = {
	{ "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) "
	  "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)\n",
	  "6.1.0-28-amd64\n",
	  { 6, 1, 119 } },
	{ "Linux version 6.12.47+rpt-rpi-v8 (serge@raspberrypi.com) (aarch64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0) #1 SMP PREEMPT Debian "
	  "1:6.12.47-1+rpt1 (2025-09-16)\n",
	  "6.12.47+rpt-rpi-v8\n",
	  { 6, 12, 47 } },
	{ "Linux version 6.8.0-45-generic (buildd@lcy02) (gcc 13) #45-Ubuntu SMP\n", "6.8.0-45-generic\n", { 6, 8, 0 } },
};

START_TEST(the_kernels_own_version_is_found_behind_its_name)
{
	unsigned version[3];

	temp_tree_put(&bed.tree, "proc/version", VERSIONS[_i].version);
	temp_tree_put(&bed.tree, "proc/sys/kernel/osrelease", VERSIONS[_i].release);
	bed.doctor.root = bed.tree.path;
	ck_assert(doctor_kernel_version(&bed.doctor, version));
	ck_assert_mem_eq(version, VERSIONS[_i].expected, sizeof(version));
}
END_TEST

static void check_a_module(struct doctor *doctor)
{
	(void)doctor_check_module(doctor, "/sys/bus/usb/drivers/usbip-host", "usbip-host");
}

static const struct {
	const char *release, *cure;
} CLOUDS[] = {
	{ "6.1.0-28-cloud-amd64\n", "apt install linux-image-amd64, remove linux-image-cloud-amd64, reboot." },
	{ "6.1.0-28-cloud-arm64\n", "apt install linux-image-arm64, remove linux-image-cloud-arm64, reboot." },
	{ "6.1.0-cloud\n", "apt install linux-image-amd64, remove linux-image-cloud-amd64, reboot." },
};

START_TEST(a_cloud_kernel_is_told_with_its_cure)
{
	temp_tree_put(&bed.tree, "proc/sys/kernel/osrelease", CLOUDS[_i].release);
	doctor_bed_run_one(&bed, "kernel", doctor_check_kernel);
	expect_finding(&bed, DOCTOR_WRONG, "no USB at all");
	ck_assert_str_eq(bed.doctor.findings[0].cure, CLOUDS[_i].cure);
	doctor_bed_run_one(&bed, "module", check_a_module);
	expect_finding(&bed, DOCTOR_WRONG, "has no module");
	ck_assert_str_eq(bed.doctor.findings[0].cure, CLOUDS[_i].cure);
}
END_TEST

START_TEST(an_old_kernel_is_noted_and_a_good_one_is_good)
{
	temp_tree_make_dir(&bed.tree, "sys/bus/usb");
	temp_tree_put(&bed.tree, "proc/sys/kernel/osrelease", "5.10.0-8-amd64\n");
	doctor_bed_run_one(&bed, "kernel", doctor_check_kernel);
	expect_finding(&bed, DOCTOR_NOTE, "5.10.0-8-amd64");
	temp_tree_put(&bed.tree, "proc/sys/kernel/osrelease", "6.1.0-28-amd64\n");
	doctor_bed_run_one(&bed, "kernel", doctor_check_kernel);
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
}
END_TEST

START_TEST(what_can_not_be_read_is_skipped)
{
	doctor_bed_run_one(&bed, "kernel", doctor_check_kernel);
	expect_finding(&bed, DOCTOR_SKIPPED, "can't be read");
}
END_TEST

START_TEST(a_module_is_there_or_not_loaded_or_not_to_be_had)
{
	temp_tree_put(&bed.tree, "proc/sys/kernel/osrelease", "6.1\n");
	doctor_bed_run_one(&bed, "module", check_a_module);
	expect_finding(&bed, DOCTOR_WRONG, "has no module usbip-host");
	temp_tree_put(&bed.tree, "lib/modules/6.1/kernel/drivers/usb/usbip/usbip-host.ko.xz", "");
	doctor_bed_run_one(&bed, "module", check_a_module);
	expect_finding(&bed, DOCTOR_WRONG, "is not loaded");
	temp_tree_make_dir(&bed.tree, "sys/bus/usb/drivers/usbip-host");
	doctor_bed_run_one(&bed, "module", check_a_module);
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
}
END_TEST

/* ---- disk, firewall, daemon ---- */

static const struct {
	struct statvfs status;
	enum doctor_state state;
	const char *text;
} DISKS[] = {
	{ { .f_frsize = 4096, .f_bavail = 0 }, DOCTOR_WRONG, "full" },
	{ { .f_frsize = 4096, .f_bavail = 100000, .f_files = 10, .f_favail = 0 }, DOCTOR_WRONG, "full" },
	{ { .f_frsize = 4096, .f_bavail = 100 }, DOCTOR_NOTE, "only 400 KiB" },
	{ { .f_frsize = 4096, .f_bavail = 100000, .f_flag = ST_RDONLY }, DOCTOR_WRONG, "read-only" },
	{ { .f_frsize = 4096, .f_bavail = 100000 }, DOCTOR_OK, "enough" },
};

START_TEST(a_full_or_read_only_disk_is_told)
{
	bed.doctor.check = "disk";
	doctor_judge_disk(&bed.doctor, "/etc", &DISKS[_i].status);
	expect_finding(&bed, DISKS[_i].state, DISKS[_i].text);
}
END_TEST

static void check_port_22(struct doctor *doctor)
{
	doctor_check_firewall(doctor, 22, "the link");
}

#define INPUT(policy, rules) "table inet f {\n chain input {\n  type filter hook input priority 0; policy " policy ";\n" rules " }\n}\n"

static const struct {
	const char *rules;
	enum doctor_state state;
} FIREWALLS[] = {
	{ "", DOCTOR_OK },
	{ "table inet f {\n chain input {\n  type filter hook input priority 0; policy accept;\n }\n}", DOCTOR_OK },
	{ "table inet f {\n chain input {\n  type filter hook input priority 0; policy drop;\n  tcp dport 80 accept\n }\n}", DOCTOR_NOTE },
	{ "table inet f {\n chain input {\n  type filter hook input priority 0; policy drop;\n  tcp dport 22 accept\n }\n}", DOCTOR_OK },
	{ "table inet f {\n chain input {\n  type filter hook input priority 0; policy drop;\n  tcp dport { 80, 22 } accept\n }\n}",
	  DOCTOR_OK },
	{ "table inet f {\n chain input {\n  type filter hook input priority 0; policy drop;\n  tcp dport { 2200, 8022 } accept\n }\n}",
	  DOCTOR_NOTE },
	{ "table inet f {\n chain input {\n  type filter hook input priority 0; policy drop;\n  tcp dport 22 drop\n }\n}", DOCTOR_NOTE },
	{ "table inet f {\n chain output {\n  type filter hook output priority 0; policy drop;\n }\n}", DOCTOR_OK },
	/* closed by its rules, not by its policy */
	{ INPUT("accept", "  iifname \"lo\" accept\n  ct state invalid drop\n  reject with icmpx admin-prohibited\n"), DOCTOR_NOTE },
	{ INPUT("accept", "  iifname \"lo\" accept\n  ct state invalid drop\n"), DOCTOR_OK },
	{ INPUT("accept", "  tcp dport 22 accept\n  counter packets 22 bytes 22 reject\n"), DOCTOR_OK },
	{ INPUT("accept", "  tcp dport 80 counter packets 22 bytes 22 accept\n  counter packets 22 bytes 22 reject\n"), DOCTOR_NOTE },
	{ INPUT("accept", "  log prefix \"no, drop: \" level info counter drop comment \"accept nothing\"\n"), DOCTOR_NOTE },
	{ INPUT("accept", "  meta l4proto tcp counter packets 0 bytes 0 reject with tcp reset\n"), DOCTOR_NOTE },
	{ INPUT("accept", "  counter packets 0 bytes 0 xt target \"REJECT\"\n"), DOCTOR_NOTE },
	{ INPUT("accept", "  reject\n  tcp dport 22 accept\n"), DOCTOR_NOTE }, /* it comes too late */
	{ INPUT("drop", "  ct state invalid drop\n  accept\n"), DOCTOR_OK },
	{ INPUT("accept", "  tcp dport 22 drop\n"), DOCTOR_NOTE },
	{ INPUT("accept", "  iifname \"eth0\" tcp dport { 20-25, 80 } counter packets 0 bytes 0 reject with tcp reset\n"), DOCTOR_NOTE },
	{ INPUT("accept", "  tcp dport != { 80, 443 } drop\n"), DOCTOR_NOTE },
	{ INPUT("accept", "  tcp dport != 22 drop\n"), DOCTOR_OK },
	{ INPUT("accept", "  tcp dport @shut drop\n  tcp dport != @open drop\n"), DOCTOR_OK }, /* who knows */
	{ INPUT("accept", "  udp dport 22 drop\n  tcp dport 2222 drop\n"), DOCTOR_OK },
	{ INPUT("accept", "  tcp dport 22 limit rate over 9/minute burst 5 packets drop\n"), DOCTOR_OK },
	{ INPUT("accept", "  tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable\n"), DOCTOR_OK }, /* fail2ban */
	{ INPUT("accept", "  ip saddr 192.168.0.0/16 tcp dport 22 accept\n  tcp dport 22 drop\n"), DOCTOR_OK },
	{ INPUT("drop", "  tcp dport 20-25 limit rate 9/minute burst 5 packets accept\n"), DOCTOR_OK },
	{ INPUT("drop", "  udp dport 22 accept\n"), DOCTOR_NOTE },
	/* the way out, and the way through */
	{ INPUT("drop", "") "table ip g {\n chain out {\n  type filter hook output priority 0; policy drop;\n  tcp dport 22 accept\n }\n}",
	  DOCTOR_NOTE },
	{ INPUT("drop", "") "table ip g {\n chain on {\n  type filter hook forward priority 0; policy drop;\n  tcp dport 22 accept\n }\n}",
	  DOCTOR_NOTE },
	{ INPUT("accept",
		"") "table ip g {\n chain on {\n  type filter hook forward priority 0; policy drop;\n  tcp dport 22 drop\n  drop\n }\n}",
	  DOCTOR_OK },
	/* where the input chain jumps to */
	{ INPUT("accept",
		"  jump zones\n  reject with icmpx admin-prohibited\n") "table ip g {\n chain zones {\n  tcp dport 22 accept\n }\n}",
	  DOCTOR_OK },
	{ INPUT("accept",
		"  jump zones\n  reject with icmpx admin-prohibited\n") "table ip g {\n chain zones {\n  tcp dport 80 accept\n }\n}",
	  DOCTOR_NOTE },
	{ INPUT("drop", "  jump user\n") "table ip g {\n chain user {\n  tcp dport 22 jump ufw-user-limit-accept\n }\n}", DOCTOR_OK },
	{ INPUT("accept", "") "table ip g {\n chain banned {\n  drop\n }\n}", DOCTOR_OK },
};

START_TEST(an_avahi_that_does_not_listen_does_not_run)
{
	doctor_bed_run_one(&bed, "mdns", doctor_check_mdns);
	expect_finding(&bed, DOCTOR_NOTE, "avahi-daemon is not installed");
	temp_tree_put(&bed.tree, "usr/sbin/avahi-daemon", "");
	temp_tree_put(&bed.tree, "run/avahi-daemon/socket", ""); /* left by one that ended */
	doctor_bed_run_one(&bed, "mdns", doctor_check_mdns);
	expect_finding(&bed, DOCTOR_NOTE, "avahi-daemon does not run");
	temp_tree_remove(&bed.tree, "run/avahi-daemon/socket");
	doctor_bed_serve(&bed, "/run/avahi-daemon/socket", "");
	doctor_bed_run_one(&bed, "mdns", doctor_check_mdns);
	expect_finding(&bed, DOCTOR_OK, "avahi-daemon runs");
}
END_TEST

START_TEST(a_firewall_that_names_no_such_port_is_noted)
{
	doctor_bed_put_program(&bed, "/usr/sbin/nft", FIREWALLS[_i].rules, 0);
	doctor_bed_run_one(&bed, "firewall", check_port_22);
	ck_assert_msg(doctor_worst_of(&bed.doctor, "firewall") == FIREWALLS[_i].state, "%s", FIREWALLS[_i].rules);
}
END_TEST

START_TEST(a_firewall_that_can_not_be_read_is_skipped)
{
	doctor_bed_run_one(&bed, "firewall", check_port_22);
	expect_finding(&bed, DOCTOR_OK, "no nftables");
	doctor_bed_put_program(&bed, "/usr/sbin/nft", "Operation not permitted", 1);
	doctor_bed_run_one(&bed, "firewall", check_port_22);
	expect_finding(&bed, DOCTOR_SKIPPED, "can't be read");
}
END_TEST

START_TEST(a_firewall_of_more_rules_than_are_read_is_skipped)
{
	temp_tree_put(&bed.tree, "usr/sbin/nft", "#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x\n");
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, "usr/sbin/nft"), 0755), 0);
	doctor_bed_run_one(&bed, "firewall", check_port_22);
	expect_finding(&bed, DOCTOR_SKIPPED, "more than 1 MiB");
}
END_TEST

static void ask_daemon(struct doctor *doctor)
{
	(void)doctor_ask_daemon(doctor, "/run/d.sock", "some-daemon", "version");
}

START_TEST(a_daemon_of_another_version_is_told)
{
	doctor_bed_serve(&bed, "/run/d.sock", "{\"ok\":true,\"version\":\"0.0.1\"}");
	doctor_bed_run_one(&bed, "daemon", ask_daemon);
	expect_finding(&bed, DOCTOR_WRONG, "version 0.0.1");
}
END_TEST

START_TEST(a_daemon_that_is_not_there_is_told)
{
	doctor_bed_run_one(&bed, "daemon", ask_daemon);
	expect_finding(&bed, DOCTOR_WRONG, "some-daemon is not running");
	ck_assert_ptr_null(bed.doctor.status);
}
END_TEST

START_TEST(a_daemon_that_answers_is_good)
{
	doctor_bed_serve(&bed, "/run/d.sock", "{\"ok\":true,\"version\":\"" USBPUSH_VERSION "\"}");
	doctor_bed_run_one(&bed, "daemon", ask_daemon);
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
	ck_assert_ptr_nonnull(bed.doctor.status);
}
END_TEST

/* ---- programs ---- */

START_TEST(a_program_is_run_with_its_input_and_told_by_its_status)
{
	const char *const command[] = { "/bin/tool", "x", NULL };
	_cleanup_free_ char *output = NULL;

	bed.doctor.root = bed.tree.path;
	ck_assert_int_eq(doctor_command(&bed.doctor, command, NULL, &output), -ENOENT);
	temp_tree_put(&bed.tree, "bin/tool", "#!/bin/sh\nread line\necho \"$1 $line $HOME.\"\necho error >&2\nexit 3\n");
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, "bin/tool"), 0755), 0);
	ck_assert_int_eq(doctor_command(&bed.doctor, command, "hello\n", &output), 3);
	ck_assert_str_eq(output, "x hello .\nerror\n");
}
END_TEST

START_TEST(a_program_that_hangs_is_ended_after_ten_seconds)
{
	const char *const command[] = { "/bin/tool", NULL };
	_cleanup_free_ char *output = NULL;
	uint64_t start = clock_now_usec();

	bed.doctor.root = bed.tree.path;
	temp_tree_put(&bed.tree, "bin/tool", "#!/bin/sh\nexec sleep 60\n");
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, "bin/tool"), 0755), 0);
	ck_assert_int_eq(doctor_command(&bed.doctor, command, NULL, &output), -ETIMEDOUT);
	ck_assert_uint_lt(clock_now_usec() - start, UINT64_C(15000000) * test_slowness());
}
END_TEST

START_TEST(a_program_that_says_more_than_fits_is_heard_to_its_end)
{
	const char *const command[] = { "/bin/tool", NULL };
	_cleanup_free_ char *output = NULL;
	uint64_t start = clock_now_usec();

	bed.doctor.root = bed.tree.path;
	temp_tree_put(&bed.tree, "bin/tool", "#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x\nexit 3\n");
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, "bin/tool"), 0755), 0);
	ck_assert_int_eq(doctor_command(&bed.doctor, command, NULL, &output), 3);
	ck_assert_uint_eq(strlen(output), 1024 * 1024);
	ck_assert_uint_eq(strspn(output, "x"), 1024 * 1024);
	ck_assert_uint_lt(clock_now_usec() - start, UINT64_C(10000000) * test_slowness());
}
END_TEST

static const char *const HANGING[] = {
	"#!/bin/sh\nexec cat /dev/zero\n",         /* never silent */
	"#!/bin/sh\nexec sleep 60 <&- >&- 2>&-\n", /* silent, and still there */
};

START_TEST(a_program_is_ended_after_ten_seconds_whether_it_speaks_or_not)
{
	const char *const command[] = { "/bin/tool", NULL };
	_cleanup_free_ char *output = NULL;
	uint64_t start = clock_now_usec();

	bed.doctor.root = bed.tree.path;
	temp_tree_put(&bed.tree, "bin/tool", HANGING[_i]);
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, "bin/tool"), 0755), 0);
	ck_assert_int_eq(doctor_command(&bed.doctor, command, NULL, &output), -ETIMEDOUT);
	ck_assert_uint_lt(clock_now_usec() - start, UINT64_C(15000000) * test_slowness());
}
END_TEST

/* ---- the archive ---- */

#define PRIVATE_KEY "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nAAAAMwAAAAtzc2g\n-----END OPENSSH PRIVATE KEY-----\n"
#define HASH        "$y$j9T$abcdefghijklmnop$qrstuvwxyz0123456789ABCDEFGHIJ"
#define TOKEN       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
	const char *text, *secret; /* secret NULL: all of it stays */
} SECRETS[] = {
	{ "before\n" PRIVATE_KEY "after\n", "b3Bl" },
	{ "before\n-----BEGIN RSA PRIVATE KEY-----\nMIIE cut short", "MIIE" },
	{ "before usbpush:" HASH ":19000:: after", "qrstuv" },
	{ "before Cookie: usbpush=" TOKEN " after", TOKEN },
	{ "before token " TOKEN ", after", TOKEN },
	{ "before PORTAL_PASSWORD=Correct-Horse\n after", "Correct-Horse" },
	{ "before setup code ABCD-EFGH\n after", "ABCD-EFGH" },
	{ "before code: 123 456\n after", "123 456" },
	{ "{\"code\":\"no-free-port\",\"text\":\"t\"}", NULL },
	{ "VM_HOST_KEY=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", NULL },
	{ "SHA256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg 0403:6001 serial A1", NULL },
	{ "id 0123456789abcdef0123456789abcdef connected, costs $5", NULL },
};

START_TEST(what_looks_like_a_secret_is_blotted_out_and_no_more)
{
	_cleanup_free_ char *text = strdup(SECRETS[_i].text);
	unsigned n = doctor_redact(text);

	ck_assert_uint_eq(strlen(text), strlen(SECRETS[_i].text));
	if (!SECRETS[_i].secret) {
		ck_assert_uint_eq(n, 0);
		ck_assert_str_eq(text, SECRETS[_i].text);
		return;
	}
	ck_assert_uint_ge(n, 1);
	ck_assert_ptr_null(strstr(text, SECRETS[_i].secret));
	ck_assert_int_eq(strncmp(text, "before", 6), 0);
}
END_TEST

static const char *const LOG_COMMAND[] = { "/bin/log", NULL };
static const char *const CONF_FILE[] = { "/etc/some.conf", NULL };
static const char *const MISSING_FILE[] = { "/etc/missing", NULL };
static const struct doctor_part PARTS[] = {
	{ "log", DOCTOR_PART_COMMAND, LOG_COMMAND },
	{ "some.conf", DOCTOR_PART_FILE, CONF_FILE },
	{ "missing", DOCTOR_PART_FILE, MISSING_FILE },
};

START_TEST(an_archive_has_its_parts_and_no_secret)
{
	_cleanup_free_ char *content = NULL, *listing = NULL;
	const char *const tar[] = { "/bin/tar", "-tvf", NULL, NULL };
	const char *list[4];
	struct doctor real = { .root = "" };
	struct failure failure;
	struct stat status;
	char path[256];
	ssize_t size;

	doctor_bed_put_program(&bed, "/bin/log", "started\n" PRIVATE_KEY "token " TOKEN, 0);
	temp_tree_put_bytes(&bed.tree, "etc/some.conf", "A=1\n\0PASSWORD=Correct-Horse\n", 27);
	doctor_bed_run_one(&bed, "b", say_wrong);
	snprintf(path, sizeof(path), "%s/report.tar", bed.tree.path);
	ck_assert_int_eq(doctor_archive_write(&bed.doctor, path, PARTS, ARRAY_SIZE(PARTS), &failure), 0);
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0600);
	ck_assert_int_eq(status.st_size % 512, 0);
	size = file_read(path, 1 << 20, &content);
	ck_assert_ptr_nonnull(memmem(content, (size_t)size, "started", 7));
	ck_assert_ptr_nonnull(memmem(content, (size_t)size, "A=1", 3));
	ck_assert_ptr_nonnull(memmem(content, (size_t)size, "not there", 9));
	ck_assert_ptr_null(memmem(content, (size_t)size, "b3Bl", 4));
	ck_assert_ptr_null(memmem(content, (size_t)size, TOKEN, strlen(TOKEN)));
	ck_assert_ptr_null(memmem(content, (size_t)size, "Correct-Horse", 13));
	memcpy(list, tar, sizeof(list));
	list[2] = path;
	ck_assert_int_eq(doctor_command(&real, list, NULL, &listing), 0);
	ck_assert_ptr_nonnull(strstr(listing, "usbpush-doctor/doctor.json"));
	ck_assert_ptr_nonnull(strstr(listing, "usbpush-doctor/some.conf"));
}
END_TEST

START_TEST(an_archive_is_never_written_over_what_is_there)
{
	struct failure failure;
	char path[256];

	temp_tree_put(&bed.tree, "mine", "precious");
	temp_tree_link(&bed.tree, "link", "mine");
	doctor_bed_run_one(&bed, "b", say_wrong);
	snprintf(path, sizeof(path), "%s/mine", bed.tree.path);
	ck_assert_int_lt(doctor_archive_write(&bed.doctor, path, PARTS, 0, &failure), 0);
	ck_assert_ptr_nonnull(strstr(failure.text, "is there already"));
	snprintf(path, sizeof(path), "%s/link", bed.tree.path);
	ck_assert_int_lt(doctor_archive_write(&bed.doctor, path, PARTS, 0, &failure), 0);
	snprintf(path, sizeof(path), "%s/no/such/directory", bed.tree.path);
	ck_assert_int_lt(doctor_archive_write(&bed.doctor, path, PARTS, 0, &failure), 0);
	ck_assert_str_eq(temp_tree_get(&bed.tree, "mine"), "precious");
}
END_TEST

START_TEST(wrong_arguments_are_usage)
{
	static const struct doctor_check checks[] = { { "a", say_some } };
	static const struct doctor_side side = { "tool", checks, 1, PARTS, 0 };
	static const char *const words[] = { "--what", "more", "--archive" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		char command[] = "doctor", argument[16];
		char *argv[] = { command, argument, NULL };

		snprintf(argument, sizeof(argument), "%s", words[i]);
		ck_assert_int_eq(doctor_cli(2, argv, &side), 2);
	}
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("doctor");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, only_what_is_wrong_makes_the_exit_status_one);
	tcase_add_test(tests, what_is_found_reaches_no_terminal_as_it_came);
	tcase_add_test(tests, people_read_each_finding_with_its_cure_and_the_sum);
	tcase_add_test(tests, scripts_read_the_same);
	tcase_add_test(tests, too_many_findings_are_cut_off);
	tcase_add_loop_test(tests, the_kernels_own_version_is_found_behind_its_name, 0, ARRAY_SIZE(VERSIONS));
	tcase_add_loop_test(tests, a_cloud_kernel_is_told_with_its_cure, 0, ARRAY_SIZE(CLOUDS));
	tcase_add_test(tests, an_old_kernel_is_noted_and_a_good_one_is_good);
	tcase_add_test(tests, what_can_not_be_read_is_skipped);
	tcase_add_test(tests, a_module_is_there_or_not_loaded_or_not_to_be_had);
	tcase_add_loop_test(tests, a_full_or_read_only_disk_is_told, 0, ARRAY_SIZE(DISKS));
	tcase_add_test(tests, an_avahi_that_does_not_listen_does_not_run);
	tcase_add_loop_test(tests, a_firewall_that_names_no_such_port_is_noted, 0, ARRAY_SIZE(FIREWALLS));
	tcase_add_test(tests, a_firewall_that_can_not_be_read_is_skipped);
	tcase_add_test(tests, a_firewall_of_more_rules_than_are_read_is_skipped);
	tcase_add_test(tests, a_daemon_of_another_version_is_told);
	tcase_add_test(tests, a_daemon_that_is_not_there_is_told);
	tcase_add_test(tests, a_daemon_that_answers_is_good);
	tcase_add_test(tests, a_program_is_run_with_its_input_and_told_by_its_status);
	tcase_add_test(tests, a_program_that_hangs_is_ended_after_ten_seconds);
	tcase_add_test(tests, a_program_that_says_more_than_fits_is_heard_to_its_end);
	tcase_add_loop_test(tests, a_program_is_ended_after_ten_seconds_whether_it_speaks_or_not, 0, ARRAY_SIZE(HANGING));
	tcase_add_loop_test(tests, what_looks_like_a_secret_is_blotted_out_and_no_more, 0, ARRAY_SIZE(SECRETS));
	tcase_add_test(tests, an_archive_has_its_parts_and_no_secret);
	tcase_add_test(tests, an_archive_is_never_written_over_what_is_there);
	tcase_add_test(tests, wrong_arguments_are_usage);
	return check_program_run("common_doctor", tests, NULL);
}
