/* A Pi that follows a script, against the real handler on a fake sysfs. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "log.h"
#include "revocation.h"
#include "vm_bed.h"

#define DEVID(bus, device) ((bus) << 16 | (device))

static struct vm_bed bed;
static struct vm_pi pi, stream;

static void setup(void)
{
	vm_bed_setup(&bed);
	pi.fd = stream.fd = -EBADF;
}

static void teardown(void)
{
	close_fd(pi.fd);
	close_fd(stream.fd);
	vm_bed_teardown(&bed);
}

static void expect_code(struct vm_pi *from, const char *type, const char *code)
{
	_cleanup_json_ json_t *message = vm_pi_expect(from, type);

	ck_assert_str_eq(json_string_value(json_object_get(message, "code")), code);
	ck_assert_str_ne(json_string_value(json_object_get(message, "text")), "");
}

static void expect_refused(struct vm_pi *from, const char *code)
{
	expect_code(from, "refused", code);
	vm_pi_expect_end(from);
}

static void expect_nothing_attached(void)
{
	ck_assert_str_eq(vm_bed_take_write(&bed, "attach"), "");
	ck_assert_uint_eq(vm_bed_count_used(&bed), 0);
}

/* Offers an ACM device as "o-1" and brings it to its node. Returns the port. */
static uint32_t attach_acm(void)
{
	uint32_t port;

	vm_pi_offer(&pi, "o-1", "1-1.4", DEVID(1, 7), &ACM);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	port = vm_bed_enumerate(&bed, &ACM);
	vm_bed_expect_state(&bed, "o-1", "settling");
	vm_bed_add_tty(&bed, port, "/dev/ttyACM0", "/dev/serial/by-path/x /dev/serial/by-id/usb-acm");
	return port;
}

/* ---- the way of a device ---- */

START_TEST(a_device_is_authorized_and_reported_with_its_node)
{
	_cleanup_json_ json_t *attached = NULL;
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	attached = vm_pi_expect(&pi, "attached");
	ck_assert(vm_bed_is_authorized(&bed, port));
	ck_assert_int_eq(json_integer_value(json_object_get(attached, "port")), port);
	ck_assert_str_eq(json_string_value(json_object_get(attached, "busid")), "1-1");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(attached, "nodes"), 0)), "/dev/ttyACM0");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(attached, "links"), 0)), "/dev/serial/by-id/usb-acm");
	ck_assert(json_is_integer(json_object_get(json_object_get(attached, "steps_ms"), "enumerate")));
}
END_TEST

START_TEST(root_hubs_authorize_nothing_by_default)
{
	char path[160], content[8] = "";
	FILE *file;

	snprintf(path, sizeof(path), "%s/devices/platform/vhci_hcd.0/usb2/authorized_default", bed.sysfs);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_ptr_nonnull(fgets(content, sizeof(content), file));
	fclose(file);
	ck_assert_int_eq(content[0], '0');
}
END_TEST

START_TEST(a_stream_that_comes_before_its_offer_waits)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	expect_nothing_attached();
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	vm_pi_expect_text(&stream, "OK");
	vm_bed_enumerate(&bed, &ACM);
	vm_bed_expect_state(&bed, "o-1", "settling");
}
END_TEST

START_TEST(bytes_behind_the_first_line_are_left_for_the_kernel)
{
	char rest[8] = "";
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	stream = (struct vm_pi){ .bed = &bed, .fd = ends[0] };
	{
		int kept = dup(ends[1]); /* the kernel's reference */

		handler_accept_relay(bed.handler, BED_PI, "127.0.0.1", ends[1]);
		vm_pi_say(&stream, "{\"type\":\"stream\",\"offer\":\"o-1\"}\nURB");
		vm_pi_expect_text(&stream, "OK");
		ck_assert_int_eq(read(kept, rest, sizeof(rest)), 4);
		close(kept);
	}
	ck_assert_str_eq(rest, "URB\n");
}
END_TEST

START_TEST(a_device_without_nodes_is_attached_all_the_same)
{
	_cleanup_json_ json_t *attached = NULL;

	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	vm_bed_enumerate(&bed, &ACM);
	attached = vm_pi_expect(&pi, "attached");
	ck_assert_uint_eq(json_array_size(json_object_get(attached, "nodes")), 0);
}
END_TEST

START_TEST(a_disconnect_detaches_and_is_answered_when_the_port_is_free)
{
	uint32_t port, written;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	vm_pi_say(&pi, "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"unplugged\"}");
	ck_assert_int_eq(sscanf(vm_bed_take_write(&bed, "detach"), "%u", &written), 1);
	ck_assert_uint_eq(written, port);
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "detaching");
	vm_bed_remove(&bed, port);
	json_decref(vm_pi_expect(&pi, "detached"));
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "");
}
END_TEST

START_TEST(a_port_that_is_detaching_is_not_used_again)
{
	uint32_t first, second;
	struct vm_pi other;

	vm_pi_come_up(&pi, &bed, BED_PI);
	first = attach_acm();
	vm_pi_say(&pi, "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"unplugged\"}");
	vm_pi_offer(&pi, "o-2", "1-1.4", DEVID(1, 8), &ACM);
	vm_pi_open_stream(&other, &bed, BED_PI, "o-2");
	vm_pi_expect_text(&other, "OK");
	second = vm_bed_take_attach(&bed);
	ck_assert_uint_ne(first, second);
	close(other.fd);
}
END_TEST

START_TEST(usbip_port_is_told_of_a_port_for_as_long_as_it_is_held)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	ck_assert_uint_eq(port, 0);
	ck_assert_str_eq(temp_tree_get(&bed.tree, "port0"), "pi1 ssh 1-1.4 usbpush\n");
	vm_bed_remove(&bed, port);
	vm_bed_expect_state(&bed, "o-1", "");
	ck_assert_int_ne(access(temp_tree_path(&bed.tree, "port0"), F_OK), 0);
}
END_TEST

START_TEST(an_unplugged_device_is_told_as_detached)
{
	_cleanup_json_ json_t *told = NULL;

	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_bed_remove(&bed, attach_acm());
	told = vm_pi_expect(&pi, "detached");
	ck_assert_str_eq(json_string_value(json_object_get(told, "id")), "o-1");
}
END_TEST

/* A device that is not what was offered, enumerated: its port. */
static uint32_t enumerate_impostor(void)
{
	struct vm_device impostor = ACM;

	impostor.serial = "another";
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	return vm_bed_enumerate(&bed, &impostor);
}

START_TEST(a_device_that_is_not_what_was_offered_is_never_authorized)
{
	uint32_t port = enumerate_impostor();

	expect_code(&pi, "failed", "identity");
	ck_assert(!vm_bed_is_authorized(&bed, port));
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
	vm_bed_remove(&bed, port);
	vm_bed_expect_state(&bed, "o-1", "failed");
}
END_TEST

/* It is told as failed, and its port is not free yet. */
static uint32_t fail_slowly(void)
{
	uint32_t port = enumerate_impostor();

	expect_code(&pi, "failed", "identity");
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "detaching");
	return port;
}

START_TEST(a_failure_that_is_offered_anew_before_its_port_is_free_leaves_no_trace)
{
	uint32_t port = fail_slowly();

	vm_pi_offer(&pi, "o-2", "1-1", DEVID(1, 3), &ACM);
	vm_bed_expect_state(&bed, "o-2", "waiting");
	vm_bed_remove(&bed, port);
	vm_bed_expect_state(&bed, "o-1", "");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-2"), "waiting");
}
END_TEST

START_TEST(a_failure_that_is_unplugged_before_its_port_is_free_leaves_no_trace)
{
	uint32_t port = fail_slowly();

	vm_pi_say(&pi, "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"unplugged\"}");
	vm_bed_remove(&bed, port);
	json_decref(vm_pi_expect(&pi, "detached"));
	vm_bed_expect_state(&bed, "o-1", "");
}
END_TEST

START_TEST(a_keyboard_is_not_accepted_even_if_it_is_offered)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &KEYBOARD);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	port = vm_bed_enumerate(&bed, &KEYBOARD);
	expect_code(&pi, "failed", "not-accepted");
	ck_assert(!vm_bed_is_authorized(&bed, port));
}
END_TEST

START_TEST(a_stream_that_ends_during_enumeration_fails_the_offer)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	port = vm_bed_take_attach(&bed);
	vm_bed_remove(&bed, port);
	expect_code(&pi, "failed", "gone");
}
END_TEST

START_TEST(an_offer_beyond_the_last_port_fails_with_the_cure)
{
	struct vm_pi streams[BED_HS + 1];
	_cleanup_json_ json_t *failed = NULL;
	char id[16], busid[16];

	vm_pi_come_up(&pi, &bed, BED_PI);
	for (uint32_t i = 0; i <= BED_HS; i++) {
		snprintf(id, sizeof(id), "o-%u", i);
		snprintf(busid, sizeof(busid), "1-%u", i + 1);
		vm_pi_offer(&pi, id, busid, DEVID(1, i + 2), &ACM);
		vm_pi_open_stream(&streams[i], &bed, BED_PI, id);
		if (i < BED_HS) {
			vm_pi_expect_text(&streams[i], "OK");
			vm_bed_take_attach(&bed);
		}
	}
	failed = vm_pi_expect(&pi, "failed");
	ck_assert_str_eq(json_string_value(json_object_get(failed, "code")), "no-free-port");
	ck_assert_str_eq(json_string_value(json_object_get(failed, "text")), "VM has no free high-speed port (8 of 8 in use)");
	for (uint32_t i = 0; i <= BED_HS; i++)
		close(streams[i].fd);
}
END_TEST

/* ---- bad input: the link ends with a reason, nothing is attached ---- */

START_TEST(garbage_as_a_first_line_is_refused)
{
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say(&pi, "GET / HTTP/1.1");
	expect_refused(&pi, "bad-request");
	expect_nothing_attached();
}
END_TEST

START_TEST(garbage_on_the_control_channel_ends_it)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_say(&pi, "{\"type\":");
	expect_refused(&pi, "bad-request");
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "away");
}
END_TEST

START_TEST(garbage_takes_what_was_attached_with_it)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	vm_pi_write(&pi, "\xff\x00\xfe\n", 4);
	json_decref(vm_pi_expect(&pi, "refused"));
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
	vm_bed_remove(&bed, port);
	ck_assert_uint_eq(vm_bed_count_used(&bed), 0);
}
END_TEST

static void write_endless_line(struct vm_pi *to)
{
	static char chunk[16384];

	memset(chunk, 'a', sizeof(chunk));
	for (int i = 0; i < 8; i++)
		vm_pi_write(to, chunk, sizeof(chunk));
}

START_TEST(an_endless_first_line_is_refused)
{
	vm_pi_connect(&pi, &bed, BED_PI);
	write_endless_line(&pi);
	expect_refused(&pi, "bad-request");
}
END_TEST

START_TEST(an_endless_line_ends_the_control_channel)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	write_endless_line(&pi);
	expect_refused(&pi, "bad-request");
}
END_TEST

START_TEST(another_protocol_version_is_refused_as_such)
{
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say(&pi, "{\"type\":\"hello\",\"protocol\":2}");
	expect_refused(&pi, "version");
}
END_TEST

START_TEST(a_bus_id_with_a_slash_ends_the_link)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "../1-1", DEVID(1, 2), &ACM);
	expect_refused(&pi, "bad-request");
	expect_nothing_attached();
}
END_TEST

START_TEST(the_devid_of_another_device_ends_the_link)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	vm_pi_offer(&pi, "o-2", "1-2", DEVID(1, 2), &ACM);
	expect_refused(&pi, "bad-request");
	expect_nothing_attached();
}
END_TEST

START_TEST(a_devid_on_another_bus_than_the_bus_id_ends_the_link)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(2, 2), &ACM);
	expect_refused(&pi, "bad-request");
}
END_TEST

START_TEST(the_offer_id_of_another_pi_ends_the_link)
{
	struct vm_pi other;

	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	vm_pi_come_up(&other, &bed, BED_OTHER);
	vm_pi_offer(&other, "o-1", "1-1", DEVID(1, 2), &ACM);
	expect_refused(&other, "bad-request");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "waiting");
	close(other.fd);
}
END_TEST

START_TEST(ten_thousand_offers_end_the_link)
{
	char id[16], busid[16];

	vm_pi_come_up(&pi, &bed, BED_PI);
	for (uint32_t i = 0; i < 10000; i++) {
		snprintf(id, sizeof(id), "o-%u", i);
		snprintf(busid, sizeof(busid), "%u-%u", 1 + i / 100, 1 + i % 100);
		vm_pi_offer(&pi, id, busid, DEVID(1 + i / 100, 1 + i % 100), &ACM);
	}
	expect_refused(&pi, "bad-request");
	vm_bed_settle(&bed);
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-0"), "");
	expect_nothing_attached();
}
END_TEST

START_TEST(a_stream_for_an_unknown_offer_is_told_no)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_open_stream(&stream, &bed, BED_PI, "nobody");
	vm_pi_expect_text(&stream, "NO {");
	vm_pi_expect_end(&stream);
	expect_nothing_attached();
}
END_TEST

START_TEST(a_second_stream_for_an_offer_is_told_no)
{
	struct vm_pi second;

	vm_pi_come_up(&pi, &bed, BED_PI);
	attach_acm();
	vm_pi_open_stream(&second, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&second, "NO {");
	close(second.fd);
}
END_TEST

START_TEST(connections_that_say_nothing_are_bounded)
{
	struct vm_pi silent[64];

	for (size_t i = 0; i < ARRAY_SIZE(silent); i++)
		vm_pi_connect(&silent[i], &bed, BED_PI);
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_expect_end(&pi);
	vm_pi_close(&silent[0]);
	vm_pi_come_up(&pi, &bed, BED_PI);
	for (size_t i = 1; i < ARRAY_SIZE(silent); i++)
		vm_pi_close(&silent[i]);
}
END_TEST

START_TEST(streams_without_an_offer_are_bounded)
{
	struct vm_pi early[32];
	char id[16];

	vm_pi_come_up(&pi, &bed, BED_PI);
	for (unsigned i = 0; i < ARRAY_SIZE(early); i++) {
		snprintf(id, sizeof(id), "o-%u", i);
		vm_pi_open_stream(&early[i], &bed, BED_PI, id);
	}
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-99");
	vm_pi_expect_text(&stream, "NO {");
	for (unsigned i = 0; i < ARRAY_SIZE(early); i++)
		vm_pi_close(&early[i]);
}
END_TEST

START_TEST(a_pi_that_is_not_paired_is_told_so)
{
	vm_pi_connect(&pi, &bed, "abc");
	expect_refused(&pi, "not-paired");
}
END_TEST

START_TEST(an_unknown_type_is_answered)
{
	_cleanup_json_ json_t *answer = NULL;

	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_say(&pi, "{\"type\":\"dance\"}");
	answer = vm_pi_expect(&pi, "unknown");
	ck_assert_str_eq(json_string_value(json_object_get(answer, "of")), "dance");
}
END_TEST

START_TEST(without_the_module_an_offer_fails_with_the_cure)
{
	struct vm_bed bare;

	vm_bed_setup_without_module(&bare);
	vm_pi_come_up(&pi, &bare, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	vm_pi_open_stream(&stream, &bare, BED_PI, "o-1");
	expect_code(&pi, "failed", "no-module");
	vm_bed_teardown(&bare);
}
END_TEST

/* ---- heartbeat, cuts and restarts ---- */

START_TEST(silence_beyond_the_patience_detaches_everything)
{
	uint32_t port;

	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 1000);
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":1,\"offers\":[]}");
	json_decref(vm_pi_expect(&pi, "synced"));
	port = attach_acm();
	vm_pi_expect_end(&pi);
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
	vm_bed_remove(&bed, port);
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "away");
}
END_TEST

START_TEST(no_more_than_a_minute_of_patience_is_taken)
{
	_cleanup_json_ json_t *hello = NULL;

	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say(
		&pi,
		"{\"type\":\"hello\",\"protocol\":1,\"software\":\"test\",\"role\":\"pi\",\"id\":\"aa\",\"name\":\"pi\",\"boot_id\":\"bb\",\"patience_ms\":600000}");
	hello = vm_pi_expect(&pi, "hello");
	ck_assert_int_eq(json_integer_value(json_object_get(hello, "patience_ms")), 60000);
}
END_TEST

static void sync_one(struct vm_pi *from, bool is_streaming)
{
	vm_pi_say(from, "{\"type\":\"sync\",\"seq\":2,\"offers\":[{\"id\":\"o-1\",\"streaming\":%s}]}", is_streaming ? "true" : "false");
}

static size_t expect_kept(struct vm_pi *from)
{
	_cleanup_json_ json_t *synced = vm_pi_expect(from, "synced");

	return json_array_size(json_object_get(synced, "keep"));
}

/* A machine that sleeps: its clock goes on, its loop does not. */
static void sleep_for(unsigned ms)
{
	poll(NULL, 0, (int)(ms * test_slowness()));
}

START_TEST(a_vm_that_slept_hears_what_the_pi_said_meanwhile_before_it_judges)
{
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 1000);
	json_decref(vm_pi_expect(&pi, "hello"));
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":1,\"offers\":[]}");
	json_decref(vm_pi_expect(&pi, "synced"));
	attach_acm();
	json_decref(vm_pi_expect(&pi, "attached"));
	sleep_for(1000);
	ck_assert_int_gt(send(pi.fd, "{\"type\":\"beat\"}\n", 16, MSG_NOSIGNAL), 0); /* while it sleeps */
	sleep_for(1000);
	vm_bed_settle(&bed);
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "up");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "attached");
}
END_TEST

START_TEST(a_vm_that_slept_while_the_pi_did_lets_go_as_soon_as_it_wakes)
{
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 1000);
	json_decref(vm_pi_expect(&pi, "hello"));
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":1,\"offers\":[]}");
	json_decref(vm_pi_expect(&pi, "synced"));
	attach_acm();
	json_decref(vm_pi_expect(&pi, "attached"));
	sleep_for(2000);
	vm_bed_settle(&bed);
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "away");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "detaching");
}
END_TEST

START_TEST(a_lost_channel_alone_detaches_nothing)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	attach_acm();
	vm_pi_close(&pi);
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "lost");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "attached");
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 8000);
	sync_one(&pi, true);
	ck_assert_uint_eq(expect_kept(&pi), 1);
	json_decref(vm_pi_expect(&pi, "attached"));
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "");
}
END_TEST

START_TEST(what_the_pi_does_not_stream_any_more_is_detached_by_sync)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	attach_acm();
	vm_pi_close(&pi);
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 8000);
	sync_one(&pi, false);
	ck_assert_uint_eq(expect_kept(&pi), 0);
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
}
END_TEST

START_TEST(a_sync_on_the_same_channel_keeps_what_is_on_its_way)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	ck_assert_uint_eq(handler_resync(bed.handler), 1);
	json_decref(vm_pi_expect(&pi, "resync"));
	sync_one(&pi, false);
	ck_assert_uint_eq(expect_kept(&pi), 1);
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "waiting");
}
END_TEST

START_TEST(an_offer_that_is_connected_again_is_not_told_as_detached)
{
	struct vm_pi again;
	_cleanup_json_ json_t *message = NULL;
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	vm_pi_close(&pi);
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 8000);
	sync_one(&pi, false);
	vm_pi_offer(&pi, "o-1", "1-1.4", DEVID(1, 7), &ACM);
	vm_bed_remove(&bed, port);
	vm_pi_open_stream(&again, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&again, "OK");
	vm_pi_say(&pi, "{\"type\":\"ping\",\"seq\":9}");
	json_decref(vm_pi_expect(&pi, "synced"));
	message = vm_pi_expect(&pi, "pong");
	vm_bed_expect_state(&bed, "o-1", "enumerating");
	close(again.fd);
}
END_TEST

START_TEST(a_newer_connection_replaces_the_old_one)
{
	struct vm_pi newer;

	vm_pi_come_up(&pi, &bed, BED_PI);
	attach_acm();
	vm_pi_connect(&newer, &bed, BED_PI);
	vm_pi_say_hello(&newer, 8000);
	expect_refused(&pi, "busy");
	sync_one(&newer, true);
	ck_assert_uint_eq(expect_kept(&newer), 1);
	close(newer.fd);
}
END_TEST

START_TEST(a_killed_handlers_successor_keeps_what_is_attached)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	vm_bed_restart_handler(&bed);
	vm_bed_expect_state(&bed, "o-1", "settling");
	vm_bed_add_tty(&bed, port, "/dev/ttyACM0", "");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "attached");
	close_fd(pi.fd);
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 8000);
	sync_one(&pi, true);
	ck_assert_uint_eq(expect_kept(&pi), 1);
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "");
}
END_TEST

/* As by `usbip attach`, before the handler came or while it runs. */
static void note_stopped(void *userdata);

START_TEST(a_port_that_is_attached_by_hand_is_left_alone)
{
	bool is_stopped = false;
	uint32_t port;

	vm_bed_assign(&bed, 0, DEVID(3, 9));
	vm_bed_show_device(&bed, 0, &ACM);
	vm_bed_restart_handler(&bed);
	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	ck_assert_uint_ne(port, 0);
	vm_bed_assign(&bed, 5, DEVID(3, 10));
	vm_bed_show_device(&bed, 5, &KEYBOARD);
	ck_assert(!vm_bed_is_authorized(&bed, 5));
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":2,\"offers\":[]}");
	json_decref(vm_pi_expect(&pi, "synced"));
	vm_bed_remove(&bed, port);
	(void)vm_bed_take_write(&bed, "detach");
	handler_stop(bed.handler, note_stopped, &is_stopped);
	vm_bed_settle(&bed);
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "");
	ck_assert_uint_eq(vm_bed_count_used(&bed), 2);
}
END_TEST

START_TEST(a_port_that_somebody_else_took_meanwhile_is_left_alone)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	vm_bed_give_port_to_stranger(&bed, port);
	vm_bed_restart_handler(&bed);
	vm_bed_settle(&bed);
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "");
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "");
}
END_TEST

START_TEST(an_unpaired_pi_is_cut_off_and_its_devices_detached)
{
	FILE *conf;
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	conf = fopen(bed.conf, "w");
	fclose(conf);
	handler_reload(bed.handler);
	expect_refused(&pi, "not-paired");
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
	vm_bed_remove(&bed, port);
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "");
}
END_TEST

/* ---- a Pi that ends its pairing ---- */

static bool has_file(const char *path)
{
	return faccessat(bed.tree.fd, path, F_OK, 0) == 0;
}

/* What usbpush-unpair.service does. */
static void take_the_lines_out(void)
{
	temp_tree_put(&bed.tree, "pi.conf", "PI=" BED_OTHER " pi2\n");
	temp_tree_remove(&bed.tree, "unpair/" BED_PI);
	handler_reload(bed.handler);
}

START_TEST(a_pi_that_ends_its_pairing_loses_its_devices_at_once_and_hears_when_it_is_done)
{
	_cleanup_json_ json_t *answer = NULL;
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	vm_pi_say(&pi, "{\"type\":\"unpair\"}");
	vm_bed_settle(&bed);
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "parting");
	ck_assert(has_file("unpair/" BED_PI) && has_file("revoked/" BED_PI));
	take_the_lines_out();
	answer = vm_pi_expect(&pi, "unpaired");
	ck_assert_ptr_null(json_object_get(answer, "code"));
	vm_pi_expect_end(&pi);
	vm_bed_remove(&bed, port);
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "");
	ck_assert(!has_file("revoked/" BED_PI));
}
END_TEST

START_TEST(a_pi_that_ended_its_pairing_is_shut_out_before_its_lines_are_gone)
{
	struct vm_pi again, other;

	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_say(&pi, "{\"type\":\"unpair\"}\n{\"type\":\"ping\",\"seq\":9}");
	vm_bed_settle(&bed);
	vm_pi_connect(&again, &bed, BED_PI);
	vm_pi_say_hello(&again, 8000);
	expect_refused(&again, "not-paired");
	vm_pi_close(&again);
	vm_bed_restart_handler(&bed); /* its successor knows it, too */
	vm_pi_connect(&again, &bed, BED_PI);
	expect_refused(&again, "not-paired");
	vm_pi_close(&again);
	vm_pi_come_up(&other, &bed, BED_OTHER);
	vm_pi_close(&other);
}
END_TEST

START_TEST(a_pi_can_not_end_the_pairing_of_another)
{
	vm_pi_come_up(&stream, &bed, BED_OTHER);
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_say(&pi, "{\"type\":\"unpair\",\"id\":\"" BED_OTHER "\",\"pi\":\"" BED_OTHER "\",\"name\":\"pi2\"}");
	vm_bed_settle(&bed);
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_OTHER), "up");
	ck_assert(!has_file("unpair/" BED_OTHER) && !has_file("revoked/" BED_OTHER));
	ck_assert(has_file("unpair/" BED_PI));
	vm_pi_say(&stream, "{\"type\":\"ping\",\"seq\":9}");
	json_decref(vm_pi_expect(&stream, "pong"));
}
END_TEST

START_TEST(lines_that_nobody_takes_out_are_told_and_the_pi_stays_out)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_say(&pi, "{\"type\":\"unpair\"}");
	expect_code(&pi, "unpaired", "timeout");
	vm_pi_expect_end(&pi);
	handler_reload(bed.handler);
	vm_bed_settle(&bed);
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "");
	vm_pi_connect(&pi, &bed, BED_PI);
	expect_refused(&pi, "not-paired");
}
END_TEST

START_TEST(a_pi_that_is_authorized_again_meanwhile_comes_back)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_say(&pi, "{\"type\":\"unpair\"}");
	vm_bed_settle(&bed);
	revocation_lift(bed.tree.path, BED_PI); /* as usbpush-vm authorize does */
	handler_reload(bed.handler);
	vm_pi_expect_end(&pi);
	vm_pi_come_up(&pi, &bed, BED_PI);
}
END_TEST

START_TEST(an_end_that_can_not_be_noted_is_refused_with_the_cure)
{
	temp_tree_put(&bed.tree, "revoked", "a file, where a directory should be");
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_say(&pi, "{\"type\":\"unpair\"}");
	expect_refused(&pi, "internal");
}
END_TEST

static void note_stopped(void *userdata)
{
	*(bool *)userdata = true;
}

START_TEST(a_stopping_handler_frees_its_ports_first)
{
	bool is_stopped = false;
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach_acm();
	handler_stop(bed.handler, note_stopped, &is_stopped);
	ck_assert(!is_stopped);
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
	vm_bed_remove(&bed, port);
	ck_assert(is_stopped);
}
END_TEST

START_TEST(a_device_is_detached_by_its_node)
{
	_cleanup_json_ json_t *offers = NULL;
	struct failure failure;

	vm_pi_come_up(&pi, &bed, BED_PI);
	attach_acm();
	ck_assert_int_lt(handler_detach(bed.handler, "/dev/ttyACM1", &offers, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_NOT_FOUND);
	ck_assert_int_eq(handler_detach(bed.handler, "/dev/ttyACM0", &offers, &failure), 0);
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
}
END_TEST

START_TEST(a_selection_that_fits_two_devices_is_refused)
{
	_cleanup_json_ json_t *offers = NULL;
	struct failure failure;

	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1", DEVID(1, 2), &ACM);
	vm_pi_offer(&pi, "o-2", "1-2", DEVID(1, 3), &ACM);
	ck_assert_int_lt(handler_detach(bed.handler, "303a:1001", &offers, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_AMBIGUOUS);
}
END_TEST

int main(void)
{
	TCase *device = tcase_create("device"), *bad = tcase_create("bad input"), *faults = tcase_create("faults");

	log_init("test_vm_peer", false);
	tcase_add_checked_fixture(device, setup, teardown);
	tcase_add_test(device, a_device_is_authorized_and_reported_with_its_node);
	tcase_add_test(device, root_hubs_authorize_nothing_by_default);
	tcase_add_test(device, a_stream_that_comes_before_its_offer_waits);
	tcase_add_test(device, bytes_behind_the_first_line_are_left_for_the_kernel);
	tcase_add_test(device, a_device_without_nodes_is_attached_all_the_same);
	tcase_add_test(device, a_disconnect_detaches_and_is_answered_when_the_port_is_free);
	tcase_add_test(device, a_port_that_is_detaching_is_not_used_again);
	tcase_add_test(device, usbip_port_is_told_of_a_port_for_as_long_as_it_is_held);
	tcase_add_test(device, an_unplugged_device_is_told_as_detached);
	tcase_add_test(device, a_device_that_is_not_what_was_offered_is_never_authorized);
	tcase_add_test(device, a_failure_that_is_offered_anew_before_its_port_is_free_leaves_no_trace);
	tcase_add_test(device, a_failure_that_is_unplugged_before_its_port_is_free_leaves_no_trace);
	tcase_add_test(device, a_keyboard_is_not_accepted_even_if_it_is_offered);
	tcase_add_test(device, a_stream_that_ends_during_enumeration_fails_the_offer);
	tcase_add_test(device, an_offer_beyond_the_last_port_fails_with_the_cure);
	tcase_add_test(device, a_device_is_detached_by_its_node);
	tcase_add_test(device, a_selection_that_fits_two_devices_is_refused);

	tcase_add_checked_fixture(bad, setup, teardown);
	tcase_add_test(bad, garbage_as_a_first_line_is_refused);
	tcase_add_test(bad, garbage_on_the_control_channel_ends_it);
	tcase_add_test(bad, garbage_takes_what_was_attached_with_it);
	tcase_add_test(bad, an_endless_first_line_is_refused);
	tcase_add_test(bad, an_endless_line_ends_the_control_channel);
	tcase_add_test(bad, another_protocol_version_is_refused_as_such);
	tcase_add_test(bad, a_bus_id_with_a_slash_ends_the_link);
	tcase_add_test(bad, the_devid_of_another_device_ends_the_link);
	tcase_add_test(bad, a_devid_on_another_bus_than_the_bus_id_ends_the_link);
	tcase_add_test(bad, the_offer_id_of_another_pi_ends_the_link);
	tcase_add_test(bad, ten_thousand_offers_end_the_link);
	tcase_add_test(bad, a_stream_for_an_unknown_offer_is_told_no);
	tcase_add_test(bad, a_second_stream_for_an_offer_is_told_no);
	tcase_add_test(bad, connections_that_say_nothing_are_bounded);
	tcase_add_test(bad, streams_without_an_offer_are_bounded);
	tcase_add_test(bad, a_pi_that_is_not_paired_is_told_so);
	tcase_add_test(bad, an_unknown_type_is_answered);
	tcase_add_test(bad, without_the_module_an_offer_fails_with_the_cure);

	tcase_add_checked_fixture(faults, setup, teardown);
	tcase_add_test(faults, silence_beyond_the_patience_detaches_everything);
	tcase_add_test(faults, no_more_than_a_minute_of_patience_is_taken);
	tcase_add_test(faults, a_vm_that_slept_hears_what_the_pi_said_meanwhile_before_it_judges);
	tcase_add_test(faults, a_vm_that_slept_while_the_pi_did_lets_go_as_soon_as_it_wakes);
	tcase_add_test(faults, a_lost_channel_alone_detaches_nothing);
	tcase_add_test(faults, what_the_pi_does_not_stream_any_more_is_detached_by_sync);
	tcase_add_test(faults, a_sync_on_the_same_channel_keeps_what_is_on_its_way);
	tcase_add_test(faults, an_offer_that_is_connected_again_is_not_told_as_detached);
	tcase_add_test(faults, a_newer_connection_replaces_the_old_one);
	tcase_add_test(faults, a_killed_handlers_successor_keeps_what_is_attached);
	tcase_add_test(faults, a_port_that_somebody_else_took_meanwhile_is_left_alone);
	tcase_add_test(faults, a_port_that_is_attached_by_hand_is_left_alone);
	tcase_add_test(faults, an_unpaired_pi_is_cut_off_and_its_devices_detached);
	tcase_add_test(faults, a_pi_that_ends_its_pairing_loses_its_devices_at_once_and_hears_when_it_is_done);
	tcase_add_test(faults, a_pi_that_ended_its_pairing_is_shut_out_before_its_lines_are_gone);
	tcase_add_test(faults, a_pi_can_not_end_the_pairing_of_another);
	tcase_add_test(faults, lines_that_nobody_takes_out_are_told_and_the_pi_stays_out);
	tcase_add_test(faults, a_pi_that_is_authorized_again_meanwhile_comes_back);
	tcase_add_test(faults, an_end_that_can_not_be_noted_is_refused_with_the_cure);
	tcase_add_test(faults, a_stopping_handler_frees_its_ports_first);

	return check_program_run("vm_peer", device, bad, faults, NULL);
}
