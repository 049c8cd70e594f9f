/* A disk that takes its time, as a Pi's SD card does: whoever wants something written waits for it, and nobody else. */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "control_ask.h"
#include "held_disk.h"
#include "pi_bed.h"
#include "rulebook.h"

static struct pi_bed bed;
static struct control *control;
static char socket_path[128];
static struct control_ask first, second, third;

static void start(void)
{
	pi_bed_start(&bed);
	snprintf(socket_path, sizeof(socket_path), "%s/control.sock", bed.run_dir);
	ck_assert_int_eq(control_new(bed.daemon.event, socket_path, bed.exporter, &control), 0);
}

static void setup_unpaired(void)
{
	pi_bed_setup(&bed);
	ssh_vm_script(&bed.vm, "control", "serve\n");
	first.fd = second.fd = third.fd = -EBADF;
	start();
}

static void setup(void)
{
	pi_bed_setup(&bed);
	ssh_vm_script(&bed.vm, "control", "serve\n");
	first.fd = second.fd = third.fd = -EBADF;
	pi_bed_pair(&bed);
	start();
	pi_bed_wait_link(&bed, "UP");
}

static void teardown(void)
{
	struct control_ask *const asks[] = { &first, &second, &third };

	held_disk_end();
	for (size_t i = 0; i < ARRAY_SIZE(asks); i++)
		if (asks[i]->fd >= 0)
			control_ask_drop(asks[i]);
	control = control_free(control);
	pi_bed_teardown(&bed);
}

/* ---- asking ---- */

static void start_naming(struct control_ask *ask, const char *device, const char *name)
{
	control_ask_start(ask, socket_path, json_pack("{s:s, s:s, s:s}", "request", "name", "device", device, "name", name));
}

static void start_asking(struct control_ask *ask, const char *request, const char *device)
{
	control_ask_start(ask, socket_path, json_pack("{s:s, s:s*}", "request", request, "device", device));
}

static void start_pairing(struct control_ask *ask)
{
	const struct vm_config *config = &bed.vm.config;

	control_ask_start(ask, socket_path,
			  json_pack("{s:s, s:s, s:s, s:s, s:i}", "request", "pair", "host", config->host, "user", config->user, "host_key",
				    config->host_key, "port", config->port));
}

static json_t *answer_of(struct control_ask *ask)
{
	return control_ask_wait(ask, bed.daemon.event);
}

/* The answer's error code; "" if it was done. In a buffer that lives until the next call. */
static const char *end_of(struct control_ask *ask)
{
	static char code[64];
	_cleanup_json_ json_t *answer = answer_of(ask);
	const char *error = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));

	snprintf(code, sizeof(code), "%s", error ? error : "");
	return code;
}

static void expect_no_answer(struct control_ask *ask)
{
	json_t *answer = control_ask_take(ask);

	ck_assert_msg(!answer, "it was answered already");
}

/* ---- the disk ---- */

static unsigned awaited_count;

static bool is_held(struct pi_bed *any)
{
	(void)any;
	return held_disk_count() >= awaited_count && held_disk_has_one();
}

/* Until so many writes have come to it, and the last of them is held. */
static void wait_held(unsigned count)
{
	awaited_count = count;
	pi_bed_until(&bed, is_held, "write that waits for the disk");
}

static const char *file(const char *name)
{
	return access(temp_tree_path(&bed.vm.tree, name), F_OK) == 0 ? temp_tree_get(&bed.vm.tree, name) : "";
}

static const char *awaited_file, *awaited_text;

static bool has_text(struct pi_bed *any)
{
	(void)any;
	return strstr(file(awaited_file), awaited_text) != NULL;
}

static void wait_text(const char *name, const char *text)
{
	awaited_file = name;
	awaited_text = text;
	pi_bed_until(&bed, has_text, text);
}

/* What is to become that file, or was left of it. */
static size_t count_temporary(const char *name)
{
	DIR *directory = opendir(bed.vm.tree.path);
	const struct dirent *entry;
	size_t n = 0, length = strlen(name);

	ck_assert_ptr_nonnull(directory);
	while ((entry = readdir(directory)))
		n += strncmp(entry->d_name, name, length) == 0 && entry->d_name[length] == '.';
	closedir(directory);
	return n;
}

/* ---- meanwhile ---- */

static void plug(const char *busid, const struct usb_sample *sample)
{
	fake_kernel_plug(&bed.kernel, busid, sample);
	pi_bed_wait(&bed, busid, "ATTACHED");
}

static void expect_status(void)
{
	struct control_ask ask;

	start_asking(&ask, "status", NULL);
	ck_assert_str_eq(end_of(&ask), "");
}

static void expect_life(const char *busid, const struct usb_sample *sample)
{
	expect_status();
	plug(busid, sample);
}

static const char *awaited_name;

static bool is_blocked(struct pi_bed *any)
{
	_cleanup_json_ json_t *status = pi_bed_status(any);
	const json_t *blocked = json_array_get(json_object_get(status, "blocked"), 0);
	const char *name = json_string_value(json_object_get(blocked, "name"));
	const char *step = json_string_value(json_object_get(blocked, "step"));

	return name && strcmp(name, awaited_name) == 0 && strncmp(step, "write /", 7) == 0 && strstr(step, awaited_name);
}

/* ---- rules ---- */

START_TEST(while_a_rule_waits_for_the_disk_others_go_on_and_status_shows_it)
{
	_cleanup_json_ json_t *answer = NULL;

	plug("1-1", &FT232R);
	held_disk_begin("devices.conf");
	start_naming(&first, "1-1", "bench");
	wait_held(1);
	expect_life("1-2", &CP2102);
	awaited_name = "devices.conf";
	pi_bed_until(&bed, is_blocked, "blocked write in the status");
	expect_no_answer(&first);
	ck_assert_str_eq(file("devices.conf"), "");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "name"), "");
	held_disk_end();
	answer = answer_of(&first);
	ck_assert(json_is_true(json_object_get(answer, "ok")));
	ck_assert_str_eq(json_string_value(json_object_get(answer, "busid")), "1-1");
	ck_assert_str_eq(json_string_value(json_object_get(answer, "name")), "bench");
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(answer, "rule")), "name=bench"));
	ck_assert_str_eq(file("devices.conf"), "default 0403:6001 serial=A50285BI name=bench\n");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "name"), "bench");
}
END_TEST

START_TEST(changes_that_wait_come_in_order_and_each_sees_what_the_one_before_it_wrote)
{
	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	held_disk_begin("devices.conf");
	start_naming(&first, "1-1", "bench");
	wait_held(1);
	start_naming(&second, "1-2", "bench");
	pi_bed_run(&bed, 20000); /* the order in which they are heard */
	start_asking(&third, "ignore", "1-1");
	pi_bed_run(&bed, 20000);
	ck_assert_uint_eq(held_disk_count(), 1);
	held_disk_release_one(0);
	ck_assert_str_eq(end_of(&first), "");
	ck_assert_str_eq(end_of(&second), "bad-request"); /* it is 1-1's by now */
	wait_held(2);
	expect_no_answer(&third);
	ck_assert_str_eq(file("devices.conf"), "default 0403:6001 serial=A50285BI name=bench\n");
	held_disk_release_one(0);
	ck_assert_str_eq(end_of(&third), "");
	ck_assert_str_eq(file("devices.conf"), "ignore 0403:6001 serial=A50285BI name=bench\n");
	pi_bed_wait(&bed, "1-1", "IGNORED");
	ck_assert_str_eq(pi_bed_field(&bed, "1-2", "state"), "ATTACHED");
}
END_TEST

START_TEST(who_hangs_up_while_his_change_waits_has_it_done_all_the_same)
{
	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	held_disk_begin("devices.conf");
	start_naming(&first, "1-1", "bench");
	wait_held(1);
	start_naming(&second, "1-2", "plank");
	pi_bed_run(&bed, 20000);
	control_ask_drop(&second); /* while it waits */
	control_ask_drop(&first);  /* while it is being written */
	pi_bed_run(&bed, 20000);
	start_asking(&third, "ignore", "1-1");
	held_disk_end();
	ck_assert_str_eq(end_of(&third), "");
	ck_assert_str_eq(file("devices.conf"), "ignore 0403:6001 serial=A50285BI name=bench\ndefault 10c4:ea60 serial=0001 name=plank\n");
}
END_TEST

START_TEST(a_device_that_is_unplugged_while_its_change_waits_has_it_when_it_is_back)
{
	_cleanup_json_ json_t *answer = NULL;

	plug("1-1", &FT232R);
	held_disk_begin("devices.conf");
	start_naming(&first, "1-1", "bench");
	wait_held(1);
	start_asking(&second, "ignore", "1-1");
	pi_bed_run(&bed, 20000);
	fake_kernel_unplug(&bed.kernel, "1-1");
	pi_bed_wait_gone(&bed, "1-1");
	held_disk_end();
	ck_assert_str_eq(end_of(&first), "");
	answer = answer_of(&second);
	ck_assert_str_eq(json_string_value(json_object_get(answer, "busid")), "1-1");
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(answer, "rule")), "ignore 0403:6001"));
	ck_assert_str_eq(file("devices.conf"), "ignore 0403:6001 serial=A50285BI name=bench\n");
	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	pi_bed_wait(&bed, "1-1", "IGNORED");
}
END_TEST

START_TEST(what_the_disk_does_not_take_is_told_and_the_rules_stay)
{
	_cleanup_json_ json_t *answer = NULL;
	const char *text;

	plug("1-1", &FT232R);
	held_disk_begin("devices.conf");
	start_asking(&first, "ignore", "1-1");
	wait_held(1);
	start_naming(&second, "1-1", "bench");
	pi_bed_run(&bed, 20000);
	held_disk_release_one(-ENOSPC);
	answer = answer_of(&first);
	text = json_string_value(json_object_get(json_object_get(answer, "error"), "text"));
	ck_assert_msg(text && strstr(text, "devices.conf can't be written: No space left on device"), "%s", text);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "error"), "cure")),
			 "Look at the file's directory and free space.");
	wait_held(2);
	ck_assert_str_eq(file("devices.conf"), "");
	ck_assert_uint_eq(count_temporary("devices.conf"), 1); /* the second's */
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "ATTACHED");
	held_disk_release_one(0);
	ck_assert_str_eq(end_of(&second), "");
	ck_assert_str_eq(file("devices.conf"), "default 0403:6001 serial=A50285BI name=bench\n");
	ck_assert_uint_eq(count_temporary("devices.conf"), 0);
}
END_TEST

START_TEST(no_more_changes_than_the_memory_bears_wait_for_a_disk_that_never_returns)
{
	struct rulebook *book = exporter_rulebook(bed.exporter);
	const struct device *device;
	struct failure failure;

	plug("1-1", &FT232R);
	device = pi_bed_device(&bed, "1-1");
	held_disk_begin("devices.conf");
	for (unsigned i = 0; i < RULE_WRITER_MAX; i++)
		ck_assert_int_eq(rulebook_set_action(book, device, POLICY_SHARE, NULL, NULL, &failure), 0);
	ck_assert_int_lt(rulebook_set_action(book, device, POLICY_SHARE, NULL, NULL, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_BUSY);
	wait_held(1);
	control = control_free(control);
	pi_bed_kill(&bed);
	held_disk_end();
	wait_text("devices.conf", "share 0403:6001"); /* the one that was under way */
}
END_TEST

/* ---- stopping ---- */

START_TEST(a_stop_waits_until_what_was_asked_for_is_on_the_disk_and_told)
{
	plug("1-1", &FT232R);
	held_disk_begin("devices.conf");
	start_naming(&first, "1-1", "bench");
	wait_held(1);
	start_naming(&second, "1-1", "plank");
	pi_bed_run(&bed, 20000);
	start_naming(&third, "1-1", "../x");
	exporter_stop(bed.exporter);
	pi_bed_wait_driver(&bed, "1-1", "usb");
	pi_bed_run(&bed, 100000);
	ck_assert_int_ne(sd_event_get_state(bed.daemon.event), SD_EVENT_FINISHED);
	held_disk_end();
	ck_assert_int_eq(sd_event_loop(bed.daemon.event), 0);
	control = control_free(control);
	bed.exporter = exporter_free(bed.exporter);
	ck_assert_str_eq(file("devices.conf"), "default 0403:6001 serial=A50285BI name=plank\n");
	json_decref(control_ask_take(&first));
	json_decref(control_ask_take(&second));
	json_decref(control_ask_take(&third));
}
END_TEST

START_TEST(a_stop_ends_also_when_the_last_change_that_waits_is_refused)
{
	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	held_disk_begin("devices.conf");
	start_naming(&first, "1-1", "bench");
	wait_held(1);
	start_naming(&second, "1-2", "bench");
	pi_bed_run(&bed, 20000);
	exporter_stop(bed.exporter);
	pi_bed_wait_driver(&bed, "1-1", "usb");
	pi_bed_wait_driver(&bed, "1-2", "usb");
	held_disk_end();
	ck_assert_int_eq(sd_event_loop(bed.daemon.event), 0);
	control = control_free(control);
	bed.exporter = exporter_free(bed.exporter);
	json_decref(control_ask_take(&first));
	json_decref(control_ask_take(&second));
}
END_TEST

START_TEST(an_exporter_that_ends_before_the_disk_leaves_a_change_whole_or_not_at_all)
{
	plug("1-1", &FT232R);
	held_disk_begin("devices.conf");
	start_naming(&first, "1-1", "bench");
	wait_held(1);
	start_naming(&second, "1-1", "plank");
	pi_bed_run(&bed, 20000);
	control = control_free(control);
	pi_bed_kill(&bed);
	ck_assert_str_eq(file("devices.conf"), "");
	held_disk_end();
	wait_text("devices.conf", "default 0403:6001 serial=A50285BI name=bench\n");
}
END_TEST

/* ---- pairing ---- */

START_TEST(paired_is_told_when_it_is_on_the_disk_and_nobody_else_waits_for_that)
{
	held_disk_begin("vm.conf");
	start_pairing(&first);
	wait_held(1);
	expect_life("1-1", &FT232R);
	awaited_name = "vm.conf";
	pi_bed_until(&bed, is_blocked, "blocked write in the status");
	start_pairing(&second);
	ck_assert_str_eq(end_of(&second), "busy");
	expect_no_answer(&first);
	ck_assert_str_eq(file("vm.conf"), "");
	held_disk_end();
	ck_assert_str_eq(end_of(&first), "");
	ck_assert_ptr_nonnull(strstr(file("vm.conf"), "VM_HOST=127.0.0.1\n"));
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "ATTACHED");
}
END_TEST

START_TEST(a_pairing_that_the_disk_does_not_take_is_none)
{
	held_disk_begin("vm.conf");
	start_pairing(&first);
	wait_held(1);
	plug("1-1", &FT232R);
	held_disk_release_one(-EROFS);
	ck_assert_str_eq(end_of(&first), "no-permission");
	pi_bed_wait_link(&bed, "UNPAIRED");
	pi_bed_wait(&bed, "1-1", "IGNORED");
	ck_assert_str_eq(file("vm.conf"), "");
}
END_TEST

START_TEST(a_pairing_that_is_ended_while_it_is_written_leaves_none)
{
	held_disk_begin("vm.conf");
	start_pairing(&first);
	wait_held(1);
	start_asking(&second, "unpair", NULL);
	ck_assert_str_eq(end_of(&first), "busy");
	expect_no_answer(&second);
	held_disk_end();
	ck_assert_str_eq(end_of(&second), "");
	ck_assert_ptr_null(strstr(file("vm.conf"), "VM_HOST"));
	pi_bed_wait_link(&bed, "UNPAIRED");
}
END_TEST

START_TEST(a_stop_waits_until_the_pairing_is_on_the_disk_and_told)
{
	held_disk_begin("vm.conf");
	start_pairing(&first);
	wait_held(1);
	plug("1-1", &FT232R);
	exporter_stop(bed.exporter);
	pi_bed_wait_driver(&bed, "1-1", "usb");
	pi_bed_run(&bed, 50000);
	ck_assert_int_ne(sd_event_get_state(bed.daemon.event), SD_EVENT_FINISHED);
	held_disk_end();
	ck_assert_int_eq(sd_event_loop(bed.daemon.event), 0);
	control = control_free(control);
	bed.exporter = exporter_free(bed.exporter);
	ck_assert_ptr_nonnull(strstr(file("vm.conf"), "VM_HOST=127.0.0.1\n"));
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb"); /* and not shared anew */
	json_decref(control_ask_take(&first));
}
END_TEST

START_TEST(an_exporter_that_ends_before_the_disk_leaves_a_pairing_whole_or_not_at_all)
{
	held_disk_begin("vm.conf");
	start_pairing(&first);
	wait_held(1);
	control = control_free(control);
	pi_bed_kill(&bed);
	ck_assert_ptr_null(strstr(file("vm.conf"), "VM_")); /* not at all */
	held_disk_end();
	wait_text("vm.conf", "VM_HOST=127.0.0.1\n");
	ck_assert_ptr_nonnull(strstr(file("vm.conf"), "VM_USER="));
	ck_assert_ptr_nonnull(strstr(file("vm.conf"), "VM_PORT="));
	ck_assert_ptr_nonnull(strstr(file("vm.conf"), "VM_HOST_KEY=")); /* whole */
}
END_TEST

START_TEST(until_its_end_is_on_the_disk_a_pairing_lasts)
{
	plug("1-1", &FT232R);
	held_disk_begin("vm.conf");
	start_asking(&first, "unpair", NULL);
	wait_held(1);
	start_asking(&second, "unpair", NULL);
	ck_assert_str_eq(end_of(&second), "busy");
	expect_life("1-2", &CP2102);
	expect_no_answer(&first);
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "ATTACHED");
	pi_bed_expect_heard(&bed, "\"unpair\"", 0);
	held_disk_end();
	ck_assert_str_eq(end_of(&first), "");
	pi_bed_wait_link(&bed, "UNPAIRED");
	pi_bed_wait(&bed, "1-1", "IGNORED");
	ck_assert_ptr_null(strstr(file("vm.conf"), "VM_HOST"));
}
END_TEST

START_TEST(an_end_that_the_disk_does_not_take_is_none_and_told)
{
	_cleanup_json_ json_t *answer = NULL;

	plug("1-1", &FT232R);
	held_disk_begin("vm.conf");
	start_asking(&first, "unpair", NULL);
	wait_held(1);
	held_disk_release_one(-EROFS);
	answer = answer_of(&first);
	ck_assert(json_is_false(json_object_get(answer, "ok")));
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "error"), "code")), "no-permission");
	pi_bed_run(&bed, 50000);
	ck_assert_int_eq(link_get_state(exporter_link(bed.exporter)), LINK_UP);
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "state"), "ATTACHED");
	ck_assert_ptr_nonnull(strstr(file("vm.conf"), "VM_HOST=127.0.0.1\n"));
	pi_bed_expect_heard(&bed, "\"unpair\"", 0);
}
END_TEST

/* The name of the directory that vm.conf lies in: it is synced when vm.conf has its new content. */
static const char *directory(void)
{
	return strrchr(bed.vm.tree.path, '/') + 1;
}

START_TEST(an_end_that_is_read_again_before_it_is_on_the_disk_is_told_to_the_vm)
{
	_cleanup_json_ json_t *answer = NULL;

	plug("1-1", &FT232R); /* meanwhile the VM's id was learned, and written */
	held_disk_begin(directory());
	start_asking(&first, "unpair", NULL);
	wait_held(1);
	ck_assert_ptr_null(strstr(file("vm.conf"), "VM_HOST"));
	exporter_reload(bed.exporter); /* SIGHUP */
	pi_bed_run(&bed, 20000);
	expect_no_answer(&first);
	held_disk_end();
	answer = answer_of(&first);
	ck_assert(json_is_true(json_object_get(answer, "vm_cleaned")));
	pi_bed_expect_heard(&bed, "\"unpair\"", 1);
	pi_bed_wait_link(&bed, "UNPAIRED");
}
END_TEST

START_TEST(a_vm_that_is_written_in_by_hand_while_the_end_is_written_is_not_told_of_it)
{
	_cleanup_free_ char *changed = NULL;
	_cleanup_json_ json_t *answer = NULL;
	const char *text;

	plug("1-1", &FT232R);
	ck_assert_int_gt(asprintf(&changed, "%sPATIENCE_MS=9000\n", file("vm.conf")), 0);
	held_disk_begin("vm.conf");
	start_asking(&first, "unpair", NULL);
	wait_held(1);
	temp_tree_put(&bed.vm.tree, "vm.conf", changed);
	exporter_reload(bed.exporter);
	pi_bed_wait_link(&bed, "UP");
	held_disk_end();
	answer = answer_of(&first);
	ck_assert(json_is_false(json_object_get(answer, "vm_cleaned")));
	text = json_string_value(json_object_get(json_object_get(answer, "left"), "text"));
	ck_assert_msg(text && strstr(text, "vm.conf was changed meanwhile"), "%s", text);
	pi_bed_expect_heard(&bed, "\"unpair\"", 0);
	pi_bed_wait_link(&bed, "UNPAIRED");
}
END_TEST

START_TEST(a_vm_conf_that_is_changed_by_hand_while_the_vms_id_is_written_holds)
{
	_cleanup_free_ char *before = NULL, *changed = NULL;
	const char *host;

	control = control_free(control);
	pi_bed_kill(&bed);
	pi_bed_pair(&bed);
	before = strdup(file("vm.conf"));
	host = strstr(before, "VM_HOST=127.0.0.1\n");
	ck_assert_ptr_nonnull(host);
	ck_assert_int_gt(asprintf(&changed, "%.*sVM_HOST=localhost\n%s", (int)(host - before), before,
				  host + strlen("VM_HOST=127.0.0.1\n")),
			 0);
	held_disk_begin("vm.conf");
	start();
	wait_held(1);
	temp_tree_put(&bed.vm.tree, "vm.conf", changed);
	exporter_reload(bed.exporter);
	pi_bed_wait_link(&bed, "UP");
	held_disk_release_one(0);
	wait_held(2);
	ck_assert_ptr_nonnull(strstr(file("vm.conf"), "VM_HOST=127.0.0.1\n"));
	held_disk_end();
	wait_text("vm.conf", "VM_HOST=localhost\n");
}
END_TEST

/* ---- the key ---- */

static bool has_key(struct pi_bed *any)
{
	struct control_ask ask;

	start_asking(&ask, "key", NULL);
	return strcmp(end_of(&ask), "") == 0 && access(temp_tree_path(&any->vm.tree, "id_ed25519"), F_OK) == 0;
}

START_TEST(a_key_that_is_missing_is_made_without_anybodys_waiting_for_the_disk)
{
	_cleanup_json_ json_t *answer = NULL;

	plug("1-1", &FT232R);
	ck_assert_int_eq(unlink(temp_tree_path(&bed.vm.tree, "id_ed25519")), 0);
	held_disk_begin("id_ed25519");
	start_asking(&first, "key", NULL);
	ck_assert_str_eq(end_of(&first), "busy");
	wait_held(1);
	ssh_vm_kill(&bed.vm); /* the link wants it, too, when it comes back */
	wait_held(2);
	expect_status();
	held_disk_release_one(-ENOSPC);
	held_disk_release_one(-ENOSPC);
	pi_bed_run(&bed, 50000);
	start_asking(&second, "key", NULL);
	answer = answer_of(&second);
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(json_object_get(answer, "error"), "text")),
				     "the SSH key could not be written: No space left on device"));
	held_disk_end();
	pi_bed_until(&bed, has_key, "key");
}
END_TEST

int main(int argc, char **argv)
{
	TCase *tests = tcase_create("slow disk"), *unpaired = tcase_create("unpaired");

	ssh_vm_play(argc, argv);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, while_a_rule_waits_for_the_disk_others_go_on_and_status_shows_it);
	tcase_add_test(tests, changes_that_wait_come_in_order_and_each_sees_what_the_one_before_it_wrote);
	tcase_add_test(tests, who_hangs_up_while_his_change_waits_has_it_done_all_the_same);
	tcase_add_test(tests, a_device_that_is_unplugged_while_its_change_waits_has_it_when_it_is_back);
	tcase_add_test(tests, what_the_disk_does_not_take_is_told_and_the_rules_stay);
	tcase_add_test(tests, no_more_changes_than_the_memory_bears_wait_for_a_disk_that_never_returns);
	tcase_add_test(tests, a_stop_waits_until_what_was_asked_for_is_on_the_disk_and_told);
	tcase_add_test(tests, a_stop_ends_also_when_the_last_change_that_waits_is_refused);
	tcase_add_test(tests, an_exporter_that_ends_before_the_disk_leaves_a_change_whole_or_not_at_all);
	tcase_add_test(tests, until_its_end_is_on_the_disk_a_pairing_lasts);
	tcase_add_test(tests, an_end_that_the_disk_does_not_take_is_none_and_told);
	tcase_add_test(tests, an_end_that_is_read_again_before_it_is_on_the_disk_is_told_to_the_vm);
	tcase_add_test(tests, a_vm_that_is_written_in_by_hand_while_the_end_is_written_is_not_told_of_it);
	tcase_add_test(tests, a_vm_conf_that_is_changed_by_hand_while_the_vms_id_is_written_holds);
	tcase_add_test(tests, a_key_that_is_missing_is_made_without_anybodys_waiting_for_the_disk);
	tcase_set_timeout(unpaired, 60);
	tcase_add_checked_fixture(unpaired, setup_unpaired, teardown);
	tcase_add_test(unpaired, paired_is_told_when_it_is_on_the_disk_and_nobody_else_waits_for_that);
	tcase_add_test(unpaired, a_pairing_that_the_disk_does_not_take_is_none);
	tcase_add_test(unpaired, a_pairing_that_is_ended_while_it_is_written_leaves_none);
	tcase_add_test(unpaired, a_stop_waits_until_the_pairing_is_on_the_disk_and_told);
	tcase_add_test(unpaired, an_exporter_that_ends_before_the_disk_leaves_a_pairing_whole_or_not_at_all);
	return check_program_run("pi_slow_disk", tests, unpaired, NULL);
}
