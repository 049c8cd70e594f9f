/* Publishing and browsing with a real avahi-daemon. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "avahi_bed.h"
#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "fingerprint.h"
#include "local_server.h"
#include "mdns.h"
#include "program.h"

#define ID "00112233445566778899aabbccddeeff"

static struct avahi_bed bed;
static struct daemon daemon_frame;
static struct mdns_found found[16];
static unsigned n_found, n_lost, n_all;

static void on_found(const struct mdns_found *one, void *userdata)
{
	(void)userdata;
	if (n_found < ARRAY_SIZE(found))
		found[n_found] = *one;
	n_found++;
}

static void on_lost(const char *key, void *userdata)
{
	(void)key;
	(void)userdata;
	n_lost++;
}

static void on_all(void *userdata)
{
	(void)userdata;
	n_all++;
}

static const struct mdns_handlers HANDLERS = { .on_found = on_found, .on_lost = on_lost, .on_all = on_all };
static const struct mdns_service VM = { MDNS_TYPE_VM, 2222, { "version=1", "id=" ID, "role=vm", "host-key=SHA256:abc" } };

static const struct mdns_service OTHER_VM = { MDNS_TYPE_VM, 22, { "id=ffeeddccbbaa99887766554433221100" } };

static void setup(void)
{
	n_found = n_lost = n_all = 0;
	ck_assert_int_eq(daemon_init(&daemon_frame, NULL, NULL, NULL), 0);
	if (!avahi_bed_setup(&bed)) {
		puts("not allowed to unshare the network: nothing is tested here");
		exit(0);
	}
}

static void teardown(void)
{
	avahi_bed_teardown(&bed);
	daemon_done(&daemon_frame);
}

static struct mdns *publish(const char *name, const struct mdns_service *service)
{
	struct mdns *mdns;

	ck_assert_int_eq(mdns_new(daemon_frame.event, name, service, 1, NULL, &HANDLERS, NULL, &mdns), 0);
	return mdns;
}

static struct mdns *look(void)
{
	struct mdns *mdns;

	ck_assert_int_eq(mdns_new(daemon_frame.event, "", NULL, 0, MDNS_TYPE_VM, &HANDLERS, NULL, &mdns), 0);
	return mdns;
}

static bool has_found(void *userdata)
{
	return n_found >= *(unsigned *)userdata;
}

static bool has_lost(void *userdata)
{
	return n_lost >= *(unsigned *)userdata;
}

static void expect_found(unsigned n)
{
	ck_assert_msg(loop_until(daemon_frame.event, has_found, &n), "%u found, not %u", n_found, n);
}

static void expect_lost(unsigned n)
{
	ck_assert_msg(loop_until(daemon_frame.event, has_lost, &n), "%u lost, not %u", n_lost, n);
}

START_TEST(what_is_published_is_found_with_all_it_says)
{
	struct mdns *vm = publish("usbpush on bench", &VM), *pi = look();

	expect_found(1);
	ck_assert_str_eq(found[0].name, "usbpush on bench");
	ck_assert_str_eq(found[0].host, "bed.local");
	ck_assert_str_eq(found[0].address, "127.0.0.1");
	ck_assert_uint_eq(found[0].port, 2222);
	ck_assert_str_eq(found[0].id, ID);
	ck_assert_str_eq(found[0].fingerprint, "SHA256:abc");
	mdns_free(vm);
	expect_lost(1);
	mdns_free(pi);
}
END_TEST

START_TEST(two_of_one_name_are_both_found)
{
	struct mdns *first = publish("usbpush on bench", &VM), *pi = look(), *second;

	expect_found(1);
	second = publish("usbpush on bench", &OTHER_VM);
	expect_found(2);
	ck_assert_str_ne(found[0].name, found[1].name);
	ck_assert_ptr_nonnull(strstr(found[1].name, "usbpush on bench #2"));
	mdns_free(first);
	mdns_free(second);
	mdns_free(pi);
}
END_TEST

START_TEST(avahi_daemon_may_be_restarted)
{
	struct mdns *vm = publish("usbpush on bench", &VM), *pi = look();

	expect_found(1);
	avahi_bed_stop_avahi(&bed);
	expect_lost(1);
	avahi_bed_start_avahi(&bed);
	expect_found(2);
	mdns_free(vm);
	mdns_free(pi);
}
END_TEST

START_TEST(dbus_may_be_restarted)
{
	struct mdns *vm = publish("usbpush on bench", &VM), *pi = look();

	expect_found(1);
	avahi_bed_stop_avahi(&bed);
	avahi_bed_stop_dbus(&bed);
	expect_lost(1);
	loop_for(daemon_frame.event, 700000);
	avahi_bed_start_dbus(&bed);
	avahi_bed_start_avahi(&bed);
	expect_found(2);
	mdns_free(vm);
	mdns_free(pi);
}
END_TEST

START_TEST(there_may_be_no_avahi_and_no_dbus_at_first)
{
	struct mdns *vm, *pi;

	avahi_bed_stop_avahi(&bed);
	avahi_bed_stop_dbus(&bed);
	vm = publish("usbpush on bench", &VM);
	pi = look();
	loop_for(daemon_frame.event, 500000);
	ck_assert_uint_eq(n_found, 0);
	avahi_bed_start_dbus(&bed);
	loop_for(daemon_frame.event, 500000);
	avahi_bed_start_avahi(&bed);
	expect_found(1);
	mdns_free(vm);
	mdns_free(pi);
}
END_TEST

START_TEST(what_is_hostile_is_cleaned_and_what_makes_no_sense_left_out)
{
	static const struct mdns_service foul = { MDNS_TYPE_VM, 22, { "id=../../etc/passwd", "host-key=\033[31mred\n", "id", "=" } };
	struct mdns *vm = publish("a\033[31m\nb", &foul), *pi = look();

	expect_found(1);
	ck_assert_str_eq(found[0].id, "");
	ck_assert_ptr_null(strpbrk(found[0].name, "\033\n"));
	ck_assert_ptr_null(strpbrk(found[0].fingerprint, "\033\n"));
	mdns_free(vm);
	mdns_free(pi);
}
END_TEST

/* ---- the program ---- */

static char heard[16384];
static struct local_server *exporter;

static void on_request(struct local_client *client, const char *request, json_t *arguments, void *userdata)
{
	_cleanup_free_ char *text = json_dumps(arguments, JSON_COMPACT);

	(void)request;
	(void)userdata;
	strncat(heard, text, sizeof(heard) - strlen(heard) - 1);
	local_client_done(client);
}

static bool has_heard(void *userdata)
{
	return strstr(heard, userdata) != NULL;
}

static void wait_heard(const char *text)
{
	ck_assert_msg(loop_until(daemon_frame.event, has_heard, (void *)(uintptr_t)text), "no %s in %s", text, heard);
}

static void start_exporter(const char *path)
{
	heard[0] = '\0';
	ck_assert_int_eq(local_server_new(daemon_frame.event, path, 0600, 8, on_request, NULL, NULL, &exporter), 0);
}

START_TEST(the_pi_tells_its_exporter_of_vms_that_come_and_go)
{
	const char *path = temp_tree_path(&bed.tree, "control.sock");
	const char *pi_arguments[] = { "pi", "--socket", path, NULL };
	static const char *const vm_arguments[] = { "vm", "--ssh-port", "2022", NULL };
	struct program pi, vm;

	start_exporter(path);
	program_start(&pi, daemon_frame.event, "usbpush-mdns", pi_arguments);
	program_start(&vm, daemon_frame.event, "usbpush-mdns", vm_arguments);
	wait_heard("\"request\":\"vm-found\"");
	wait_heard("\"port\":2022");
	/* The exporter is restarted: it is told again. */
	exporter = local_server_free(exporter);
	start_exporter(path);
	wait_heard("\"request\":\"vm-found\"");
	program_signal(&vm, SIGTERM);
	ck_assert_int_eq(program_finish(&vm), 0);
	wait_heard("\"request\":\"vm-lost\"");
	program_signal(&pi, SIGTERM);
	ck_assert_int_eq(program_finish(&pi), 0);
	exporter = local_server_free(exporter);
}
END_TEST

START_TEST(a_vm_finds_the_pi)
{
	const char *path = temp_tree_path(&bed.tree, "control.sock");
	const char *pi_arguments[] = { "pi", "--socket", path, NULL };
	static const char *const find_arguments[] = { "find", NULL };
	struct program pi, find;

	program_start(&pi, daemon_frame.event, "usbpush-mdns", pi_arguments);
	program_wait_for(&pi, "published as");
	program_start(&find, daemon_frame.event, "usbpush-mdns", find_arguments);
	program_wait_for(&find, "\"address\":\"127.0.0.1\",\"port\":8080");
	ck_assert_int_eq(program_finish(&find), 0);
	program_signal(&pi, SIGTERM);
	ck_assert_int_eq(program_finish(&pi), 0);
}
END_TEST

START_TEST(a_vm_finds_the_pi_at_the_port_that_portal_conf_says)
{
	const char *path = temp_tree_path(&bed.tree, "control.sock");
	const char *config = temp_tree_path(&bed.tree, "portal.conf");
	const char *pi_arguments[] = { "pi", "--socket", path, "--config", config, NULL };
	static const char *const find_arguments[] = { "find", NULL };
	struct program pi, find;

	temp_tree_put(&bed.tree, "portal.conf", "PORTAL_ADDRESS=\nPORTAL_PORT=\"8081\"\n");
	program_start(&pi, daemon_frame.event, "usbpush-mdns", pi_arguments);
	program_wait_for(&pi, "published as");
	program_start(&find, daemon_frame.event, "usbpush-mdns", find_arguments);
	program_wait_for(&find, "\"address\":\"127.0.0.1\",\"port\":8081");
	ck_assert_int_eq(program_finish(&find), 0);
	temp_tree_put(&bed.tree, "portal.conf", "PORTAL_PORT=8082\n"); /* and follows it */
	program_wait_for(&pi, "port is 8082 now\nusbpush-mdns: published as");
	program_start(&find, daemon_frame.event, "usbpush-mdns", find_arguments);
	program_wait_for(&find, "\"address\":\"127.0.0.1\",\"port\":8082");
	ck_assert_int_eq(program_finish(&find), 0);
	program_signal(&pi, SIGTERM);
	ck_assert_int_eq(program_finish(&pi), 0);
}
END_TEST

static const char *const USAGE[][4] = {
	{ NULL }, { "fly", NULL }, { "vm", "pi", NULL }, { "vm", "--ssh-port", "0", NULL }, { "vm", "--ssh-port", "x", NULL }
};

START_TEST(a_wrong_call_is_a_usage_error)
{
	struct program program;

	program_start(&program, daemon_frame.event, "usbpush-mdns", USAGE[_i]);
	ck_assert_int_eq(program_finish(&program), 2);
}
END_TEST

/* ---- fingerprints ---- */

#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKRLTqsr+VDRr3Z+JgfhkTONdBJrWAIFimEo+uqa6M1u"

START_TEST(a_fingerprint_is_that_of_ssh_keygen)
{
	char fingerprint[FINGERPRINT_SIZE];

	ck_assert_int_eq(fingerprint_of(KEY " root@vm\n", fingerprint), 0);
	ck_assert_str_eq(fingerprint, "SHA256:aciioTS95W1r8PyzE/VE/tx3vmCHveruNs+wsBhhlVs");
	ck_assert_int_eq(fingerprint_of(KEY, fingerprint), 0);
}
END_TEST

static const char *const NO_KEYS[] = { "", "ssh-ed25519", "ssh-ed25519 ", "ssh-ed25519 !!!!", "ssh-ed25519 AAAA=AAA", "\n\n" };

START_TEST(what_is_no_key_has_no_fingerprint)
{
	char fingerprint[FINGERPRINT_SIZE];

	ck_assert_int_lt(fingerprint_of(NO_KEYS[_i], fingerprint), 0);
}
END_TEST

int main(void)
{
	TCase *library = tcase_create("library"), *program = tcase_create("program"), *fingerprint = tcase_create("fingerprint");

	tcase_add_checked_fixture(library, setup, teardown);
	tcase_add_checked_fixture(program, setup, teardown);
	tcase_set_timeout(library, 90);
	tcase_set_timeout(program, 90);
	tcase_add_test(library, what_is_published_is_found_with_all_it_says);
	tcase_add_test(library, two_of_one_name_are_both_found);
	tcase_add_test(library, avahi_daemon_may_be_restarted);
	tcase_add_test(library, dbus_may_be_restarted);
	tcase_add_test(library, there_may_be_no_avahi_and_no_dbus_at_first);
	tcase_add_test(library, what_is_hostile_is_cleaned_and_what_makes_no_sense_left_out);
	tcase_add_test(program, the_pi_tells_its_exporter_of_vms_that_come_and_go);
	tcase_add_test(program, a_vm_finds_the_pi);
	tcase_add_test(program, a_vm_finds_the_pi_at_the_port_that_portal_conf_says);
	tcase_add_loop_test(program, a_wrong_call_is_a_usage_error, 0, ARRAY_SIZE(USAGE));
	tcase_add_test(fingerprint, a_fingerprint_is_that_of_ssh_keygen);
	tcase_add_loop_test(fingerprint, what_is_no_key_has_no_fingerprint, 0, ARRAY_SIZE(NO_KEYS));
	return check_program_run("mdns", library, program, fingerprint, NULL);
}
