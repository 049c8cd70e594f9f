/* The direct road on the Pi: the exporter's own import server, and what becomes of devices on it. The VM's control channel is behind a real sshd; its imports, and
 * those of others, are made by the test. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "pi_bed.h"
#include "usbip_wire.h"

static struct pi_bed bed;

static void write_config(const char *more)
{
	char text[8192];

	snprintf(text, sizeof(text), "%s\n%s\n", temp_tree_get(&bed.vm.tree, "vm.conf"), more);
	temp_tree_put(&bed.vm.tree, "vm.conf", text);
}

static void start(const char *config)
{
	pi_bed_setup(&bed);
	pi_bed_pair(&bed);
	write_config(config);
	pi_bed_start(&bed);
	pi_bed_wait_link(&bed, "UP");
}

static void setup(void)
{
	start("TRANSPORT=direct");
}

static void setup_tunnel(void)
{
	start("TRANSPORT=tunnel\nALLOW=127.0.0.0/8");
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

/* 0 while it is closed. */
static uint16_t port(void)
{
	_cleanup_json_ json_t *status = pi_bed_status(&bed);

	return (uint16_t)json_integer_value(json_object_get(status, "direct_port"));
}

/* ---- machines that import ---- */

static int machine(const char *from)
{
	struct sockaddr_in here = { .sin_family = AF_INET }, there = { .sin_family = AF_INET, .sin_port = htons(port()) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(inet_pton(AF_INET, from, &here.sin_addr), 1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&here, sizeof(here)), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&there, sizeof(there)), 0);
	return fd;
}

static size_t hear(int fd, void *buffer, size_t size)
{
	return loop_hear(bed.daemon.event, fd, buffer, size);
}

/* Asks for a device; its status. With USBIP_OK the reply's body is checked, and the connection is the kernel's. */
static uint32_t import(int fd, const char *busid)
{
	struct usbip_header header;
	struct usbip_device device;
	uint8_t request[USBIP_REQUEST_SIZE], reply[USBIP_HEADER_SIZE + USBIP_DEVICE_SIZE];
	struct busid where = { "" };

	strcpy(where.text, busid);
	usbip_request_encode(&where, request);
	ck_assert_int_eq(send(fd, request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
	ck_assert_uint_eq(hear(fd, reply, USBIP_HEADER_SIZE), USBIP_HEADER_SIZE);
	usbip_header_decode(reply, &header);
	if (header.status != USBIP_OK)
		return header.status;
	ck_assert_uint_eq(hear(fd, reply + USBIP_HEADER_SIZE, USBIP_DEVICE_SIZE), USBIP_DEVICE_SIZE);
	ck_assert_int_eq(usbip_device_decode(reply + USBIP_HEADER_SIZE, &device), 0);
	ck_assert_str_eq(device.busid.text, busid);
	ck_assert_uint_ne(device.devnum, 0);
	return USBIP_OK;
}

static void expect_end(int fd)
{
	char byte;

	ck_assert_uint_eq(hear(fd, &byte, 1), 0);
}

/* The kernel of the test sends back what comes. */
static void expect_echo(int fd)
{
	char text[16] = "";

	ck_assert_int_eq(send(fd, "forty-two", 9, MSG_NOSIGNAL), 9);
	ck_assert_uint_eq(hear(fd, text, 9), 9);
	ck_assert_str_eq(text, "forty-two");
}

/* The last offer's id, as the VM heard it. */
static const char *offer_id(void)
{
	static char id[64];
	const char *at = ssh_vm_heard(&bed.vm, "control"), *last = NULL;

	while ((at = strstr(at, "{\"offer\":{\"id\":\""))) {
		at += strlen("{\"offer\":{\"id\":\"");
		last = at;
	}
	ck_assert_ptr_nonnull(last);
	snprintf(id, sizeof(id), "%.*s", (int)strcspn(last, "\""), last);
	return id;
}

static unsigned n_connects;

static bool has_more_connects(struct pi_bed *own)
{
	return ssh_vm_count_offers(&own->vm) > n_connects;
}

static void wait_connect(void)
{
	pi_bed_until(&bed, has_more_connects, "another connect");
	n_connects = ssh_vm_count_offers(&bed.vm);
}

/* Plugs an FT232R in, which the VM at 127.0.0.1 then imports. */
static int attach(const char *busid)
{
	int fd;

	n_connects = ssh_vm_count_offers(&bed.vm);
	plug(busid, &FT232R);
	expect_device(busid, "OFFERED");
	wait_connect();
	fd = machine("127.0.0.1");
	ck_assert_uint_eq(import(fd, busid), USBIP_OK);
	ssh_vm_note_session(&bed.vm, offer_id());
	expect_device(busid, "ATTACHED");
	return fd;
}

static bool has_no_session(struct pi_bed *own)
{
	return fake_kernel_count_sessions(&own->kernel) == 0;
}

/* ---- open and closed ---- */

START_TEST(with_the_tunnel_nothing_listens)
{
	ck_assert_uint_eq(port(), 0);
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "transport"), "tunnel");
	pi_bed_expect_heard(&bed, "direct_port", 0);
	ck_assert_uint_eq(port(), 0);
}
END_TEST

START_TEST(an_unpaired_pi_does_not_listen)
{
	pi_bed_setup(&bed);
	temp_tree_put(&bed.vm.tree, "vm.conf", "TRANSPORT=direct\nALLOW=0.0.0.0/0\n");
	pi_bed_start(&bed);
	ck_assert_uint_eq(port(), 0);
	pi_bed_pair(&bed);
	exporter_reload(bed.exporter);
	ck_assert_uint_ne(port(), 0);
	pi_bed_wait_link(&bed, "UP");
	temp_tree_put(&bed.vm.tree, "vm.conf", "TRANSPORT=direct\n");
	exporter_reload(bed.exporter);
	ck_assert_uint_eq(port(), 0);
	pi_bed_teardown(&bed);
}
END_TEST

START_TEST(the_owner_changes_the_road_of_a_device_that_is_attached)
{
	_cleanup_close_ int fd = -EBADF;

	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	n_connects = 1;
	write_config("TRANSPORT=direct");
	exporter_reload(bed.exporter);
	wait_connect();
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "transport"), "direct");
	fd = machine("127.0.0.1");
	ck_assert_uint_eq(import(fd, "1-1"), USBIP_OK);
	ssh_vm_note_session(&bed.vm, offer_id());
	expect_device("1-1", "ATTACHED");
	write_config("TRANSPORT=tunnel");
	exporter_reload(bed.exporter);
	ck_assert_uint_eq(port(), 0);
	expect_end(fd);
	expect_device("1-1", "ATTACHED");
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 1);
}
END_TEST

START_TEST(a_rule_sends_one_device_by_the_direct_road)
{
	_cleanup_close_ int fd = -EBADF;

	temp_tree_put(&bed.vm.tree, "devices.conf", "default 0403:6001 transport=direct\n");
	exporter_reload(bed.exporter);
	ck_assert_uint_ne(port(), 0);
	plug("1-2", &CP2102);
	expect_device("1-2", "ATTACHED");
	fd = attach("1-1");
	expect_echo(fd);
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "transport"), "direct");
	ck_assert_str_eq(pi_bed_field(&bed, "1-2", "transport"), "tunnel");
	{
		_cleanup_close_ int other = machine("127.0.0.1");

		ck_assert_uint_eq(import(other, "1-2"), USBIP_NO_DEVICE); /* it is not on this road */
	}
	temp_tree_put(&bed.vm.tree, "devices.conf", "");
	exporter_reload(bed.exporter);
	ck_assert_uint_eq(port(), 0);
	expect_end(fd);
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(a_rule_keeps_one_device_in_the_tunnel)
{
	temp_tree_put(&bed.vm.tree, "devices.conf", "default 0403:* transport=tunnel\n");
	exporter_reload(bed.exporter);
	plug("1-1", &FT232R);
	expect_device("1-1", "ATTACHED");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "transport"), "tunnel");
}
END_TEST

/* ---- imports ---- */

START_TEST(a_device_is_offered_with_its_port_and_imported)
{
	_cleanup_close_ int fd = attach("1-1");
	char text[32];

	snprintf(text, sizeof(text), "\"direct_port\":%u", port());
	pi_bed_expect_heard(&bed, text, 1);
	ck_assert_uint_eq(fake_kernel_count_sessions(&bed.kernel), 1);
	expect_echo(fd);
	fake_kernel_unplug(&bed.kernel, "1-1");
	expect_end(fd);
	pi_bed_wait_gone(&bed, "1-1");
}
END_TEST

START_TEST(a_device_is_one_machines_at_a_time)
{
	_cleanup_close_ int fd = attach("1-1"), second = machine("127.0.0.1");

	ck_assert_uint_eq(import(second, "1-1"), USBIP_BUSY);
	expect_echo(fd);
}
END_TEST

START_TEST(what_is_not_shared_or_not_there_is_no_device)
{
	static const char *const busids[] = { "1-1", "1-7", "usb1" };
	_cleanup_close_ int fd = -EBADF;

	plug("1-1", &KEYBOARD_DEVICE);
	expect_device("1-1", "IGNORED");
	fd = machine("127.0.0.1");
	ck_assert_uint_eq(import(fd, busids[_i]), USBIP_NO_DEVICE);
	ck_assert_str_eq(fake_kernel_driver(&bed.kernel, "1-1"), "usb");
}
END_TEST

START_TEST(the_end_of_the_session_leads_to_another_offer)
{
	_cleanup_close_ int fd = attach("1-1"), again = -EBADF;

	fd = close_fd(fd);
	wait_connect();
	expect_device("1-1", "OFFERED");
	again = machine("127.0.0.1");
	ck_assert_uint_eq(import(again, "1-1"), USBIP_OK);
	ssh_vm_note_session(&bed.vm, offer_id());
	expect_device("1-1", "ATTACHED");
	expect_echo(again);
}
END_TEST

/* The VM refuses what it has read: its kernel ends the session, and the handler's word of why comes by another way, after it. */
START_TEST(the_end_of_a_session_is_explained_by_the_vm)
{
	struct message word = { .type = MESSAGE_FAILED };
	int fd;

	plug("1-1", &FT232R);
	expect_device("1-1", "OFFERED");
	wait_connect();
	fd = machine("127.0.0.1");
	ck_assert_uint_eq(import(fd, "1-1"), USBIP_OK);
	close_fd(fd);
	expect_device("1-1", "FAILED");
	failure_set(&word.failure, FAILURE_IDENTITY, NULL, "as the test wants");
	device_handle_message(pi_bed_device(&bed, "1-1"), &word);
	ck_assert_ptr_nonnull(strstr(pi_bed_field(&bed, "1-1", "reason"), "as the test wants"));
	pi_bed_run(&bed, 1500000);
	expect_device("1-1", "FAILED");
	ck_assert_uint_eq(ssh_vm_count_offers(&bed.vm), n_connects);
}
END_TEST

START_TEST(the_links_end_ends_the_sessions)
{
	_cleanup_close_ int fd = attach("1-1"), again = -EBADF;

	ssh_vm_kill(&bed.vm);
	expect_end(fd);
	pi_bed_until(&bed, has_no_session, "end of the session");
	pi_bed_wait_link(&bed, "UP");
	wait_connect();
	again = machine("127.0.0.1");
	ck_assert_uint_eq(import(again, "1-1"), USBIP_OK);
	ssh_vm_note_session(&bed.vm, offer_id());
	expect_device("1-1", "ATTACHED");
}
END_TEST

START_TEST(a_handler_that_restarts_keeps_the_session)
{
	_cleanup_close_ int fd = attach("1-1");

	ssh_vm_end_players(&bed.vm, "control");
	pi_bed_wait_link(&bed, "SYNCING");
	pi_bed_wait_link(&bed, "UP");
	pi_bed_run(&bed, 100000);
	expect_device("1-1", "ATTACHED");
	expect_echo(fd);
}
END_TEST

START_TEST(a_device_that_is_let_go_ends_its_session)
{
	_cleanup_close_ int fd = attach("1-1");

	device_release(pi_bed_device(&bed, "1-1"), "by hand");
	expect_end(fd);
	expect_device("1-1", "IGNORED");
	pi_bed_wait_driver(&bed, "1-1", "usb");
}
END_TEST

START_TEST(a_successor_offers_it_anew)
{
	_cleanup_close_ int fd = attach("1-1"), again = -EBADF;

	ck_assert_int_ge(fd, 0);
	bed.exporter = exporter_free(bed.exporter);
	ssh_vm_kill(&bed.vm);
	pi_bed_start(&bed);
	expect_device("1-1", "OFFERED");
	again = machine("127.0.0.1");
	ck_assert_uint_eq(import(again, "1-1"), USBIP_OK);
}
END_TEST

/* ---- other machines ---- */

START_TEST(a_foreign_address_gets_nothing)
{
	_cleanup_close_ int fd = attach("1-1"), other = machine("127.0.0.9");

	ck_assert_uint_eq(import(other, "1-1"), USBIP_NOT_AVAILABLE);
	expect_echo(fd);
}
END_TEST

START_TEST(one_in_allow_gets_what_the_vm_does_not_have)
{
	_cleanup_close_ int other = -EBADF, vm = -EBADF;

	write_config("ALLOW=127.0.0.8/31");
	exporter_reload(bed.exporter);
	n_connects = 0;
	plug("1-1", &FT232R);
	expect_device("1-1", "OFFERED");
	wait_connect();
	other = machine("127.0.0.9");
	ck_assert_uint_eq(import(other, "1-1"), USBIP_BUSY); /* it is the VM's, which is about to fetch it */
	other = close_fd(other);

	bed.vm.wire = WIRE_CLOSED; /* the VM is away */
	ssh_vm_kill(&bed.vm);
	expect_device("1-1", "READY");
	other = machine("127.0.0.9");
	ck_assert_uint_eq(import(other, "1-1"), USBIP_OK);
	expect_echo(other);
	expect_device("1-1", "READY");
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "reason"), "in use by 127.0.0.9, which imported it");

	bed.vm.wire = WIRE_SSHD; /* and comes back: it does not take it away */
	pi_bed_wait_link(&bed, "UP");
	pi_bed_run(&bed, 200000);
	expect_device("1-1", "READY");
	expect_echo(other);
	ck_assert(!has_more_connects(&bed));

	other = close_fd(other);
	wait_connect();
	expect_device("1-1", "OFFERED");
	vm = machine("127.0.0.1");
	ck_assert_uint_eq(import(vm, "1-1"), USBIP_OK);
}
END_TEST

START_TEST(one_that_allow_has_no_more_gives_back_what_it_was_lent)
{
	_cleanup_close_ int other = -EBADF, one_more = -EBADF;

	write_config("ALLOW=127.0.0.8/31, 127.0.0.11");
	exporter_reload(bed.exporter);
	bed.vm.wire = WIRE_CLOSED;
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	plug("1-1", &FT232R);
	plug("1-2", &CP2102);
	expect_device("1-1", "READY");
	expect_device("1-2", "READY");
	other = machine("127.0.0.9");
	ck_assert_uint_eq(import(other, "1-1"), USBIP_OK);
	one_more = machine("127.0.0.11");
	ck_assert_uint_eq(import(one_more, "1-2"), USBIP_OK);
	write_config("ALLOW=127.0.0.11");
	exporter_reload(bed.exporter);
	expect_end(other);
	expect_echo(one_more);
	expect_device("1-1", "READY");
	ck_assert_ptr_null(strstr(pi_bed_field(&bed, "1-1", "reason"), "127.0.0.9"));
	other = close_fd(other);
	other = machine("127.0.0.9");
	ck_assert_uint_eq(import(other, "1-1"), USBIP_NOT_AVAILABLE);
}
END_TEST

START_TEST(one_that_is_lent_survives_a_link_that_is_lost)
{
	_cleanup_close_ int other = -EBADF;

	write_config("ALLOW=127.0.0.9");
	exporter_reload(bed.exporter);
	bed.vm.wire = WIRE_CLOSED;
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	plug("1-1", &FT232R);
	expect_device("1-1", "READY");
	other = machine("127.0.0.9");
	ck_assert_uint_eq(import(other, "1-1"), USBIP_OK);
	bed.vm.wire = WIRE_SSHD;
	pi_bed_wait_link(&bed, "UP");
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	pi_bed_wait_link(&bed, "UP");
	expect_echo(other);
	fake_kernel_unplug(&bed.kernel, "1-1");
	expect_end(other);
	pi_bed_wait_gone(&bed, "1-1");
}
END_TEST

/* The VM's handler hangs: a stream is opened for the offer to come, and then the device is to take the other road. It is the offer that would give the stream back. */
START_TEST(one_that_is_lent_has_nothing_of_the_link_any_more)
{
	_cleanup_close_ int other = -EBADF;

	write_config("ALLOW=127.0.0.9");
	temp_tree_put(&bed.vm.tree, "devices.conf", "default 0403:6001 transport=tunnel\n");
	exporter_reload(bed.exporter);
	bed.vm.wire = WIRE_CLOSED;
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	plug("1-1", &FT232R);
	expect_device("1-1", "READY");
	ssh_vm_script(&bed.vm, "control", "wait\n");
	bed.vm.wire = WIRE_SSHD;
	pi_bed_wait_link(&bed, "SYNCING");
	temp_tree_put(&bed.vm.tree, "devices.conf", "");
	exporter_reload(bed.exporter);
	ck_assert_str_eq(pi_bed_field(&bed, "1-1", "transport"), "direct");
	other = machine("127.0.0.9");
	ck_assert_uint_eq(import(other, "1-1"), USBIP_OK);
	n_connects = ssh_vm_count_offers(&bed.vm);
	ssh_vm_script(&bed.vm, "control", "serve\n");
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	expect_echo(other);
	other = close_fd(other);
	wait_connect();
	expect_device("1-1", "OFFERED");
}
END_TEST

START_TEST(the_list_has_what_can_be_imported_now)
{
	static const uint8_t request[] = { 0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0 };
	uint8_t reply[12 + 312 + 4];
	struct usbip_device device;
	_cleanup_close_ int asker = -EBADF, fd = -EBADF;

	fd = attach("1-1"); /* in use: not in it */
	n_connects = 1;
	plug("1-2", &CP2102);
	expect_device("1-2", "OFFERED");
	wait_connect();
	plug("1-3", &KEYBOARD_DEVICE);
	expect_device("1-3", "IGNORED");
	asker = machine("127.0.0.1");
	ck_assert_int_eq(send(asker, request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
	ck_assert_uint_eq(hear(asker, reply, sizeof(reply)), sizeof(reply));
	ck_assert_uint_eq(reply[11], 1);
	ck_assert_int_eq(usbip_device_decode(reply + 12, &device), 0);
	ck_assert_str_eq(device.busid.text, "1-2");
	ck_assert_uint_eq(device.vid, 0x10c4);
	ck_assert_uint_eq(device.n_interfaces, 1);
	ck_assert_uint_eq(device.n_configurations, 1);
	ck_assert_uint_eq(reply[12 + 312], 0xff); /* its interface's class */
	expect_end(asker);
}
END_TEST

/* ---- what can't be ---- */

START_TEST(a_vm_that_knows_no_direct_road_is_told_of)
{
	ssh_vm_script(&bed.vm, "control", "old\nserve\n");
	ssh_vm_kill(&bed.vm);
	pi_bed_wait_link(&bed, "DOWN");
	pi_bed_wait_link(&bed, "UP");
	plug("1-1", &FT232R);
	expect_device("1-1", "FAILED");
	ck_assert_ptr_nonnull(strstr(pi_bed_field(&bed, "1-1", "reason"), "the VM can't import devices on the direct road"));
	ck_assert_ptr_nonnull(strstr(pi_bed_field(&bed, "1-1", "reason"), "TRANSPORT=tunnel"));
	write_config("TRANSPORT=tunnel");
	exporter_reload(bed.exporter);
	expect_device("1-1", "ATTACHED");
}
END_TEST

int main(int argc, char **argv)
{
	TCase *closed = tcase_create("closed"), *unpaired = tcase_create("unpaired"), *imports = tcase_create("imports"),
	      *others = tcase_create("others");

	ssh_vm_play(argc, argv);
	tcase_set_timeout(closed, 120);
	tcase_add_checked_fixture(closed, setup_tunnel, teardown);
	tcase_add_test(closed, with_the_tunnel_nothing_listens);
	tcase_add_test(closed, the_owner_changes_the_road_of_a_device_that_is_attached);
	tcase_add_test(closed, a_rule_sends_one_device_by_the_direct_road);
	tcase_add_test(unpaired, an_unpaired_pi_does_not_listen);
	tcase_add_checked_fixture(imports, setup, teardown);
	tcase_add_test(imports, a_rule_keeps_one_device_in_the_tunnel);
	tcase_add_test(imports, a_device_is_offered_with_its_port_and_imported);
	tcase_add_test(imports, a_device_is_one_machines_at_a_time);
	tcase_add_loop_test(imports, what_is_not_shared_or_not_there_is_no_device, 0, 3);
	tcase_add_test(imports, the_end_of_the_session_leads_to_another_offer);
	tcase_add_test(imports, the_end_of_a_session_is_explained_by_the_vm);
	tcase_add_test(imports, the_links_end_ends_the_sessions);
	tcase_add_test(imports, a_handler_that_restarts_keeps_the_session);
	tcase_add_test(imports, a_device_that_is_let_go_ends_its_session);
	tcase_add_test(imports, a_successor_offers_it_anew);
	tcase_add_checked_fixture(others, setup, teardown);
	tcase_add_test(others, a_foreign_address_gets_nothing);
	tcase_add_test(others, one_in_allow_gets_what_the_vm_does_not_have);
	tcase_add_test(others, one_that_allow_has_no_more_gives_back_what_it_was_lent);
	tcase_add_test(others, one_that_is_lent_survives_a_link_that_is_lost);
	tcase_add_test(others, one_that_is_lent_has_nothing_of_the_link_any_more);
	tcase_add_test(others, the_list_has_what_can_be_imported_now);
	tcase_add_test(others, a_vm_that_knows_no_direct_road_is_told_of);
	return check_program_run("pi_direct", closed, unpaired, imports, others, NULL);
}
