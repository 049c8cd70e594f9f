/* The exporter's own life: killed and started again, paired and unpaired, reloaded, asked for a sync. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "inject.h"
#include "pi_bed.h"
#include "sysfs.h"

static struct pi_bed bed;

static void setup(void)
{
	pi_bed_setup(&bed);
}

static void setup_up(void)
{
	pi_bed_setup_up(&bed);
}

static void teardown(void)
{
	pi_bed_teardown(&bed);
}

static void plug(const char *busid, const struct usb_sample *sample)
{
	fake_kernel_plug(&bed.kernel, busid, sample);
}

static void expect_device(const char *busid, const char *state)
{
	pi_bed_wait(&bed, busid, state);
}

static const char *held(void)
{
	return temp_tree_get(&bed.vm.tree, "run/held");
}

/* ---- killed and started again ---- */

START_TEST(a_successor_finds_what_its_killed_predecessor_held)
{
	plug("1-1", &HUB); /* found before the others, and with a driver */
	plug("1-1.1", &FT232R);
	plug("1-1.2", &CP2102);
	plug("1-1.3", &KEYBOARD_DEVICE);
	expect_device("1-1.1", "ATTACHED");
	expect_device("1-1.2", "ATTACHED");
	pi_bed_kill(&bed);
	ck_assert_ptr_nonnull(strstr(held(), "1-1.1\n"));
	fake_kernel_writes(&bed.kernel);
	pi_bed_start(&bed);
	expect_device("1-1.1", "ATTACHED");
	expect_device("1-1.2", "ATTACHED");
	expect_device("1-1.3", "IGNORED");
	/* they never left usbip-host meanwhile */
	ck_assert_ptr_null(strstr(fake_kernel_writes(&bed.kernel), "unbind"));
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 2);
}
END_TEST

START_TEST(a_successor_that_is_killed_at_once_leaves_the_same_to_its_own)
{
	plug("1-1", &HUB);
	plug("1-1.1", &FT232R);
	expect_device("1-1.1", "ATTACHED");
	for (unsigned i = 0; i < 3; i++) {
		pi_bed_kill(&bed);
		pi_bed_start(&bed);
		ck_assert_ptr_nonnull(strstr(held(), "1-1.1\n"));
	}
	expect_device("1-1.1", "ATTACHED");
}
END_TEST

START_TEST(a_successor_takes_over_a_session_that_is_still_being_torn_down)
{
	bed.kernel.teardown_msec = 300;
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	bed.exporter = exporter_free(bed.exporter);
	pi_bed_start(&bed);
	expect_device("1-1", "ATTACHED");
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 1);
}
END_TEST

START_TEST(a_device_between_two_drivers_is_taken_up)
{
	fake_kernel_have(&bed.kernel, "1-1", &FT232R, ""); /* the predecessor died between unbind and bind */
	temp_tree_put(&bed.vm.tree, "run/held", "1-1\n");
	pi_bed_pair(&bed);
	pi_bed_start(&bed);
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(what_a_predecessor_held_goes_back_if_the_pi_is_not_paired_any_more)
{
	fake_kernel_have(&bed.kernel, "1-1", &FT232R, "usbip-host");
	temp_tree_put(&bed.vm.tree, "run/held", "1-1\n");
	pi_bed_start(&bed);
	expect_device("1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), 0);
	ck_assert_str_eq(held(), "");
}
END_TEST

START_TEST(what_somebody_else_bound_is_left_alone)
{
	fake_kernel_have(&bed.kernel, "1-1", &FT232R, "usbip-host");
	pi_bed_pair(&bed);
	pi_bed_start(&bed);
	expect_device("1-1", "IGNORED");
	pi_bed_wait_link(&bed, "UP");
	pi_bed_run(&bed, 200000);
	ck_assert_msg(strstr(pi_bed_field(&bed, "1-1", "reason"), "somebody else"), "%s", pi_bed_field(&bed, "1-1", "reason"));
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usbip-host");
	exporter_stop(bed.exporter);
	ck_assert_int_eq(sd_event_loop(bed.daemon.event), 0);
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usbip-host");
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	bed.exporter = exporter_free(bed.exporter);
}
END_TEST

/* As `usbip bind` does. */
static void bind_by_hand(const char *busid)
{
	_cleanup_close_ int sysfs = open(bed.kernel.sysfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char command[32];

	snprintf(command, sizeof(command), "add %s", busid);
	ck_assert_int_eq(sysfs_write(sysfs, "bus/usb/drivers/usb/unbind", busid), 0);
	ck_assert_int_eq(sysfs_write(sysfs, "bus/usb/drivers/usbip-host/match_busid", command), 0);
	ck_assert_int_eq(sysfs_write(sysfs, "bus/usb/drivers/usbip-host/bind", busid), 0);
	(void)fake_kernel_writes(&bed.kernel);
}

START_TEST(what_somebody_binds_while_we_run_is_left_alone)
{
	pi_bed_start(&bed);
	plug("1-1", &FT232R);
	plug("1-2", &KEYBOARD_DEVICE);
	expect_device("1-1", "IGNORED"); /* not paired */
	expect_device("1-2", "IGNORED");
	bind_by_hand("1-1");
	bind_by_hand("1-2");
	pi_bed_pair(&bed);
	exporter_reload(bed.exporter);
	pi_bed_wait_link(&bed, "UP");
	pi_bed_run(&bed, 300000);
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	device_share(pi_bed_device(&bed, "1-1")); /* a person takes it */
	expect_device("1-1", "ATTACHED");
	exporter_stop(bed.exporter);
	ck_assert_int_eq(sd_event_loop(bed.daemon.event), 0);
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-2"), "usbip-host");
	bed.exporter = exporter_free(bed.exporter);
}
END_TEST

START_TEST(a_stop_gives_everything_back_and_the_held_file_is_empty)
{
	bed.kernel.teardown_msec = 100;
	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	expect_device("1-1", "ATTACHED");
	expect_device("1-2", "ATTACHED");
	exporter_stop(bed.exporter);
	ck_assert_int_eq(sd_event_loop(bed.daemon.event), 0);
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-2"), "usb");
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), 0);
	ck_assert_str_eq(held(), "");
	bed.exporter = exporter_free(bed.exporter);
}
END_TEST

START_TEST(a_stop_does_not_wait_for_ever_for_a_kernel_that_does_not_let_go)
{
	uint64_t begin;

	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	bed.kernel.teardown_msec = 60000;
	begin = clock_now_usec();
	exporter_stop(bed.exporter);
	ck_assert_int_eq(sd_event_loop(bed.daemon.event), 0);
	ck_assert_uint_lt(clock_now_usec() - begin, 12000000 * test_slowness());
	ck_assert_str_eq(held(), "1-1\n"); /* for the successor */
	bed.exporter = exporter_free(bed.exporter);
}
END_TEST

/* ---- detached by hand, and started again ---- */

static const char *kept(void)
{
	return temp_tree_get(&bed.vm.tree, "run/kept");
}

static void release(struct device *device, void *userdata)
{
	(void)userdata;
	device_release(device, "usbpush-exporter is stopped");
}

/* It is killed, or stopped first: as exporter_stop() does, but that the loop goes on, for the next one. */
static void end_exporter(bool is_stopped)
{
	if (is_stopped) {
		exporter_for_each(bed.exporter, release, NULL);
		pi_bed_wait_driver(&bed, "1-1", "usb");
		pi_bed_wait_driver(&bed, "1-2", "usb");
		expect_device("1-1", "IGNORED");
		expect_device("1-2", "IGNORED");
	}
	pi_bed_kill(&bed);
}

/* Starts another one. By when it has attached 1-2, it has had the time for 1-1, too. */
static void start_again(void)
{
	pi_bed_start(&bed);
	pi_bed_wait_link(&bed, "UP");
	expect_device("1-2", "ATTACHED");
	pi_bed_run(&bed, 200000);
}

static void expect_kept_here(const char *why)
{
	expect_device("1-1", "IGNORED");
	ck_assert_msg(strstr(pi_bed_field(&bed, "1-1", "reason"), why), "%s", pi_bed_field(&bed, "1-1", "reason"));
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
}

static void detach_by_hand(void)
{
	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	expect_device("1-1", "ATTACHED");
	expect_device("1-2", "ATTACHED");
	ck_assert_str_eq(kept(), "");
	device_detach(pi_bed_device(&bed, "1-1"), DETACHED_HERE);
	expect_kept_here("detached by hand");
}

START_TEST(what_was_detached_by_hand_stays_so_when_the_exporter_is_started_again)
{
	detach_by_hand();
	for (unsigned i = 0; i < 2; i++) { /* and again */
		end_exporter(_i);
		start_again();
		expect_kept_here("detached by hand; usbpush attach brings it back");
	}
	device_share(pi_bed_device(&bed, "1-1"));
	expect_device("1-1", "ATTACHED");
	ck_assert_str_eq(kept(), "");
	end_exporter(_i);
	start_again();
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(what_was_detached_on_the_vm_stays_so_when_the_exporter_is_started_again)
{
	struct message word = { .type = MESSAGE_DETACHED, .reason = DETACHED_BY_HAND };

	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	expect_device("1-1", "ATTACHED");
	expect_device("1-2", "ATTACHED");
	device_handle_message(pi_bed_device(&bed, "1-1"), &word);
	expect_kept_here("detached on the VM by hand");
	end_exporter(_i);
	start_again();
	expect_kept_here("detached by hand");
}
END_TEST

START_TEST(what_was_detached_by_hand_before_it_could_be_given_back_is_given_back_by_the_successor)
{
	bed.kernel.teardown_msec = 300;
	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	expect_device("1-1", "ATTACHED");
	expect_device("1-2", "ATTACHED");
	device_detach(pi_bed_device(&bed, "1-1"), DETACHED_HERE);
	expect_device("1-1", "BINDING");
	pi_bed_kill(&bed);
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usbip-host");
	start_again();
	expect_kept_here("detached by hand");
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 1);
}
END_TEST

START_TEST(what_was_detached_by_hand_is_shared_at_its_next_plug)
{
	detach_by_hand();
	ck_assert_str_ne(kept(), "");
	if (_i)
		pi_bed_kill(&bed); /* there is nobody to see it */
	fake_kernel_unplug(&bed.kernel, "1-1");
	if (!_i) {
		pi_bed_wait_gone(&bed, "1-1");
		ck_assert_str_eq(kept(), "");
	}
	plug("1-1", &FT232R);
	if (_i)
		start_again();
	expect_device("1-1", "ATTACHED");
	ck_assert_str_eq(kept(), "");
}
END_TEST

START_TEST(what_a_rule_or_a_stop_kept_here_is_nobodys_wish)
{
	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	expect_device("1-1", "ATTACHED");
	expect_device("1-2", "ATTACHED");
	temp_tree_put(&bed.vm.tree, "devices.conf", "ignore 0403:6001\n");
	exporter_reload(bed.exporter);
	expect_device("1-1", "IGNORED");
	ck_assert_str_eq(kept(), "");
	end_exporter(true);
	ck_assert_str_eq(kept(), "");
	temp_tree_put(&bed.vm.tree, "devices.conf", "");
	start_again();
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(what_was_detached_by_hand_and_by_a_rule_says_which_of_them_still_holds_it)
{
	detach_by_hand();
	temp_tree_put(&bed.vm.tree, "devices.conf", "ignore 0403:6001\n");
	exporter_reload(bed.exporter);
	end_exporter(false);
	start_again();
	expect_kept_here("a rule keeps it here");
	temp_tree_put(&bed.vm.tree, "devices.conf", "");
	exporter_reload(bed.exporter);
	expect_kept_here(DETACHED_HERE);
}
END_TEST

START_TEST(a_kept_file_that_can_not_be_read_or_written_holds_nobody_up)
{
	detach_by_hand();
	pi_bed_kill(&bed);
	temp_tree_remove(&bed.vm.tree, "run/kept");
	temp_tree_make_dir(&bed.vm.tree, "run/kept");
	start_again();
	expect_device("1-1", "ATTACHED");
	device_detach(pi_bed_device(&bed, "1-1"), DETACHED_HERE);
	expect_kept_here("detached by hand");
	expect_device("1-2", "ATTACHED");
	temp_tree_remove(&bed.vm.tree, "run/kept");
}
END_TEST

/* ---- sync ---- */

static unsigned n_controls;

static bool has_new_control(struct pi_bed *own)
{
	return ssh_vm_count(&own->vm, "control") > n_controls;
}

START_TEST(a_restarted_handler_that_keeps_a_device_costs_it_nothing)
{
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	n_controls = ssh_vm_count(&bed.vm, "control");
	fake_kernel_writes(&bed.kernel);
	ssh_vm_end_players(&bed.vm, "control");
	pi_bed_until(&bed, has_new_control, "new control channel");
	pi_bed_wait_link(&bed, "UP");
	pi_bed_run(&bed, 200000);
	expect_device("1-1", "ATTACHED");
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
	pi_bed_expect_heard(&bed, "\"streaming\":true", 1);
}
END_TEST

static bool has_name(struct pi_bed *own)
{
	return strcmp(pi_bed_field(own, "1-1", "name"), "meter") == 0;
}

static bool has_told_name(struct pi_bed *own)
{
	return ssh_vm_count_heard(&own->vm, "\"name\":\"meter\"") > 0;
}

START_TEST(a_name_that_is_given_while_the_handler_is_away_is_told_when_it_is_back)
{
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	ssh_vm_script(&bed.vm, "control", "end\n");
	ssh_vm_end_players(&bed.vm, "control");
	pi_bed_wait_link(&bed, "SYNCING");
	temp_tree_put(&bed.vm.tree, "devices.conf", "share 0403:6001 name=meter\n");
	pi_bed_until(&bed, has_name, "new name");
	ck_assert(!has_told_name(&bed));
	ssh_vm_script(&bed.vm, "control", "serve\n");
	pi_bed_until(&bed, has_told_name, "name in what the VM heard");
	expect_device("1-1", "ATTACHED");
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), 1);
}
END_TEST

static unsigned n_connects;

static bool has_connects(struct pi_bed *own)
{
	(void)own;
	return ssh_vm_count_offers(&bed.vm) >= n_connects;
}

START_TEST(a_device_that_the_vm_did_not_keep_is_attached_anew)
{
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	n_controls = ssh_vm_count(&bed.vm, "control");
	ssh_vm_script(&bed.vm, "control", "forget\nserve\n");
	ssh_vm_end_players(&bed.vm, "control");
	pi_bed_until(&bed, has_new_control, "new control channel");
	n_connects = 2;
	pi_bed_until(&bed, has_connects, "second offer");
	expect_device("1-1", "ATTACHED");
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 1);
}
END_TEST

/* ---- paired and unpaired ---- */

static struct failure pair_failure;
static unsigned n_pair_ends;

static void on_paired(const struct failure *failure, void *userdata)
{
	ck_assert_ptr_eq(userdata, &bed);
	n_pair_ends++;
	pair_failure = failure ? *failure : (struct failure){ 0 };
}

static void on_unpaired(bool is_ended, const struct failure *failure, void *userdata)
{
	ck_assert_msg(is_ended, "%s", failure ? failure->text : "");
	on_paired(failure, userdata);
}

static bool has_pair_end(struct pi_bed *own)
{
	(void)own;
	return n_pair_ends > 0;
}

/* Pairs, and waits for what becomes of it. */
static void pair_with(const struct vm_config *config)
{
	n_pair_ends = 0;
	ck_assert_int_eq(exporter_pair(bed.exporter, config, on_paired, &bed), 0);
	pi_bed_until(&bed, has_pair_end, "end of the pairing");
	pi_bed_run(&bed, 20000);
	ck_assert_uint_eq(n_pair_ends, 1);
}

static struct vm_config wrong_key(void)
{
	struct vm_config config = bed.vm.config;
	_cleanup_free_ char *line = NULL;
	struct failure failure;

	ck_assert_int_eq(transport_key_public(bed.vm.key_path, "", &line, &failure), 0); /* a key, but another's */
	ck_assert_int_eq(transport_key_parse(line, config.host_key, sizeof(config.host_key), NULL, &failure), 0);
	return config;
}

static struct vm_config written_config(void)
{
	struct vm_config config;

	ck_assert_int_eq(vm_config_load(bed.config_path, NULL, NULL, &config), 0);
	return config;
}

START_TEST(a_pairing_that_works_is_written_and_shares_what_is_plugged_in)
{
	const struct vm_config *wanted = &bed.vm.config;
	struct vm_config written;

	pi_bed_start(&bed);
	plug("1-1", &FT232R);
	plug("1-2", &HUB);
	expect_device("1-1", "IGNORED");
	pair_with(wanted);
	ck_assert_int_eq(pair_failure.code, FAILURE_NONE);
	written = written_config();
	ck_assert(vm_config_equal(&written, wanted));
	expect_device("1-1", "ATTACHED");
	expect_device("1-2", "IGNORED");
}
END_TEST

START_TEST(a_pairing_that_fails_is_not_written_and_the_pi_stays_unpaired)
{
	const struct vm_config config = wrong_key();

	pi_bed_start(&bed);
	pair_with(&config);
	ck_assert_int_eq(pair_failure.code, FAILURE_HOST_KEY);
	pi_bed_wait_link(&bed, "UNPAIRED");
	ck_assert_int_eq(access(bed.config_path, F_OK), -1);
}
END_TEST

START_TEST(what_is_plugged_in_during_a_pairing_that_fails_goes_back_to_the_pi)
{
	pi_bed_start(&bed);
	bed.vm.wire = WIRE_SILENT;
	n_pair_ends = 0;
	ck_assert_int_eq(exporter_pair(bed.exporter, &bed.vm.config, on_paired, &bed), 0);
	pi_bed_wait_link(&bed, "AUTHENTICATING");
	plug("1-1", &FT232R);
	expect_device("1-1", "READY");
	bed.vm.held[0] = close_fd(bed.vm.held[0]);
	pi_bed_until(&bed, has_pair_end, "end of the pairing");
	ck_assert_int_ne(pair_failure.code, FAILURE_NONE);
	expect_device("1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), 0);
	bed.vm.wire = WIRE_SSHD;
	pair_with(&bed.vm.config);
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(a_pairing_that_fails_leaves_the_old_one_in_place)
{
	const struct vm_config config = wrong_key();
	struct vm_config written;

	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	pair_with(&config);
	ck_assert_int_eq(pair_failure.code, FAILURE_HOST_KEY);
	pi_bed_wait_link(&bed, "UP");
	expect_device("1-1", "ATTACHED");
	written = written_config();
	ck_assert(vm_config_equal(&written, &bed.vm.config));
}
END_TEST

START_TEST(a_pairing_that_can_not_be_written_is_none)
{
	pi_bed_start(&bed);
	temp_tree_make_dir(&bed.vm.tree, "vm.conf");
	pair_with(&bed.vm.config);
	ck_assert_int_eq(pair_failure.code, FAILURE_NO_PERMISSION);
	pi_bed_wait_link(&bed, "UNPAIRED");
	temp_tree_remove(&bed.vm.tree, "vm.conf");
}
END_TEST

START_TEST(one_pairing_at_a_time)
{
	pi_bed_start(&bed);
	n_pair_ends = 0;
	ck_assert_int_eq(exporter_pair(bed.exporter, &bed.vm.config, on_paired, &bed), 0);
	ck_assert_int_eq(exporter_pair(bed.exporter, &bed.vm.config, on_paired, NULL), -EBUSY);
	pi_bed_until(&bed, has_pair_end, "end of the pairing");
	pair_with(&bed.vm.config);
	ck_assert_int_eq(pair_failure.code, FAILURE_NONE);
}
END_TEST

static bool is_written(struct pi_bed *own)
{
	return access(own->config_path, F_OK) == 0;
}

START_TEST(a_pairing_goes_on_when_who_asked_for_it_has_gone)
{
	pi_bed_start(&bed);
	n_pair_ends = 0;
	ck_assert_int_eq(exporter_pair(bed.exporter, &bed.vm.config, on_paired, &bed), 0);
	exporter_pair_forget(bed.exporter, &bed);
	pi_bed_wait_link(&bed, "UP");
	pi_bed_until(&bed, is_written, "vm.conf");
	pi_bed_run(&bed, 50000);
	ck_assert_uint_eq(n_pair_ends, 0);
}
END_TEST

/* Ends the pairing, and waits for what the VM makes of it: pair_failure. */
static void unpair(void)
{
	struct failure failure;

	n_pair_ends = 0;
	ck_assert_int_eq(exporter_unpair(bed.exporter, on_unpaired, &bed, &failure), 0);
	pi_bed_until(&bed, has_pair_end, "end of the pairing");
	ck_assert_str_eq(written_config().host, "");
	pi_bed_wait_link(&bed, "UNPAIRED");
	pi_bed_run(&bed, 20000);
	ck_assert_uint_eq(n_pair_ends, 1);
}

START_TEST(a_vm_that_is_up_is_told_of_the_pairings_end)
{
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	unpair();
	ck_assert_int_eq(pair_failure.code, FAILURE_NONE);
	pi_bed_expect_heard(&bed, "\"unpair\"", 1);
	expect_device("1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	unpair(); /* once more is no harm, and nobody is asked */
	ck_assert_int_eq(pair_failure.code, FAILURE_NONE);
	pi_bed_expect_heard(&bed, "\"unpair\"", 1);
}
END_TEST

static const struct {
	const char *answer, *text;
	enum failure_code code;
} LEFT[] = {
	{ "{\"type\":\"unknown\",\"of\":\"unpair\"}\n", "older", FAILURE_UNREACHABLE },
	{ "{\"type\":\"unpaired\",\"code\":\"timeout\",\"text\":\"its key is still there\",\"cure\":\"sudo usbpush-vm unpair pi\"}\n",
	  "still there", FAILURE_TIMEOUT },
	{ "{\"type\":\"refused\",\"code\":\"internal\",\"text\":\"no room on /run\",\"cure\":\"\"}\n", "no room on /run",
	  FAILURE_UNREACHABLE },
	{ "nonsense\n", "no sense", FAILURE_UNREACHABLE },
	{ "", "did not answer", FAILURE_UNREACHABLE },
};

START_TEST(a_vm_that_does_not_forget_this_pi_is_told_with_the_cure)
{
	ssh_vm_answer_unpair(&bed.vm, LEFT[_i].answer);
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	unpair();
	ck_assert_int_eq(pair_failure.code, LEFT[_i].code);
	ck_assert_ptr_nonnull(strstr(pair_failure.text, LEFT[_i].text));
	ck_assert_ptr_nonnull(strstr(pair_failure.cure, "usbpush-vm unpair"));
	expect_device("1-1", "IGNORED");
}
END_TEST

START_TEST(a_vm_that_is_away_is_not_told_and_the_cure_says_so)
{
	bed.vm.wire = WIRE_CLOSED;
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	unpair();
	ck_assert_int_eq(pair_failure.code, FAILURE_UNREACHABLE);
	ck_assert_ptr_nonnull(strstr(pair_failure.cure, "usbpush-vm unpair"));
}
END_TEST

START_TEST(while_the_pairing_ends_no_other_begins_and_nothing_new_is_shared)
{
	struct failure failure;

	ssh_vm_answer_unpair(&bed.vm, "");
	n_pair_ends = 0;
	ck_assert_int_eq(exporter_unpair(bed.exporter, on_unpaired, &bed, &failure), 0);
	ck_assert_int_eq(exporter_pair(bed.exporter, &bed.vm.config, on_paired, &bed), -EBUSY);
	ck_assert_int_lt(exporter_unpair(bed.exporter, on_unpaired, &bed, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_BUSY);
	plug("1-1", &FT232R);
	pi_bed_until(&bed, has_pair_end, "end of the pairing");
	expect_device("1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	ssh_vm_answer_unpair(&bed.vm, "{\"type\":\"unpaired\"}\n");
	pair_with(&bed.vm.config);
	ck_assert_int_eq(pair_failure.code, FAILURE_NONE);
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(a_file_that_is_changed_while_the_pairing_ends_counts)
{
	struct failure failure;

	ssh_vm_answer_unpair(&bed.vm, "");
	n_pair_ends = 0;
	ck_assert_int_eq(exporter_unpair(bed.exporter, on_unpaired, &bed, &failure), 0);
	pi_bed_expect_heard(&bed, "\"unpair\"", 1); /* it is written */
	pi_bed_pair(&bed);
	exporter_reload(bed.exporter);
	pi_bed_until(&bed, has_pair_end, "end of the pairing");
	ck_assert_int_eq(pair_failure.code, FAILURE_UNREACHABLE);
	pi_bed_wait_link(&bed, "UP");
	ck_assert_str_ne(written_config().host, "");
}
END_TEST

START_TEST(a_vm_that_ends_the_pairing_is_shown_with_the_reason)
{
	json_t *link;

	ssh_vm_script(&bed.vm, "control",
		      "say {\"type\":\"refused\",\"code\":\"not-paired\",\"text\":\"the pairing was ended on the VM\",\"cure\":\"x\"}\n");
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "REFUSED");
	link = link_to_json(exporter_link(bed.exporter));
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(link, "error"), "code")), "not-paired");
	json_decref(link);
	unpair(); /* there is nothing left to do on that VM */
	ck_assert_int_eq(pair_failure.code, FAILURE_NONE);
}
END_TEST

START_TEST(unpairing_gives_every_device_back)
{
	struct failure failure;

	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	ck_assert_int_eq(exporter_unpair(bed.exporter, NULL, NULL, &failure), 0);
	pi_bed_wait_link(&bed, "UNPAIRED");
	expect_device("1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), 0);
	ck_assert_str_eq(written_config().host, "");
	plug("1-2", &CP2102);
	expect_device("1-2", "IGNORED");
}
END_TEST

START_TEST(unpairing_during_a_pairing_ends_that_and_the_next_may_begin)
{
	struct vm_config other = bed.vm.config;
	struct failure failure;

	bed.vm.wire = WIRE_SILENT;
	snprintf(other.host, sizeof(other.host), "localhost"); /* another VM, as far as anybody can tell */
	n_pair_ends = 0;
	ck_assert_int_eq(exporter_pair(bed.exporter, &other, on_paired, &bed), 0);
	pi_bed_wait_link(&bed, "AUTHENTICATING");
	ck_assert_int_eq(exporter_unpair(bed.exporter, NULL, NULL, &failure), 0);
	pi_bed_until(&bed, has_pair_end, "end of the pairing");
	ck_assert_int_eq(pair_failure.code, FAILURE_BUSY);
	pi_bed_wait_link(&bed, "UNPAIRED");
	bed.vm.wire = WIRE_SSHD;
	pair_with(&bed.vm.config);
	ck_assert_int_eq(pair_failure.code, FAILURE_NONE);
	pi_bed_wait_link(&bed, "UP");
}
END_TEST

START_TEST(a_changed_file_is_read_at_a_reload_and_an_unchanged_one_costs_nothing)
{
	struct vm_config changed = bed.vm.config;

	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	exporter_reload(bed.exporter);
	pi_bed_run(&bed, 50000);
	ck_assert_uint_eq(bed.vm.n_connections, 1);
	expect_device("1-1", "ATTACHED");
	snprintf(changed.host, sizeof(changed.host), "localhost");
	ck_assert_int_eq(vm_config_save(bed.config_path, &changed), 0);
	exporter_reload(bed.exporter);
	pi_bed_wait_link(&bed, "CONNECTING");
	pi_bed_wait_link(&bed, "UP");
	expect_device("1-1", "ATTACHED");
	ck_assert_uint_eq(bed.vm.n_connections, 2);
}
END_TEST

START_TEST(what_was_detached_by_hand_stays_so_when_a_changed_file_is_read)
{
	struct vm_config changed = bed.vm.config;

	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	expect_device("1-1", "ATTACHED");
	expect_device("1-2", "ATTACHED");
	device_detach(pi_bed_device(&bed, "1-1"), "detached by hand");
	expect_device("1-1", "IGNORED");
	snprintf(changed.host, sizeof(changed.host), "localhost");
	ck_assert_int_eq(vm_config_save(bed.config_path, &changed), 0);
	exporter_reload(bed.exporter);
	pi_bed_wait_link(&bed, "CONNECTING");
	pi_bed_wait_link(&bed, "UP");
	expect_device("1-2", "ATTACHED"); /* what is to be shared is, by now */
	pi_bed_run(&bed, 200000);
	expect_device("1-1", "IGNORED");
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
}
END_TEST

START_TEST(a_file_that_names_another_vm_shares_what_was_detached_by_hand)
{
	struct vm_config other = wrong_key();

	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	device_detach(pi_bed_device(&bed, "1-1"), "detached by hand");
	expect_device("1-1", "IGNORED");
	ck_assert_int_eq(vm_config_save(bed.config_path, &other), 0);
	exporter_reload(bed.exporter);
	expect_device("1-1", "READY"); /* for a VM that does not prove who it is */
}
END_TEST

START_TEST(a_file_that_can_not_be_read_leaves_the_pairing_as_it_was)
{
	unlink(bed.config_path);
	temp_tree_make_dir(&bed.vm.tree, "vm.conf");
	exporter_reload(bed.exporter);
	pi_bed_run(&bed, 100000);
	pi_bed_wait_link(&bed, "UP");
	ck_assert_int_eq(link_get_state(exporter_link(bed.exporter)), LINK_UP);
}
END_TEST

/* ---- without memory ---- */

/* The same keys and as many entries, all the way down; ret_where says where not. */
static bool is_same_shape(const json_t *a, json_t *b, const char **ret_where)
{
	const char *key;
	json_t *value;
	size_t i;

	if (json_object_size(a) != json_object_size(b) || json_array_size(a) != json_array_size(b))
		return false;
	json_object_foreach(b, key, value) {
		*ret_where = key;
		if (!json_object_get(a, key) || !is_same_shape(json_object_get(a, key), value, ret_where))
			return false;
	}
	json_array_foreach(b, i, value)
		if (!is_same_shape(json_array_get(a, i), value, ret_where))
			return false;
	return true;
}

START_TEST(status_is_whole_or_not_there_when_memory_runs_out)
{
	_cleanup_json_ json_t *whole = NULL;
	unsigned n_refused = 0;

	plug("1-1", &FT232R);
	plug("1-2", &KEYBOARD_DEVICE);
	expect_device("1-1", "ATTACHED");
	expect_device("1-2", "IGNORED");
	whole = pi_bed_status(&bed);
	for (unsigned n = 1, n_calls = 1; n_calls >= n; n++) {
		_cleanup_json_ json_t *status = NULL;
		const char *where = "";

		inject_arm(INJECT_MEMORY, n, 1, 0);
		status = exporter_to_json(bed.exporter);
		n_calls = inject_count();
		inject_disarm();
		n_refused += !status;
		ck_assert_msg(!status || is_same_shape(status, whole, &where), "allocation %u fails: not all is there: %s", n, where);
	}
	ck_assert_uint_gt(n_refused, 50);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *fresh = tcase_create("a fresh start"), *up = tcase_create("up");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(fresh, setup, teardown);
	tcase_set_timeout(fresh, 100);
	tcase_add_checked_fixture(up, setup_up, teardown);
	tcase_set_timeout(up, 100);
	tcase_add_test(fresh, a_device_between_two_drivers_is_taken_up);
	tcase_add_test(fresh, what_a_predecessor_held_goes_back_if_the_pi_is_not_paired_any_more);
	tcase_add_test(fresh, what_somebody_else_bound_is_left_alone);
	tcase_add_test(fresh, what_somebody_binds_while_we_run_is_left_alone);
	tcase_add_test(fresh, a_pairing_that_works_is_written_and_shares_what_is_plugged_in);
	tcase_add_test(fresh, a_pairing_that_fails_is_not_written_and_the_pi_stays_unpaired);
	tcase_add_test(fresh, what_is_plugged_in_during_a_pairing_that_fails_goes_back_to_the_pi);
	tcase_add_test(fresh, a_pairing_that_can_not_be_written_is_none);
	tcase_add_test(fresh, one_pairing_at_a_time);
	tcase_add_test(fresh, a_pairing_goes_on_when_who_asked_for_it_has_gone);
	tcase_add_test(up, a_successor_finds_what_its_killed_predecessor_held);
	tcase_add_test(up, a_successor_that_is_killed_at_once_leaves_the_same_to_its_own);
	tcase_add_test(up, a_successor_takes_over_a_session_that_is_still_being_torn_down);
	tcase_add_test(up, a_stop_gives_everything_back_and_the_held_file_is_empty);
	tcase_add_test(up, a_stop_does_not_wait_for_ever_for_a_kernel_that_does_not_let_go);
	tcase_add_loop_test(up, what_was_detached_by_hand_stays_so_when_the_exporter_is_started_again, 0, 2);
	tcase_add_loop_test(up, what_was_detached_on_the_vm_stays_so_when_the_exporter_is_started_again, 0, 2);
	tcase_add_test(up, what_was_detached_by_hand_before_it_could_be_given_back_is_given_back_by_the_successor);
	tcase_add_loop_test(up, what_was_detached_by_hand_is_shared_at_its_next_plug, 0, 2);
	tcase_add_test(up, what_a_rule_or_a_stop_kept_here_is_nobodys_wish);
	tcase_add_test(up, what_was_detached_by_hand_and_by_a_rule_says_which_of_them_still_holds_it);
	tcase_add_test(up, a_kept_file_that_can_not_be_read_or_written_holds_nobody_up);
	tcase_add_test(up, a_restarted_handler_that_keeps_a_device_costs_it_nothing);
	tcase_add_test(up, a_name_that_is_given_while_the_handler_is_away_is_told_when_it_is_back);
	tcase_add_test(up, a_device_that_the_vm_did_not_keep_is_attached_anew);
	tcase_add_test(up, a_pairing_that_fails_leaves_the_old_one_in_place);
	tcase_add_test(up, unpairing_gives_every_device_back);
	tcase_add_test(up, a_vm_that_is_up_is_told_of_the_pairings_end);
	tcase_add_loop_test(up, a_vm_that_does_not_forget_this_pi_is_told_with_the_cure, 0, ARRAY_SIZE(LEFT));
	tcase_add_test(up, a_vm_that_is_away_is_not_told_and_the_cure_says_so);
	tcase_add_test(up, while_the_pairing_ends_no_other_begins_and_nothing_new_is_shared);
	tcase_add_test(up, a_file_that_is_changed_while_the_pairing_ends_counts);
	tcase_add_test(up, a_vm_that_ends_the_pairing_is_shown_with_the_reason);
	tcase_add_test(up, unpairing_during_a_pairing_ends_that_and_the_next_may_begin);
	tcase_add_test(up, a_changed_file_is_read_at_a_reload_and_an_unchanged_one_costs_nothing);
	tcase_add_test(up, what_was_detached_by_hand_stays_so_when_a_changed_file_is_read);
	tcase_add_test(up, a_file_that_names_another_vm_shares_what_was_detached_by_hand);
	tcase_add_test(up, a_file_that_can_not_be_read_leaves_the_pairing_as_it_was);
	tcase_add_test(up, status_is_whole_or_not_there_when_memory_runs_out);
	return check_program_run("pi_exporter", fresh, up, NULL);
}
