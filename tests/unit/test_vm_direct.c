/* The direct road on the VM: a Pi that follows a script offers, and what stands on a port of it is imported. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "usbip_wire.h"
#include "vm_bed.h"

#define DEVID (1U << 16 | 7U)

static struct vm_bed bed;
static struct vm_pi pi;
static int listener, peer;
static uint16_t port;

static void setup(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t size = sizeof(address);

	vm_bed_setup(&bed);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 4), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	port = ntohs(address.sin_port);
	pi.fd = peer = -EBADF;
}

static void teardown(void)
{
	close_fd(pi.fd);
	close_fd(listener);
	close_fd(peer);
	vm_bed_teardown(&bed);
}

static void offer(const char *id, const char *busid, unsigned direct_port)
{
	vm_pi_say(
		&pi,
		"{\"type\":\"connect\",\"offer\":{\"id\":\"%s\",\"busid\":\"%s\",\"devid\":%u,\"speed\":480,\"vid\":%u,\"pid\":%u,\"bcd\":256,"
		"\"serial\":\"%s\",\"manufacturer\":\"\",\"product\":\"\",\"name\":\"\",\"direct_port\":%u}}",
		id, busid, DEVID, ACM.vid, ACM.pid, ACM.serial, direct_port);
}

/* The handler has connected and asked for that device. */
static void expect_request(const char *busid)
{
	uint8_t request[USBIP_REQUEST_SIZE], expected[USBIP_REQUEST_SIZE];
	struct busid where = { "" };
	size_t used = 0;

	for (unsigned i = 0; i < 2000 * test_slowness() && used < sizeof(request); i++) {
		ssize_t n;

		sd_event_run(bed.event, 5000);
		if (peer < 0)
			peer = accept(listener, NULL, NULL);
		n = peer < 0 ? -1 : recv(peer, request + used, sizeof(request) - used, MSG_DONTWAIT);
		used += n > 0 ? (size_t)n : 0;
	}
	ck_assert_uint_eq(used, sizeof(request));
	strcpy(where.text, busid);
	usbip_request_encode(&where, expected);
	ck_assert_mem_eq(request, expected, sizeof(expected));
}

static void answer(uint32_t status, uint16_t vid)
{
	const struct usbip_header header = { USBIP_VERSION, USBIP_IMPORT, status };
	struct usbip_device device = { .path = "/sys/x", .busid = { "1-1.4" }, .busnum = 1, .devnum = 7, .vid = vid, .pid = ACM.pid };
	uint8_t reply[USBIP_HEADER_SIZE + USBIP_DEVICE_SIZE];
	size_t size = status == USBIP_OK ? sizeof(reply) : USBIP_HEADER_SIZE;

	usbip_header_encode(&header, reply);
	usbip_device_encode(&device, reply + USBIP_HEADER_SIZE);
	ck_assert_int_eq(send(peer, reply, size, MSG_NOSIGNAL), (ssize_t)size);
}

static void expect_failed(const char *code)
{
	_cleanup_json_ json_t *failed = vm_pi_expect(&pi, "failed");

	ck_assert_str_eq(json_string_value(json_object_get(failed, "id")), "o-1");
	ck_assert_str_eq(json_string_value(json_object_get(failed, "code")), code);
	ck_assert_str_ne(json_string_value(json_object_get(failed, "text")), "");
	ck_assert_str_eq(vm_bed_take_write(&bed, "attach"), "");
	ck_assert_uint_eq(vm_bed_count_used(&bed), 0);
}

START_TEST(the_hello_says_that_it_can)
{
	_cleanup_json_ json_t *hello = NULL;

	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 8000);
	hello = vm_pi_expect(&pi, "hello");
	ck_assert(json_is_true(json_object_get(hello, "direct")));
}
END_TEST

START_TEST(an_offer_with_a_port_is_imported_and_attached)
{
	_cleanup_json_ json_t *attached = NULL;
	uint32_t at;
	char byte;

	vm_pi_come_up(&pi, &bed, BED_PI);
	offer("o-1", "1-1.4", port);
	expect_request("1-1.4");
	vm_bed_expect_state(&bed, "o-1", "waiting");
	answer(USBIP_OK, ACM.vid);
	vm_bed_expect_state(&bed, "o-1", "enumerating");
	at = vm_bed_enumerate(&bed, &ACM);
	vm_bed_expect_state(&bed, "o-1", "settling");
	vm_bed_add_tty(&bed, at, "/dev/ttyACM0", "/dev/serial/by-id/usb-acm");
	attached = vm_pi_expect(&pi, "attached");
	ck_assert_int_eq(json_integer_value(json_object_get(attached, "port")), at);
	ck_assert(vm_bed_is_authorized(&bed, at));
	/* no "OK" on a connection that is the kernels' */
	ck_assert_int_le(recv(peer, &byte, 1, MSG_DONTWAIT), 0);
}
END_TEST

static const struct {
	uint32_t status;
	const char *code;
} REFUSALS[] = { { USBIP_NOT_AVAILABLE, "not-allowed" },
		 { USBIP_BUSY, "busy" },
		 { USBIP_DEVICE_ERROR, "kernel" },
		 { USBIP_NO_DEVICE, "gone" },
		 { USBIP_ERROR, "stream" } };

START_TEST(a_refusal_is_told_to_the_pi)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	offer("o-1", "1-1.4", port);
	expect_request("1-1.4");
	answer(REFUSALS[_i].status, ACM.vid);
	expect_failed(REFUSALS[_i].code);
}
END_TEST

START_TEST(another_device_than_offered_is_not_attached)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	offer("o-1", "1-1.4", port);
	expect_request("1-1.4");
	answer(USBIP_OK, 0x0403);
	expect_failed("identity");
}
END_TEST

START_TEST(a_port_where_nobody_listens_is_told_to_the_pi)
{
	listener = close_fd(listener);
	vm_pi_come_up(&pi, &bed, BED_PI);
	offer("o-1", "1-1.4", port);
	expect_failed("unreachable");
}
END_TEST

START_TEST(an_address_that_nobody_knows_is_told_to_the_pi)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	pi = (struct vm_pi){ .bed = &bed, .fd = ends[0] };
	handler_accept_relay(bed.handler, BED_PI, "", ends[1]);
	vm_pi_say_hello(&pi, 8000);
	json_decref(vm_pi_expect(&pi, "hello"));
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":1,\"offers\":[]}");
	json_decref(vm_pi_expect(&pi, "synced"));
	offer("o-1", "1-1.4", port);
	expect_failed("unreachable");
}
END_TEST

START_TEST(a_port_that_is_none_ends_the_channel)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	offer("o-1", "1-1.4", 65536 + (unsigned)_i * 100000);
	json_decref(vm_pi_expect(&pi, "refused"));
	vm_pi_expect_end(&pi);
}
END_TEST

static void expect_peers_end(void)
{
	char byte;
	ssize_t n = -1;

	for (unsigned i = 0; i < 2000 * test_slowness() && n != 0; i++) {
		sd_event_run(bed.event, 5000);
		n = recv(peer, &byte, 1, MSG_DONTWAIT);
		ck_assert_int_le(n, 0);
		if (n < 0 && errno == ECONNRESET)
			break;
	}
	ck_assert(n == 0 || errno == ECONNRESET);
}

START_TEST(an_offer_that_is_withdrawn_ends_its_import)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	offer("o-1", "1-1.4", port);
	expect_request("1-1.4");
	vm_pi_say(&pi, "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"unplugged\"}");
	json_decref(vm_pi_expect(&pi, "detached"));
	expect_peers_end();
	ck_assert_str_eq(vm_bed_take_write(&bed, "attach"), "");
}
END_TEST

START_TEST(a_stopping_handler_ends_its_imports)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	offer("o-1", "1-1.4", port);
	expect_request("1-1.4");
	bed.handler = handler_free(bed.handler);
	expect_peers_end();
}
END_TEST

START_TEST(a_stream_of_the_tunnel_is_not_taken_for_an_import)
{
	struct vm_pi stream = { .fd = -EBADF };

	vm_pi_come_up(&pi, &bed, BED_PI);
	offer("o-1", "1-1.4", port);
	expect_request("1-1.4");
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "NO ");
	vm_pi_close(&stream);
	answer(USBIP_OK, ACM.vid);
	vm_bed_expect_state(&bed, "o-1", "enumerating");
}
END_TEST

START_TEST(a_port_of_zero_is_the_tunnel)
{
	struct vm_pi stream = { .fd = -EBADF };

	vm_pi_come_up(&pi, &bed, BED_PI);
	offer("o-1", "1-1.4", 0);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	vm_pi_close(&stream);
}
END_TEST

START_TEST(an_import_goes_on_when_what_the_offer_had_attached_before_is_gone_at_last)
{
	uint32_t former;

	vm_pi_come_up(&pi, &bed, BED_PI);
	offer("o-1", "1-1.4", port);
	expect_request("1-1.4");
	answer(USBIP_OK, ACM.vid);
	former = vm_bed_enumerate(&bed, &ACM);
	vm_bed_expect_state(&bed, "o-1", "settling");
	vm_pi_close(&pi);
	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 8000);
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":1,\"offers\":[{\"id\":\"o-1\",\"streaming\":false}]}");
	json_decref(vm_pi_expect(&pi, "synced"));
	(void)vm_bed_take_write(&bed, "detach");
	peer = close_fd(peer);
	offer("o-1", "1-1.4", port);
	expect_request("1-1.4");
	vm_bed_remove(&bed, former);
	answer(USBIP_OK, ACM.vid);
	(void)vm_bed_enumerate(&bed, &ACM);
	vm_bed_expect_state(&bed, "o-1", "settling");
}
END_TEST

int main(void)
{
	TCase *direct = tcase_create("direct");

	tcase_add_checked_fixture(direct, setup, teardown);
	tcase_set_timeout(direct, 60);
	tcase_add_test(direct, the_hello_says_that_it_can);
	tcase_add_test(direct, an_offer_with_a_port_is_imported_and_attached);
	tcase_add_test(direct, an_import_goes_on_when_what_the_offer_had_attached_before_is_gone_at_last);
	tcase_add_loop_test(direct, a_refusal_is_told_to_the_pi, 0, ARRAY_SIZE(REFUSALS));
	tcase_add_test(direct, another_device_than_offered_is_not_attached);
	tcase_add_test(direct, a_port_where_nobody_listens_is_told_to_the_pi);
	tcase_add_test(direct, an_address_that_nobody_knows_is_told_to_the_pi);
	tcase_add_loop_test(direct, a_port_that_is_none_ends_the_channel, 0, 2);
	tcase_add_test(direct, an_offer_that_is_withdrawn_ends_its_import);
	tcase_add_test(direct, a_stopping_handler_ends_its_imports);
	tcase_add_test(direct, a_stream_of_the_tunnel_is_not_taken_for_an_import);
	tcase_add_test(direct, a_port_of_zero_is_the_tunnel);
	return check_program_run("vm_direct", direct, NULL);
}
