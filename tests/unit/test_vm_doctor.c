/* usbpush-vm doctor: a VM on which something is not as it should be. */

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "doctor_bed.h"
#include "vm_doctor.h"

#define PI         "0123456789abcdef0123456789abcdef"
#define CONTROLLER "sys/devices/platform/vhci_hcd.0"
#define KEY_LINE   "restrict,command=\"exec /usr/libexec/usbpush/usbpush-relay --pi " PI "\" ssh-ed25519 AAAA usbpush:garage\n"

static struct doctor_bed bed;

static void setup(void)
{
	doctor_bed_setup(&bed);
}

static void teardown(void)
{
	doctor_bed_teardown(&bed);
}

/* ---- vhci_hcd ---- */

static void put_controller(const char *authorized_default)
{
	temp_tree_put(&bed.tree, CONTROLLER "/attach", "");
	temp_tree_put(&bed.tree, CONTROLLER "/detach", "");
	temp_tree_put(&bed.tree, CONTROLLER "/status", "");
	temp_tree_put(&bed.tree, CONTROLLER "/nports", "240\n");
	temp_tree_put(&bed.tree, CONTROLLER "/usb1/authorized_default", "0\n");
	temp_tree_put(&bed.tree, CONTROLLER "/usb2/authorized_default", authorized_default);
}

START_TEST(a_controller_that_lets_nobody_in_is_good)
{
	put_controller("0\n");
	temp_tree_put(&bed.tree, "proc/sys/kernel/osrelease", "6.12.120\n");
	doctor_bed_run_one(&bed, "vhci", vm_doctor_check_vhci);
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
	expect_finding(&bed, DOCTOR_OK, "240 ports");
}
END_TEST

START_TEST(a_controller_that_lets_drivers_at_devices_is_told)
{
	put_controller("1\n");
	doctor_bed_run_one(&bed, "vhci", vm_doctor_check_vhci);
	expect_finding(&bed, DOCTOR_WRONG, "authorized_default is not 0");
}
END_TEST

static const struct {
	const char *release;
	bool is_known_bad;
} KERNELS[] = { { "6.1.189\n", true },   { "6.1.190\n", false }, { "6.6.50\n", true }, { "6.12.110\n", true },
		{ "6.12.111\n", false }, { "6.18.1\n", false },  { "5.15.0\n", true } };

START_TEST(a_kernel_with_the_known_crash_is_noted)
{
	put_controller("0\n");
	temp_tree_put(&bed.tree, "proc/sys/kernel/osrelease", KERNELS[_i].release);
	doctor_bed_run_one(&bed, "vhci", vm_doctor_check_vhci);
	ck_assert_int_eq(doctor_worst_of(&bed.doctor, "vhci"), KERNELS[_i].is_known_bad ? DOCTOR_NOTE : DOCTOR_OK);
}
END_TEST

START_TEST(a_controller_in_a_container_is_told)
{
	put_controller("0\n");
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, CONTROLLER "/attach"), 0444), 0);
	temp_tree_remove(&bed.tree, CONTROLLER "/nports");
	doctor_bed_run_one(&bed, "vhci", vm_doctor_check_vhci);
	expect_finding(&bed, DOCTOR_WRONG, "attach can't be written");
	expect_finding(&bed, DOCTOR_WRONG, "nports is missing");
}
END_TEST

/* ---- the login ---- */

static void put_login(const char *passwd)
{
	temp_tree_put(&bed.tree, "etc/passwd", passwd);
	temp_tree_put(&bed.tree, "bin/sh", "");
	temp_tree_put(&bed.tree, "bin/bash", "");
	temp_tree_put(&bed.tree, "usr/sbin/nologin", "");
}

static const struct {
	const char *passwd;
	enum doctor_state state;
	const char *text;
} LOGINS[] = {
	{ "root:x:0:0::/root:/bin/sh\nusbpush:x:998:998::/var/lib/usbpush:/bin/sh\n", DOCTOR_OK, "is there" },
	{ "root:x:0:0::/root:/bin/sh\n", DOCTOR_WRONG, "there is no login" },
	{ "usbpusher:x:998:998::/var/lib/usbpush:/bin/sh\n", DOCTOR_WRONG, "there is no login" },
	{ "usbpush:x:998:998::/home/usbpush:/bin/sh\n", DOCTOR_WRONG, "home is /home/usbpush" },
	{ "usbpush:x:998:998::/var/lib/usbpush:/usr/sbin/nologin\n", DOCTOR_WRONG, "starts no relay" },
	{ "usbpush:x:998:998::/var/lib/usbpush:/bin/zsh\n", DOCTOR_WRONG, "starts no relay" },
	{ "usbpush:x:998:998::/var/lib/usbpush:/bin/bash\n", DOCTOR_NOTE, "shell is /bin/bash" },
	{ "usbpush:x\n", DOCTOR_WRONG, "there is no login" },
};

START_TEST(a_login_that_starts_no_relay_is_told)
{
	put_login(LOGINS[_i].passwd);
	doctor_bed_run_one(&bed, "login", vm_doctor_check_login);
	expect_finding(&bed, LOGINS[_i].state, LOGINS[_i].text);
	doctor_bed_expect_worst(&bed, LOGINS[_i].state);
}
END_TEST

START_TEST(a_login_that_has_expired_or_is_shut_out_is_told)
{
	put_login(LOGINS[0].passwd);
	temp_tree_put(&bed.tree, "etc/shadow", "usbpush:!*:19000:0:99999:7::1:\n");
	temp_tree_put(&bed.tree, "etc/nologin", "");
	doctor_bed_run_one(&bed, "login", vm_doctor_check_login);
	expect_finding(&bed, DOCTOR_WRONG, "has expired");
	expect_finding(&bed, DOCTOR_WRONG, "keeps everybody but root out");
}
END_TEST

/* ---- keys ---- */

static void put_keys(const char *keys)
{
	temp_tree_put(&bed.tree, "etc/usbpush/pi.conf", "PI=" PI " garage\n");
	temp_tree_put(&bed.tree, "var/lib/usbpush/.ssh/authorized_keys", keys);
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, "var/lib"), 0755), 0);
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, "var/lib/usbpush"), 0755), 0);
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, "var/lib/usbpush/.ssh"), 0755), 0);
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, "var/lib/usbpush/.ssh/authorized_keys"), 0644), 0);
}

START_TEST(a_pi_and_its_key_belong_together)
{
	put_keys(KEY_LINE);
	doctor_bed_run_one(&bed, "keys", vm_doctor_check_keys);
	if (geteuid() == 0)
		doctor_bed_expect_worst(&bed, DOCTOR_OK);
	expect_finding(&bed, DOCTOR_OK, "1 Pi may log in");
}
END_TEST

START_TEST(a_pi_without_its_key_is_told)
{
	put_keys("# " KEY_LINE);
	doctor_bed_run_one(&bed, "keys", vm_doctor_check_keys);
	expect_finding(&bed, DOCTOR_WRONG, "garage stands in pi.conf");
}
END_TEST

START_TEST(a_key_without_its_pi_is_noted)
{
	put_keys(KEY_LINE "restrict,command=\"exec /usr/libexec/usbpush/usbpush-relay --pi fedc\" ssh-ed25519 AAAA usbpush:other\n");
	doctor_bed_run_one(&bed, "keys", vm_doctor_check_keys);
	expect_finding(&bed, DOCTOR_NOTE, "a key of Pi fedc");
}
END_TEST

static const struct {
	const char *path;
	mode_t mode;
	const char *text;
} MODES[] = {
	{ "var/lib/usbpush", 0775, "can be written by others (mode 0775)" },
	{ "var/lib/usbpush/.ssh", 0700, "can't be read by the login" },
	{ "var/lib/usbpush/.ssh/authorized_keys", 0600, "can't be read by the login" },
	{ "var/lib/usbpush/.ssh/authorized_keys", 0666, "can be written by others" },
};

START_TEST(modes_that_sshd_does_not_like_are_told)
{
	put_keys(KEY_LINE);
	ck_assert_int_eq(chmod(temp_tree_path(&bed.tree, MODES[_i].path), MODES[_i].mode), 0);
	doctor_bed_run_one(&bed, "keys", vm_doctor_check_keys);
	if (geteuid() == 0 || strstr(MODES[_i].text, "written"))
		expect_finding(&bed, DOCTOR_WRONG, MODES[_i].text);
}
END_TEST

/* ---- sshd ---- */

#define GOOD_SSHD                                                                                                             \
	"port 1\nusepam yes\nmaxsessions 512\npubkeyauthentication yes\npasswordauthentication no\npermittty no\n"            \
	"disableforwarding yes\nforcecommand none\nchrootdirectory none\npubkeyacceptedalgorithms rsa-sha2-512,ssh-ed25519\n" \
	"authorizedkeysfile /var/lib/usbpush/.ssh/authorized_keys\nauthenticationmethods publickey\npermituserenvironment no\n"

static void put_sshd(const char *settings)
{
	temp_tree_put(&bed.tree, "etc/ssh/sshd_config", "# the start\nInclude /etc/ssh/sshd_config.d/*.conf\n");
	temp_tree_put(&bed.tree, "etc/ssh/sshd_config.d/usbpush.conf", "Match User usbpush\n");
	doctor_bed_put_program(&bed, "/usr/sbin/sshd", settings, 0);
}

/* What breaks the login, one by one: the line stands before the good ones, as sshd's first value does. */
static const struct {
	const char *line;
	enum doctor_state state;
	const char *text;
} SSHD_SETTINGS[] = {
	{ "allowusers alice\nallowusers bob@10.0.0.1\n", DOCTOR_WRONG, "AllowUsers keeps the login usbpush out" },
	{ "denyusers usb*\n", DOCTOR_WRONG, "DenyUsers" },
	{ "allowgroups ssh wheel\n", DOCTOR_WRONG, "AllowGroups" },
	{ "denygroups usbpush\n", DOCTOR_WRONG, "DenyGroups" },
	{ "pubkeyauthentication no\n", DOCTOR_WRONG, "takes no keys" },
	{ "authenticationmethods publickey,password\n", DOCTOR_WRONG, "more than a key" },
	{ "forcecommand internal-sftp\n", DOCTOR_WRONG, "ForceCommand" },
	{ "chrootdirectory /srv\n", DOCTOR_WRONG, "ChrootDirectory" },
	{ "usepam no\n", DOCTOR_WRONG, "UsePAM" },
	{ "permituserenvironment yes\n", DOCTOR_NOTE, "PermitUserEnvironment" },
	{ "authorizedkeysfile /etc/keys/%u\n", DOCTOR_WRONG, "looks for keys elsewhere" },
	{ "pubkeyacceptedalgorithms rsa-sha2-512\n", DOCTOR_WRONG, "ed25519" },
	{ "maxsessions 10\n", DOCTOR_NOTE, "10 sessions" },
};

START_TEST(each_setting_of_sshd_that_breaks_the_login_is_told)
{
	char settings[2048];

	snprintf(settings, sizeof(settings), "%s%s", SSHD_SETTINGS[_i].line, GOOD_SSHD);
	put_sshd(settings);
	doctor_bed_run_one(&bed, "sshd", vm_doctor_check_sshd);
	expect_finding(&bed, SSHD_SETTINGS[_i].state, SSHD_SETTINGS[_i].text);
}
END_TEST

static const char *const GOOD_LISTS[] = { "", "allowusers alice usbpush\n", "allowusers usb*@*\n", "denyusers root\n",
					  "allowgroups usbpush\n" };

START_TEST(settings_that_let_the_login_in_are_good)
{
	char settings[2048];

	snprintf(settings, sizeof(settings), "%s%s", GOOD_LISTS[_i], GOOD_SSHD);
	put_sshd(settings);
	doctor_bed_run_one(&bed, "sshd", vm_doctor_check_sshd);
	expect_finding(&bed, DOCTOR_OK, "takes the Pis' login as it should be (512 sessions)");
	expect_finding(&bed, DOCTOR_WRONG, "no sshd answers on port 1"); /* the one thing that is wrong here */
	ck_assert_uint_eq(bed.doctor.n, 2);
}
END_TEST

START_TEST(a_configuration_without_include_or_drop_in_is_told)
{
	put_sshd(GOOD_SSHD);
	temp_tree_put(&bed.tree, "etc/ssh/sshd_config", "#Include /etc/ssh/sshd_config.d/*.conf\n");
	doctor_bed_run_one(&bed, "sshd", vm_doctor_check_sshd);
	expect_finding(&bed, DOCTOR_WRONG, "has no Include");
	temp_tree_remove(&bed.tree, "etc/ssh/sshd_config.d/usbpush.conf");
	doctor_bed_run_one(&bed, "sshd", vm_doctor_check_sshd);
	expect_finding(&bed, DOCTOR_WRONG, "settings for sshd are missing");
}
END_TEST

START_TEST(a_missing_or_broken_sshd_is_told)
{
	doctor_bed_run_one(&bed, "sshd", vm_doctor_check_sshd);
	expect_finding(&bed, DOCTOR_WRONG, "not installed");
	doctor_bed_put_program(&bed, "/usr/sbin/sshd", "/etc/ssh/sshd_config: line 3: Bad configuration option: Foo", 255);
	doctor_bed_run_one(&bed, "sshd", vm_doctor_check_sshd);
	expect_finding(&bed, geteuid() == 0 ? DOCTOR_WRONG : DOCTOR_SKIPPED, geteuid() == 0 ? "line 3: Bad" : "root only");
	doctor_bed_put_program(&bed, "/usr/sbin/sshd", "Missing privilege separation directory: /run/sshd", 255);
	doctor_bed_run_one(&bed, "sshd", vm_doctor_check_sshd);
	expect_finding(&bed, DOCTOR_SKIPPED, geteuid() == 0 ? "only while it runs" : "root only");
}
END_TEST

/* ---- firewall ---- */

static void run_firewall_check(void)
{
	size_t n;
	const struct doctor_check *checks = vm_doctor_checks(&n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(checks[i].name, "firewall") == 0)
			doctor_bed_run(&bed, &checks[i], 1);
}

static void put_firewall(const char *port)
{
	char rules[256];

	snprintf(rules, sizeof(rules),
		 "table inet f {\n chain input {\n  type filter hook input priority 0; policy drop;\n  tcp dport %s accept\n }\n}", port);
	doctor_bed_put_program(&bed, "/usr/sbin/nft", rules, 0);
}

static const struct {
	const char *sshd, *open_port;
	enum doctor_state state;
	const char *text;
} SSHD_PORTS[] = {
	{ "port 2222\n", "2222", DOCTOR_OK, "port 2222" },
	{ "port 2222\n", "22", DOCTOR_NOTE, "port 2222" },
	{ "port 2222\nport 22\n", "2222", DOCTOR_OK, "port 2222" },
	{ "usepam yes\n", "22", DOCTOR_OK, "port 22 " },
	{ "port 70000\n", "22", DOCTOR_OK, "port 22 " },
	{ NULL, "80", DOCTOR_NOTE, "port 22 " }, /* not installed */
};

START_TEST(the_firewall_is_looked_at_where_sshd_listens)
{
	if (SSHD_PORTS[_i].sshd)
		put_sshd(SSHD_PORTS[_i].sshd);
	put_firewall(SSHD_PORTS[_i].open_port);
	run_firewall_check();
	expect_finding(&bed, SSHD_PORTS[_i].state, SSHD_PORTS[_i].text);
	ck_assert_uint_eq(bed.doctor.n, 1);
}
END_TEST

/* ---- handler, Pis, relay ---- */

static const struct doctor_check HANDLER_CHECKS[] = { { "handler", vm_doctor_check_handler },
						      { "relay", vm_doctor_check_relay },
						      { "pis", vm_doctor_check_pis },
						      { "direct", vm_doctor_check_direct } };

static void run_on_status(const char *status)
{
	doctor_bed_serve(&bed, "/run/usbpush/handler.sock", status);
	doctor_bed_run(&bed, HANDLER_CHECKS, ARRAY_SIZE(HANDLER_CHECKS));
}

#define GOOD_STATUS                                                                                                                  \
	"{\"ok\":true,\"version\":\"" USBPUSH_VERSION "\",\"vhci\":{\"ports\":240,\"used\":1,\"error\":null},\"pis\":[{\"id\":\"" PI \
	"\",\"name\":\"garage\",\"state\":\"up\",\"devices\":[{\"error\":null}]}]}"

#define PI_WITH(transport)                                                        \
	"{\"ok\":true,\"version\":\"" USBPUSH_VERSION "\",\"pis\":[{\"id\":\"" PI \
	"\",\"name\":\"garage\",\"address\":\"127.77.0.9\",\"state\":\"up\",\"devices\":[{\"transport\":\"" transport "\"}]}]}"

START_TEST(a_direct_road_that_can_not_be_reached_is_told)
{
	run_on_status(PI_WITH("direct")); /* nobody listens there on this machine */
	expect_finding(&bed, DOCTOR_WRONG, "garage has devices on the direct road, and 127.77.0.9 port 3240 can't be reached");
}
END_TEST

START_TEST(without_a_device_on_it_the_direct_road_is_not_tried)
{
	run_on_status(PI_WITH("tunnel"));
	expect_finding(&bed, DOCTOR_OK, "all take the tunnel");
}
END_TEST

START_TEST(a_pi_that_is_up_and_a_relay_that_is_answered_are_good)
{
	doctor_bed_put_program(&bed, "/usr/libexec/usbpush/usbpush-relay", "{\"type\":\"refused\",\"code\":\"bad-request\"}", 0);
	run_on_status(GOOD_STATUS);
	expect_finding(&bed, DOCTOR_OK, "garage is connected, with 1 devices");
	doctor_bed_expect_worst(&bed, geteuid() == 0 ? DOCTOR_OK : DOCTOR_SKIPPED);
}
END_TEST

START_TEST(a_relay_that_gets_no_answer_is_told)
{
	doctor_bed_put_program(&bed, "/usr/libexec/usbpush/usbpush-relay", "usbpush-relay: the handler is not running", 1);
	run_on_status(GOOD_STATUS);
	if (geteuid() == 0)
		expect_finding(&bed, DOCTOR_WRONG, "the handler is not running");
}
END_TEST

START_TEST(a_pi_that_is_away_is_noted_and_failed_devices_are_told)
{
	run_on_status("{\"ok\":true,\"version\":\"" USBPUSH_VERSION
		      "\",\"vhci\":{\"error\":{\"code\":\"no-module\",\"text\":\"no vhci_hcd\",\"cure\":"
		      "\"load it\"}},\"pis\":[{\"id\":\"" PI
		      "\",\"name\":\"garage\",\"state\":\"away\",\"reason\":\"it said nothing\",\"devices\":"
		      "[{\"pi_busid\":\"1-1\",\"error\":{\"code\":\"identity\",\"text\":\"another device\",\"cure\":\"look at it\"}}]}]}");
	expect_finding(&bed, DOCTOR_WRONG, "no vhci_hcd");
	expect_finding(&bed, DOCTOR_NOTE, "garage is away: it said nothing");
	expect_finding(&bed, DOCTOR_WRONG, "garage: 1-1: another device");
}
END_TEST

START_TEST(a_line_of_pi_conf_that_makes_no_sense_is_told)
{
	temp_tree_put(&bed.tree, "etc/usbpush/pi.conf", "PI=nonsense\n");
	run_on_status(GOOD_STATUS);
	expect_finding(&bed, DOCTOR_WRONG, "PI=nonsense makes no sense");
}
END_TEST

START_TEST(an_answer_that_makes_no_sense_breaks_nothing)
{
	run_on_status("{\"ok\":true,\"version\":[],\"vhci\":3,\"pis\":[7,{\"devices\":\"x\"},{\"id\":9}]}");
	expect_finding(&bed, DOCTOR_WRONG, "version ?");
}
END_TEST

/* ---- unpairing ---- */

START_TEST(what_takes_keys_out_is_looked_for)
{
	doctor_bed_run_one(&bed, "unpair", vm_doctor_check_unpair);
	expect_finding(&bed, DOCTOR_SKIPPED, "no systemd");
	doctor_bed_put_program(&bed, "/usr/bin/systemctl", "active", 0);
	doctor_bed_run_one(&bed, "unpair", vm_doctor_check_unpair);
	doctor_bed_expect_worst(&bed, DOCTOR_OK);
}
END_TEST

/* systemctl says these with exit statuses of 3 and 4; one that said nothing would be no reason to be content. */
static const char *const UNIT_STATES[] = { "inactive", "failed", "unknown", "deactivating", "" };

START_TEST(keys_that_nobody_takes_out_are_told)
{
	doctor_bed_put_program(&bed, "/usr/bin/systemctl", UNIT_STATES[_i], 3);
	doctor_bed_run_one(&bed, "unpair", vm_doctor_check_unpair);
	expect_finding(&bed, DOCTOR_WRONG, "usbpush-unpair.path is not active");
	expect_finding(&bed, DOCTOR_WRONG, UNIT_STATES[_i]);
	ck_assert_ptr_nonnull(strstr(bed.doctor.findings[0].cure, "systemctl enable --now usbpush-unpair.path"));
}
END_TEST

START_TEST(an_empty_machine_is_told_all_that_it_lacks)
{
	size_t n;
	const struct doctor_check *checks = vm_doctor_checks(&n);

	doctor_bed_run(&bed, checks, n);
	expect_finding(&bed, DOCTOR_WRONG, "usbpush-handler is not running");
	for (size_t i = 0; i < n; i++) { /* each check says something */
		bool is_said = false;

		for (size_t j = 0; j < bed.doctor.n; j++)
			is_said = is_said || strcmp(bed.doctor.findings[j].check, checks[i].name) == 0;
		ck_assert_msg(is_said, "%s", checks[i].name);
	}
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("vm doctor");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, a_controller_that_lets_nobody_in_is_good);
	tcase_add_test(tests, a_controller_that_lets_drivers_at_devices_is_told);
	tcase_add_loop_test(tests, a_kernel_with_the_known_crash_is_noted, 0, ARRAY_SIZE(KERNELS));
	tcase_add_test(tests, a_controller_in_a_container_is_told);
	tcase_add_loop_test(tests, a_login_that_starts_no_relay_is_told, 0, ARRAY_SIZE(LOGINS));
	tcase_add_test(tests, a_login_that_has_expired_or_is_shut_out_is_told);
	tcase_add_test(tests, a_pi_and_its_key_belong_together);
	tcase_add_test(tests, a_pi_without_its_key_is_told);
	tcase_add_test(tests, a_key_without_its_pi_is_noted);
	tcase_add_loop_test(tests, modes_that_sshd_does_not_like_are_told, 0, ARRAY_SIZE(MODES));
	tcase_add_loop_test(tests, each_setting_of_sshd_that_breaks_the_login_is_told, 0, ARRAY_SIZE(SSHD_SETTINGS));
	tcase_add_loop_test(tests, settings_that_let_the_login_in_are_good, 0, ARRAY_SIZE(GOOD_LISTS));
	tcase_add_test(tests, a_configuration_without_include_or_drop_in_is_told);
	tcase_add_test(tests, a_missing_or_broken_sshd_is_told);
	tcase_add_loop_test(tests, the_firewall_is_looked_at_where_sshd_listens, 0, ARRAY_SIZE(SSHD_PORTS));
	tcase_add_test(tests, a_direct_road_that_can_not_be_reached_is_told);
	tcase_add_test(tests, without_a_device_on_it_the_direct_road_is_not_tried);
	tcase_add_test(tests, a_pi_that_is_up_and_a_relay_that_is_answered_are_good);
	tcase_add_test(tests, a_relay_that_gets_no_answer_is_told);
	tcase_add_test(tests, a_pi_that_is_away_is_noted_and_failed_devices_are_told);
	tcase_add_test(tests, a_line_of_pi_conf_that_makes_no_sense_is_told);
	tcase_add_test(tests, an_answer_that_makes_no_sense_breaks_nothing);
	tcase_add_test(tests, what_takes_keys_out_is_looked_for);
	tcase_add_loop_test(tests, keys_that_nobody_takes_out_are_told, 0, ARRAY_SIZE(UNIT_STATES));
	tcase_add_test(tests, an_empty_machine_is_told_all_that_it_lacks);
	return check_program_run("vm_doctor", tests, NULL);
}
