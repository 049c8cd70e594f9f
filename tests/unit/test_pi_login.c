/* Pairing by a login of the VM: a real sshd, real passwords, real sudo, and the real usbpush-vm behind it. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "control_ask.h"
#include "event_log.h"
#include "pi_bed.h"
#include "program.h"
#include "ssh_people.h"

#define KEYS "root/var/lib/usbpush/.ssh/authorized_keys"
#define CONF "root/etc/usbpush/pi.conf"

static struct pi_bed bed;
static struct control *control;
static char socket_path[128];
static bool is_possible;

static void setup_asking(enum ssh_asking asking)
{
	is_possible = ssh_people_are_possible();
	pi_bed_setup(&bed);
	if (is_possible)
		ssh_people_move_in(&bed.vm, asking);
	pi_bed_start(&bed);
	snprintf(socket_path, sizeof(socket_path), "%s/control.sock", bed.run_dir);
	ck_assert_int_eq(control_new(bed.daemon.event, socket_path, bed.exporter, &control), 0);
	setenv("USBPUSH_CONTROL_SOCKET", socket_path, 1);
}

static void setup(void)
{
	setup_asking(ASKING_PASSWORD);
}

static void setup_questions(void)
{
	setup_asking(ASKING_QUESTIONS);
}

static void setup_nothing(void)
{
	setup_asking(ASKING_NOTHING);
}

static void teardown(void)
{
	control = control_free(control);
	pi_bed_teardown(&bed);
}

static const char *file(const char *path)
{
	return faccessat(bed.vm.tree.fd, path, F_OK, 0) == 0 ? temp_tree_get(&bed.vm.tree, path) : "";
}

static json_t *request_of(const char *user, const char *password)
{
	return json_pack("{s:s, s:s, s:i, s:s, s:s, s:s}", "request", "login-pair", "host", "127.0.0.1", "port", bed.vm.config.port, "user",
			 user, "password", password, "host_key", bed.vm.config.host_key);
}

static json_t *ask(json_t *request)
{
	return control_ask(bed.daemon.event, socket_path, request);
}

/* Pairs, and expects this code ("" for success). Returns the error's text, until the next call. */
static const char *pair(const char *user, const char *password, const char *code)
{
	static char text[256];
	_cleanup_json_ json_t *answer = ask(request_of(user, password));
	const json_t *error = json_object_get(answer, "error");
	const char *is = json_string_value(json_object_get(error, "code"));

	snprintf(text, sizeof(text), "%s", error ? json_string_value(json_object_get(error, "text")) : "");
	ck_assert_msg(strcmp(is ? is : "", code) == 0, "%s (%s), not %s: %s", is ? is : "done", text, code, ssh_vm_describe(&bed.vm));
	return text;
}

/* The VM takes back what is not kept when the connection has ended, and forgets how it was last of all. */
static void wait_for_the_vm(void)
{
	for (unsigned i = 0; i < 500 * test_slowness() &&
			     (*file("root/var/lib/usbpush/pairing.undo") || (!*file("vm.conf") && strstr(file(KEYS), "ssh-ed25519")));
	     i++)
		pi_bed_run(&bed, 20000);
	ck_assert_str_eq(file("root/var/lib/usbpush/pairing.undo"), "");
}

static void expect_unpaired_on_both(void)
{
	pi_bed_wait_link(&bed, "UNPAIRED");
	ck_assert_str_eq(file("vm.conf"), "");
	wait_for_the_vm();
	ck_assert_ptr_null(strstr(file(KEYS), "ssh-ed25519"));
	ck_assert_ptr_null(strstr(file(CONF), "PI="));
}

static void expect_paired_on_both(void)
{
	pi_bed_wait_link(&bed, "UP");
	ck_assert_ptr_nonnull(strstr(file("vm.conf"), "VM_USER=usbpush\n"));
	ck_assert_ptr_nonnull(strstr(file("vm.conf"), bed.vm.config.host_key));
	ck_assert_ptr_nonnull(strstr(file(KEYS), "restrict,command=\"exec /usr/libexec/usbpush/usbpush-relay --pi "));
	ck_assert_ptr_nonnull(strstr(file(CONF), "PI="));
	wait_for_the_vm();
}

/* Nowhere that anybody can look. */
static void expect_forgotten(const char *password)
{
	_cleanup_json_ json_t *events = event_log_to_json(exporter_events(bed.exporter));
	_cleanup_free_ char *text = json_dumps(events, JSON_ENCODE_ANY);

	ck_assert_ptr_null(strstr(text, password));
	ck_assert_ptr_null(strstr(file("vm.conf"), password));
	ck_assert_ptr_null(strstr(file("sshd.log"), password));
}

/* ---- looking ---- */

START_TEST(a_look_shows_the_host_key_and_says_nothing_to_it)
{
	_cleanup_json_ json_t *answer = NULL;
	char normal[4096], fingerprint[64];
	struct failure failure;

	if (!is_possible)
		return;
	answer = ask(json_pack("{s:s, s:s, s:i}", "request", "login-look", "host", "127.0.0.1", "port", bed.vm.config.port));
	ck_assert_int_eq(transport_key_parse(bed.vm.config.host_key, normal, sizeof(normal), fingerprint, &failure), 0);
	ck_assert_str_eq(json_string_value(json_object_get(answer, "host_key")), bed.vm.config.host_key);
	ck_assert_str_eq(json_string_value(json_object_get(answer, "fingerprint")), fingerprint);
	pi_bed_run(&bed, 100000);
	ck_assert_ptr_null(strstr(file("sshd.log"), "Accepted"));
	ck_assert_ptr_null(strstr(file("sshd.log"), "Failed"));
	ck_assert_ptr_null(strstr(file("sshd.log"), "Invalid user"));
}
END_TEST

START_TEST(a_look_at_a_key_of_another_type_can_be_pinned)
{
	_cleanup_json_ json_t *answer = NULL;

	if (!is_possible)
		return;
	ssh_vm_change_host_key(&bed.vm, "ecdsa");
	ssh_people_move_in(&bed.vm, ASKING_PASSWORD);
	answer = ask(json_pack("{s:s, s:s, s:i}", "request", "login-look", "host", "127.0.0.1", "port", bed.vm.config.port));
	ck_assert_int_eq(strncmp(json_string_value(json_object_get(answer, "host_key")), "ecdsa-sha2-nistp256 AAAA", 24), 0);
	snprintf(bed.vm.config.host_key, sizeof(bed.vm.config.host_key), "%s", json_string_value(json_object_get(answer, "host_key")));
	pair(PERSON_ROOT, ROOT_PASSWORD, "");
	expect_paired_on_both();
}
END_TEST

START_TEST(a_look_where_no_ssh_is_says_so)
{
	_cleanup_json_ json_t *answer = NULL;

	bed.vm.wire = WIRE_HTTP;
	answer = ask(json_pack("{s:s, s:s, s:i}", "request", "login-look", "host", "127.0.0.1", "port", bed.vm.config.port));
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "error"), "code")), "unreachable");
}
END_TEST

/* ---- pairing ---- */

static const struct {
	const char *user, *password;
} GOOD[] = {
	{ PERSON_ROOT, ROOT_PASSWORD },
	{ PERSON_SUDO, PERSON_PASSWORD },
	{ PERSON_FREE, PERSON_PASSWORD }, /* sudo asks for nothing: the password must not be taken for the key */
};

START_TEST(the_right_password_pairs_both_sides_and_is_forgotten)
{
	if (!is_possible)
		return;
	pair(GOOD[_i].user, GOOD[_i].password, "");
	expect_paired_on_both();
	expect_forgotten(GOOD[_i].password);
	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	pi_bed_wait(&bed, "1-1", "ATTACHED");
}
END_TEST

START_TEST(questions_are_answered_with_the_password)
{
	if (!is_possible)
		return;
	pair(GOOD[_i].user, GOOD[_i].password, "");
	expect_paired_on_both();
}
END_TEST

static const struct {
	const char *user, *password, *code;
} BAD[] = {
	{ PERSON_ROOT, "wrong horse", "wrong-password" }, { PERSON_SUDO, "wrong horse", "wrong-password" },
	{ "nobody-at-all", "any", "wrong-password" },     { PERSON_PLAIN, PERSON_PASSWORD, "no-sudo" },
	{ PERSON_OTHER, PERSON_PASSWORD, "no-sudo" },
};

START_TEST(what_is_wrong_is_told_apart_and_changes_nothing)
{
	if (!is_possible)
		return;
	pair(BAD[_i].user, BAD[_i].password, BAD[_i].code);
	expect_unpaired_on_both();
	expect_forgotten(BAD[_i].password);
}
END_TEST

START_TEST(a_wrong_answer_to_a_question_is_a_wrong_password)
{
	if (!is_possible)
		return;
	pair(PERSON_SUDO, "wrong horse", "wrong-password");
	expect_unpaired_on_both();
}
END_TEST

START_TEST(a_vm_that_takes_no_passwords_is_told_as_that)
{
	if (!is_possible)
		return;
	pair(PERSON_SUDO, PERSON_PASSWORD, "no-password-login");
	expect_unpaired_on_both();
}
END_TEST

START_TEST(a_host_key_that_changed_since_the_look_gets_no_password)
{
	if (!is_possible)
		return;
	ssh_vm_change_host_key(&bed.vm, "ed25519");
	ssh_people_move_in(&bed.vm, ASKING_PASSWORD);
	pair(PERSON_ROOT, ROOT_PASSWORD, "host-key");
	ck_assert_ptr_null(strstr(file("sshd.log"), "Accepted"));
	ck_assert_ptr_null(strstr(file("sshd.log"), "Failed"));
	ssh_vm_change_host_key(&bed.vm, "ecdsa");
	ssh_people_move_in(&bed.vm, ASKING_PASSWORD);
	pair(PERSON_ROOT, ROOT_PASSWORD, "host-key");
	expect_unpaired_on_both();
}
END_TEST

/* ---- what answers there ---- */

static const struct {
	const char *script, *code, *text;
} PROGRAMS[] = {
	{ "", "not-installed", "not installed" },
	{ "#!/bin/sh\necho 'usbpush-vm: an argument makes no sense' >&2\nexit 2\n", "not-installed", "too old" },
	{ "#!/bin/sh\necho '{\"ok\":true,\"state\":\"banana\"}'\nsleep 1\n", "version", "no sense" },
	{ "#!/bin/sh\necho '{\"ok\":false,\"error\":{\"code\":\"busy\",\"text\":\"another usbpush-vm pair runs on this machine\",\"cure\":\"Wait.\"}}'\n",
	  "busy", "another usbpush-vm pair runs" },
	{ "#!/bin/sh\necho 'Segmentation fault' >&2\nexit 139\n", "internal", "Segmentation fault" },
	{ "#!/bin/sh\nyes | head -c 1000000\nprintf '\\033[31mbad\\033[0m' >&2\nexit 1\n", "internal", "bad" },
};

START_TEST(a_vm_without_a_usbpush_that_can_do_it_is_told_with_the_cure)
{
	const char *text;

	if (!is_possible)
		return;
	ssh_people_put_program(&bed.vm, "usbpush-vm", PROGRAMS[_i].script);
	text = pair(PERSON_ROOT, ROOT_PASSWORD, PROGRAMS[_i].code);
	ck_assert_msg(strstr(text, PROGRAMS[_i].text) != NULL && !strchr(text, '\033'), "%s", text);
	text = pair(PERSON_SUDO, PERSON_PASSWORD, PROGRAMS[_i].code);
	ck_assert_msg(strstr(text, PROGRAMS[_i].text) != NULL && !strchr(text, '\033'), "%s", text);
	expect_unpaired_on_both();
}
END_TEST

START_TEST(a_login_whose_shell_talks_is_listened_to_all_the_same)
{
	if (!is_possible)
		return;
	/* sudo's stand-in: what a profile may print before it */
	ssh_people_put_program(
		&bed.vm, "sudo",
		"#!/bin/sh\necho 'Welcome!'\necho '{\"ok\":true,\"state\":\"authorized\"}'\necho 'lecture' >&2\nexec sudo-of-here \"$@\"\n");
	pair(PERSON_SUDO, PERSON_PASSWORD, "");
	expect_paired_on_both();
}
END_TEST

START_TEST(a_vm_without_sudo_is_told_as_that)
{
	if (!is_possible)
		return;
	ssh_people_put_program(&bed.vm, "sudo", "#!/bin/sh\nexit 127\n");
	ck_assert_ptr_nonnull(strstr(pair(PERSON_SUDO, PERSON_PASSWORD, "no-sudo"), "there is no sudo"));
	expect_unpaired_on_both();
}
END_TEST

/* ---- going back ---- */

START_TEST(a_link_that_does_not_come_up_leaves_both_as_they_were)
{
	if (!is_possible)
		return;
	ssh_vm_script(&bed.vm, "control",
		      "say {\"type\":\"refused\",\"code\":\"no-module\",\"text\":\"vhci_hcd is not loaded\",\"cure\":\"Load it.\"}\n");
	ck_assert_ptr_nonnull(strstr(pair(PERSON_SUDO, PERSON_PASSWORD, "no-module"), "vhci_hcd is not loaded"));
	expect_unpaired_on_both();
	ssh_vm_script(&bed.vm, "control", "serve\n");
	pair(PERSON_SUDO, PERSON_PASSWORD, "");
	expect_paired_on_both();
}
END_TEST

START_TEST(a_second_pairing_that_fails_keeps_the_first)
{
	char keys[2048];

	if (!is_possible)
		return;
	pair(PERSON_ROOT, ROOT_PASSWORD, "");
	expect_paired_on_both();
	snprintf(keys, sizeof(keys), "%s", file(KEYS));
	ssh_vm_script(&bed.vm, "control", "say {\"type\":\"refused\",\"code\":\"busy\",\"text\":\"not now\",\"cure\":\"\"}\n");
	pair(PERSON_ROOT, ROOT_PASSWORD, "busy");
	ssh_vm_script(&bed.vm, "control", "serve\n");
	pi_bed_wait_link(&bed, "UP");
	expect_paired_on_both();
	ck_assert_str_eq(file(KEYS), keys);
}
END_TEST

START_TEST(a_vm_that_does_not_confirm_is_not_paired)
{
	if (!is_possible)
		return;
	ssh_people_put_program(&bed.vm, "bad-vm", "#!/bin/sh\n");
	/* lets the key in as it should, and dies when it is told to keep it */
	ssh_people_put_program(
		&bed.vm, "usbpush-vm",
		"#!/bin/sh\nread -r key\nmkdir -p \"$HOME/root/var/lib/usbpush/.ssh\"\n"
		"echo \"$key\" > \"$HOME/root/var/lib/usbpush/.ssh/authorized_keys\"\n"
		"echo '{\"ok\":true,\"state\":\"authorized\"}'\nread -r keep\nrm \"$HOME/root/var/lib/usbpush/.ssh/authorized_keys\"\nexit 1\n");
	pair(PERSON_ROOT, ROOT_PASSWORD, "internal");
	expect_unpaired_on_both();
}
END_TEST

START_TEST(an_exporter_that_ends_meanwhile_leaves_nothing_on_the_vm)
{
	struct control_ask started;

	if (!is_possible)
		return;
	ssh_vm_script(&bed.vm, "control", "wait\n");
	control_ask_start(&started, socket_path, request_of(PERSON_ROOT, ROOT_PASSWORD));
	pi_bed_wait_link(&bed, "SYNCING");
	ck_assert_ptr_nonnull(strstr(file(KEYS), "ssh-ed25519"));
	control = control_free(control);
	bed.exporter = exporter_free(bed.exporter);
	for (unsigned i = 0; i < 200 * test_slowness() && strstr(file(KEYS), "ssh-ed25519"); i++)
		loop_for(bed.daemon.event, 20000);
	ck_assert_ptr_null(strstr(file(KEYS), "ssh-ed25519"));
	control_ask_drop(&started);
	pi_bed_start(&bed);
	ck_assert_int_eq(control_new(bed.daemon.event, socket_path, bed.exporter, &control), 0);
}
END_TEST

START_TEST(one_at_a_time_and_it_goes_on_when_who_asked_has_gone)
{
	struct control_ask started;

	if (!is_possible)
		return;
	control_ask_start(&started, socket_path, request_of(PERSON_ROOT, ROOT_PASSWORD));
	pi_bed_run(&bed, 20000);
	pair(PERSON_SUDO, PERSON_PASSWORD, "busy");
	control_ask_drop(&started);
	pi_bed_wait_link(&bed, "UP");
	for (unsigned i = 0; i < 200 * test_slowness() && !*file("vm.conf"); i++)
		pi_bed_run(&bed, 20000);
	expect_paired_on_both();
}
END_TEST

/* ---- what makes no sense ---- */

static const struct {
	const char *host, *user, *password, *host_key;
	int port;
} NONSENSE[] = {
	{ "-oProxyCommand=x", "root", "x", NULL, 22 },
	{ "", "root", "x", NULL, 22 },
	{ "127.0.0.1", "root; reboot", "x", NULL, 22 },
	{ "127.0.0.1", "-root", "x", NULL, 22 },
	{ "127.0.0.1", "", "x", NULL, 22 },
	{ "127.0.0.1", "root", "", NULL, 22 },
	{ "127.0.0.1", "root", "two\nlines", NULL, 22 },
	{ "127.0.0.1", "root", "x", "", 22 },
	{ "127.0.0.1", "root", "x", "ssh-ed25519 nonsense", 22 },
	{ "127.0.0.1", "root", "x", NULL, 0 },
	{ "127.0.0.1", "root", "x", NULL, 70000 },
};

START_TEST(what_makes_no_sense_reaches_no_vm)
{
	_cleanup_json_ json_t *answer =
		ask(json_pack("{s:s, s:s, s:i, s:s, s:s, s:s}", "request", "login-pair", "host", NONSENSE[_i].host, "port",
			      NONSENSE[_i].port, "user", NONSENSE[_i].user, "password", NONSENSE[_i].password, "host_key",
			      NONSENSE[_i].host_key ? NONSENSE[_i].host_key : bed.vm.config.host_key));

	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "error"), "code")), "bad-request");
	ck_assert_uint_eq(bed.vm.n_connections, 0);
}
END_TEST

START_TEST(a_password_that_is_no_text_is_refused)
{
	json_t *request = request_of("root", "x");
	_cleanup_json_ json_t *answer = NULL, *second = NULL;

	json_object_set_new(request, "password", json_stringn("a\0b", 3));
	answer = ask(request);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "error"), "code")), "bad-request");
	request = request_of("root", "x");
	json_object_set_new(request, "password", json_integer(7));
	second = ask(request);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(second, "error"), "code")), "bad-request");
	ck_assert_uint_eq(bed.vm.n_connections, 0);
}
END_TEST

/* ---- the command ---- */

START_TEST(the_command_asks_for_yes_and_the_password_and_pairs)
{
	char port[8];
	const char *const arguments[] = { "pair", "--login", PERSON_SUDO, "--port", port, "127.0.0.1", NULL };
	struct program program;

	if (!is_possible)
		return;
	snprintf(port, sizeof(port), "%u", bed.vm.config.port);
	program_start(&program, bed.daemon.event, "usbpush", arguments);
	program_wait_for(&program, "SHA256:");
	program_wait_for(&program, "[yes/no]");
	program_type(&program, "yes\n");
	program_wait_for(&program, "Password of " PERSON_SUDO);
	program_type(&program, PERSON_PASSWORD "\n");
	ck_assert_int_eq(program_finish(&program), 0);
	ck_assert_ptr_nonnull(strstr(program.out, "Paired with 127.0.0.1"));
	ck_assert_ptr_null(strstr(program.out, PERSON_PASSWORD));
	expect_paired_on_both();
}
END_TEST

START_TEST(a_key_that_is_not_said_to_be_right_gets_no_password)
{
	char port[8];
	const char *const arguments[] = { "pair", "--login", PERSON_SUDO, "--port", port, "127.0.0.1", NULL };
	struct program program;

	if (!is_possible)
		return;
	snprintf(port, sizeof(port), "%u", bed.vm.config.port);
	program_start(&program, bed.daemon.event, "usbpush", arguments);
	program_wait_for(&program, "[yes/no]");
	program_type(&program, "y\n" PERSON_PASSWORD "\n");
	ck_assert_int_eq(program_finish(&program), 1);
	ck_assert_ptr_nonnull(strstr(program.out, "nothing was sent"));
	ck_assert_uint_eq(bed.vm.n_connections, 1);
	expect_unpaired_on_both();
}
END_TEST

int main(int argc, char **argv)
{
	TCase *passwords = tcase_create("passwords"), *questions = tcase_create("questions"), *nothing = tcase_create("no passwords");

	ssh_vm_play(argc, argv);
	tcase_set_timeout(passwords, 120);
	tcase_set_timeout(questions, 120);
	tcase_set_timeout(nothing, 120);
	tcase_add_checked_fixture(passwords, setup, teardown);
	tcase_add_checked_fixture(questions, setup_questions, teardown);
	tcase_add_checked_fixture(nothing, setup_nothing, teardown);
	tcase_add_test(passwords, a_look_shows_the_host_key_and_says_nothing_to_it);
	tcase_add_test(passwords, a_look_at_a_key_of_another_type_can_be_pinned);
	tcase_add_test(passwords, a_look_where_no_ssh_is_says_so);
	tcase_add_loop_test(passwords, the_right_password_pairs_both_sides_and_is_forgotten, 0, ARRAY_SIZE(GOOD));
	tcase_add_loop_test(passwords, what_is_wrong_is_told_apart_and_changes_nothing, 0, ARRAY_SIZE(BAD));
	tcase_add_test(passwords, a_host_key_that_changed_since_the_look_gets_no_password);
	tcase_add_loop_test(passwords, a_vm_without_a_usbpush_that_can_do_it_is_told_with_the_cure, 0, ARRAY_SIZE(PROGRAMS));
	tcase_add_test(passwords, a_login_whose_shell_talks_is_listened_to_all_the_same);
	tcase_add_test(passwords, a_vm_without_sudo_is_told_as_that);
	tcase_add_test(passwords, a_link_that_does_not_come_up_leaves_both_as_they_were);
	tcase_add_test(passwords, a_second_pairing_that_fails_keeps_the_first);
	tcase_add_test(passwords, a_vm_that_does_not_confirm_is_not_paired);
	tcase_add_test(passwords, an_exporter_that_ends_meanwhile_leaves_nothing_on_the_vm);
	tcase_add_test(passwords, one_at_a_time_and_it_goes_on_when_who_asked_has_gone);
	tcase_add_loop_test(passwords, what_makes_no_sense_reaches_no_vm, 0, ARRAY_SIZE(NONSENSE));
	tcase_add_test(passwords, a_password_that_is_no_text_is_refused);
	tcase_add_test(passwords, the_command_asks_for_yes_and_the_password_and_pairs);
	tcase_add_test(passwords, a_key_that_is_not_said_to_be_right_gets_no_password);
	tcase_add_loop_test(questions, questions_are_answered_with_the_password, 0, ARRAY_SIZE(GOOD));
	tcase_add_test(questions, a_wrong_answer_to_a_question_is_a_wrong_password);
	tcase_add_test(nothing, a_vm_that_takes_no_passwords_is_told_as_that);
	return check_program_run("pi_login", passwords, questions, nothing, NULL);
}
