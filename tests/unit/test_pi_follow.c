/* VMs on the network, as usbpush-mdns tells the exporter of them, and the one that this Pi is paired with. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "control_ask.h"
#include "follow.h"
#include "held_disk.h"
#include "pi_bed.h"

#define VM_ID    "00112233445566778899aabbccddeeff"
#define OTHER_ID "ffeeddccbbaa99887766554433221100"

static struct pi_bed bed;
static struct control *control;
static struct control_ask mdns; /* a connection that stays */
static char socket_path[128];

static void setup(void)
{
	pi_bed_setup(&bed);
	snprintf(socket_path, sizeof(socket_path), "%s/control.sock", bed.run_dir);
	mdns.fd = -EBADF;
}

static void start(void)
{
	pi_bed_start(&bed);
	ck_assert_int_eq(control_new(bed.daemon.event, socket_path, bed.exporter, &control), 0);
}

/* Paired with a VM of that id at host. */
static void start_paired(const char *host, const char *id)
{
	struct vm_config config = bed.vm.config;

	snprintf(config.host, sizeof(config.host), "%s", host);
	snprintf(config.id, sizeof(config.id), "%s", id);
	ck_assert_int_eq(vm_config_save(bed.config_path, &config), 0);
	start();
}

static void teardown(void)
{
	held_disk_end();
	if (mdns.fd >= 0)
		control_ask_drop(&mdns);
	control = control_free(control);
	pi_bed_teardown(&bed);
}

/* Tells of a VM on a connection that stays open as long as the bed; the error's code, "" without one. */
static const char *tell(json_t *request)
{
	static char code[32];
	_cleanup_json_ json_t *owned = request, *answer = NULL;
	const char *error;

	if (mdns.fd >= 0)
		control_ask_drop(&mdns);
	control_ask_start(&mdns, socket_path, json_incref(owned));
	while (!answer) {
		loop_for(bed.daemon.event, 10000);
		mdns.used = 0;
		ssize_t n = read(mdns.fd, mdns.data, sizeof(mdns.data));

		if (n > 0)
			answer = json_loadb(mdns.data, (size_t)n, 0, NULL);
	}
	error = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));
	snprintf(code, sizeof(code), "%s", error ? error : "");
	return code;
}

static json_t *found(const char *key, const char *id, const char *address, int port)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s}", "request", "vm-found", "key", key, "id", id, "name", "bench", "host",
			 "bench.local", "address", address, "port", port, "fingerprint", "SHA256:x");
}

static size_t count_vms(void)
{
	_cleanup_json_ json_t *status = exporter_to_json(bed.exporter);

	return json_array_size(json_object_get(status, "vms"));
}

static const char *vm_conf(void)
{
	return temp_tree_get(&bed.vm.tree, "vm.conf");
}

static bool has_no_vms(struct pi_bed *unused)
{
	(void)unused;
	return count_vms() == 0;
}

START_TEST(vms_are_listed_while_they_are_there)
{
	_cleanup_json_ json_t *status = NULL;
	const json_t *vm;

	start();
	ck_assert_uint_eq(count_vms(), 0);
	ck_assert_str_eq(tell(found("2/0/bench", VM_ID, "10.0.0.2", 22)), "");
	status = exporter_to_json(bed.exporter);
	vm = json_array_get(json_object_get(status, "vms"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(vm, "id")), VM_ID);
	ck_assert_str_eq(json_string_value(json_object_get(vm, "address")), "10.0.0.2");
	ck_assert(json_is_false(json_object_get(vm, "is_paired")));
	control_ask_drop(&mdns);
	pi_bed_until(&bed, has_no_vms, "forgetting what the one who told of it told");
}
END_TEST

START_TEST(one_vm_with_several_addresses_is_one)
{
	_cleanup_json_ json_t *status = NULL, *request = found("2/1/bench", VM_ID, "fe80::2%eth0", 22);
	const json_t *vms;
	struct failure failure;

	start();
	ck_assert_int_eq(follow_vm_found(exporter_follow(bed.exporter), request, &failure), 0);
	json_object_set_new(request, "key", json_string("2/1/bench6"));
	json_object_set_new(request, "address", json_string("2001:db8::2"));
	ck_assert_int_eq(follow_vm_found(exporter_follow(bed.exporter), request, &failure), 0);
	json_object_set_new(request, "key", json_string("2/0/bench"));
	json_object_set_new(request, "address", json_string("10.0.0.2"));
	ck_assert_int_eq(follow_vm_found(exporter_follow(bed.exporter), request, &failure), 0);
	status = exporter_to_json(bed.exporter);
	vms = json_object_get(status, "vms");
	ck_assert_uint_eq(json_array_size(vms), 1);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(vms, 0), "address")), "10.0.0.2");
	follow_vm_lost(exporter_follow(bed.exporter), "2/0/bench");
	follow_vm_lost(exporter_follow(bed.exporter), "no such");
	ck_assert_uint_eq(count_vms(), 1);
}
END_TEST

/* Until the next try, in ms; 0 while it is tried. */
static json_int_t next_try(void)
{
	_cleanup_json_ json_t *link = link_to_json(exporter_link(bed.exporter));

	return json_integer_value(json_object_get(link, "next_try_ms"));
}

static bool is_waiting_long(struct pi_bed *unused)
{
	(void)unused;
	return next_try() > 2500;
}

START_TEST(the_vms_appearance_ends_the_backoff_at_once)
{
	_cleanup_json_ json_t *status = NULL;

	bed.vm.wire = WIRE_CLOSED;
	start_paired("127.0.0.1", VM_ID);
	pi_bed_until(&bed, is_waiting_long, "long backoff");
	bed.vm.wire = WIRE_SSHD;
	ck_assert_str_eq(tell(found("2/0/bench", VM_ID, "127.0.0.1", bed.vm.config.port)), "");
	ck_assert_int_eq(next_try(), 0);
	pi_bed_wait_link(&bed, "UP");
	status = exporter_to_json(bed.exporter);
	ck_assert(json_is_true(json_object_get(json_array_get(json_object_get(status, "vms"), 0), "is_paired")));
}
END_TEST

static bool has_moved(struct pi_bed *unused)
{
	(void)unused;
	return strstr(vm_conf(), "VM_HOST=127.0.0.1\n") != NULL;
}

START_TEST(a_vm_that_moved_is_followed_to_where_its_host_key_answers)
{
	start_paired("127.0.0.9", VM_ID); /* nobody is there */
	pi_bed_wait_link(&bed, "DOWN");
	ck_assert_str_eq(tell(found("2/0/bench", VM_ID, "127.0.0.1", bed.vm.config.port)), "");
	pi_bed_wait_link(&bed, "UP");
	pi_bed_until(&bed, has_moved, "new address in vm.conf");
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_ID=" VM_ID "\n"));
	pi_bed_wait_link(&bed, "UP");
}
END_TEST

START_TEST(what_was_detached_by_hand_stays_so_when_the_vm_moves)
{
	start_paired("127.0.0.1", VM_ID);
	pi_bed_wait_link(&bed, "UP");
	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	device_detach(pi_bed_device(&bed, "1-1"), "detached by hand");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	ck_assert_int_eq(config_set(bed.config_path, &(struct config_setting){ "VM_HOST", "127.0.0.9" }, 1, 0644), 0);
	exporter_reload(bed.exporter);
	pi_bed_wait_link(&bed, "DOWN");
	ck_assert_str_eq(tell(found("2/0/bench", VM_ID, "127.0.0.1", bed.vm.config.port)), "");
	pi_bed_wait_link(&bed, "UP");
	pi_bed_run(&bed, 500000);
	ck_assert_str_ne(pi_bed_field(&bed, "1-1", "state"), "ATTACHED");
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
}
END_TEST

static bool has_id(struct pi_bed *unused)
{
	(void)unused;
	return strstr(vm_conf(), "VM_ID=0123456789abcdef0123456789abcdef\n") != NULL;
}

static bool is_held(struct pi_bed *unused)
{
	(void)unused;
	return held_disk_has_one();
}

START_TEST(a_vm_that_was_paired_without_an_id_tells_it_in_its_hello)
{
	start_paired("127.0.0.1", "");
	pi_bed_wait_link(&bed, "UP");
	pi_bed_until(&bed, has_id, "id in vm.conf");
}
END_TEST

START_TEST(while_the_disk_takes_the_vms_id_others_go_on)
{
	_cleanup_json_ json_t *answer = NULL;

	pi_bed_pair(&bed);
	held_disk_begin("vm.conf");
	start();
	pi_bed_wait_link(&bed, "UP");
	pi_bed_until(&bed, is_held, "write that waits for the disk");
	answer = control_ask(bed.daemon.event, socket_path, json_pack("{s:s}", "request", "status"));
	ck_assert(json_is_true(json_object_get(answer, "ok")));
	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	ck_assert(!has_id(&bed));
	held_disk_end();
	pi_bed_until(&bed, has_id, "id in vm.conf");
}
END_TEST

START_TEST(an_announcement_that_came_before_the_vm_was_lost_is_remembered)
{
	start_paired("127.0.0.9", VM_ID);
	ck_assert_str_eq(tell(found("2/0/bench", VM_ID, "127.0.0.1", bed.vm.config.port)), "");
	pi_bed_wait_link(&bed, "UP");
}
END_TEST

START_TEST(another_host_key_at_the_new_address_is_not_the_vm)
{
	_cleanup_free_ char *before = NULL;

	ssh_vm_change_host_key(&bed.vm, "ed25519");
	start_paired("127.0.0.9", VM_ID);
	before = strdup(vm_conf());
	pi_bed_wait_link(&bed, "DOWN");
	ck_assert_str_eq(tell(found("2/0/bench", VM_ID, "127.0.0.1", bed.vm.config.port)), "");
	pi_bed_run(&bed, 1500000);
	ck_assert_uint_eq(bed.vm.n_connections, 1); /* looked once, and not again and again */
	ck_assert_str_eq(vm_conf(), before);
	ck_assert_int_ne(link_get_state(exporter_link(bed.exporter)), LINK_UP);
}
END_TEST

START_TEST(somebody_else_is_not_followed)
{
	start_paired("127.0.0.9", VM_ID);
	pi_bed_wait_link(&bed, "DOWN");
	ck_assert_str_eq(tell(found("2/0/bench", OTHER_ID, "127.0.0.1", bed.vm.config.port)), "");
	pi_bed_run(&bed, 800000);
	ck_assert_uint_eq(bed.vm.n_connections, 0);
}
END_TEST

START_TEST(a_link_that_is_up_stays_where_it_is)
{
	start_paired("127.0.0.1", VM_ID);
	pi_bed_wait_link(&bed, "UP");
	ck_assert_str_eq(tell(found("2/0/bench", VM_ID, "127.0.0.9", 22)), "");
	pi_bed_run(&bed, 500000);
	ck_assert_uint_eq(bed.vm.n_connections, 1);
	ck_assert_int_eq(link_get_state(exporter_link(bed.exporter)), LINK_UP);
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_HOST=127.0.0.1\n"));
}
END_TEST

static const struct {
	const char *field, *value;
} FOUL[] = {
	{ "key", "\"\"" },     { "key", "7" },  { "address", "\"\"" }, { "address", "\"-v\"" }, { "address", "\"a b\"" },
	{ "address", "null" }, { "port", "0" }, { "port", "70000" },   { "port", "\"22\"" },
};

START_TEST(what_makes_no_sense_is_refused)
{
	json_t *request = found("2/0/bench", VM_ID, "10.0.0.2", 22);

	start();
	json_object_set_new(request, FOUL[_i].field, json_loads(FOUL[_i].value, JSON_DECODE_ANY, NULL));
	ck_assert_str_eq(tell(request), "bad-request");
	ck_assert_uint_eq(count_vms(), 0);
}
END_TEST

START_TEST(a_flood_of_vms_is_bounded)
{
	struct failure failure;

	start();
	for (unsigned i = 0; i < 500 * test_slowness(); i++) {
		char key[32], id[33];
		_cleanup_json_ json_t *request = NULL;

		snprintf(key, sizeof(key), "2/0/%u", i);
		snprintf(id, sizeof(id), "%032x", i);
		request = found(key, id, "10.0.0.2", 22);
		(void)follow_vm_found(exporter_follow(bed.exporter), request, &failure);
	}
	ck_assert_uint_eq(count_vms(), 64);
	ck_assert_int_eq(failure.code, FAILURE_TABLE_FULL);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *list = tcase_create("list"), *follow = tcase_create("follow");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(list, setup, teardown);
	tcase_add_checked_fixture(follow, setup, teardown);
	tcase_set_timeout(follow, 60);
	tcase_add_test(list, vms_are_listed_while_they_are_there);
	tcase_add_test(list, one_vm_with_several_addresses_is_one);
	tcase_add_loop_test(list, what_makes_no_sense_is_refused, 0, ARRAY_SIZE(FOUL));
	tcase_add_test(list, a_flood_of_vms_is_bounded);
	tcase_add_test(follow, the_vms_appearance_ends_the_backoff_at_once);
	tcase_add_test(follow, a_vm_that_moved_is_followed_to_where_its_host_key_answers);
	tcase_add_test(follow, what_was_detached_by_hand_stays_so_when_the_vm_moves);
	tcase_add_test(follow, a_vm_that_was_paired_without_an_id_tells_it_in_its_hello);
	tcase_add_test(follow, while_the_disk_takes_the_vms_id_others_go_on);
	tcase_add_test(follow, an_announcement_that_came_before_the_vm_was_lost_is_remembered);
	tcase_add_test(follow, another_host_key_at_the_new_address_is_not_the_vm);
	tcase_add_test(follow, somebody_else_is_not_followed);
	tcase_add_test(follow, a_link_that_is_up_stays_where_it_is);
	return check_program_run("pi_follow", list, follow, NULL);
}
