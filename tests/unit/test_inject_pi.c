/* The exporter's whole life, with each of its calls failing in turn: whatever fails, the device comes back by itself and nothing is left over. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "control_ask.h"
#include "daemon.h"
#include "each_call.h"
#include "fake_usbfs.h"
#include "log.h"
#include "pi_bed.h"
#include "usbip_urb.h"

#define BUSID      "1-1.2"
#define LIMIT_USEC UINT64_C(70000000) /* several of the exporter's limits in a row */
#define TURN_USEC  UINT64_C(20000)

static struct pi_bed bed;
static struct control *control;
static bool is_unpaired, has_answer;
static bool is_replugged; /* once a call said that the device is gone */
static bool is_by_usbfs;  /* the exporter carries it, not usbip-host */
static struct fake_usbfs usbfs;
static uint64_t played_usec; /* when it last answered */

/* ---- the device ---- */

/* What the VM's kernel asks for on each stream of it. */
static void script_stream(unsigned devnum)
{
	struct usbip_urb request = {
		.command = USBIP_CMD_SUBMIT, .seqnum = 1, .devid = 1 << 16 | devnum, .is_in = true, .endpoint = 1, .length = 8
	};
	uint8_t header[USBIP_URB_HEADER_SIZE];
	char script[16 + 2 * sizeof(header)] = "say OK\nraw ";
	size_t used = strlen(script);

	usbip_urb_encode(&request, header);
	for (size_t i = 0; i < sizeof(header); i++)
		if (header[i] == '\0' || header[i] == '\n')
			used += (size_t)snprintf(script + used, sizeof(script) - used, "\\%c", header[i] ? 'n' : '0');
		else
			script[used++] = (char)header[i];
	snprintf(script + used, sizeof(script) - used, "\nwait\n");
	ssh_vm_script(&bed.vm, "stream", script);
}

/* A node of it is there before our code hears of it. */
static void plug(void)
{
	char node[160];

	inject_pause();
	fake_kernel_plug(&bed.kernel, BUSID, &FT232R);
	if (is_by_usbfs) {
		unsigned devnum = bed.kernel.next_devnum - 1;

		if (usbfs.inode)
			fake_usbfs_free(&usbfs);
		snprintf(node, sizeof(node), "%s/bus/usb/001/%03u", bed.kernel.dev, devnum);
		fake_usbfs_new_at(&usbfs, node, 1);
		script_stream(devnum);
	}
	inject_resume();
}

static void unplug(void)
{
	if (is_by_usbfs)
		fake_usbfs_unplug(&usbfs);
	fake_kernel_unplug(&bed.kernel, BUSID);
}

/* The offer that the VM heard of last has its session. */
static void note_session(void)
{
	const char *at = ssh_vm_heard(&bed.vm, "control"), *last = NULL;
	char id[64];

	while ((at = strstr(at, "{\"offer\":{\"id\":\"")))
		last = at += strlen("{\"offer\":{\"id\":\"");
	if (!last)
		return;
	snprintf(id, sizeof(id), "%.*s", (int)strcspn(last, "\""), last);
	ssh_vm_note_session(&bed.vm, id);
}

/* The device does what it is asked for, each 16 ms as an FT232 does: all the while, it would be busy work for both. */
static void play_device(void)
{
	uint64_t now = clock_now_usec();

	if (!is_by_usbfs || !usbfs.inode || now - played_usec < 16000)
		return;
	played_usec = now;
	inject_pause();
	note_session();
	(void)fake_usbfs_complete(&usbfs, 0x81, 0, "\x01\x60", 2);
	inject_resume();
}

/* ---- what is looked at meanwhile ---- */

static const char *get(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* Who is not well says why, at any moment. */
static void expect_words(const json_t *what, bool is_bad)
{
	const json_t *error = json_object_get(what, "error");

	ck_assert_msg(!is_bad || (*get(error, "text") && *get(error, "code")), "%s %s, and not a word why", get(what, "busid"),
		      get(what, "state"));
}

static bool device_is(const char *state)
{
	_cleanup_json_ json_t *status = pi_bed_status(&bed);
	const json_t *link = json_object_get(status, "link"), *device = json_array_get(json_object_get(status, "devices"), 0);

	expect_words(link, strcmp(get(link, "state"), "DOWN") == 0 || strcmp(get(link, "state"), "REFUSED") == 0);
	expect_words(device, strcmp(get(device, "state"), "FAILED") == 0);
	return strcmp(get(device, "state"), state) == 0;
}

/* ENODEV and ENOENT mean an unplug: so that is what happens. */
static void replug_if_said(int error)
{
	if (is_replugged || !inject_failed_call()[0] || (error != ENODEV && error != ENOENT) || !fake_kernel_is_plugged(&bed.kernel, BUSID))
		return;
	is_replugged = true;
	unplug();
	plug();
	exporter_reload(bed.exporter); /* and a file that was not there is there again */
}

static void wait_state(const char *state)
{
	uint64_t end = clock_now_usec() + LIMIT_USEC * test_slowness();

	while (!device_is(state)) {
		ck_assert_msg(clock_now_usec() < end, "not %s but %s: %s", state, pi_bed_field(&bed, BUSID, "state"),
			      pi_bed_field(&bed, BUSID, "reason"));
		ck_assert_int_ge(sd_event_run(bed.daemon.event, TURN_USEC), 0);
		replug_if_said(inject_error());
		play_device();
	}
}

/* ---- the story ---- */

/* As main() does, and systemd again after it. */
static void start(void)
{
	char path[128];
	int r = -EAGAIN;

	snprintf(path, sizeof(path), "%s/control.sock", bed.run_dir);
	for (unsigned i = 0; i < 3 && r < 0; i++) {
		r = pi_bed_try_start(&bed);
		if (r >= 0)
			r = control_new(bed.daemon.event, path, bed.exporter, &control);
		if (r < 0)
			bed.exporter = exporter_free(bed.exporter);
	}
	ck_assert_msg(r >= 0, "the exporter does not start: %s", strerror(-r));
}

static void kill_exporter(void)
{
	if (inject_failed_call()[0])
		pi_bed_run(&bed, UINT64_C(1500000)); /* what it could not write at first it has written by then */
	control = control_free(control);
	pi_bed_kill(&bed);
}

/* The answer is lost if the call that fails is one of it, and nothing more. */
static void ask_status(void)
{
	struct control_ask ask;
	char path[128];

	snprintf(path, sizeof(path), "%s/control.sock", bed.run_dir);
	inject_pause();
	control_ask_start(&ask, path, json_pack("{s:s}", "request", "status"));
	inject_resume();
	loop_for(bed.daemon.event, TURN_USEC);
	control_ask_drop(&ask);
}

static void on_unpaired(bool is_ended, const struct failure *failure, void *userdata)
{
	(void)userdata;
	ck_assert(!failure || *failure->text);
	is_unpaired = is_ended;
	has_answer = true;
}

static bool has_unpair_answer(struct pi_bed *any)
{
	(void)any;
	return has_answer;
}

static bool has_driver(struct pi_bed *any)
{
	(void)any;
	return strcmp(usbfs.interfaces[0].driver, "ftdi_sio") == 0;
}

static void unpair(void)
{
	struct failure failure;

	is_unpaired = false;
	for (unsigned i = 0; i < 2 && !is_unpaired; i++) {
		has_answer = false;
		if (exporter_unpair(bed.exporter, on_unpaired, NULL, &failure) == 0)
			pi_bed_until(&bed, has_unpair_answer, "end of the pairing");
		else
			ck_assert_str_ne(failure.text, "");
	}
	ck_assert(is_unpaired);
	exporter_reload(bed.exporter); /* SIGHUP, in case it could not read what it wrote */
	wait_state("IGNORED");
	if (is_by_usbfs)
		pi_bed_until(&bed, has_driver, "its driver");
	else
		pi_bed_wait_driver(&bed, BUSID, "usb");
}

static void pair_again(void)
{
	pi_bed_pair(&bed);
	for (unsigned i = 0; i < 2; i++)
		exporter_reload(bed.exporter);
	wait_state("ATTACHED");
}

static void tell(void)
{
	unsigned n_fds;

	pi_bed_setup(&bed);
	pi_bed_pair(&bed);
	if (is_by_usbfs)
		temp_tree_put(&bed.vm.tree, "devices.conf", "default 0403:6001 backend=usbfs\n");
	n_fds = count_fds();
	start();
	plug();
	wait_state("ATTACHED");
	ask_status();
	kill_exporter();
	start();
	wait_state("ATTACHED");
	ssh_vm_kill(&bed.vm);
	pi_bed_run(&bed, TURN_USEC);
	wait_state("ATTACHED");
	unplug();
	pi_bed_wait_gone(&bed, BUSID);
	plug();
	wait_state("ATTACHED");
	unpair();
	pair_again();
	control = control_free(control);
	pi_bed_stop(&bed);
	if (is_by_usbfs)
		fake_usbfs_free(&usbfs);
	expect_fds(n_fds + 1); /* the clock that the loop keeps */
	pi_bed_teardown(&bed);
}

START_TEST(a_device_lives_through_all)
{
	tell();
}
END_TEST

START_TEST(a_device_that_the_exporter_carries_lives_through_all)
{
	is_by_usbfs = true;
	tell();
}
END_TEST

int main(int argc, char **argv)
{
	const struct each_call_story stories[] = { { "a device on the Pi lives through all", a_device_lives_through_all, 12 },
						   { "a device that the exporter carries lives through all",
						     a_device_that_the_exporter_carries_lives_through_all, 6 },
						   { 0 } };

	ssh_vm_play(argc, argv);
	log_init("test_inject_pi", false);
	return each_call_run(stories);
}
