/* The direct road's client against servers that answer right, wrong, half, late, and not at all. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "importer.h"
#include "usbip_wire.h"

static const struct usbip_device DEVICE = {
	.path = "/sys/devices/usb1/1-1.4", .busid = { "1-1.4" }, .busnum = 1, .devnum = 7, .speed = 2, .vid = 0x303a, .pid = 0x1001
};

static sd_event *event;
static struct importer *importer;
static struct offer offer;
static int listener, peer;
static unsigned n_done;
static int imported_fd;
static struct failure failure;

static void on_done(int fd, const struct failure *why, void *userdata)
{
	(void)userdata;
	n_done++;
	imported_fd = fd;
	failure = why ? *why : (struct failure){ 0 };
}

static bool is_done(void *userdata)
{
	(void)userdata;
	return n_done > 0;
}

static void setup(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t size = sizeof(address);

	ck_assert_int_ge(sd_event_new(&event), 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 4), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	offer = (struct offer){
		.id = "o-1", .busid = { "1-1.4" }, .devid = 1 << 16 | 7, .speed = 12, .identity = { .vid = 0x303a, .pid = 0x1001 }
	};
	offer.direct_port = ntohs(address.sin_port);
	peer = imported_fd = -EBADF;
	n_done = 0;
	importer = NULL;
}

static void teardown(void)
{
	importer = importer_free(importer);
	close_fd(listener);
	close_fd(peer);
	close_fd(imported_fd);
	event = sd_event_unref(event);
}

static void start(void)
{
	ck_assert_int_eq(importer_new(event, "127.0.0.1", &offer, 8000, on_done, NULL, &importer, &failure), 0);
	ck_assert_uint_eq(n_done, 0);
}

/* The importer has connected and said what it wants, byte by byte. */
static void accept_request(void)
{
	uint8_t request[USBIP_REQUEST_SIZE + 1], expected[USBIP_REQUEST_SIZE];
	ssize_t used = 0;

	start();
	for (unsigned i = 0; i < 2000 * test_slowness() && used < (ssize_t)USBIP_REQUEST_SIZE; i++) {
		ssize_t n;

		sd_event_run(event, 5000);
		if (peer < 0)
			peer = accept(listener, NULL, NULL);
		n = peer < 0 ? -1 : recv(peer, request + used, sizeof(request) - (size_t)used, MSG_DONTWAIT);
		used += n > 0 ? n : 0;
	}
	ck_assert_int_eq(used, USBIP_REQUEST_SIZE);
	usbip_request_encode(&offer.busid, expected);
	ck_assert_mem_eq(request, expected, sizeof(expected));
}

static void answer(uint16_t version, uint16_t code, uint32_t status)
{
	const struct usbip_header header = { version, code, status };
	uint8_t bytes[USBIP_HEADER_SIZE];

	usbip_header_encode(&header, bytes);
	ck_assert_int_eq(send(peer, bytes, sizeof(bytes), MSG_NOSIGNAL), USBIP_HEADER_SIZE);
}

static void answer_device(const struct usbip_device *device)
{
	uint8_t bytes[USBIP_DEVICE_SIZE];

	answer(USBIP_VERSION, USBIP_IMPORT, USBIP_OK);
	usbip_device_encode(device, bytes);
	ck_assert_int_eq(send(peer, bytes, sizeof(bytes), MSG_NOSIGNAL), USBIP_DEVICE_SIZE);
}

static void expect_failure(enum failure_code code)
{
	ck_assert(loop_until(event, is_done, NULL));
	ck_assert_uint_eq(n_done, 1);
	ck_assert_int_lt(imported_fd, 0);
	ck_assert_str_eq(failure_code_to_string(failure.code), failure_code_to_string(code));
	ck_assert_str_ne(failure.text, "");
}

START_TEST(the_device_that_was_offered_is_imported)
{
	int value;
	socklen_t size = sizeof(value);
	char text[8] = "";

	accept_request();
	answer_device(&DEVICE);
	ck_assert_int_eq(send(peer, "URB", 3, MSG_NOSIGNAL), 3);
	ck_assert(loop_until(event, is_done, NULL));
	ck_assert_int_ge(imported_fd, 0);
	ck_assert_int_eq(recv(imported_fd, text, sizeof(text), MSG_DONTWAIT), 3); /* not a byte of them was read */
	ck_assert_int_eq(fcntl(imported_fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(getsockopt(imported_fd, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
	ck_assert_int_ne(value, 0);
	ck_assert_int_eq(getsockopt(imported_fd, SOL_SOCKET, SO_KEEPALIVE, &value, &size), 0);
	ck_assert_int_ne(value, 0);
	ck_assert_int_eq(getsockopt(imported_fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size), 0);
	ck_assert_int_gt(value, DEFAULT_PATIENCE_MS);
	value = 1;
	size = sizeof(struct timeval);
	{
		struct timeval limit;

		ck_assert_int_eq(getsockopt(imported_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &size), 0);
		ck_assert_int_eq(limit.tv_sec, 0); /* the kernel's thread would end at it */
	}
}
END_TEST

START_TEST(a_reply_may_come_byte_by_byte)
{
	const struct usbip_header header = { USBIP_VERSION, USBIP_IMPORT, USBIP_OK };
	uint8_t bytes[USBIP_HEADER_SIZE + USBIP_DEVICE_SIZE];
	const int one = 1;

	accept_request();
	ck_assert_int_eq(setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	usbip_header_encode(&header, bytes);
	usbip_device_encode(&DEVICE, bytes + USBIP_HEADER_SIZE);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		ck_assert_uint_eq(n_done, 0);
		ck_assert_int_eq(send(peer, bytes + i, 1, MSG_NOSIGNAL), 1);
		sd_event_run(event, 1000);
	}
	ck_assert(loop_until(event, is_done, NULL));
	ck_assert_int_ge(imported_fd, 0);
}
END_TEST

static const struct {
	uint32_t status;
	enum failure_code code;
} STATUSES[] = {
	{ USBIP_NOT_AVAILABLE, FAILURE_NOT_ALLOWED },
	{ USBIP_BUSY, FAILURE_BUSY },
	{ USBIP_DEVICE_ERROR, FAILURE_KERNEL },
	{ USBIP_NO_DEVICE, FAILURE_GONE },
	{ USBIP_ERROR, FAILURE_STREAM },
	{ 77, FAILURE_STREAM },
};

START_TEST(a_refusal_is_told_by_its_status)
{
	accept_request();
	answer(USBIP_VERSION, USBIP_IMPORT, STATUSES[_i].status);
	expect_failure(STATUSES[_i].code);
}
END_TEST

START_TEST(another_version_is_told)
{
	accept_request();
	answer(0x0106, USBIP_IMPORT, USBIP_OK);
	expect_failure(FAILURE_VERSION);
	ck_assert_ptr_nonnull(strstr(failure.cure, "TRANSPORT=tunnel"));
}
END_TEST

START_TEST(something_else_that_listens_there_is_told)
{
	accept_request();
	ck_assert_int_eq(send(peer, "SSH-2.0-OpenSSH_9.2\r\n", 21, MSG_NOSIGNAL), 21);
	expect_failure(FAILURE_VERSION);
}
END_TEST

START_TEST(the_reply_to_something_else_is_none)
{
	accept_request();
	answer(USBIP_VERSION, USBIP_DEVLIST, USBIP_OK);
	expect_failure(FAILURE_STREAM);
}
END_TEST

START_TEST(another_device_than_the_one_offered_is_not_taken)
{
	struct usbip_device other = DEVICE;

	switch (_i) {
	case 0:
		other.vid = 0x0403;
		break;
	case 1:
		other.pid++;
		break;
	case 2:
		other.devnum++;
		break;
	case 3:
		other.busnum++;
		break;
	default:
		strcpy(other.busid.text, "1-1.5");
	}
	accept_request();
	answer_device(&other);
	expect_failure(FAILURE_IDENTITY);
}
END_TEST

START_TEST(a_reply_that_makes_no_sense_is_none)
{
	uint8_t bytes[USBIP_DEVICE_SIZE];

	accept_request();
	answer(USBIP_VERSION, USBIP_IMPORT, USBIP_OK);
	memset(bytes, 'x', sizeof(bytes));
	ck_assert_int_eq(send(peer, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
	expect_failure(FAILURE_STREAM);
}
END_TEST

START_TEST(half_a_reply_is_none)
{
	accept_request();
	if (_i > 0)
		answer(USBIP_VERSION, USBIP_IMPORT, USBIP_OK);
	if (_i > 1)
		ck_assert_int_eq(send(peer, &DEVICE, 100, MSG_NOSIGNAL), 100);
	peer = close_fd(peer);
	expect_failure(FAILURE_STREAM);
}
END_TEST

START_TEST(a_port_where_nobody_listens_is_told_with_its_cure)
{
	close_fd(listener);
	start();
	expect_failure(FAILURE_UNREACHABLE);
	ck_assert_ptr_nonnull(strstr(failure.text, "127.0.0.1"));
	ck_assert_ptr_nonnull(strstr(failure.cure, "TRANSPORT=tunnel"));
	listener = -EBADF;
}
END_TEST

START_TEST(no_reply_at_all_ends_by_itself)
{
	accept_request();
	expect_failure(FAILURE_TIMEOUT);
}
END_TEST

START_TEST(an_address_that_is_none_is_refused_at_once)
{
	static const char *const bad[] = { "", "pi.local", "300.1.1.1", "::1::", "127.0.0.1 ", "fe80::1%nosuch" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		failure = (struct failure){ 0 };
		ck_assert_int_lt(importer_new(event, bad[i], &offer, 8000, on_done, NULL, &importer, &failure), 0);
		ck_assert_int_eq(failure.code, FAILURE_UNREACHABLE);
	}
	ck_assert_uint_eq(n_done, 0);
}
END_TEST

START_TEST(one_that_is_given_up_leaves_nothing)
{
	unsigned n_fds = count_fds();

	accept_request();
	importer = importer_free(importer);
	peer = close_fd(peer);
	expect_fds(n_fds + 1); /* the loop keeps its timer */
	loop_for(event, 10000);
	ck_assert_uint_eq(n_done, 0);
}
END_TEST

int main(void)
{
	TCase *right = tcase_create("right"), *wrong = tcase_create("wrong"), *silent = tcase_create("silent");

	tcase_add_checked_fixture(right, setup, teardown);
	tcase_add_test(right, the_device_that_was_offered_is_imported);
	tcase_add_test(right, a_reply_may_come_byte_by_byte);
	tcase_add_checked_fixture(wrong, setup, teardown);
	tcase_add_loop_test(wrong, a_refusal_is_told_by_its_status, 0, ARRAY_SIZE(STATUSES));
	tcase_add_test(wrong, another_version_is_told);
	tcase_add_test(wrong, something_else_that_listens_there_is_told);
	tcase_add_test(wrong, the_reply_to_something_else_is_none);
	tcase_add_loop_test(wrong, another_device_than_the_one_offered_is_not_taken, 0, 5);
	tcase_add_test(wrong, a_reply_that_makes_no_sense_is_none);
	tcase_add_loop_test(wrong, half_a_reply_is_none, 0, 3);
	tcase_add_test(wrong, a_port_where_nobody_listens_is_told_with_its_cure);
	tcase_add_test(wrong, an_address_that_is_none_is_refused_at_once);
	tcase_add_test(wrong, one_that_is_given_up_leaves_nothing);
	tcase_add_checked_fixture(silent, setup, teardown);
	tcase_add_test(silent, no_reply_at_all_ends_by_itself);
	return check_program_run("importer", right, wrong, silent, NULL);
}
