/* Plugs, unplugs, events that are told twice, cut links, a VM that refuses, hands: in whatever order. */

#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "pi_bed.h"

static struct pi_bed bed;

static void setup(void)
{
	pi_bed_setup(&bed);
	pi_bed_pair(&bed);
	pi_bed_start(&bed);
	pi_bed_wait_link(&bed, "UP");
}

static void teardown(void)
{
	pi_bed_teardown(&bed);
}

static const struct usb_sample *const SAMPLES[] = { &FT232R, &CP2102,          &CH340,   &ESP32_S3, &ARDUINO_UNO,
						    &HUB,    &KEYBOARD_DEVICE, &RTL8153, &ECM_MODEM };
static const bool IS_SERIAL[] = { true, true, true, true, true, false, false, false, false };
#define N_SOCKETS 4

static int plugged[N_SOCKETS]; /* which sample, or -1 */

static const char *socket_name(unsigned i)
{
	static const char *const names[N_SOCKETS] = { "1-1", "1-1.1", "1-1.2", "1-2" };

	return names[i];
}

static void replug(unsigned i, unsigned *seed)
{
	if (plugged[i] >= 0) {
		fake_kernel_unplug(&bed.kernel, socket_name(i));
		plugged[i] = -1;
		return;
	}
	plugged[i] = (int)((unsigned)rand_r(seed) % ARRAY_SIZE(SAMPLES));
	fake_kernel_plug(&bed.kernel, socket_name(i), SAMPLES[plugged[i]]);
}

/* Something that was said before is said again. */
static void repeat_event(unsigned i, unsigned *seed)
{
	static const enum uevent_action actions[] = { UEVENT_ADD, UEVENT_BIND, UEVENT_UNBIND, UEVENT_CHANGE };
	const struct uevent event = { .action = actions[(unsigned)rand_r(seed) % ARRAY_SIZE(actions)],
				      .subsystem = "usb",
				      .devtype = "usb_device",
				      .syspath = "/sys/devices/pci0000:00/usb1/x",
				      .sysname = socket_name(i),
				      .driver = "usb" };

	if (plugged[i] >= 0 && strcmp(fake_kernel_driver(&bed.kernel, socket_name(i)), "") != 0)
		exporter_handle_uevent(bed.exporter, &event);
}

static void use_hands(unsigned i, unsigned *seed)
{
	struct device *device;

	if (exporter_select(bed.exporter, socket_name(i), &device, 1) != 1)
		return;
	if (rand_r(seed) % 2)
		device_share(device);
	else
		device_release(device, "by hand");
}

static void change_vm(unsigned *seed)
{
	static const char *const answers[] = {
		SSH_VM_ATTACHED,
		"{\"type\":\"failed\",\"code\":\"no-free-port\",\"text\":\"t\",\"cure\":\"\"}",
		"{\"type\":\"detached\",\"reason\":\"r\"}",
	};
	static const char *const streams[] = { "session\n", "session\n", "say OK\nend\n",
					       "say NO {\"code\":\"busy\",\"text\":\"t\",\"cure\":\"\"}\n", "end\n" };

	ssh_vm_answer_connect(&bed.vm, answers[(unsigned)rand_r(seed) % ARRAY_SIZE(answers)]);
	ssh_vm_script(&bed.vm, "stream", streams[(unsigned)rand_r(seed) % ARRAY_SIZE(streams)]);
}

static void do_something(unsigned *seed)
{
	unsigned socket = (unsigned)rand_r(seed) % N_SOCKETS;

	switch (rand_r(seed) % 12) {
	case 0:
	case 1:
	case 2:
	case 3:
		replug(socket, seed);
		break;
	case 4:
	case 5:
		repeat_event(socket, seed);
		break;
	case 6:
		use_hands(socket, seed);
		break;
	case 7:
		change_vm(seed);
		break;
	case 8:
		if (rand_r(seed) % 3 == 0)
			ssh_vm_kill(&bed.vm);
		break;
	case 9:
		ssh_vm_end_players(&bed.vm, rand_r(seed) % 2 ? "control" : "stream");
		break;
	case 10:
		bed.kernel.end_status = rand_r(seed) % 3 ? 1 : 3;
		bed.kernel.teardown_msec = (unsigned)rand_r(seed) % 60;
		break;
	case 11:
		pi_bed_run(&bed, (uint64_t)(rand_r(seed) % 200) * 1000);
		break;
	}
	pi_bed_run(&bed, (uint64_t)(rand_r(seed) % 20) * 1000);
}

START_TEST(whatever_happened_every_device_ends_where_it_belongs)
{
	unsigned seed = (unsigned)_i, n_attached = 0;

	for (unsigned i = 0; i < N_SOCKETS; i++)
		plugged[i] = -1;
	for (unsigned i = 0; i < 60; i++)
		do_something(&seed);
	/* Now nobody disturbs any more. */
	ssh_vm_answer_connect(&bed.vm, SSH_VM_ATTACHED);
	ssh_vm_script(&bed.vm, "stream", "session\n");
	bed.kernel.end_status = 1;
	link_kick(exporter_link(bed.exporter), true);
	pi_bed_wait_link(&bed, "UP");
	for (unsigned i = 0; i < N_SOCKETS; i++) {
		struct device *device;

		if (exporter_select(bed.exporter, socket_name(i), &device, 1) == 1)
			device_share(device);
	}
	for (unsigned i = 0; i < N_SOCKETS; i++) {
		bool is_serial = plugged[i] >= 0 && IS_SERIAL[plugged[i]];

		if (plugged[i] < 0) {
			pi_bed_wait_gone(&bed, socket_name(i));
			continue;
		}
		pi_bed_wait(&bed, socket_name(i), is_serial ? "ATTACHED" : "IGNORED");
		pi_bed_wait_driver(&bed, socket_name(i), is_serial ? "usbip-host" : "usb");
		n_attached += is_serial;
	}
	pi_bed_run(&bed, 300000);
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), n_attached);
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), n_attached);
	/* teardown stops it and looks for what is left; no crime was committed */
}
END_TEST

int main(int argc, char **argv)
{
	TCase *tests = tcase_create("whatever order");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 100);
	tcase_add_loop_test(tests, whatever_happened_every_device_ends_where_it_belongs, 1, 7);
	return check_program_run("pi_exporter_random", tests, NULL);
}
