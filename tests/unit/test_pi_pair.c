/* Pairing by six digits on the Pi: the exporter behind its control socket, a VM that says what a VM may and may not say, and a real sshd. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "control_ask.h"
#include "held_disk.h"
#include "pair_exchange.h"
#include "pair_session.h"
#include "pi_bed.h"

#define CODE  "123456"
#define VM_ID "00112233445566778899aabbccddeeff"

static const struct pair_limits LIMITS = {
	.code_usec = 20000000,
	.confirm_usec = 20000000,
	.link_usec = 20000000,
	.finish_usec = 20000000,
	.settle_usec = 20000000,
	.poll_usec = 50000,
	.keep_usec = 20000000,
	.lock_usec = 20000000,
	.max_wrong = 3,
	.max_waiting = 4,
	.max_from_one = 2,
};

static struct pi_bed bed;
static struct pair_limits limits;
static struct control *control;
static char socket_path[128];
/* The VM. */
static struct pair_exchange *vm;
static struct pair_party self;
static json_t *begin, *begun, *exchange, *answered, *confirm, *up, *finish; /* owned */
static json_t **const MESSAGES[] = { &begin, &begun, &exchange, &answered, &confirm, &up, &finish };
static struct control_ask owner; /* who typed the code, and waits */
static struct failure failure;

static void setup_with(bool is_paired)
{
	limits = LIMITS;
	pi_bed_setup(&bed);
	bed.options.pair_limits = &limits;
	snprintf(bed.vm.config.id, sizeof(bed.vm.config.id), "0123456789abcdef0123456789abcdef"); /* as its hello says */
	if (is_paired)
		pi_bed_pair(&bed);
	self = (struct pair_party){ .id = VM_ID, .name = "bench", .host = "127.0.0.1", .user = "" };
	snprintf(self.user, sizeof(self.user), "%s", bed.vm.config.user);
	snprintf(self.key, sizeof(self.key), "%.1000s", bed.vm.config.host_key);
	self.port = bed.vm.config.port;
	owner.fd = -EBADF;
	ck_assert_int_eq(pair_exchange_new(&vm), 0);
}

static void start_exporter(void)
{
	pi_bed_start(&bed);
	snprintf(socket_path, sizeof(socket_path), "%s/control.sock", bed.run_dir);
	ck_assert_int_eq(control_new(bed.daemon.event, socket_path, bed.exporter, &control), 0);
}

/* With the limits as they are now. */
static void restart_exporter(void)
{
	control = control_free(control);
	bed.exporter = exporter_free(bed.exporter);
	start_exporter();
}

static void setup(void)
{
	setup_with(false);
	start_exporter();
}

static void setup_paired(void)
{
	setup_with(true);
	start_exporter();
	pi_bed_wait_link(&bed, "UP");
}

static void new_vm(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(MESSAGES); i++) {
		json_decref(*MESSAGES[i]);
		*MESSAGES[i] = NULL;
	}
	pair_exchange_free(vm);
	ck_assert_int_eq(pair_exchange_new(&vm), 0);
}

static void teardown(void)
{
	held_disk_end();
	new_vm();
	vm = pair_exchange_free(vm);
	if (owner.fd >= 0)
		control_ask_drop(&owner);
	control = control_free(control);
	pi_bed_teardown(&bed);
}

static json_t *ask(json_t *request)
{
	return control_ask(bed.daemon.event, socket_path, request);
}

/* As the portal passes it on. */
static json_t *send_from(const char *from, const char *step, json_t *message)
{
	return ask(json_pack("{s:s, s:s, s:s, s:O}", "request", "pairing", "step", step, "from", from, "message", message));
}

static json_t *send(const char *step, json_t *message)
{
	return send_from("127.0.0.1", step, message);
}

static const char *code_of(const json_t *answer)
{
	const char *code = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));

	return code ? code : "";
}

static const char *state_of(const json_t *answer)
{
	const char *state = json_string_value(json_object_get(answer, "state"));

	return state ? state : "";
}

static void expect_ok(const json_t *answer)
{
	ck_assert_msg(json_is_true(json_object_get(answer, "ok")), "%s: %s", code_of(answer),
		      json_string_value(json_object_get(json_object_get(answer, "error"), "text")));
}

static void expect_error(json_t *answer, const char *code)
{
	_cleanup_json_ json_t *owned = answer;

	ck_assert_str_eq(code_of(owned), code);
}

/* What `pairings` says of the last one. */
static const char *pairing_state(void)
{
	static char state[32];
	_cleanup_json_ json_t *answer = ask(json_pack("{s:s}", "request", "pairings"));
	const json_t *list = json_object_get(answer, "pairings");

	snprintf(state, sizeof(state), "%s", state_of(json_array_get(list, json_array_size(list) - 1)));
	return state;
}

static bool is_in_state(void *userdata)
{
	return strcmp(pairing_state(), userdata) == 0;
}

static void wait_pairing(const char *state)
{
	for (unsigned i = 0; i < 400 * test_slowness() && !is_in_state((void *)(uintptr_t)state); i++)
		loop_for(bed.daemon.event, 50000);
	ck_assert_str_eq(pairing_state(), state);
}

/* ---- the VM's steps ---- */

static void vm_begins(void)
{
	ck_assert_int_eq(pair_vm_begin(vm, &self, "127.0.0.1", 8080, CODE, &begin), 0);
	begun = send("begin", begin);
	expect_ok(begun);
	ck_assert_int_eq(pair_vm_handle_begun(vm, begun, &exchange, &failure), 0);
}

static void vm_offers(void)
{
	_cleanup_json_ json_t *answer = NULL;

	vm_begins();
	answer = send("exchange", exchange);
	expect_ok(answer);
	ck_assert_str_eq(state_of(answer), "waiting");
}

static void owner_types(const char *code)
{
	control_ask_start(&owner, socket_path,
			  json_pack("{s:s, s:s, s:s}", "request", "pairing-code", "session", pair_exchange_session(vm), "code", code));
	wait_pairing("ANSWERED");
}

static void vm_hears(void)
{
	json_decref(answered);
	answered = send("exchange", exchange);
	expect_ok(answered);
	ck_assert_str_eq(state_of(answered), "answered");
}

static void vm_confirms(void)
{
	vm_hears();
	ck_assert_int_eq(pair_vm_handle_answered(vm, answered, &confirm, &failure), 0);
	up = send("confirm", confirm);
}

static void vm_waits_for_link(void)
{
	expect_ok(up);
	while (strcmp(state_of(up), "connecting") == 0) {
		json_decref(up);
		up = send("confirm", confirm);
		expect_ok(up);
	}
	ck_assert_str_eq(state_of(up), "up");
	ck_assert_int_eq(pair_vm_handle_up(vm, up, &finish, &failure), 0);
}

/* As often as it takes until vm.conf is written, or could not be. */
static json_t *vm_finishes(void)
{
	json_t *paired = send("finish", finish);

	while (strcmp(state_of(paired), "connecting") == 0) {
		json_decref(paired);
		paired = send("finish", finish);
	}
	return paired;
}

static json_t *owner_hears(void)
{
	return control_ask_wait(&owner, bed.daemon.event);
}

static bool has_vm_conf(void)
{
	return access(bed.config_path, F_OK) == 0;
}

static void come_to_up(void)
{
	vm_offers();
	owner_types(CODE);
	vm_confirms();
	vm_waits_for_link();
}

static const char *vm_conf(void)
{
	return has_vm_conf() ? temp_tree_get(&bed.vm.tree, "vm.conf") : "";
}

/* ---- the good way ---- */

START_TEST(the_right_digits_pair_and_vm_conf_is_written_at_the_end)
{
	_cleanup_json_ json_t *paired = NULL, *told = NULL;

	come_to_up();
	ck_assert(!has_vm_conf());
	ck_assert_str_eq(link_state_to_string(link_get_state(exporter_link(bed.exporter))), "UP");
	paired = vm_finishes();
	expect_ok(paired);
	ck_assert_int_eq(pair_vm_handle_paired(vm, paired, &failure), 0);
	told = owner_hears();
	expect_ok(told);
	ck_assert_str_eq(state_of(told), "PAIRED");
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_HOST=127.0.0.1\n"));
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_ID=" VM_ID "\n"));
	ck_assert_ptr_nonnull(strstr(vm_conf(), bed.vm.config.host_key));
	ck_assert_str_eq(pairing_state(), "PAIRED");
}
END_TEST

START_TEST(the_owner_sees_who_asks)
{
	_cleanup_json_ json_t *answer = NULL;
	const json_t *entry;

	vm_offers();
	answer = ask(json_pack("{s:s}", "request", "pairings"));
	entry = json_array_get(json_object_get(answer, "pairings"), 0);
	ck_assert_str_eq(state_of(entry), "WAITING");
	ck_assert_str_eq(json_string_value(json_object_get(entry, "name")), "bench");
	ck_assert_str_eq(json_string_value(json_object_get(entry, "host")), "127.0.0.1");
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(entry, "fingerprint")), "SHA256:"));
	ck_assert_int_gt(json_integer_value(json_object_get(entry, "expires_ms")), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(answer, "locked_ms")), 0);
}
END_TEST

START_TEST(a_link_local_vm_is_where_its_request_came_from)
{
	_cleanup_json_ json_t *answer = NULL, *list = NULL;

	snprintf(self.host, sizeof(self.host), "fe80::2");
	ck_assert_int_eq(pair_vm_begin(vm, &self, "fe80::1", 8080, CODE, &begin), 0);
	answer = send_from("fe80::2%eth0", "begin", begin);
	expect_ok(answer);
	list = ask(json_pack("{s:s}", "request", "pairings"));
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(list, "pairings"), 0), "host")), "fe80::2%eth0");
}
END_TEST

START_TEST(an_answer_that_was_lost_is_given_again)
{
	_cleanup_json_ json_t *again = NULL, *first = NULL, *second = NULL;

	vm_offers();
	owner_types(CODE);
	vm_hears();
	again = send("exchange", exchange);
	ck_assert(json_equal(again, answered));
	vm_confirms();
	vm_waits_for_link();
	first = vm_finishes();
	second = send("finish", finish);
	expect_ok(first);
	ck_assert(json_equal(first, second));
}
END_TEST

/* ---- the bad ways ---- */

START_TEST(wrong_digits_fail_on_both_sides_and_write_nothing)
{
	_cleanup_json_ json_t *cancel = NULL;

	vm_offers();
	owner_types("123457");
	vm_hears();
	ck_assert_int_lt(pair_vm_handle_answered(vm, answered, &confirm, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_WRONG_CODE);
	cancel = json_pack("{s:s, s:s}", "session", pair_exchange_session(vm), "reason", "wrong-code");
	json_decref(send("cancel", cancel));
	expect_error(owner_hears(), "wrong-code");
	ck_assert(!has_vm_conf());
	ck_assert_int_eq(link_get_state(exporter_link(bed.exporter)), LINK_UNPAIRED);
	/* And the same code no second time. */
	expect_error(ask(json_pack("{s:s, s:s, s:s}", "request", "pairing-code", "session", pair_exchange_session(vm), "code", CODE)),
		     "wrong-code");
	expect_error(send("exchange", exchange), "wrong-code");
}
END_TEST

START_TEST(a_vm_that_does_not_know_the_digits_can_not_confirm)
{
	vm_offers();
	owner_types("123457");
	vm_hears();
	confirm = json_pack("{s:s, s:O}", "session", pair_exchange_session(vm), "tag", json_object_get(answered, "tag"));
	expect_error(send("confirm", confirm), "wrong-code");
	expect_error(owner_hears(), "wrong-code");
	ck_assert(!has_vm_conf());
	ck_assert_uint_eq(bed.vm.n_connections, 0);
}
END_TEST

START_TEST(what_is_no_code_is_no_guess)
{
	vm_offers();
	expect_error(ask(json_pack("{s:s, s:s, s:s}", "request", "pairing-code", "session", pair_exchange_session(vm), "code", "12345")),
		     "bad-request");
	ck_assert_str_eq(pairing_state(), "WAITING");
}
END_TEST

static void spend_a_code(void)
{
	new_vm();
	vm_offers();
	owner_types("000000");
	vm_hears();
	confirm = json_pack("{s:s, s:O}", "session", pair_exchange_session(vm), "tag", json_object_get(answered, "tag"));
	expect_error(send("confirm", confirm), "wrong-code");
	expect_error(owner_hears(), "wrong-code");
}

START_TEST(three_wrong_codes_lock_and_the_lock_ends)
{
	limits.lock_usec = 1500000;
	restart_exporter();
	spend_a_code();
	spend_a_code();
	spend_a_code();
	new_vm();
	ck_assert_int_eq(pair_vm_begin(vm, &self, "127.0.0.1", 8080, CODE, &begin), 0);
	expect_error(send("begin", begin), "locked");
	loop_for(bed.daemon.event, 1600000);
	new_vm();
	vm_offers();
	owner_types(CODE);
	vm_confirms();
	vm_waits_for_link();
}
END_TEST

START_TEST(a_right_code_takes_two_wrong_ones_back)
{
	spend_a_code();
	spend_a_code();
	new_vm();
	come_to_up();
	expect_error(ask(json_pack("{s:s, s:s, s:s}", "request", "pairing-code", "session", pair_exchange_session(vm), "code", CODE)),
		     "busy");
	json_decref(ask(json_pack("{s:s, s:s}", "request", "pairing-cancel", "session", pair_exchange_session(vm))));
	expect_error(owner_hears(), "cancelled");
	spend_a_code();
	spend_a_code();
	new_vm();
	vm_offers();
}
END_TEST

START_TEST(another_host_key_than_the_confirmed_one_is_no_pairing)
{
	ssh_vm_change_host_key(&bed.vm, "ed25519");
	vm_offers();
	owner_types(CODE);
	vm_confirms();
	expect_error(owner_hears(), "host-key");
	expect_error(send("confirm", confirm), "host-key");
	expect_error(send("confirm", confirm), "host-key");
	ck_assert(!has_vm_conf());
	ck_assert_int_eq(link_get_state(exporter_link(bed.exporter)), LINK_UNPAIRED);
}
END_TEST

START_TEST(a_vm_that_does_not_let_the_pi_in_is_no_pairing)
{
	ssh_vm_deauthorize(&bed.vm);
	vm_offers();
	owner_types(CODE);
	vm_confirms();
	expect_error(owner_hears(), "login");
	ck_assert(!has_vm_conf());
}
END_TEST

/* After how many of its steps the VM is heard no more. */
enum { CUT_AFTER_BEGIN, CUT_AFTER_EXCHANGE, CUT_AFTER_ANSWER, CUT_AFTER_CONFIRM, CUT_BEFORE_FINISH, CUT_COUNT };

static void run_until_cut(int cut)
{
	if (cut == CUT_AFTER_BEGIN) {
		vm_begins();
		return;
	}
	vm_offers();
	if (cut == CUT_AFTER_EXCHANGE)
		return;
	owner_types(CODE);
	if (cut == CUT_AFTER_ANSWER)
		return;
	vm_confirms();
	if (cut == CUT_BEFORE_FINISH)
		vm_waits_for_link();
}

START_TEST(a_vm_that_is_cut_off_anywhere_leaves_the_old_pairing)
{
	_cleanup_free_ char *before = strdup(vm_conf());
	_cleanup_json_ json_t *told = NULL;

	limits = LIMITS;
	limits.code_usec = limits.confirm_usec = limits.finish_usec = 3000000;
	restart_exporter();
	pi_bed_wait_link(&bed, "UP");
	run_until_cut(_i);
	wait_pairing("FAILED");
	ck_assert_str_eq(vm_conf(), before);
	pi_bed_wait_link(&bed, "UP");
	if (_i > CUT_AFTER_EXCHANGE)
		told = owner_hears();
	ck_assert(_i <= CUT_AFTER_EXCHANGE || json_is_false(json_object_get(told, "ok")));
}
END_TEST

START_TEST(an_exporter_that_is_killed_anywhere_leaves_the_old_pairing)
{
	_cleanup_free_ char *before = strdup(vm_conf());

	run_until_cut(_i);
	if (owner.fd >= 0)
		control_ask_drop(&owner);
	control = control_free(control);
	pi_bed_kill(&bed);
	start_exporter();
	ck_assert_str_eq(vm_conf(), before);
	pi_bed_wait_link(&bed, "UP");
	expect_error(send("exchange", exchange), "not-found");
}
END_TEST

START_TEST(a_link_that_is_lost_before_the_end_is_no_pairing)
{
	_cleanup_json_ json_t *told = NULL;

	come_to_up();
	ssh_vm_kill(&bed.vm);
	wait_pairing("FAILED");
	expect_error(send("finish", finish), code_of(told = owner_hears()));
	ck_assert(!has_vm_conf());
	ck_assert_int_eq(link_get_state(exporter_link(bed.exporter)), LINK_UNPAIRED);
}
END_TEST

/* The link is up, and what is plugged in now is attached already. */
static void plug_while_up(void)
{
	come_to_up();
	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	pi_bed_wait(&bed, "1-1", "ATTACHED");
}

static void expect_given_back(void)
{
	pi_bed_wait_link(&bed, "UNPAIRED");
	pi_bed_wait(&bed, "1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), 0);
}

START_TEST(what_was_plugged_in_before_it_is_called_off_goes_back_to_the_pi)
{
	plug_while_up();
	json_decref(ask(json_pack("{s:s, s:s}", "request", "pairing-cancel", "session", pair_exchange_session(vm))));
	expect_error(owner_hears(), "cancelled");
	expect_given_back();
}
END_TEST

START_TEST(what_was_plugged_in_before_it_can_not_be_written_down_goes_back_to_the_pi)
{
	plug_while_up();
	temp_tree_make_dir(&bed.vm.tree, "vm.conf");
	expect_error(vm_finishes(), "no-permission");
	expect_error(owner_hears(), "no-permission");
	expect_given_back();
	temp_tree_remove(&bed.vm.tree, "vm.conf");
}
END_TEST

/* `finish` was heard and its answer lost, and SSH with it: the VM goes back. */
START_TEST(a_vm_that_goes_back_takes_the_pi_with_it)
{
	_cleanup_json_ json_t *paired = NULL, *told = NULL;

	come_to_up();
	paired = vm_finishes();
	expect_ok(paired);
	told = owner_hears();
	expect_ok(told);
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_HOST=127.0.0.1\n"));
	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	ssh_vm_deauthorize(&bed.vm);
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_driver(&bed, "1-1", "usb");
	pi_bed_wait_link(&bed, "UNPAIRED");
	ck_assert_ptr_null(strstr(vm_conf(), "VM_HOST"));
}
END_TEST

/* ---- a disk that takes its time ---- */

static unsigned awaited_writes;

static bool is_held(struct pi_bed *any)
{
	(void)any;
	return held_disk_count() >= awaited_writes && held_disk_has_one();
}

static void wait_write(unsigned count)
{
	awaited_writes = count;
	pi_bed_until(&bed, is_held, "write that waits for the disk");
}

/* `finish` was heard, and the disk has vm.conf and does not return. */
static void come_to_writing(void)
{
	_cleanup_json_ json_t *not_yet = NULL;

	come_to_up();
	held_disk_begin("vm.conf");
	not_yet = send("finish", finish);
	expect_ok(not_yet);
	ck_assert_str_eq(state_of(not_yet), "connecting");
	wait_write(1);
}

/* What was written is written over by what holds. */
static void let_it_be_taken_back(void)
{
	held_disk_release_one(0);
	wait_write(2);
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_ID=" VM_ID "\n"));
	held_disk_release_one(0);
}

static bool is_taken_back(struct pi_bed *any)
{
	(void)any;
	return strstr(vm_conf(), "VM_ID=" VM_ID "\n") == NULL;
}

START_TEST(until_vm_conf_is_on_the_disk_the_vm_asks_again_and_nobody_is_told)
{
	_cleanup_json_ json_t *again = NULL, *paired = NULL, *told = NULL;

	come_to_writing();
	again = send("finish", finish);
	ck_assert_str_eq(state_of(again), "connecting");
	ck_assert_str_eq(pairing_state(), "UP");
	ck_assert_ptr_null(control_ask_take(&owner));
	held_disk_end();
	paired = vm_finishes();
	expect_ok(paired);
	ck_assert_int_eq(pair_vm_handle_paired(vm, paired, &failure), 0);
	told = owner_hears();
	expect_ok(told);
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_ID=" VM_ID "\n"));
}
END_TEST

START_TEST(a_pairing_that_is_called_off_while_it_is_written_leaves_the_old_one)
{
	_cleanup_free_ char *before = strdup(vm_conf());
	_cleanup_json_ json_t *done = NULL;

	come_to_writing();
	done = ask(json_pack("{s:s, s:s}", "request", "pairing-cancel", "session", pair_exchange_session(vm)));
	expect_ok(done);
	expect_error(owner_hears(), "cancelled");
	expect_error(send("finish", finish), "cancelled");
	let_it_be_taken_back();
	pi_bed_until(&bed, is_taken_back, "old vm.conf");
	ck_assert_str_eq(vm_conf(), before);
	pi_bed_wait_link(&bed, "UP");
}
END_TEST

START_TEST(a_disk_that_takes_too_long_is_no_pairing_and_told)
{
	_cleanup_json_ json_t *told = NULL;

	limits.finish_usec = 2000000;
	restart_exporter();
	come_to_writing();
	wait_pairing("FAILED");
	told = owner_hears();
	ck_assert_str_eq(code_of(told), "timeout");
	ck_assert_ptr_nonnull(
		strstr(json_string_value(json_object_get(json_object_get(told, "error"), "text")), "could not be written in time"));
	pi_bed_wait_link(&bed, "UNPAIRED");
	let_it_be_taken_back();
	pi_bed_until(&bed, is_taken_back, "vm.conf without a VM");
	ck_assert_ptr_null(strstr(vm_conf(), "VM_HOST"));
}
END_TEST

START_TEST(a_vm_conf_that_is_changed_by_hand_while_a_pairing_is_written_holds)
{
	_cleanup_free_ char *before = strdup(vm_conf());
	char changed[2048];
	const char *host = strstr(before, "VM_HOST=127.0.0.1\n");

	come_to_writing();
	ck_assert_ptr_nonnull(host);
	snprintf(changed, sizeof(changed), "%.*sVM_HOST=localhost\n%s", (int)(host - before), before, host + strlen("VM_HOST=127.0.0.1\n"));
	temp_tree_put(&bed.vm.tree, "vm.conf", changed);
	exporter_reload(bed.exporter);
	expect_error(owner_hears(), "busy");
	let_it_be_taken_back();
	pi_bed_until(&bed, is_taken_back, "vm.conf as it was changed");
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_HOST=localhost\n"));
	pi_bed_wait_link(&bed, "UP");
}
END_TEST

/* `finish` was heard, vm.conf has its new content, and that is not on the disk yet. */
static void come_to_written(void)
{
	_cleanup_json_ json_t *not_yet = NULL;

	come_to_up();
	held_disk_begin(strrchr(bed.vm.tree.path, '/') + 1);
	not_yet = send("finish", finish);
	ck_assert_str_eq(state_of(not_yet), "connecting");
	wait_write(1);
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_ID=" VM_ID "\n"));
}

START_TEST(a_pairing_that_is_read_again_before_it_is_on_the_disk_stands)
{
	_cleanup_json_ json_t *paired = NULL, *told = NULL;

	come_to_written();
	exporter_reload(bed.exporter);
	loop_for(bed.daemon.event, 20000);
	ck_assert_str_eq(pairing_state(), "UP");
	held_disk_end();
	paired = vm_finishes();
	expect_ok(paired);
	ck_assert_int_eq(pair_vm_handle_paired(vm, paired, &failure), 0);
	told = owner_hears();
	expect_ok(told);
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_ID=" VM_ID "\n"));
	pi_bed_wait_link(&bed, "UP");
}
END_TEST

START_TEST(a_pairing_that_was_called_off_is_not_read_from_what_is_yet_to_be_taken_back)
{
	_cleanup_json_ json_t *done = NULL;

	come_to_written();
	done = ask(json_pack("{s:s, s:s}", "request", "pairing-cancel", "session", pair_exchange_session(vm)));
	expect_ok(done);
	expect_error(owner_hears(), "cancelled");
	exporter_reload(bed.exporter);
	loop_for(bed.daemon.event, 20000);
	ck_assert_int_eq(link_get_state(exporter_link(bed.exporter)), LINK_UNPAIRED);
	held_disk_end();
	pi_bed_until(&bed, is_taken_back, "vm.conf without a VM");
	ck_assert_ptr_null(strstr(vm_conf(), "VM_HOST"));
	exporter_reload(bed.exporter);
	ck_assert_int_eq(link_get_state(exporter_link(bed.exporter)), LINK_UNPAIRED);
}
END_TEST

/* Paired; the VM has gone back, and the disk has what was before it in vm.conf and does not return. */
static void come_to_going_back(void)
{
	_cleanup_json_ json_t *paired = NULL, *told = NULL;

	come_to_up();
	paired = vm_finishes();
	expect_ok(paired);
	told = owner_hears();
	expect_ok(told);
	held_disk_begin("vm.conf");
	ssh_vm_deauthorize(&bed.vm);
	ssh_vm_kill(&bed.vm);
	wait_write(1);
}

START_TEST(while_the_disk_takes_the_vms_going_back_others_go_on)
{
	_cleanup_json_ json_t *status = NULL;
	struct vm_config config = bed.vm.config;

	come_to_going_back();
	status = ask(json_pack("{s:s}", "request", "status"));
	expect_ok(status);
	expect_error(ask(json_pack("{s:s, s:s, s:s}", "request", "pair", "host", config.host, "host_key", config.host_key)), "busy");
	held_disk_end();
	pi_bed_wait_link(&bed, "UNPAIRED");
	ck_assert_ptr_null(strstr(vm_conf(), "VM_HOST"));
}
END_TEST

static struct failure told_failure;

static void on_tried(const struct failure *why, void *userdata)
{
	(void)userdata;
	told_failure = why ? *why : (struct failure){ 0 };
}

static bool has_failed(struct pi_bed *any)
{
	(void)any;
	return told_failure.code != FAILURE_NONE;
}

START_TEST(another_pairing_that_begins_in_the_moment_of_the_vms_going_back_is_not_taken_for_up)
{
	_cleanup_json_ json_t *paired = NULL, *told = NULL;
	struct vm_config other = bed.vm.config;

	come_to_up();
	paired = vm_finishes();
	told = owner_hears();
	ssh_vm_deauthorize(&bed.vm);
	ssh_vm_kill(&bed.vm);
	while (link_get_state(exporter_link(bed.exporter)) != LINK_REFUSED)
		ck_assert_int_ge(sd_event_run(bed.daemon.event, 100000), 0);
	told_failure = (struct failure){ 0 };
	other.port = 1; /* where nothing listens */
	ck_assert_int_eq(exporter_pair(bed.exporter, &other, on_tried, NULL), 0);
	pi_bed_until(&bed, has_failed, "end of a pairing with nobody");
	ck_assert_ptr_null(strstr(vm_conf(), "VM_PORT=1\n"));
}
END_TEST

static void on_unpaired(bool is_ended, const struct failure *why, void *userdata)
{
	ck_assert(!is_ended);
	on_tried(why, userdata);
}

START_TEST(an_end_that_comes_when_the_vm_has_gone_back_and_fails_leaves_what_vm_conf_says)
{
	come_to_going_back();
	told_failure = (struct failure){ 0 };
	ck_assert_int_eq(exporter_unpair(bed.exporter, on_unpaired, NULL, &told_failure), 0);
	held_disk_release_one(0);
	wait_write(2);
	held_disk_release_one(-EROFS);
	pi_bed_until(&bed, has_failed, "end that is told");
	ck_assert_int_eq(told_failure.code, FAILURE_NO_PERMISSION);
	ck_assert_ptr_null(strstr(vm_conf(), "VM_HOST"));
	pi_bed_wait_link(&bed, "UNPAIRED");
}
END_TEST

START_TEST(a_vm_that_shuts_the_pi_out_later_is_only_told)
{
	_cleanup_json_ json_t *paired = NULL, *told = NULL;

	limits.settle_usec = 200000;
	restart_exporter();
	come_to_up();
	paired = vm_finishes();
	told = owner_hears();
	loop_for(bed.daemon.event, 400000);
	ssh_vm_deauthorize(&bed.vm);
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "REFUSED");
	pi_bed_run(&bed, 300000);
	ck_assert_ptr_nonnull(strstr(vm_conf(), "VM_HOST=127.0.0.1\n"));
}
END_TEST

START_TEST(the_owner_can_call_it_off_at_any_time)
{
	_cleanup_json_ json_t *done = NULL;
	_cleanup_free_ char *before = strdup(vm_conf());

	run_until_cut(_i);
	done = ask(json_pack("{s:s, s:s}", "request", "pairing-cancel", "session", pair_exchange_session(vm)));
	expect_ok(done);
	if (_i > CUT_AFTER_EXCHANGE)
		expect_error(owner_hears(), "cancelled");
	expect_error(send("exchange", exchange), "cancelled");
	ck_assert_str_eq(vm_conf(), before);
	pi_bed_wait_link(&bed, "UP");
}
END_TEST

START_TEST(a_step_that_comes_again_with_other_content_is_refused_and_changes_nothing)
{
	_cleanup_json_ json_t *other = NULL;

	vm_offers();
	other = json_deep_copy(exchange);
	json_object_set_new(other, "share", json_string("3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258"));
	expect_error(send("exchange", other), "bad-request");
	owner_types(CODE);
	vm_confirms();
	vm_waits_for_link();
}
END_TEST

START_TEST(a_step_out_of_turn_ends_it)
{
	vm_offers();
	confirm = json_pack("{s:s, s:s}", "session", pair_exchange_session(vm), "tag", "00");
	expect_error(send("confirm", confirm), "bad-request");
	ck_assert_str_eq(pairing_state(), "FAILED");
}
END_TEST

static size_t count_waiting(void)
{
	_cleanup_json_ json_t *answer = ask(json_pack("{s:s}", "request", "pairings"));
	const json_t *entry;
	size_t i, n = 0;

	json_array_foreach(json_object_get(answer, "pairings"), i, entry)
		n += strcmp(state_of(entry), "BEGUN") == 0 || strcmp(state_of(entry), "WAITING") == 0;
	return n;
}

START_TEST(a_vm_that_begins_anew_is_listed_once)
{
	vm_offers();
	new_vm();
	vm_offers();
	ck_assert_uint_eq(count_waiting(), 1);
}
END_TEST

START_TEST(a_flood_from_one_address_crowds_out_nobody_else)
{
	char session[PAIR_SESSION_TEXT_SIZE];

	ck_assert_int_eq(pair_vm_begin(vm, &self, "127.0.0.1", 8080, CODE, &begin), 0);
	begun = send_from("10.0.0.2", "begin", begin);
	expect_ok(begun);
	snprintf(session, sizeof(session), "%s", json_string_value(json_object_get(begun, "session")));
	for (unsigned i = 0; i < 50; i++) {
		new_vm();
		snprintf(self.id, sizeof(self.id), "%032x", i);
		vm_begins();
	}
	ck_assert_uint_eq(count_waiting(), 3);
	expect_error(ask(json_pack("{s:s, s:s, s:s}", "request", "pairing-code", "session", session, "code", CODE)),
		     "busy"); /* it is there */
}
END_TEST

START_TEST(of_many_that_ask_the_oldest_gives_way_and_a_new_one_is_heard)
{
	char first[PAIR_SESSION_TEXT_SIZE];

	vm_offers();
	snprintf(first, sizeof(first), "%s", pair_exchange_session(vm));
	for (unsigned i = 0; i < 20; i++) {
		new_vm();
		vm_begins();
	}
	ck_assert_str_ne(first, pair_exchange_session(vm));
	expect_error(ask(json_pack("{s:s, s:s, s:s}", "request", "pairing-code", "session", first, "code", CODE)), "not-found");
	json_decref(send("exchange", exchange));
	owner_types(CODE);
	vm_confirms();
	vm_waits_for_link();
}
END_TEST

static const char *const FOUL[] = {
	"{\"request\":\"pairing\"}",
	"{\"request\":\"pairing\",\"step\":\"begin\"}",
	"{\"request\":\"pairing\",\"step\":\"begin\",\"message\":[]}",
	"{\"request\":\"pairing\",\"step\":\"begin\",\"message\":{}}",
	"{\"request\":\"pairing\",\"step\":7,\"message\":{}}",
	"{\"request\":\"pairing\",\"step\":\"begin\",\"from\":{},\"message\":{\"protocol\":1}}",
	"{\"request\":\"pairing-code\",\"session\":7,\"code\":123456}",
	"{\"request\":\"pairing-code\"}",
};

START_TEST(what_makes_no_sense_is_told_so)
{
	expect_error(ask(json_loads(FOUL[_i], 0, NULL)), "bad-request");
}
END_TEST

START_TEST(an_unknown_session_is_told_so)
{
	_cleanup_json_ json_t *message = json_pack("{s:s}", "session", "00112233445566778899aabbccddeeff");

	expect_error(send("exchange", message), "not-found");
	expect_error(send("cancel", message), "not-found");
	expect_error(ask(json_pack("{s:s, s:s, s:s}", "request", "pairing-code", "session", "", "code", CODE)), "not-found");
	expect_error(ask(json_pack("{s:s}", "request", "pairing-cancel")), "not-found");
}
END_TEST

int main(int argc, char **argv)
{
	TCase *good = tcase_create("good"), *bad = tcase_create("bad"), *paired = tcase_create("paired");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(good, setup, teardown);
	tcase_add_checked_fixture(bad, setup, teardown);
	tcase_add_checked_fixture(paired, setup_paired, teardown);
	tcase_add_test(good, the_right_digits_pair_and_vm_conf_is_written_at_the_end);
	tcase_add_test(good, the_owner_sees_who_asks);
	tcase_add_test(good, a_link_local_vm_is_where_its_request_came_from);
	tcase_add_test(good, an_answer_that_was_lost_is_given_again);
	tcase_add_test(bad, wrong_digits_fail_on_both_sides_and_write_nothing);
	tcase_add_test(bad, a_vm_that_does_not_know_the_digits_can_not_confirm);
	tcase_add_test(bad, what_is_no_code_is_no_guess);
	tcase_add_test(bad, three_wrong_codes_lock_and_the_lock_ends);
	tcase_add_test(bad, a_right_code_takes_two_wrong_ones_back);
	tcase_add_test(bad, another_host_key_than_the_confirmed_one_is_no_pairing);
	tcase_add_test(bad, a_vm_that_does_not_let_the_pi_in_is_no_pairing);
	tcase_add_test(bad, a_link_that_is_lost_before_the_end_is_no_pairing);
	tcase_add_test(bad, what_was_plugged_in_before_it_is_called_off_goes_back_to_the_pi);
	tcase_add_test(bad, what_was_plugged_in_before_it_can_not_be_written_down_goes_back_to_the_pi);
	tcase_add_test(bad, a_vm_that_goes_back_takes_the_pi_with_it);
	tcase_add_test(bad, while_the_disk_takes_the_vms_going_back_others_go_on);
	tcase_add_test(bad, until_vm_conf_is_on_the_disk_the_vm_asks_again_and_nobody_is_told);
	tcase_add_test(bad, a_pairing_that_is_read_again_before_it_is_on_the_disk_stands);
	tcase_add_test(bad, a_pairing_that_was_called_off_is_not_read_from_what_is_yet_to_be_taken_back);
	tcase_add_test(bad, a_disk_that_takes_too_long_is_no_pairing_and_told);
	tcase_add_test(bad, another_pairing_that_begins_in_the_moment_of_the_vms_going_back_is_not_taken_for_up);
	tcase_add_test(bad, an_end_that_comes_when_the_vm_has_gone_back_and_fails_leaves_what_vm_conf_says);
	tcase_add_test(bad, a_vm_that_shuts_the_pi_out_later_is_only_told);
	tcase_add_test(bad, a_step_that_comes_again_with_other_content_is_refused_and_changes_nothing);
	tcase_add_test(bad, a_step_out_of_turn_ends_it);
	tcase_add_test(good, a_vm_that_begins_anew_is_listed_once);
	tcase_add_test(bad, a_flood_from_one_address_crowds_out_nobody_else);
	tcase_add_test(bad, of_many_that_ask_the_oldest_gives_way_and_a_new_one_is_heard);
	tcase_add_test(bad, an_unknown_session_is_told_so);
	tcase_add_loop_test(bad, what_makes_no_sense_is_told_so, 0, ARRAY_SIZE(FOUL));
	tcase_add_loop_test(paired, a_vm_that_is_cut_off_anywhere_leaves_the_old_pairing, 0, CUT_COUNT);
	tcase_add_loop_test(paired, an_exporter_that_is_killed_anywhere_leaves_the_old_pairing, 0, CUT_COUNT);
	tcase_add_test(paired, a_pairing_that_is_called_off_while_it_is_written_leaves_the_old_one);
	tcase_add_test(paired, a_vm_conf_that_is_changed_by_hand_while_a_pairing_is_written_holds);
	tcase_add_loop_test(paired, the_owner_can_call_it_off_at_any_time, 0, CUT_COUNT);
	tcase_set_timeout(good, 60);
	tcase_set_timeout(bad, 60);
	tcase_set_timeout(paired, 60);
	return check_program_run("pi_pair", good, bad, paired, NULL);
}
