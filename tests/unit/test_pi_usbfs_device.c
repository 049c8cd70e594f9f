/* A device that the exporter carries by itself: the real exporter on a fake kernel, whose usbfs is fake_usbfs, and a VM behind a real sshd. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "fake_usbfs.h"
#include "pi_bed.h"
#include "usbip_urb.h"
#include "usbip_wire.h"

#define RULE "default 0403:6001 backend=usbfs\n"

static struct pi_bed bed;
static struct fake_usbfs usbfs;

static void write_rules(const char *rules)
{
	temp_tree_put(&bed.vm.tree, "devices.conf", rules);
	pi_bed_run(&bed, 200000);
}

static void start(const char *config)
{
	char text[8192];

	pi_bed_setup(&bed);
	pi_bed_pair(&bed);
	ssh_vm_script(&bed.vm, "stream", "say OK\nwait\n"); /* its kernel says nothing */
	snprintf(text, sizeof(text), "%s\n%s\n", temp_tree_get(&bed.vm.tree, "vm.conf"), config);
	temp_tree_put(&bed.vm.tree, "vm.conf", text);
	temp_tree_put(&bed.vm.tree, "devices.conf", RULE);
	pi_bed_start(&bed);
	pi_bed_wait_link(&bed, "UP");
}

static void setup(void)
{
	start("TRANSPORT=tunnel");
}

static void setup_direct(void)
{
	start("TRANSPORT=direct");
}

static void teardown(void)
{
	pi_bed_teardown(&bed);
	if (usbfs.inode)
		fake_usbfs_free(&usbfs);
}

/* An FT232R in 1-1, with its node. */
static void plug(void)
{
	char node[160];

	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	snprintf(node, sizeof(node), "%s/bus/usb/001/%03u", bed.kernel.dev, bed.kernel.next_devnum - 1);
	ck_assert_int_eq(access(node, F_OK), 0);
	fake_usbfs_new_at(&usbfs, node, 1);
}

static void expect(const char *state)
{
	pi_bed_wait(&bed, "1-1", state);
}

/* The last offer's id, as the VM heard it; "" before any. */
static const char *offer_id(void)
{
	static char id[64];
	const char *at = ssh_vm_heard(&bed.vm, "control"), *last = "";

	while ((at = strstr(at, "{\"offer\":{\"id\":\""))) {
		at += strlen("{\"offer\":{\"id\":\"");
		last = at;
	}
	snprintf(id, sizeof(id), "%.*s", (int)strcspn(last, "\""), last);
	return id;
}

static bool is_attached(struct pi_bed *own)
{
	if (offer_id()[0])
		ssh_vm_note_session(&own->vm, offer_id()); /* there is no need to wait for a kernel that says nothing */
	return strcmp(pi_bed_field(own, "1-1", "state"), "ATTACHED") == 0;
}

static bool has_session(struct pi_bed *own)
{
	_cleanup_json_ json_t *status = pi_bed_status(own);
	json_t *device = json_array_get(json_object_get(status, "devices"), 0);

	return json_object_get(json_object_get(device, "steps_ms"), "stream") != NULL;
}

static void expect_attached(void)
{
	pi_bed_until(&bed, is_attached, "1-1 to be attached");
	pi_bed_until(&bed, has_session, "its session to be up");
}

static void expect_backend(const char *backend)
{
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "backend"), backend);
}

static bool is_with_driver(struct pi_bed *own)
{
	(void)own;
	return strcmp(usbfs.interfaces[0].driver, "ftdi_sio") == 0;
}

static bool is_settled(struct pi_bed *own)
{
	(void)own;
	return strstr(usbfs.log, "reset; claim 0");
}

START_TEST(a_rule_gives_a_device_to_usbfs)
{
	plug();
	expect_attached();
	expect_backend("usbfs");
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "claim 0");
	ck_assert_str_eq(fake_kernel_writes(&bed.kernel), "");
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
	pi_bed_stop(&bed);
	ck_assert(is_with_driver(&bed));
}
END_TEST

START_TEST(what_usbip_host_has_no_place_for_is_carried_by_usbfs)
{
	write_rules("");
	fake_kernel_refuse(&bed.kernel, "usbip-host/match_busid", ENOMEM, 1000);
	plug();
	expect_attached();
	expect_backend("usbfs");
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
}
END_TEST

START_TEST(after_a_session_it_is_reset_and_offered_again)
{
	plug();
	expect_attached();
	(void)fake_usbfs_log(&usbfs);
	ssh_vm_kill(&bed.vm);
	pi_bed_until(&bed, is_settled, "the device to be reset");
	expect_attached();
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "release 0; reset; claim 0");
}
END_TEST

START_TEST(it_changes_its_carrier_with_the_rules)
{
	plug();
	expect_attached();
	write_rules("default 0403:6001 backend=usbip-host\n");
	pi_bed_wait_driver(&bed, "1-1", "usbip-host");
	expect_attached();
	expect_backend("usbip-host");
	ck_assert(is_with_driver(&bed)); /* given back before */
	write_rules(RULE);
	pi_bed_wait_driver(&bed, "1-1", "usb");
	expect_attached();
	expect_backend("usbfs");
}
END_TEST

START_TEST(while_it_waits_for_the_link_it_changes_its_carrier_together_with_its_road)
{
	plug();
	expect_attached();
	bed.vm.wire = WIRE_CLOSED;
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	expect("READY");
	write_rules("default 0403:6001 transport=direct backend=usbip-host\n");
	pi_bed_wait_driver(&bed, "1-1", "usbip-host");
	expect_backend("usbip-host");
}
END_TEST

START_TEST(what_another_program_has_stays_with_it_and_that_is_told)
{
	plug();
	strcpy(usbfs.interfaces[0].driver, "usbfs");
	expect("FAILED");
	ck_assert(strstr(pi_bed_field(&bed, "1-1", "reason"), "another program on the Pi uses it"));
	strcpy(usbfs.interfaces[0].driver, "ftdi_sio");
	expect_attached();
}
END_TEST

START_TEST(a_successor_takes_what_a_killed_one_left)
{
	plug();
	expect_attached();
	pi_bed_kill(&bed);
	pi_bed_start(&bed);
	pi_bed_wait_link(&bed, "UP");
	expect_attached();
	expect_backend("usbfs");
}
END_TEST

START_TEST(a_successor_gives_back_what_is_shared_no_more)
{
	plug();
	expect_attached();
	pi_bed_kill(&bed);
	temp_tree_put(&bed.vm.tree, "devices.conf", "ignore 0403:6001\n");
	pi_bed_start(&bed);
	expect("IGNORED");
	pi_bed_until(&bed, is_with_driver, "its driver to have it");
	expect("IGNORED");
}
END_TEST

START_TEST(what_a_successor_could_not_take_has_its_driver_all_the_same)
{
	plug();
	expect_attached();
	pi_bed_kill(&bed);
	strcpy(usbfs.interfaces[0].driver, "usbfs"); /* another program was faster */
	pi_bed_start(&bed);
	expect("FAILED");
	usbfs.interfaces[0].driver[0] = '\0'; /* and is gone */
	temp_tree_put(&bed.vm.tree, "devices.conf", "ignore 0403:6001\n");
	expect("IGNORED");
	pi_bed_until(&bed, is_with_driver, "its driver to have it");
}
END_TEST

START_TEST(an_unplug_is_no_failure)
{
	plug();
	expect_attached();
	fake_usbfs_unplug(&usbfs);
	fake_kernel_unplug(&bed.kernel, "1-1");
	pi_bed_wait_gone(&bed, "1-1");
	ck_assert_uint_eq(fake_kernel_count_table(&bed.kernel), 0);
}
END_TEST

START_TEST(what_failed_for_good_has_nothing_under_way)
{
	plug();
	expect_attached();
	(void)fake_usbfs_log(&usbfs);
	ssh_vm_answer_connect(&bed.vm, "{\"type\":\"failed\",\"code\":\"not-accepted\",\"text\":\"no\",\"cure\":\"\"}");
	write_rules("default 0403:6001 backend=usbfs name=other\n"); /* the VM hears of it, and answers */
	expect("FAILED");
	pi_bed_until(&bed, is_settled, "its transfers to be ended");
	expect("FAILED");
}
END_TEST

/* ---- the direct road: this test is the VM's kernel, too ---- */

static uint16_t port(void)
{
	_cleanup_json_ json_t *status = pi_bed_status(&bed);

	return (uint16_t)json_integer_value(json_object_get(status, "direct_port"));
}

static void hear(int fd, void *buffer, size_t size)
{
	size_t used = 0;

	for (unsigned i = 0; used < size && i < 2000 * test_slowness(); i++) {
		ssize_t n = recv(fd, (char *)buffer + used, size - used, MSG_DONTWAIT);

		if (n > 0)
			used += (size_t)n;
		else
			sd_event_run(bed.daemon.event, 5000);
	}
	ck_assert_uint_eq(used, size);
}

static int import(void)
{
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(port()), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint8_t request[USBIP_REQUEST_SIZE], reply[USBIP_HEADER_SIZE + USBIP_DEVICE_SIZE];

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&there, sizeof(there)), 0);
	usbip_request_encode(&(struct busid){ "1-1" }, request);
	ck_assert_int_eq(send(fd, request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
	hear(fd, reply, sizeof(reply));
	ck_assert_uint_eq(reply[7], USBIP_OK);
	return fd;
}

START_TEST(on_the_direct_road_the_vms_kernel_speaks_with_us)
{
	_cleanup_close_ int fd = -EBADF;
	struct usbip_urb request = { .command = USBIP_CMD_SUBMIT, .seqnum = 5, .is_in = true, .endpoint = 1, .length = 8 };
	uint8_t header[USBIP_URB_HEADER_SIZE], answer[USBIP_URB_HEADER_SIZE + 2];

	plug();
	expect("OFFERED");
	fd = import();
	request.devid = 1 << 16 | (bed.kernel.next_devnum - 1);
	usbip_urb_encode(&request, header);
	ck_assert_int_eq(send(fd, header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
	while (!fake_usbfs_find(&usbfs, 0x81))
		sd_event_run(bed.daemon.event, 5000);
	ck_assert(fake_usbfs_complete(&usbfs, 0x81, 0, "hi", 2));
	hear(fd, answer, sizeof(answer));
	ck_assert_uint_eq(answer[3], USBIP_RET_SUBMIT);
	ck_assert(memcmp(answer + USBIP_URB_HEADER_SIZE, "hi", 2) == 0);
	(void)fake_usbfs_log(&usbfs);
	fd = close_fd(fd);
	pi_bed_until(&bed, is_settled, "the device to be reset");
}
END_TEST

int main(int argc, char **argv)
{
	TCase *tunnel = tcase_create("tunnel"), *direct = tcase_create("direct");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(tunnel, setup, teardown);
	tcase_add_test(tunnel, a_rule_gives_a_device_to_usbfs);
	tcase_add_test(tunnel, what_usbip_host_has_no_place_for_is_carried_by_usbfs);
	tcase_add_test(tunnel, after_a_session_it_is_reset_and_offered_again);
	tcase_add_test(tunnel, it_changes_its_carrier_with_the_rules);
	tcase_add_test(tunnel, while_it_waits_for_the_link_it_changes_its_carrier_together_with_its_road);
	tcase_add_test(tunnel, what_another_program_has_stays_with_it_and_that_is_told);
	tcase_add_test(tunnel, a_successor_takes_what_a_killed_one_left);
	tcase_add_test(tunnel, a_successor_gives_back_what_is_shared_no_more);
	tcase_add_test(tunnel, what_a_successor_could_not_take_has_its_driver_all_the_same);
	tcase_add_test(tunnel, an_unplug_is_no_failure);
	tcase_add_test(tunnel, what_failed_for_good_has_nothing_under_way);
	tcase_add_checked_fixture(direct, setup_direct, teardown);
	tcase_add_test(direct, on_the_direct_road_the_vms_kernel_speaks_with_us);
	return check_program_run("pi_usbfs_device", tunnel, direct, NULL);
}
