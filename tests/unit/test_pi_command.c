/* The usbpush command and the control socket behind it, as a person uses them. */

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "follow.h"
#include "pi_bed.h"

#define MAX_ARGUMENTS 12

static struct pi_bed bed;
static struct control *control;
static char socket_path[128], out[65536], err[8192];

static void setup(void)
{
	pi_bed_setup(&bed);
	pi_bed_start(&bed);
	snprintf(socket_path, sizeof(socket_path), "%s/control.sock", bed.run_dir);
	ck_assert_int_eq(control_new(bed.daemon.event, socket_path, bed.exporter, &control), 0);
	setenv("USBPUSH_CONTROL_SOCKET", socket_path, 1);
	setenv("TERM", "dumb", 1);
}

static void setup_up(void)
{
	setup();
	pi_bed_pair(&bed);
	exporter_reload(bed.exporter);
	pi_bed_wait_link(&bed, "UP");
}

static void teardown(void)
{
	control = control_free(control);
	pi_bed_teardown(&bed);
}

/* ---- running the command while the exporter's loop runs ---- */

struct run {
	pid_t pid;
	int out_fd, err_fd;
	size_t out_used, err_used;
	int status;
	bool has_ended;
};

static void run_child(char *const *arguments, uid_t uid, int out_fd, int err_fd)
{
	const char *build = getenv("USBPUSH_BUILD_DIR");
	char program[256];

	snprintf(program, sizeof(program), "%s/usbpush", build ? build : ".");
	dup2(out_fd, STDOUT_FILENO);
	dup2(err_fd, STDERR_FILENO);
	if (uid && setuid(uid) < 0)
		_exit(126);
	execv(program, arguments);
	_exit(127);
}

static void start(struct run *run, uid_t uid, const char *const *arguments)
{
	char *argv[MAX_ARGUMENTS + 2] = { (char[]){ "usbpush" } };
	int outs[2], errs[2];

	for (size_t i = 0; i < MAX_ARGUMENTS && arguments[i]; i++)
		argv[i + 1] = strdup(arguments[i]);
	out[0] = err[0] = '\0';
	*run = (struct run){ 0 };
	ck_assert_int_eq(pipe2(outs, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(errs, O_CLOEXEC), 0);
	run->pid = fork();
	if (run->pid == 0)
		run_child(argv, uid, outs[1], errs[1]);
	ck_assert_int_ge(run->pid, 0);
	close(outs[1]);
	close(errs[1]);
	run->out_fd = outs[0];
	run->err_fd = errs[0];
	for (size_t i = 1; argv[i]; i++)
		free(argv[i]);
}

static void collect(int fd, char *buffer, size_t size, size_t *used)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	while (poll(&poll_fd, 1, 0) > 0) {
		ssize_t n = read(fd, buffer + *used, size - 1 - *used);

		if (n <= 0)
			break;
		*used += (size_t)n;
		buffer[*used] = '\0';
	}
}

static void look_at(struct run *run)
{
	if (!run->has_ended && waitpid(run->pid, &run->status, WNOHANG) == run->pid)
		run->has_ended = true;
	collect(run->out_fd, out, sizeof(out), &run->out_used);
	collect(run->err_fd, err, sizeof(err), &run->err_used);
}

static bool has_ended(void *userdata)
{
	struct run *run = userdata;

	look_at(run);
	return run->has_ended;
}

static int finish(struct run *run)
{
	ck_assert_msg(loop_until(bed.daemon.event, has_ended, run), "it does not end; it said: %s%s", out, err);
	look_at(run);
	close(run->out_fd);
	close(run->err_fd);
	ck_assert_msg(WIFEXITED(run->status), "%s", err);
	return WEXITSTATUS(run->status);
}

/* Runs `usbpush ARGUMENTS`; its exit status. What it said is in out and err. */
static int usbpush_as(uid_t uid, const char *first, ...)
{
	const char *arguments[MAX_ARGUMENTS + 1] = { first };
	va_list rest;
	struct run run;

	va_start(rest, first);
	for (size_t i = 1; i < MAX_ARGUMENTS && arguments[i - 1]; i++)
		arguments[i] = va_arg(rest, const char *);
	va_end(rest);
	start(&run, uid, arguments);
	return finish(&run);
}

#define usbpush(...) usbpush_as(0, __VA_ARGS__, NULL)

static void expect_out(const char *part)
{
	ck_assert_msg(strstr(out, part), "\"%s\" is not in: %s%s", part, out, err);
}

static void expect_err(const char *part)
{
	ck_assert_msg(strstr(err, part), "\"%s\" is not in: %s", part, err);
}

static void plug(const char *busid, const struct usb_sample *sample, const char *state)
{
	fake_kernel_plug(&bed.kernel, busid, sample);
	pi_bed_wait(&bed, busid, state);
}

/* ---- looking ---- */

START_TEST(a_fresh_pi_is_told_what_to_do_next)
{
	ck_assert_int_eq(usbpush("status"), 0);
	expect_out("not paired with a VM");
	expect_out("sudo usbpush-vm pair; then here: sudo usbpush pair");
	expect_out("No USB device is plugged in");
}
END_TEST

START_TEST(a_fresh_pi_names_the_vms_on_its_network)
{
	_cleanup_json_ json_t *vm =
		json_pack("{s:s, s:s, s:s, s:i}", "key", "2/0/bench", "name", "usbpush on bench", "address", "10.0.0.2", "port", 22);
	struct failure failure;

	ck_assert_int_eq(follow_vm_found(exporter_follow(bed.exporter), vm, &failure), 0);
	json_object_set_new(vm, "key", json_string("2/0/evil"));
	json_object_set_new(vm, "name", json_string("evil\033[31m\n"));
	ck_assert_int_eq(follow_vm_found(exporter_follow(bed.exporter), vm, &failure), 0);
	ck_assert_int_eq(usbpush("status"), 0);
	expect_out("On this network: usbpush on bench (10.0.0.2), evil?[31m? (10.0.0.2)\n");
}
END_TEST

START_TEST(status_shows_link_and_devices_in_columns)
{
	plug("1-1", &FT232R, "ATTACHED");
	plug("1-1.4", &HUB, "IGNORED");
	ck_assert_int_eq(usbpush("status"), 0);
	expect_out("up: connected to bench-vm");
	expect_out("BUS ID  USB ID     PRODUCT          SERIAL    STATE\n");
	expect_out("1-1     0403:6001  FT232R USB UART  A50285BI  ATTACHED  /dev/ttyUSB0 on the VM\n");
	expect_out("1-1.4   2109:3431  USB2.0 Hub                 IGNORED   stays here: a hub\n");
	ck_assert_ptr_null(strchr(out, '\033'));
	ck_assert_str_eq(err, "");
}
END_TEST

START_TEST(status_as_json_has_what_scripts_build_on)
{
	_cleanup_json_ json_t *status = NULL;
	const json_t *device;

	plug("1-1", &FT232R, "ATTACHED");
	ck_assert_int_eq(usbpush("status", "--json"), 0);
	status = json_loads(out, 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(status, "link"), "state")), "UP");
	device = json_array_get(json_object_get(status, "devices"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(device, "busid")), "1-1");
	ck_assert_str_eq(json_string_value(json_object_get(device, "vid")), "0403");
	ck_assert_str_eq(json_string_value(json_object_get(device, "state")), "ATTACHED");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(json_object_get(device, "vm"), "nodes"), 0)), "/dev/ttyUSB0");
	ck_assert(json_is_object(json_object_get(device, "steps_ms")));
	ck_assert(json_is_null(json_object_get(status, "problem")));
	ck_assert_ptr_null(json_object_get(status, "ok"));
}
END_TEST

START_TEST(devices_explained_say_why)
{
	plug("1-1", &FT232R, "IGNORED"); /* not paired */
	plug("1-2", &KEYBOARD_DEVICE, "IGNORED");
	ck_assert_int_eq(usbpush("devices", "--explain"), 0);
	expect_out("WHY");
	expect_out("serial driver ftdi_sio");
	expect_out("no serial driver fits it");
	ck_assert_int_eq(usbpush("devices"), 0);
	expect_out("not paired with a VM");
	ck_assert_int_eq(usbpush("devices", "--json"), 0);
	expect_out("\"policy\": \"serial driver ftdi_sio\"");
}
END_TEST

START_TEST(a_rule_is_written_and_named)
{
	plug("1-2", &KEYBOARD_DEVICE, "IGNORED");
	ck_assert_int_eq(usbpush("share", "1-2"), 0);
	expect_out("1-2: shared from now on, whenever it is plugged in (");
	expect_out("devices.conf:1: share 046d:c31c socket=1-2)\n");
	ck_assert_int_eq(usbpush("ignore", "046D:C31C"), 0);
	expect_out("devices.conf:1: ignore 046d:c31c socket=1-2)\n");
	ck_assert_int_eq(usbpush("devices", "--explain"), 0);
	expect_out("a rule keeps it here; ");
	expect_out("devices.conf:1: ignore 046d:c31c socket=1-2\n");
	ck_assert_int_eq(usbpush("attach", "1-2"), 1); /* not paired */
	ck_assert_int_eq(usbpush("share"), 2);
	ck_assert_int_eq(usbpush("reset", "1-2", "--hard"), 0);
	expect_out("1-2: it is being switched off and on");
	ck_assert_int_eq(usbpush("reset"), 2);
	ck_assert_int_eq(usbpush("reset", "1-2", "--soft"), 2);
	ck_assert_int_eq(usbpush("share", "--json"), 2);
	ck_assert_int_eq(usbpush_as(65534, "share", "1-2", NULL), 1);
	expect_err("Run it with sudo");
}
END_TEST

START_TEST(a_device_gets_a_name_and_its_boot_loader_is_offered)
{
	struct usb_sample leonardo = ARDUINO_UNO;

	leonardo.pid = 0x8036;
	plug("1-2", &leonardo, "IGNORED");
	ck_assert_int_eq(usbpush("name", "1-2", "leo"), 0);
	expect_out("1-2: it is leo now; on the VM /dev/usbpush/leo leads to it (");
	expect_out("In its boot loader such a board is 2341:0036. To keep the name there: usbpush name 1-2 leo --also 2341:0036\n");
	ck_assert_int_eq(usbpush("name", "leo", "leo", "--also", "2341:0036"), 0);
	expect_out("name=leo also=2341:0036)");
	ck_assert_ptr_null(strstr(out, "In its boot loader"));
	ck_assert_int_eq(usbpush("devices"), 0);
	expect_out("2341:8036  leo");
	ck_assert_int_eq(usbpush("name", "1-2", "a/b"), 1);
	expect_err("\"a/b\" can't be a name");
	ck_assert_int_eq(usbpush("name", "1-2"), 2);
	ck_assert_int_eq(usbpush("name", "1-2", "x", "--nonsense"), 2);
}
END_TEST

START_TEST(a_device_with_hostile_strings_breaks_no_line)
{
	fake_kernel_have(&bed.kernel, "1-1", &KEYBOARD_DEVICE, "");
	fake_kernel_set(&bed.kernel, "1-1", "product", "a\n\033[2Jb\xff");
	fake_kernel_probe(&bed.kernel, "1-1");
	pi_bed_wait(&bed, "1-1", "IGNORED");
	ck_assert_int_eq(usbpush("devices"), 0);
	expect_out("046d:c31c  a??[2Jb?  ");
	ck_assert_int_eq(usbpush("status", "--json"), 0);
	expect_out("\"product\": \"a??[2Jb?\"");
}
END_TEST

START_TEST(a_missing_module_stands_on_top)
{
	temp_tree_remove(&bed.kernel.tree, "sys/bus/usb/drivers/usbip-host");
	ck_assert_int_eq(usbpush("status"), 0);
	ck_assert_ptr_eq(strstr(out, "Problem  the kernel module usbip-host is not loaded"), out);
	expect_out("modprobe usbip-host");
}
END_TEST

START_TEST(events_are_listed_oldest_first)
{
	plug("1-1", &FT232R, "IGNORED");
	fake_kernel_unplug(&bed.kernel, "1-1");
	pi_bed_wait_gone(&bed, "1-1");
	ck_assert_int_eq(usbpush("events"), 0);
	ck_assert_ptr_nonnull(strstr(out, "SEEN"));
	ck_assert(strstr(out, "GONE") > strstr(out, "IGNORED"));
	ck_assert_int_eq(usbpush("events", "--json"), 0);
	expect_out("\"busid\":\"1-1\"");
}
END_TEST

static bool has_said_gone(void *userdata)
{
	look_at(userdata);
	return strstr(out, "GONE") != NULL;
}

START_TEST(events_are_followed_until_the_exporter_ends)
{
	static const char *const arguments[] = { "events", "--follow", NULL };
	struct run run;

	start(&run, 0, arguments);
	plug("1-1", &FT232R, "IGNORED");
	fake_kernel_unplug(&bed.kernel, "1-1");
	ck_assert(loop_until(bed.daemon.event, has_said_gone, &run));
	control = control_free(control);
	ck_assert_int_eq(finish(&run), 1);
	expect_err("the exporter ended");
}
END_TEST

static bool has_said_ignored(void *userdata)
{
	look_at(userdata);
	return strstr(out, "IGNORED") != NULL;
}

static bool has_said_nothing_is_there(void *userdata)
{
	look_at(userdata);
	return strstr(out, "No USB device is plugged in") != NULL;
}

START_TEST(status_is_watched_live)
{
	static const char *const arguments[] = { "status", "--watch", NULL };
	struct run run;

	start(&run, 0, arguments);
	ck_assert(loop_until(bed.daemon.event, has_said_nothing_is_there, &run));
	plug("1-1", &FT232R, "IGNORED");
	ck_assert(loop_until(bed.daemon.event, has_said_ignored, &run));
	control = control_free(control);
	ck_assert_int_eq(finish(&run), 1);
}
END_TEST

/* ---- changing ---- */

START_TEST(a_device_is_detached_and_attached_by_bus_id_kind_or_serial)
{
	static const char *const names[] = { "1-1", "0403:6001", "A50285BI" };

	plug("1-1", &FT232R, "ATTACHED");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		ck_assert_int_eq(usbpush("detach", names[i]), 0);
		expect_out("1-1: taken from the VM");
		pi_bed_wait(&bed, "1-1", "IGNORED");
		ck_assert_int_eq(usbpush("attach", names[i]), 0);
		expect_out("1-1: on its way to the VM");
		pi_bed_wait(&bed, "1-1", "ATTACHED");
	}
}
END_TEST

START_TEST(all_are_attached_at_once)
{
	plug("1-1", &FT232R, "ATTACHED");
	plug("1-2", &CP2102, "ATTACHED");
	ck_assert_int_eq(usbpush("detach", "1-1"), 0);
	ck_assert_int_eq(usbpush("detach", "1-2"), 0);
	pi_bed_wait(&bed, "1-1", "IGNORED");
	pi_bed_wait(&bed, "1-2", "IGNORED");
	ck_assert_int_eq(usbpush("attach", "--all"), 0);
	pi_bed_wait(&bed, "1-1", "ATTACHED");
	pi_bed_wait(&bed, "1-2", "ATTACHED");
}
END_TEST

START_TEST(a_name_that_fits_several_is_refused_with_the_list)
{
	plug("1-1", &FT232R, "ATTACHED");
	plug("1-2", &FT232R, "ATTACHED");
	ck_assert_int_eq(usbpush("detach", "0403:6001"), 1);
	expect_err("0403:6001 fits 2 devices: 1-1 (0403:6001 A50285BI), 1-2 (0403:6001 A50285BI)");
	expect_err("Give one of the bus ids.");
	pi_bed_run(&bed, 50000);
	pi_bed_wait(&bed, "1-1", "ATTACHED");
}
END_TEST

START_TEST(what_can_not_be_done_is_told)
{
	plug("1-1.2", &HUB, "IGNORED");
	ck_assert_int_eq(usbpush("detach", "1-1"), 1); /* not 1-1.2 */
	expect_err("usbpush: 1-1: no such device");
	ck_assert_int_eq(usbpush("detach", "1-1.2"), 1);
	expect_err("stays with this Pi already");
}
END_TEST

START_TEST(nothing_is_attached_without_a_vm)
{
	ck_assert_int_eq(usbpush("attach", "--all"), 1);
	expect_err("not paired");
}
END_TEST

START_TEST(the_key_is_one_line_for_authorized_keys)
{
	ck_assert_int_eq(usbpush("key"), 0);
	ck_assert_int_eq(strncmp(out, "ssh-ed25519 AAAA", 16), 0);
	ck_assert_ptr_eq(strchr(out, '\n'), out + strlen(out) - 1);
	expect_out(" usbpush@");
}
END_TEST

START_TEST(pairing_by_hand_works_and_unpairing_too)
{
	char port[8];

	snprintf(port, sizeof(port), "%u", bed.vm.config.port);
	ck_assert_int_eq(usbpush("pair", "--host", "127.0.0.1", "--host-key", bed.vm.config.host_key, "--user", bed.vm.config.user,
				 "--port", port),
			 0);
	expect_out("Paired with 127.0.0.1.");
	pi_bed_wait_link(&bed, "UP");
	ck_assert_int_eq(usbpush("unpair"), 0);
	expect_out("Unpaired");
	pi_bed_wait_link(&bed, "UNPAIRED");
}
END_TEST

START_TEST(a_pairing_that_fails_says_why_and_changes_nothing)
{
	char port[8];

	snprintf(port, sizeof(port), "%u", bed.vm.config.port);
	ssh_vm_change_host_key(&bed.vm, "ed25519");
	ck_assert_int_eq(usbpush("pair", "--host", "127.0.0.1", "--host-key", bed.vm.config.host_key, "--user", bed.vm.config.user,
				 "--port", port),
			 1);
	expect_err("the VM's host key is not the one pinned at pairing");
	expect_err("not paired; everything is as it was");
	pi_bed_wait_link(&bed, "UNPAIRED");
	ck_assert_int_eq(usbpush("pair", "--host", "-oProxyCommand=x", "--host-key", bed.vm.config.host_key), 1);
	expect_err("is no host name or address");
	ck_assert_int_eq(usbpush("pair", "--host", "vm", "--host-key", "nonsense"), 1);
	expect_err("is no public key");
	ck_assert_int_eq(usbpush("pair", "--host", "vm", "--host-key", bed.vm.config.host_key, "--port", "70000"), 1);
	expect_err("the port must be from 1 to 65535");
}
END_TEST

/* ---- the link ---- */

START_TEST(a_test_goes_through_the_link_step_by_step)
{
	ck_assert_int_eq(usbpush("test"), 0);
	expect_out("ok    address found, TCP connected");
	expect_out("ok    usbpush-handler answered");
	expect_out("The link works: round trip ");
}
END_TEST

START_TEST(a_test_of_a_dead_link_fails_with_the_reason)
{
	bed.vm.wire = WIRE_CLOSED;
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	ck_assert_int_eq(usbpush("test"), 1);
	expect_out("--    usbpush-handler answered");
	expect_out("Stopped: ");
}
END_TEST

START_TEST(a_test_is_not_satisfied_by_an_earlier_round_trip)
{
	_cleanup_free_ char *patient = NULL;

	ck_assert_int_gt(asprintf(&patient, "%sPATIENCE_MS=2000\n", temp_tree_get(&bed.vm.tree, "vm.conf")), 0);
	temp_tree_put(&bed.vm.tree, "vm.conf", patient);
	exporter_reload(bed.exporter);
	pi_bed_wait_link(&bed, "UP");
	ck_assert_int_eq(usbpush("test"), 0);
	/* from now on nobody answers pings */
	ssh_vm_script(
		&bed.vm, "control",
		"say {\"type\":\"hello\",\"protocol\":1,\"software\":\"t\",\"role\":\"vm\",\"id\":\"f\",\"name\":\"v\",\"boot_id\":\"b\",\"patience_ms\":8000}\n"
		"hear sync\nsay {\"type\":\"synced\",\"seq\":3,\"keep\":[]}\nwait\n");
	ssh_vm_end_players(&bed.vm, "control");
	pi_bed_wait_link(&bed, "SYNCING");
	pi_bed_wait_link(&bed, "UP");
	ck_assert_int_eq(usbpush("test"), 1);
	expect_out("Stopped: the handler on the VM has said nothing");
}
END_TEST

START_TEST(a_test_without_a_vm_says_so)
{
	ck_assert_int_eq(usbpush("test"), 1);
	expect_err("not paired with a VM");
}
END_TEST

/* ---- who may, and how it is called ---- */

START_TEST(everybody_may_look_and_only_root_may_change)
{
	static const char *const changes[][3] = { { "key" }, { "attach", "--all" }, { "detach", "1-1" }, { "unpair" }, { "test" } };

	if (geteuid() != 0)
		return; /* it takes root to become somebody else */
	ck_assert_int_eq(chmod(bed.vm.tree.path, 0755), 0);
	ck_assert_int_eq(usbpush_as(65534, "status", NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		ck_assert_int_eq(usbpush_as(65534, changes[i][0], changes[i][1], NULL), 1);
		expect_err("only root may do that");
		expect_err("Run it with sudo.");
	}
}
END_TEST

START_TEST(the_portals_user_may_change_things_and_no_other_user)
{
	if (geteuid() != 0)
		return; /* it takes root to become somebody else */
	ck_assert_int_eq(chmod(bed.vm.tree.path, 0755), 0);
	control_set_portal_user(control, "daemon");
	ck_assert_int_eq(usbpush_as(1, "key", NULL), 0);
	ck_assert_int_eq(usbpush_as(1, "unpair", NULL), 0);
	ck_assert_int_eq(usbpush_as(65534, "unpair", NULL), 1);
	expect_err("only root may do that");
	control_set_portal_user(control, "no-such-user");
	ck_assert_int_eq(usbpush_as(1, "unpair", NULL), 1);
	expect_err("only root may do that");
}
END_TEST

/* ---- the portal's owner ---- */

static void setup_owner(void)
{
	setup();
	temp_tree_make_dir(&bed.vm.tree, "portal");
	setenv("USBPUSH_PORTAL_STATE", temp_tree_path(&bed.vm.tree, "portal"), 1);
	setenv("USBPUSH_SETUP_CODE", temp_tree_path(&bed.vm.tree, "run/setup-code"), 1);
	setenv("USBPUSH_PORTAL_GROUP", "daemon", 1);
	setenv("USBPUSH_PORTAL_CONFIG", temp_tree_path(&bed.vm.tree, "portal.conf"), 1);
}

START_TEST(a_setup_code_is_for_root_and_the_portal_alone)
{
	struct stat status;
	char first[16];

	ck_assert_int_eq(usbpush("setup-code"), 0);
	ck_assert_uint_eq(strcspn(out, "\n"), 9);
	expect_err(".local:8080");
	ck_assert_int_eq(stat(getenv("USBPUSH_SETUP_CODE"), &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0640);
	ck_assert_uint_eq(status.st_gid, 1);
	ck_assert_str_eq(temp_tree_get(&bed.vm.tree, "run/setup-code"), out);
	snprintf(first, sizeof(first), "%.10s", out);
	ck_assert_int_eq(usbpush("setup-code"), 0);
	ck_assert_str_ne(out, first);
}
END_TEST

START_TEST(a_setup_code_says_the_port_that_portal_conf_says)
{
	temp_tree_put(&bed.vm.tree, "portal.conf", "PORTAL_PORT=81\n");
	ck_assert_int_eq(usbpush("setup-code"), 0);
	expect_err(".local:81 ");
	temp_tree_put(&bed.vm.tree, "portal.conf", "PORTAL_PORT=0\n"); /* the portal passes it over */
	ck_assert_int_eq(usbpush("setup-code"), 0);
	expect_err(".local:8080 ");
}
END_TEST

START_TEST(nobody_else_gets_a_setup_code)
{
	if (geteuid() != 0)
		return; /* it takes root to become somebody else */
	ck_assert_int_eq(chmod(bed.vm.tree.path, 0755), 0);
	ck_assert_int_eq(chmod(temp_tree_path(&bed.vm.tree, "portal"), 0700), 0);
	ck_assert_int_eq(usbpush_as(65534, "setup-code", NULL), 1);
	expect_err("Run it with sudo.");
	ck_assert_int_eq(usbpush_as(65534, "reset-password", NULL), 1);
	expect_err("Run it with sudo.");
	ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(an_owned_portal_has_no_setup_code_before_its_password_is_reset)
{
	temp_tree_put(&bed.vm.tree, "portal/owner", "$y$hash\n");
	ck_assert_int_eq(usbpush("setup-code"), 1);
	expect_err("the portal has an owner already");
	expect_err("usbpush reset-password");
	ck_assert_int_eq(usbpush("reset-password"), 0);
	ck_assert_uint_eq(temp_tree_count(&bed.vm.tree, "portal"), 0);
	ck_assert_str_eq(temp_tree_get(&bed.vm.tree, "run/setup-code"), out);
	ck_assert_int_eq(usbpush("setup-code"), 0);
}
END_TEST

START_TEST(without_the_portals_group_no_code_lies_around)
{
	setenv("USBPUSH_PORTAL_GROUP", "no-such-group", 1);
	ck_assert_int_eq(usbpush("setup-code"), 1);
	expect_err("systemd-sysusers");
	ck_assert_int_eq(access(getenv("USBPUSH_SETUP_CODE"), F_OK), -1);
	setenv("USBPUSH_PORTAL_GROUP", "daemon", 1);
	setenv("USBPUSH_SETUP_CODE", "/proc/no/such", 1);
	ck_assert_int_eq(usbpush("setup-code"), 1);
	ck_assert_int_eq(usbpush("setup-code", "x"), 2);
}
END_TEST

static const char *const USAGE[][5] = {
	{ "fly" },
	{ "status", "--fast" },
	{ "status", "1-1" },
	{ "devices", "--watch" },
	{ "attach" },
	{ "attach", "1-1", "1-2" },
	{ "attach", "--all", "1-1" },
	{ "detach" },
	{ "detach", "--all" },
	{ "key", "x" },
	{ "pair", "--host", "vm" },
	{ "pair", "--host" },
	{ "pair", "--port", "ssh" },
	{ "pair", "--login", "root" },
	{ "pair", "--login", "root", "--host", "vm" },
	{ "unpair", "vm" },
	{ "events", "--watch" },
	{ "test", "x" },
};

START_TEST(a_wrong_call_is_a_usage_error)
{
	ck_assert_int_eq(usbpush_as(0, USAGE[_i][0], USAGE[_i][1], USAGE[_i][2], USAGE[_i][3], NULL), 2);
	expect_err("usbpush");
	ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(help_and_version_are_no_errors)
{
	ck_assert_int_eq(usbpush("--help"), 0);
	expect_out("usbpush attach DEVICE");
	ck_assert_int_eq(usbpush("--version"), 0);
	expect_out("usbpush " USBPUSH_VERSION "\n");
	ck_assert_int_eq(usbpush_as(0, NULL), 2);
}
END_TEST

START_TEST(without_the_exporter_each_command_says_how_to_start_it)
{
	static const char *const commands[] = { "status", "devices", "key", "unpair", "events", "test" };

	control = control_free(control);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		ck_assert_int_eq(usbpush(commands[i]), 1);
		expect_err("usbpush-exporter is not running");
		expect_err("sudo systemctl start usbpush-exporter");
	}
}
END_TEST

int main(int argc, char **argv)
{
	TCase *fresh = tcase_create("a fresh Pi"), *up = tcase_create("a Pi whose link is up"), *owner = tcase_create("the portal's owner");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(fresh, setup, teardown);
	tcase_add_checked_fixture(up, setup_up, teardown);
	tcase_add_checked_fixture(owner, setup_owner, teardown);
	tcase_set_timeout(owner, 60);
	tcase_set_timeout(fresh, 60);
	tcase_set_timeout(up, 60);
	tcase_add_test(fresh, a_fresh_pi_is_told_what_to_do_next);
	tcase_add_test(fresh, a_fresh_pi_names_the_vms_on_its_network);
	tcase_add_test(up, status_shows_link_and_devices_in_columns);
	tcase_add_test(up, status_as_json_has_what_scripts_build_on);
	tcase_add_test(fresh, devices_explained_say_why);
	tcase_add_test(fresh, a_rule_is_written_and_named);
	tcase_add_test(fresh, a_device_gets_a_name_and_its_boot_loader_is_offered);
	tcase_add_test(fresh, a_device_with_hostile_strings_breaks_no_line);
	tcase_add_test(fresh, a_missing_module_stands_on_top);
	tcase_add_test(fresh, events_are_listed_oldest_first);
	tcase_add_test(fresh, events_are_followed_until_the_exporter_ends);
	tcase_add_test(fresh, status_is_watched_live);
	tcase_add_test(up, a_device_is_detached_and_attached_by_bus_id_kind_or_serial);
	tcase_add_test(up, all_are_attached_at_once);
	tcase_add_test(up, a_name_that_fits_several_is_refused_with_the_list);
	tcase_add_test(fresh, what_can_not_be_done_is_told);
	tcase_add_test(fresh, nothing_is_attached_without_a_vm);
	tcase_add_test(fresh, the_key_is_one_line_for_authorized_keys);
	tcase_add_test(fresh, pairing_by_hand_works_and_unpairing_too);
	tcase_add_test(fresh, a_pairing_that_fails_says_why_and_changes_nothing);
	tcase_add_test(up, a_test_goes_through_the_link_step_by_step);
	tcase_add_test(up, a_test_of_a_dead_link_fails_with_the_reason);
	tcase_add_test(up, a_test_is_not_satisfied_by_an_earlier_round_trip);
	tcase_add_test(fresh, a_test_without_a_vm_says_so);
	tcase_add_test(fresh, everybody_may_look_and_only_root_may_change);
	tcase_add_test(fresh, the_portals_user_may_change_things_and_no_other_user);
	tcase_add_loop_test(fresh, a_wrong_call_is_a_usage_error, 0, ARRAY_SIZE(USAGE));
	tcase_add_test(fresh, help_and_version_are_no_errors);
	tcase_add_test(fresh, without_the_exporter_each_command_says_how_to_start_it);
	tcase_add_test(owner, a_setup_code_is_for_root_and_the_portal_alone);
	tcase_add_test(owner, a_setup_code_says_the_port_that_portal_conf_says);
	tcase_add_test(owner, nobody_else_gets_a_setup_code);
	tcase_add_test(owner, an_owned_portal_has_no_setup_code_before_its_password_is_reset);
	tcase_add_test(owner, without_the_portals_group_no_code_lies_around);
	return check_program_run("pi_command", fresh, up, owner, NULL);
}
