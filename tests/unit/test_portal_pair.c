/* Pairing by six digits as a new owner does it: usbpush-vm pair on the VM, the portal's page on the Pi, nothing scripted between them. */

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "authorized_keys.h"
#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "local_server.h"
#include "pi_bed.h"
#include "piconf.h"
#include "portal_bed.h"
#include "program.h"

static struct pi_bed pi;
static struct control *control;
static struct portal_bed bed;
static struct local_server *handler;
static struct temp_tree root; /* what stands for the VM's / */
static struct program vm;
static char handler_path[128], session[64];

/* The handler: shows the Pi of pi.conf, connected when its link is up. */
static void on_handler_request(struct local_client *client, const char *request, json_t *arguments, void *userdata)
{
	const char *conf = temp_tree_get(&root, &PICONF_PATH[1]), *line = strstr(conf, "PI=");
	bool is_up = link_get_state(exporter_link(pi.exporter)) == LINK_UP;
	char id[33] = "";

	(void)request;
	(void)arguments;
	(void)userdata;
	if (line)
		snprintf(id, sizeof(id), "%.32s", line + 3);
	local_client_reply(client, json_pack("{s:[{s:s, s:s}]}", "pis", "id", id, "state", is_up ? "up" : "away"));
}

static void setup(void)
{
	char path[160];

	pi_bed_setup(&pi);
	pi_bed_start(&pi);
	snprintf(path, sizeof(path), "%s/control.sock", pi.run_dir);
	ck_assert_int_eq(control_new(pi.daemon.event, path, pi.exporter, &control), 0);
	portal_bed_setup_on(&bed, pi.daemon.event, path);
	portal_bed_claim(&bed);
	temp_tree_new(&root);
	snprintf(handler_path, sizeof(handler_path), "%s/handler.sock", root.path);
	ck_assert_int_eq(local_server_new(pi.daemon.event, handler_path, 0600, 8, on_handler_request, NULL, NULL, &handler), 0);
	temp_tree_put(&root, "etc/ssh/ssh_host_ed25519_key.pub", pi.vm.config.host_key);
	temp_tree_put(&root, &PICONF_PATH[1], "");
	temp_tree_put(&root, &AUTHORIZED_KEYS_PATH[1], "");
}

static void teardown(void)
{
	portal_bed_teardown(&bed);
	control = control_free(control);
	handler = local_server_free(handler);
	pi_bed_teardown(&pi);
	temp_tree_free(&root);
}

static void start_vm(void)
{
	char ssh_port[8], port[8];
	const char *arguments[] = { "pair",   "--hurry",         "127.0.0.1", "--socket", handler_path, "--root", root.path,
				    "--user", pi.vm.config.user, "--port",    ssh_port,   "--pi-port",  port,     NULL };

	snprintf(ssh_port, sizeof(ssh_port), "%u", pi.vm.config.port);
	snprintf(port, sizeof(port), "%u", bed.port);
	program_start(&vm, pi.daemon.event, "usbpush-vm", arguments);
}

/* The digits that the VM shows. */
static void read_code(char code[8])
{
	const char *at = program_wait_for(&vm, "digits on the Pi:   ") + strlen("digits on the Pi:   ");

	snprintf(code, 8, "%.3s %.3s", at, at + 4);
}

/* What the page sees of who waits. */
static bool is_waiting(void)
{
	_cleanup_json_ json_t *object = NULL;
	const json_t *pairing;
	size_t i;

	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/pairings"), 200);
	object = json_loads(portal_bed_body(), 0, NULL);
	json_array_foreach(json_object_get(object, "pairings"), i, pairing) {
		if (strcmp(json_string_value(json_object_get(pairing, "state")), "WAITING") != 0)
			continue;
		snprintf(session, sizeof(session), "%s", json_string_value(json_object_get(pairing, "session")));
		return true;
	}
	return false;
}

static int type_code(const char *code)
{
	char path[128], body[64];

	for (unsigned i = 0; !is_waiting(); i++) {
		ck_assert_uint_lt(i, 200);
		loop_for(pi.daemon.event, 50000);
	}
	snprintf(path, sizeof(path), "/api/v1/pairings/%s/code", session);
	snprintf(body, sizeof(body), "{\"code\":\"%s\"}", code);
	return portal_bed_post(&bed, path, body);
}

START_TEST(the_page_and_six_digits_pair_them)
{
	char code[8];

	start_vm();
	read_code(code);
	ck_assert_msg(type_code(code) == 200, "%s", portal_bed_answer());
	ck_assert_msg(program_finish(&vm) == 0, "%s", vm.out);
	ck_assert_ptr_nonnull(strstr(vm.out, "Paired with "));
	pi_bed_wait_link(&pi, "UP");
	ck_assert_ptr_nonnull(strstr(temp_tree_get(&pi.vm.tree, "vm.conf"), "VM_HOST=127.0.0.1\n"));
}
END_TEST

START_TEST(wrong_digits_are_told_on_both_sides_and_write_nothing)
{
	char code[8];

	start_vm();
	read_code(code);
	code[6] = code[6] == '0' ? '1' : '0';
	ck_assert_msg(type_code(code) == 403, "%s", portal_bed_answer());
	ck_assert_str_eq(portal_bed_code(), "wrong-code");
	ck_assert_str_eq(temp_tree_get(&root, &AUTHORIZED_KEYS_PATH[1]), "");
	ck_assert_int_lt(access(pi.config_path, F_OK), 0);
	pi_bed_wait_link(&pi, "UNPAIRED");
	ck_assert_int_eq(type_code("12345"), 400);
	program_signal(&vm, SIGINT);
	ck_assert_int_eq(program_finish(&vm), 1);
}
END_TEST

START_TEST(the_owner_can_send_a_vm_away)
{
	char code[8], path[128];

	start_vm();
	read_code(code);
	for (unsigned i = 0; !is_waiting(); i++) {
		ck_assert_uint_lt(i, 200);
		loop_for(pi.daemon.event, 50000);
	}
	snprintf(path, sizeof(path), "/api/v1/pairings/%s/cancel", session);
	ck_assert_msg(portal_bed_post(&bed, path, "{}") == 200, "%s", portal_bed_answer());
	program_signal(&vm, SIGINT);
	ck_assert_int_eq(program_finish(&vm), 1);
	ck_assert_str_eq(temp_tree_get(&root, &AUTHORIZED_KEYS_PATH[1]), "");
}
END_TEST

int main(int argc, char **argv)
{
	TCase *test_case = tcase_create("pairing in the page");

	ssh_vm_play(argc, argv);
	tcase_set_timeout(test_case, 120);
	tcase_add_checked_fixture(test_case, setup, teardown);
	tcase_add_test(test_case, the_page_and_six_digits_pair_them);
	tcase_add_test(test_case, wrong_digits_are_told_on_both_sides_and_write_nothing);
	tcase_add_test(test_case, the_owner_can_send_a_vm_away);
	return check_program_run("portal_pair", test_case, NULL);
}
