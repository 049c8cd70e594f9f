/* Pairing by six digits, both sides as people use them: usbpush-vm pair, HTTP, the exporter, usbpush pair, and a real sshd. */

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "authorized_keys.h"
#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "control_ask.h"
#include "held_disk.h"
#include "local_server.h"
#include "pair_portal.h"
#include "pair_session.h"
#include "pair_undo.h"
#include "pi_bed.h"
#include "piconf.h"
#include "program.h"

#define OLD_CONF "# mine\nPI=0123456789abcdef0123456789abcdef other 10.9.9.9\n"
#define OLD_KEYS "# mine\nssh-ed25519 AAAA somebody\n"

static struct pi_bed bed;
static struct pair_limits limits = {
	.code_usec = 20000000,
	.confirm_usec = 3000000,
	.link_usec = 20000000,
	.finish_usec = 4000000,
	.poll_usec = 300000,
	.keep_usec = 20000000,
	.lock_usec = 20000000,
	.max_wrong = 3,
	.max_waiting = 4,
	.max_from_one = 2,
};
static struct control *control;
static struct local_server *handler;
static struct pair_portal *portal;
static struct temp_tree root; /* what stands for the VM's / */
static char socket_path[128], handler_path[128];
static struct program vm, pi;
static bool is_pi_shown; /* whether the handler shows the Pi as connected when it is */
static unsigned n_reloads;

/* The handler: shows the Pi in pi.conf, connected when its link is up. */
static void on_handler_request(struct local_client *client, const char *request, json_t *arguments, void *userdata)
{
	const char *conf = access(temp_tree_path(&root, &PICONF_PATH[1]), F_OK) == 0 ? temp_tree_get(&root, &PICONF_PATH[1]) : "";
	bool is_up = is_pi_shown && link_get_state(exporter_link(bed.exporter)) == LINK_UP;
	json_t *pis = json_array();

	(void)arguments;
	(void)userdata;
	n_reloads += strcmp(request, "reload") == 0;
	for (const char *line = strstr(conf, "PI="); line; line = strstr(line + 1, "\nPI=")) {
		char id[33];

		line += *line == '\n';
		snprintf(id, sizeof(id), "%.32s", line + strlen("PI="));
		json_array_append_new(pis, json_pack("{s:s, s:s}", "id", id, "state", is_up ? "up" : "away"));
	}
	local_client_reply(client, json_pack("{s:o}", "pis", pis));
}

static void setup(void)
{
	pi_bed_setup(&bed);
	bed.options.pair_limits = &limits;
	pi_bed_start(&bed);
	snprintf(socket_path, sizeof(socket_path), "%s/control.sock", bed.run_dir);
	ck_assert_int_eq(control_new(bed.daemon.event, socket_path, bed.exporter, &control), 0);
	portal = pair_portal_new(bed.daemon.event, socket_path);
	temp_tree_new(&root);
	snprintf(handler_path, sizeof(handler_path), "%s/handler.sock", root.path);
	ck_assert_int_eq(local_server_new(bed.daemon.event, handler_path, 0600, 8, on_handler_request, NULL, NULL, &handler), 0);
	temp_tree_put(&root, "etc/ssh/ssh_host_ed25519_key.pub", bed.vm.config.host_key);
	temp_tree_put(&root, &PICONF_PATH[1], OLD_CONF);
	temp_tree_put(&root, &AUTHORIZED_KEYS_PATH[1], OLD_KEYS);
	setenv("USBPUSH_CONTROL_SOCKET", socket_path, 1);
	is_pi_shown = true;
	n_reloads = 0;
}

static void teardown(void)
{
	held_disk_end();
	portal = pair_portal_free(portal);
	control = control_free(control);
	handler = local_server_free(handler);
	pi_bed_teardown(&bed);
	temp_tree_free(&root);
}

static void start_vm_at(const char *host)
{
	char ssh_port[8], port[8];
	const char *arguments[] = { "pair",   "--hurry",          host,     "--socket", handler_path, "--root", root.path,
				    "--user", bed.vm.config.user, "--port", ssh_port,   "--pi-port",  port,     NULL };

	snprintf(ssh_port, sizeof(ssh_port), "%u", bed.vm.config.port);
	snprintf(port, sizeof(port), "%u", pair_portal_port(portal));
	program_start(&vm, bed.daemon.event, "usbpush-vm", arguments);
}

static void start_vm(void)
{
	start_vm_at("127.0.0.1");
}

/* The digits that the VM shows, n-th code of this run. */
static void read_code(unsigned n, char code[8])
{
	const char *at = vm.out;

	for (unsigned i = 0; i < n; i++) {
		at = i == 0 ? program_wait_for(&vm, "digits on the Pi:   ") : strstr(at + 1, "digits on the Pi:   ");
		for (unsigned tries = 0; !at && tries < 100; tries++) {
			loop_for(bed.daemon.event, 100000);
			(void)program_wait_for(&vm, "digits on the Pi:   ");
			at = strstr(strstr(vm.out, "digits on the Pi:   ") + 1, "digits on the Pi:   ");
		}
		ck_assert_msg(at != NULL, "%s", vm.out);
	}
	at += strlen("digits on the Pi:   ");
	snprintf(code, 8, "%.3s%.3s", at, at + 4);
}

static bool has_asked(void *userdata)
{
	(void)userdata;
	return pair_portal_count(portal, "exchange") > 0;
}

static void type_code(const char *code)
{
	static const char *const arguments[] = { "pair", NULL };

	program_start(&pi, bed.daemon.event, "usbpush", arguments);
	program_wait_for(&pi, "six digits that it shows");
	program_type(&pi, code);
	program_type(&pi, "\n");
}

static void pair_with_right_code(void)
{
	char code[8];

	start_vm();
	read_code(1, code);
	type_code(code);
}

static const char *vm_conf(void)
{
	return access(bed.config_path, F_OK) == 0 ? temp_tree_get(&bed.vm.tree, "vm.conf") : "";
}

static void expect_nothing_written(void)
{
	ck_assert_str_eq(temp_tree_get(&root, &PICONF_PATH[1]), OLD_CONF);
	ck_assert_str_eq(temp_tree_get(&root, &AUTHORIZED_KEYS_PATH[1]), OLD_KEYS);
	ck_assert_int_lt(access(temp_tree_path(&root, &PAIR_UNDO_PATH[1]), F_OK), 0);
	ck_assert_str_eq(vm_conf(), "");
	pi_bed_wait_link(&bed, "UNPAIRED");
}

static void expect_paired(void)
{
	ck_assert_ptr_nonnull(strstr(temp_tree_get(&root, &PICONF_PATH[1]), OLD_CONF));
	ck_assert_ptr_nonnull(strstr(temp_tree_get(&root, &PICONF_PATH[1]), " 127.0.0.1\n"));
	ck_assert_ptr_nonnull(strstr(temp_tree_get(&root, &AUTHORIZED_KEYS_PATH[1]), OLD_KEYS "restrict,command="));
	ck_assert_int_lt(access(temp_tree_path(&root, &PAIR_UNDO_PATH[1]), F_OK), 0);
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_HOST=127.0.0.1\n"));
	pi_bed_wait_link(&bed, "UP");
}

START_TEST(two_commands_and_six_digits_pair_them)
{
	pair_with_right_code();
	ck_assert_msg(program_finish(&vm) == 0, "%s", vm.out);
	ck_assert_msg(program_finish(&pi) == 0, "%s", pi.out);
	ck_assert_ptr_nonnull(strstr(vm.out, "Paired with "));
	ck_assert_ptr_nonnull(strstr(pi.out, "Paired with "));
	expect_paired();
	ck_assert_uint_eq(n_reloads, 1);
}
END_TEST

START_TEST(pairing_again_changes_nothing)
{
	_cleanup_free_ char *keys = NULL;

	pair_with_right_code();
	ck_assert_int_eq(program_finish(&vm), 0);
	ck_assert_int_eq(program_finish(&pi), 0);
	keys = strdup(temp_tree_get(&root, &AUTHORIZED_KEYS_PATH[1]));
	pair_with_right_code();
	ck_assert_int_eq(program_finish(&vm), 0);
	ck_assert_int_eq(program_finish(&pi), 0);
	ck_assert_str_eq(temp_tree_get(&root, &AUTHORIZED_KEYS_PATH[1]), keys);
	expect_paired();
}
END_TEST

static bool has_asked_again(void *unused)
{
	(void)unused;
	return pair_portal_count(portal, "finish") > 1;
}

START_TEST(a_pi_whose_disk_takes_its_time_is_paired_all_the_same)
{
	held_disk_begin("vm.conf");
	pair_with_right_code();
	ck_assert(loop_until(bed.daemon.event, has_asked_again, NULL));
	ck_assert_str_eq(vm_conf(), "");
	held_disk_end();
	ck_assert_msg(program_finish(&vm) == 0, "%s", vm.out);
	ck_assert_msg(program_finish(&pi) == 0, "%s", pi.out);
	expect_paired();
}
END_TEST

START_TEST(wrong_digits_change_nothing_and_the_next_code_pairs)
{
	char code[8], second[8];

	start_vm();
	read_code(1, code);
	code[5] = code[5] == '0' ? '1' : '0';
	type_code(code);
	ck_assert_int_eq(program_finish(&pi), 1);
	ck_assert_ptr_nonnull(strstr(pi.out, "not those"));
	ck_assert_ptr_nonnull(strstr(pi.out, "not paired; everything is as it was"));
	read_code(2, second);
	expect_nothing_written();
	type_code(second);
	ck_assert_msg(program_finish(&vm) == 0, "%s", vm.out);
	ck_assert_int_eq(program_finish(&pi), 0);
	expect_paired();
}
END_TEST

START_TEST(ctrl_c_rolls_back_wherever_it_comes)
{
	start_vm();
	program_wait_for(&vm, "digits on the Pi:");
	program_signal(&vm, SIGINT);
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_ptr_nonnull(strstr(vm.out, "everything is as it was"));
	expect_nothing_written();
	is_pi_shown = false; /* so that it waits after both sides wrote and connected */
	pair_with_right_code();
	program_wait_for(&vm, "may log in");
	pi_bed_wait_link(&bed, "UP");
	program_signal(&vm, SIGTERM);
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_int_eq(program_finish(&pi), 1);
	ck_assert_ptr_nonnull(strstr(pi.out, "cancelled"));
	expect_nothing_written();
}
END_TEST

START_TEST(a_vm_that_is_killed_is_rolled_back_at_the_next_pairing)
{
	is_pi_shown = false;
	pair_with_right_code();
	program_wait_for(&vm, "may log in");
	pi_bed_wait_link(&bed, "UP");
	program_signal(&vm, SIGKILL);
	ck_assert_int_eq(program_finish(&pi), 1);
	pi_bed_wait_link(&bed, "UNPAIRED");
	ck_assert_str_ne(temp_tree_get(&root, &AUTHORIZED_KEYS_PATH[1]), OLD_KEYS);
	start_vm();
	program_wait_for(&vm, "broken off here is undone");
	program_wait_for(&vm, "digits on the Pi:");
	expect_nothing_written();
	program_signal(&vm, SIGINT);
	ck_assert_int_eq(program_finish(&vm), 1);
}
END_TEST

static const struct {
	const char *step;
	enum pair_portal_loss loss;
} LOSSES[] = {
	{ "exchange", LOSS_REQUEST }, { "exchange", LOSS_ANSWER }, { "confirm", LOSS_REQUEST },
	{ "confirm", LOSS_ANSWER },   { "finish", LOSS_REQUEST },  { "finish", LOSS_ANSWER },
};

START_TEST(one_lost_message_is_sent_again)
{
	char code[8];

	start_vm();
	read_code(1, code);
	ck_assert(loop_until(bed.daemon.event, has_asked, NULL));
	pair_portal_lose(portal, LOSSES[_i].step, LOSSES[_i].loss, 1);
	type_code(code);
	ck_assert_msg(program_finish(&vm) == 0, "%s", vm.out);
	ck_assert_msg(program_finish(&pi) == 0, "%s", pi.out);
	expect_paired();
}
END_TEST

/* The HTTP way is dead from there on; SSH is not. Either both are paired or none. */
START_TEST(a_connection_lost_for_good_leaves_nothing_half_paired)
{
	char code[8];
	int vm_status, pi_status;

	start_vm();
	read_code(1, code);
	ck_assert(loop_until(bed.daemon.event, has_asked, NULL));
	pair_portal_lose(portal, LOSSES[_i].step, LOSSES[_i].loss, -1);
	if (_i == 0) /* the one that waits may still be answered: the next one is lost */
		loop_for(bed.daemon.event, 2 * limits.poll_usec);
	type_code(code);
	vm_status = program_finish(&vm);
	pi_status = program_finish(&pi);
	ck_assert_msg(vm_status == pi_status, "%d %d: %s%s", vm_status, pi_status, vm.out, pi.out);
	if (vm_status == 0)
		expect_paired();
	else
		expect_nothing_written();
	/* Only where the Pi heard the very last message is it too late to go back. */
	ck_assert_int_eq(vm_status == 0, strcmp(LOSSES[_i].step, "finish") == 0 && LOSSES[_i].loss == LOSS_ANSWER);
}
END_TEST

/* ---- the man in the middle ---- */

#define HIS_KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFQkRtRcvgvo09XRN2UfsAyHUzKxz+lxkBdVNys0V335"

static void swap_vm_key(const char *step, bool is_answer, json_t *object)
{
	if (!is_answer && strcmp(step, "begin") == 0)
		json_object_set_new(json_object_get(object, "vm"), "host_key", json_string(HIS_KEY));
}

static void swap_pi_key(const char *step, bool is_answer, json_t *object)
{
	if (is_answer && strcmp(step, "begin") == 0)
		json_object_set_new(json_object_get(object, "pi"), "key", json_string(HIS_KEY));
}

static void say_up_too_soon(const char *step, bool is_answer, json_t *object)
{
	if (is_answer && strcmp(step, "confirm") == 0)
		json_object_set_new(object, "state", json_string("up"));
}

static void forge_paired(const char *step, bool is_answer, json_t *object)
{
	if (!is_answer && strcmp(step, "finish") == 0)
		json_object_set_new(object, "tag", json_string("00"));
	if (is_answer && strcmp(step, "finish") == 0) {
		json_object_clear(object);
		json_object_set_new(object, "ok", json_true());
		json_object_set_new(object, "state", json_string("paired"));
	}
}

static const pair_portal_tamper_fn SWAPS[] = { swap_vm_key, swap_pi_key };

START_TEST(a_man_in_the_middle_who_swaps_a_key_is_caught_by_both)
{
	char code[8];

	pair_portal_tamper(portal, SWAPS[_i]);
	start_vm();
	read_code(1, code);
	type_code(code);
	ck_assert_int_eq(program_finish(&pi), 1);
	ck_assert_ptr_nonnull(strstr(pi.out, "not those"));
	program_wait_for(&vm, "Those were not the digits");
	expect_nothing_written();
	ck_assert_uint_eq(bed.vm.n_connections, 0);
	program_signal(&vm, SIGINT);
	ck_assert_int_eq(program_finish(&vm), 1);
	expect_nothing_written();
}
END_TEST

START_TEST(a_man_in_the_middle_who_says_up_or_paired_is_caught)
{
	char code[8];

	pair_portal_tamper(portal, _i == 0 ? say_up_too_soon : forge_paired);
	start_vm();
	read_code(1, code);
	if (_i == 0)
		bed.vm.wire = WIRE_SILENT; /* so that the first answer is that it is still connecting */
	type_code(code);
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_int_eq(program_finish(&pi), 1);
	expect_nothing_written();
}
END_TEST

/* ---- who is not there, or something else ---- */

START_TEST(three_wrong_codes_lock_both_sides)
{
	char code[8];

	start_vm();
	for (unsigned i = 1; i <= 3; i++) {
		read_code(i, code);
		code[0] = code[0] == '9' ? '8' : '9';
		type_code(code);
		ck_assert_int_eq(program_finish(&pi), 1);
	}
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_ptr_nonnull(strstr(vm.out, "locked"));
	start_vm();
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_ptr_nonnull(strstr(vm.out, "locked for another"));
	expect_nothing_written();
}
END_TEST

static const struct {
	const char *raw, *said;
} OTHERS[] = {
	{ "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "is no usbpush" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>", "is no usbpush" },
	{ "SSH-2.0-OpenSSH_9.2\r\n", "is no usbpush" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", "is no usbpush" },
	{ "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "is no usbpush" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{\"ok\":true}", "\"protocol\" is missing" },
	{ "HTTP/1.1 503 X\r\nContent-Length: 69\r\nConnection: close\r\n\r\n"
	  "{\"ok\":false,\"error\":{\"code\":\"unreachable\",\"text\":\"no exp\",\"cure\":\"\"}}\n",
	  "no exp" },
};

START_TEST(something_else_that_answers_is_told_as_such)
{
	pair_portal_answer(portal, OTHERS[_i].raw);
	start_vm();
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_msg(strstr(vm.out, OTHERS[_i].said) != NULL, "%s", vm.out);
	expect_nothing_written();
}
END_TEST

static const struct {
	const char *host, *said;
} HOSTS[] = {
	{ "no-such-host.invalid", "no such host" }, { "127.0.0.9", "nothing answers at port" }, /* nobody listens there */
};

START_TEST(a_pi_that_is_not_there_is_told_as_such)
{
	start_vm_at(HOSTS[_i].host);
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_msg(strstr(vm.out, HOSTS[_i].said) != NULL, "%s", vm.out);
}
END_TEST

START_TEST(a_pi_that_connects_elsewhere_is_no_pairing)
{
	is_pi_shown = false;
	pair_with_right_code();
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_ptr_nonnull(strstr(vm.out, "it is not connected here"));
	ck_assert_int_eq(program_finish(&pi), 1);
	expect_nothing_written();
}
END_TEST

/* A finder that says what it found, as usbpush-mdns does. port: given on the command line, too; or NULL. */
static void start_vm_finding_at(const char *said, const char *port)
{
	const char *finder = temp_tree_path(&root, "finder");
	const char *arguments[] = { "pair", "--socket", handler_path, "--root", root.path, "--finder", finder, port ? "--pi-port" : NULL,
				    port,   NULL };
	char script[2048];

	snprintf(script, sizeof(script), "#!/bin/sh\n%s\n", said);
	temp_tree_put(&root, "finder", script);
	ck_assert_int_eq(chmod(finder, 0755), 0);
	ck_assert_int_eq(chmod(root.path, 0755), 0); /* it runs as nobody */
	program_start(&vm, bed.daemon.event, "usbpush-vm", arguments);
}

static void start_vm_finding(const char *said)
{
	char port[8];

	snprintf(port, sizeof(port), "%u", pair_portal_port(portal));
	start_vm_finding_at(said, port);
}

#define FOUND_AT(id, address, port) "echo '{\"id\":\"" id "\",\"name\":\"a pi\",\"address\":\"" address "\",\"port\":" port "}'\n"

#define FOUND(id, address) "echo '{\"id\":\"" id "\",\"name\":\"a pi\",\"address\":\"" address "\"}'\n"

START_TEST(a_pi_with_several_addresses_is_found_and_is_one)
{
	start_vm_finding(FOUND("aa", "fe80::9%lo") FOUND("aa", "127.0.0.1") FOUND("aa", "2001:db8::1"));
	program_wait_for(&vm, "Found 127.0.0.1");
	program_wait_for(&vm, "digits on the Pi:");
	program_signal(&vm, SIGINT);
	ck_assert_int_eq(program_finish(&vm), 1);
}
END_TEST

START_TEST(a_pi_is_asked_at_the_port_where_it_was_found)
{
	char said[512], address[32];

	snprintf(said, sizeof(said), FOUND_AT("aa", "::1", "9") FOUND_AT("aa", "127.0.0.1", "%u"), pair_portal_port(portal));
	snprintf(address, sizeof(address), "http://127.0.0.1:%u)", pair_portal_port(portal));
	start_vm_finding_at(said, NULL);
	program_wait_for(&vm, "Found 127.0.0.1");
	program_wait_for(&vm, address);
	ck_assert_int_ge((int)pair_portal_count(portal, "begin"), 1);
	program_signal(&vm, SIGINT);
	ck_assert_int_eq(program_finish(&vm), 1);
}
END_TEST

START_TEST(a_port_that_was_given_counts_and_not_what_was_found)
{
	start_vm_finding(FOUND_AT("aa", "127.0.0.1", "9"));
	program_wait_for(&vm, "digits on the Pi:");
	program_signal(&vm, SIGINT);
	ck_assert_int_eq(program_finish(&vm), 1);
}
END_TEST

static const struct {
	const char *finder, *said;
} FINDERS[] = {
	{ "true", "no Pi with usbpush was found" },
	{ "exit 127", "can't be run" },
	{ "echo nonsense; echo '{}'; echo '[]'; echo '{\"id\":7,\"name\":8,\"address\":9}'", "no Pi with usbpush was found" },
	{ FOUND("aa", "-oProxyCommand=x"), "no Pi with usbpush was found" },
	{ FOUND("aa", "10.0.0.1") FOUND("bb", "10.0.0.2"), "10.0.0.1 (a pi), 10.0.0.2 (a pi)" },
	{ FOUND("aa", "10.0.0.1") FOUND_AT("bb", "10.0.0.2", "81"), "10.0.0.1 (a pi), 10.0.0.2 --pi-port 81 (a pi)" },
	{ FOUND_AT("aa", "10.0.0.1", "0") FOUND_AT("bb", "10.0.0.2", "65536") FOUND_AT("cc", "10.0.0.3", "-1")
		  FOUND_AT("dd", "10.0.0.4", "\"8080\""),
	  "no Pi with usbpush was found" },
	{ "while :; do " FOUND("aa", "10.0.0.1 ") "done", "no Pi with usbpush was found" },
};

START_TEST(what_the_finder_says_is_only_a_hint)
{
	start_vm_finding(FINDERS[_i].finder);
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_msg(strstr(vm.out, FINDERS[_i].said) != NULL, "%s", vm.out);
}
END_TEST

START_TEST(a_pi_is_reached_by_ipv6_and_by_name)
{
	static const char *const hosts[] = { "::1", "localhost" };

	if (!pair_portal_has_ipv6(portal))
		return;
	start_vm_at(hosts[_i]);
	program_wait_for(&vm, "digits on the Pi:");
	ck_assert_int_ge((int)pair_portal_count(portal, "begin"), 1);
	ck_assert_msg(_i == 1 || strstr(vm.out, "http://[::1]:") != NULL, "%s", vm.out);
	program_signal(&vm, SIGINT);
	ck_assert_int_eq(program_finish(&vm), 1);
}
END_TEST

START_TEST(two_pairings_at_once_on_one_vm_are_refused)
{
	struct program second;

	start_vm();
	program_wait_for(&vm, "digits on the Pi:");
	second = vm;
	start_vm();
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_ptr_nonnull(strstr(vm.out, "another usbpush-vm pair runs"));
	program_signal(&second, SIGINT);
	ck_assert_int_eq(program_finish(&second), 1);
}
END_TEST

START_TEST(the_pi_gives_up_on_what_is_no_code)
{
	start_vm();
	program_wait_for(&vm, "digits on the Pi:");
	type_code("12345");
	program_type(&pi, "abcdef\n\n");
	ck_assert_int_eq(program_finish(&pi), 1);
	ck_assert_ptr_nonnull(strstr(pi.out, "no code was typed"));
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_ptr_nonnull(strstr(vm.out, "cancelled"));
	expect_nothing_written();
}
END_TEST

static const char *const USAGE[][4] = {
	{ "pair", "a", "b" },        { "pair", "-x" }, { "pair", "a b" }, { "pair", "--port", "0" }, { "pair", "--port", "70000" },
	{ "pair", "--name", "a b" },
};

START_TEST(a_wrong_call_is_a_usage_error)
{
	program_start(&vm, bed.daemon.event, "usbpush-vm", USAGE[_i]);
	ck_assert_int_eq(program_finish(&vm), 2);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *good = tcase_create("good"), *bad = tcase_create("bad"), *lost = tcase_create("lost");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(good, setup, teardown);
	tcase_add_checked_fixture(bad, setup, teardown);
	tcase_add_checked_fixture(lost, setup, teardown);
	tcase_add_test(good, two_commands_and_six_digits_pair_them);
	tcase_add_test(good, pairing_again_changes_nothing);
	tcase_add_test(good, a_pi_whose_disk_takes_its_time_is_paired_all_the_same);
	tcase_add_test(good, wrong_digits_change_nothing_and_the_next_code_pairs);
	tcase_add_test(bad, ctrl_c_rolls_back_wherever_it_comes);
	tcase_add_test(bad, a_vm_that_is_killed_is_rolled_back_at_the_next_pairing);
	tcase_add_loop_test(bad, a_man_in_the_middle_who_swaps_a_key_is_caught_by_both, 0, ARRAY_SIZE(SWAPS));
	tcase_add_loop_test(bad, a_man_in_the_middle_who_says_up_or_paired_is_caught, 0, 2);
	tcase_add_test(bad, three_wrong_codes_lock_both_sides);
	tcase_add_loop_test(bad, something_else_that_answers_is_told_as_such, 0, ARRAY_SIZE(OTHERS));
	tcase_add_loop_test(bad, a_pi_that_is_not_there_is_told_as_such, 0, ARRAY_SIZE(HOSTS));
	tcase_add_test(bad, a_pi_that_connects_elsewhere_is_no_pairing);
	tcase_add_loop_test(good, a_pi_is_reached_by_ipv6_and_by_name, 0, 2);
	tcase_add_test(good, a_pi_with_several_addresses_is_found_and_is_one);
	tcase_add_test(good, a_pi_is_asked_at_the_port_where_it_was_found);
	tcase_add_test(good, a_port_that_was_given_counts_and_not_what_was_found);
	tcase_add_loop_test(bad, what_the_finder_says_is_only_a_hint, 0, ARRAY_SIZE(FINDERS));
	tcase_add_test(bad, two_pairings_at_once_on_one_vm_are_refused);
	tcase_add_test(bad, the_pi_gives_up_on_what_is_no_code);
	tcase_add_loop_test(bad, a_wrong_call_is_a_usage_error, 0, ARRAY_SIZE(USAGE));
	tcase_add_loop_test(lost, one_lost_message_is_sent_again, 0, ARRAY_SIZE(LOSSES));
	tcase_add_loop_test(lost, a_connection_lost_for_good_leaves_nothing_half_paired, 0, ARRAY_SIZE(LOSSES));
	tcase_set_timeout(bad, 120);
	tcase_set_timeout(lost, 120);
	return check_program_run("pair", good, bad, lost, NULL);
}
