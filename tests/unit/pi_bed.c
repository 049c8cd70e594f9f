#include "pi_bed.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "fake_modules.h"
#include "inject.h"

struct wanted {
	struct pi_bed *bed;
	const char *busid, *text;
	bool (*is_done)(struct pi_bed *bed);
};

static void bed_on_stop(void *userdata)
{
	struct pi_bed *bed = userdata;

	exporter_stop(bed->exporter);
}

static void bed_on_uevent(const struct uevent *uevent, void *userdata)
{
	struct pi_bed *bed = userdata;

	if (bed->exporter)
		exporter_handle_uevent(bed->exporter, uevent);
}

void pi_bed_setup(struct pi_bed *bed)
{
	*bed = (struct pi_bed){ .exporter = NULL };
	inject_pause(); /* ours, not the exporter's */
	ck_assert_int_eq(daemon_init(&bed->daemon, bed_on_stop, NULL, bed), 0);
	fake_kernel_new(&bed->kernel, true);
	ssh_vm_new(&bed->vm, bed->daemon.event);
	bed->kernel.is_echoing = true;
	ssh_vm_script(&bed->vm, "stream", "session\n");
	ssh_vm_answer_connect(&bed->vm, SSH_VM_ATTACHED);
	snprintf(bed->config_path, sizeof(bed->config_path), "%s/vm.conf", bed->vm.tree.path);
	snprintf(bed->state_dir, sizeof(bed->state_dir), "%s", bed->vm.tree.path); /* where the key is */
	snprintf(bed->rules_path, sizeof(bed->rules_path), "%s/devices.conf", bed->vm.tree.path);
	temp_tree_make_dir(&bed->vm.tree, "run");
	snprintf(bed->run_dir, sizeof(bed->run_dir), "%s/run", bed->vm.tree.path);
	snprintf(bed->modules_dir, sizeof(bed->modules_dir), "%s", fake_modules_make(&bed->vm.tree, SERIAL_AND_OTHER_MODULES, NULL));
	bed->options = (struct exporter_options){ .sysfs_root = bed->kernel.sysfs,
						  .dev_root = bed->kernel.dev,
						  .config_path = bed->config_path,
						  .rules_path = bed->rules_path,
						  .proc_root = bed->kernel.sysfs,
						  .state_dir = bed->state_dir,
						  .run_dir = bed->run_dir,
						  .modules_dir = bed->modules_dir,
						  .is_any_port = true };
	inject_resume();
}

void pi_bed_pair(struct pi_bed *bed)
{
	inject_pause();
	ck_assert_int_eq(vm_config_save(bed->config_path, &bed->vm.config), 0);
	inject_resume();
}

void pi_bed_start(struct pi_bed *bed)
{
	ck_assert_int_eq(pi_bed_try_start(bed), 0);
}

int pi_bed_try_start(struct pi_bed *bed)
{
	ck_assert_ptr_null(bed->exporter);
	fake_kernel_listen(&bed->kernel, bed->daemon.event, bed_on_uevent, bed);
	return exporter_new(&bed->daemon, &bed->options, &bed->exporter);
}

static bool has_no_session(struct pi_bed *bed)
{
	return fake_kernel_count_sessions(&bed->kernel) == 0;
}

void pi_bed_kill(struct pi_bed *bed)
{
	bed->exporter = exporter_free(bed->exporter);
	ssh_vm_kill(&bed->vm);
	pi_bed_until(bed, has_no_session, "end of all sessions");
}

void pi_bed_stop(struct pi_bed *bed)
{
	exporter_stop(bed->exporter);
	ck_assert_int_eq(sd_event_loop(bed->daemon.event), 0);
	bed->exporter = exporter_free(bed->exporter);
	for (unsigned i = 0; i < 1000 * test_slowness() && fake_kernel_count_sessions(&bed->kernel) > 0; i++)
		poll(NULL, 0, 5); /* those of devices that were unplugged end on the kernel's own time */
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed->kernel), 0);
	ck_assert_uint_eq(fake_kernel_count_table(&bed->kernel), 0);
	ck_assert_uint_eq(fake_kernel_count_unbound(&bed->kernel), 0);
}

void pi_bed_setup_up(struct pi_bed *bed)
{
	pi_bed_setup(bed);
	pi_bed_pair(bed);
	pi_bed_start(bed);
	pi_bed_wait_link(bed, "UP");
}

void pi_bed_teardown(struct pi_bed *bed)
{
	if (bed->exporter)
		pi_bed_stop(bed);
	fake_kernel_free(&bed->kernel);
	ssh_vm_free(&bed->vm);
	daemon_done(&bed->daemon);
}

/* ---- what it says ---- */

struct device *pi_bed_device(struct pi_bed *bed, const char *busid)
{
	struct device *device = NULL;

	ck_assert_msg(exporter_select(bed->exporter, busid, &device, 1) == 1, "no device %s", busid);
	return device;
}

json_t *pi_bed_status(struct pi_bed *bed)
{
	json_t *status;

	inject_pause();
	status = exporter_to_json(bed->exporter);
	inject_resume();
	ck_assert_ptr_nonnull(status);
	return status;
}

const char *pi_bed_field(struct pi_bed *bed, const char *busid, const char *field)
{
	static char text[512];
	_cleanup_json_ json_t *status = pi_bed_status(bed);
	const json_t *device;
	size_t i;

	text[0] = '\0';
	json_array_foreach(json_object_get(status, "devices"), i, device) {
		const char *is = json_string_value(json_object_get(device, "busid")),
			   *value = json_string_value(json_object_get(device, field));

		if (strcmp(is, busid) == 0 && value)
			snprintf(text, sizeof(text), "%s", value);
	}
	return text;
}

/* ---- waiting ---- */

static bool is_device_in_state(void *userdata)
{
	const struct wanted *wanted = userdata;

	return strcmp(pi_bed_field(wanted->bed, wanted->busid, "state"), wanted->text) == 0;
}

static bool is_link_in_state(void *userdata)
{
	const struct wanted *wanted = userdata;

	return strcmp(link_state_to_string(link_get_state(exporter_link(wanted->bed->exporter))), wanted->text) == 0;
}

static bool is_with_driver(void *userdata)
{
	const struct wanted *wanted = userdata;

	return strcmp(fake_kernel_driver(&wanted->bed->kernel, wanted->busid), wanted->text) == 0;
}

static bool is_gone(void *userdata)
{
	const struct wanted *wanted = userdata;

	return !pi_bed_field(wanted->bed, wanted->busid, "state")[0] && !fake_kernel_has_entry(&wanted->bed->kernel, wanted->busid);
}

static bool is_so(void *userdata)
{
	const struct wanted *wanted = userdata;

	return wanted->is_done(wanted->bed);
}

void pi_bed_wait(struct pi_bed *bed, const char *busid, const char *state)
{
	struct wanted wanted = { bed, busid, state, NULL };
	char reason[512];

	if (loop_until(bed->daemon.event, is_device_in_state, &wanted))
		return;
	snprintf(reason, sizeof(reason), "%s", pi_bed_field(bed, busid, "reason"));
	ck_abort_msg("%s is not %s but %s: %s", busid, state, pi_bed_field(bed, busid, "state"), reason);
}

void pi_bed_wait_link(struct pi_bed *bed, const char *state)
{
	struct wanted wanted = { bed, NULL, state, NULL };

	ck_assert_msg(loop_until(bed->daemon.event, is_link_in_state, &wanted), "the link is not %s but %s; %s", state,
		      link_state_to_string(link_get_state(exporter_link(bed->exporter))), ssh_vm_describe(&bed->vm));
}

void pi_bed_wait_gone(struct pi_bed *bed, const char *busid)
{
	struct wanted wanted = { bed, busid, NULL, NULL };

	ck_assert_msg(loop_until(bed->daemon.event, is_gone, &wanted), "%s is not gone: %s: %s", busid, pi_bed_field(bed, busid, "state"),
		      fake_kernel_writes(&bed->kernel));
}

void pi_bed_wait_driver(struct pi_bed *bed, const char *busid, const char *driver)
{
	struct wanted wanted = { bed, busid, driver, NULL };

	ck_assert_msg(loop_until(bed->daemon.event, is_with_driver, &wanted), "%s is with \"%s\"", busid,
		      fake_kernel_driver(&bed->kernel, busid));
}

void pi_bed_until(struct pi_bed *bed, bool (*is_done)(struct pi_bed *bed), const char *what)
{
	struct wanted wanted = { bed, NULL, NULL, is_done };

	ck_assert_msg(loop_until(bed->daemon.event, is_so, &wanted), "no %s", what);
}

struct heard {
	const struct ssh_vm *vm;
	const char *text;
	unsigned times;
};

static bool is_heard(void *userdata)
{
	const struct heard *heard = userdata;

	return ssh_vm_count_heard(heard->vm, heard->text) >= heard->times;
}

void pi_bed_run(struct pi_bed *bed, uint64_t usec)
{
	loop_for(bed->daemon.event, usec);
}

static unsigned n_pings;

static bool has_heard_ping(struct pi_bed *bed)
{
	return ssh_vm_count_heard(&bed->vm, "\"type\":\"ping\"") > n_pings;
}

/* What is written to the control channel arrives in that order: a ping is behind it all. */
void pi_bed_expect_heard(struct pi_bed *bed, const char *text, unsigned times)
{
	struct heard heard = { &bed->vm, text, times };
	unsigned n;

	(void)loop_until(bed->daemon.event, is_heard, &heard);
	if (link_get_state(exporter_link(bed->exporter)) == LINK_UP) {
		n_pings = ssh_vm_count_heard(&bed->vm, "\"type\":\"ping\"");
		link_ping(exporter_link(bed->exporter));
		pi_bed_until(bed, has_heard_ping, "ping at the VM");
	}
	n = ssh_vm_count_heard(&bed->vm, text);
	ck_assert_msg(n == times, "%u times %s, not %u: %s", n, text, times, ssh_vm_heard(&bed->vm, "control"));
}
