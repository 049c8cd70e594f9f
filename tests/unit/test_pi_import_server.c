/* The direct road's server, with clients that say it right, wrong, half, and without end. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "direct_session.h"
#include "import_server.h"

#define USER_TIMEOUT_MSEC 16000

static const struct usbip_device DEVICE = {
	.path = "/sys/devices/usb1/1-1",
	.busid = { "1-1" },
	.busnum = 1,
	.devnum = 7,
	.speed = 2,
	.vid = 0x0403,
	.pid = 0x6001,
	.n_configurations = 1,
	.n_interfaces = 1,
	.interfaces = { { 0, 0xff, 0xff, 0xff } },
};

static sd_event *event;
static struct import_server *server;
static bool is_allowed;
static size_t n_listed;
static enum usbip_status status; /* what an import is answered with */
static int kernel_fd;            /* what it would have given to the kernel */
static char imported[BUSID_SIZE], importer[64];

static bool on_ask(const struct sockaddr_storage *address, void *userdata)
{
	(void)userdata;
	import_server_name_address(address, importer, sizeof(importer));
	return is_allowed;
}

static size_t on_list(struct usbip_device *ret_devices, size_t max, void *userdata)
{
	(void)userdata;
	ck_assert_uint_ge(max, n_listed);
	for (size_t i = 0; i < n_listed; i++)
		ret_devices[i] = DEVICE;
	return n_listed;
}

static enum usbip_status on_import(const struct busid *busid, int fd, const struct sockaddr_storage *address,
				   struct usbip_device *ret_device, void *userdata)
{
	(void)userdata;
	(void)address;
	strcpy(imported, busid->text);
	if (status != USBIP_OK)
		return status;
	kernel_fd = dup(fd);
	*ret_device = DEVICE;
	return USBIP_OK;
}

static const struct import_server_handlers HANDLERS = { on_ask, on_list, on_import };

static void setup(void)
{
	struct failure failure;

	ck_assert_int_ge(sd_event_new(&event), 0);
	ck_assert_int_eq(import_server_new(event, 0, USER_TIMEOUT_MSEC, &HANDLERS, NULL, &server, &failure), 0);
	is_allowed = true;
	n_listed = 1;
	status = USBIP_OK;
	kernel_fd = -EBADF;
	imported[0] = importer[0] = '\0';
}

static void teardown(void)
{
	server = import_server_free(server);
	kernel_fd = close_fd(kernel_fd);
	event = sd_event_unref(event);
}

static int client(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(import_server_get_port(server)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const void *bytes, size_t size)
{
	ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* Time enough for the server to have seen what was done, on a slow machine too. */
static void let_it_see(void)
{
	loop_for(event, 20000 * test_slowness());
}

static bool has_fds(void *n)
{
	return count_fds() == *(unsigned *)n;
}

/* The server opens or closes until there are so many. */
static void wait_fds(unsigned n)
{
	(void)loop_until(event, has_fds, &n);
	expect_fds(n);
}

static size_t hear(int fd, void *buffer, size_t size)
{
	return loop_hear(event, fd, buffer, size);
}

static void expect_end(int fd)
{
	char byte;

	ck_assert_uint_eq(hear(fd, &byte, 1), 0);
}

/* The loop makes its timer's file descriptor with the first connection, and keeps it. */
static void warm_up(void)
{
	int fd = client();

	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	expect_end(fd); /* the server has closed its end */
	close(fd);
}

static void expect_status(int fd, uint16_t code, uint32_t expected)
{
	struct usbip_header header;
	uint8_t bytes[USBIP_HEADER_SIZE];

	ck_assert_uint_eq(hear(fd, bytes, sizeof(bytes)), sizeof(bytes));
	usbip_header_decode(bytes, &header);
	ck_assert_uint_eq(header.version, USBIP_VERSION);
	ck_assert_uint_eq(header.code, code);
	ck_assert_uint_eq(header.status, expected);
	expect_end(fd);
}

static void say_header(int fd, uint16_t version, uint16_t code)
{
	const struct usbip_header header = { version, code, 0 };
	uint8_t bytes[USBIP_HEADER_SIZE];

	usbip_header_encode(&header, bytes);
	say(fd, bytes, sizeof(bytes));
}

static void say_import(int fd, const char *busid)
{
	struct busid where = { "" };
	uint8_t bytes[USBIP_REQUEST_SIZE];

	strcpy(where.text, busid);
	usbip_request_encode(&where, bytes);
	say(fd, bytes, sizeof(bytes));
}

/* ---- lists ---- */

START_TEST(a_list_is_told_byte_by_byte)
{
	_cleanup_close_ int fd = client();
	uint8_t bytes[8 + 4 + 2 * (312 + 4)], expected[312];
	static const uint8_t head[] = { 0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0, 0, 0, 0, 2 }, interface[] = { 0xff, 0xff, 0xff, 0 };

	n_listed = 2;
	say_header(fd, USBIP_VERSION, 0x8005);
	ck_assert_uint_eq(hear(fd, bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_mem_eq(bytes, head, sizeof(head));
	usbip_device_encode(&DEVICE, expected);
	ck_assert_mem_eq(bytes + 12, expected, 312);
	ck_assert_mem_eq(bytes + 12 + 312, interface, 4);
	ck_assert_mem_eq(bytes + 12 + 316, expected, 312);
	expect_end(fd);
	ck_assert_str_eq(importer, "127.0.0.1");
}
END_TEST

START_TEST(a_list_of_nothing_is_one_too)
{
	_cleanup_close_ int fd = client();
	uint8_t bytes[12];
	static const uint8_t expected[] = { 0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0, 0, 0, 0, 0 };

	n_listed = 0;
	say_header(fd, USBIP_VERSION, 0x8005);
	ck_assert_uint_eq(hear(fd, bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_mem_eq(bytes, expected, sizeof(bytes));
	expect_end(fd);
}
END_TEST

START_TEST(a_long_list_comes_whole_to_one_who_reads_slowly)
{
	_cleanup_close_ int fd = client();
	static uint8_t bytes[12 + IMPORT_SERVER_MAX_DEVICES * 316 + 1];
	size_t used = 0;

	n_listed = IMPORT_SERVER_MAX_DEVICES;
	say_header(fd, USBIP_VERSION, 0x8005);
	while (used < sizeof(bytes)) {
		size_t n = hear(fd, bytes + used, sizeof(bytes) - used < 100 ? sizeof(bytes) - used : 100);

		if (n == 0)
			break;
		used += n;
	}
	ck_assert_uint_eq(used, sizeof(bytes) - 1);
}
END_TEST

/* ---- imports ---- */

START_TEST(an_import_gives_the_connection_away_behind_its_reply)
{
	_cleanup_close_ int fd = client();
	uint8_t bytes[8 + 312], expected[312];
	static const uint8_t head[] = { 0x01, 0x11, 0x00, 0x03, 0, 0, 0, 0 };
	char text[8] = "";
	int value;
	socklen_t size = sizeof(value);

	say_import(fd, "1-1");
	ck_assert_uint_eq(hear(fd, bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_mem_eq(bytes, head, sizeof(head));
	usbip_device_encode(&DEVICE, expected);
	ck_assert_mem_eq(bytes + 8, expected, sizeof(expected));
	ck_assert_str_eq(imported, "1-1");
	/* nothing more comes, and what we say is the kernel's */
	ck_assert_int_lt(recv(fd, text, 1, MSG_DONTWAIT), 0);
	ck_assert_int_eq(errno, EAGAIN);
	say(fd, "URB", 3);
	ck_assert_int_eq(recv(kernel_fd, text, sizeof(text), 0), 3);
	ck_assert_int_eq(fcntl(kernel_fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(getsockopt(kernel_fd, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
	ck_assert_int_ne(value, 0);
	ck_assert_int_eq(getsockopt(kernel_fd, SOL_SOCKET, SO_KEEPALIVE, &value, &size), 0);
	ck_assert_int_ne(value, 0);
	ck_assert_int_eq(getsockopt(kernel_fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size), 0);
	ck_assert_int_eq(value, USER_TIMEOUT_MSEC);
}
END_TEST

START_TEST(urbs_right_behind_the_request_are_left_for_the_kernel)
{
	_cleanup_close_ int fd = client();
	struct busid busid = { "1-1" };
	uint8_t request[USBIP_REQUEST_SIZE + 3], bytes[320];
	char text[8] = "";

	usbip_request_encode(&busid, request);
	memcpy(request + USBIP_REQUEST_SIZE, "URB", 3);
	say(fd, request, sizeof(request));
	ck_assert_uint_eq(hear(fd, bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_int_eq(recv(kernel_fd, text, sizeof(text), MSG_DONTWAIT), 3);
	ck_assert_str_eq(text, "URB");
}
END_TEST

static const enum usbip_status REFUSALS[] = { USBIP_NOT_AVAILABLE, USBIP_BUSY, USBIP_DEVICE_ERROR, USBIP_NO_DEVICE, USBIP_ERROR };

START_TEST(a_refused_import_has_its_status_and_no_body)
{
	_cleanup_close_ int fd = client();

	status = REFUSALS[_i];
	say_import(fd, "1-1");
	expect_status(fd, USBIP_IMPORT, REFUSALS[_i]);
	ck_assert_int_lt(kernel_fd, 0);
}
END_TEST

START_TEST(what_is_no_bus_id_is_no_device)
{
	static const char *const bad[] = { "", "../../etc", "usb1", "1-1:1.0", "1-256" };
	_cleanup_close_ int fd = client();

	say_import(fd, bad[_i]);
	expect_status(fd, USBIP_IMPORT, USBIP_NO_DEVICE);
	ck_assert_str_eq(imported, "");
}
END_TEST

START_TEST(a_request_may_come_byte_by_byte)
{
	_cleanup_close_ int fd = client();
	struct busid busid = { "1-1" };
	uint8_t request[USBIP_REQUEST_SIZE], bytes[320];

	usbip_request_encode(&busid, request);
	for (size_t i = 0; i < sizeof(request); i++) {
		ck_assert_str_eq(imported, "");
		say(fd, request + i, 1);
		loop_for(event, 1000);
	}
	ck_assert_uint_eq(hear(fd, bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_str_eq(imported, "1-1");
}
END_TEST

/* ---- wrong input ---- */

START_TEST(another_version_is_refused)
{
	_cleanup_close_ int list = client(), import = client();
	uint8_t busid[32] = "1-1";

	say_header(list, 0x0106, 0x8005);
	expect_status(list, 0x0005, USBIP_ERROR);
	say_header(import, 0x0112, 0x8003);
	say(import, busid, sizeof(busid));
	expect_status(import, 0x0003, USBIP_ERROR);
	ck_assert_str_eq(imported, "");
}
END_TEST

START_TEST(an_unknown_request_is_refused)
{
	static const uint16_t codes[] = { 0x8000, 0x8001, 0x8002, 0x8004, 0x8006, 0x0003, 0x0005, 0xffff };
	_cleanup_close_ int fd = client();

	say_header(fd, USBIP_VERSION, codes[_i]);
	expect_status(fd, codes[_i] & 0x7fff, USBIP_ERROR);
}
END_TEST

START_TEST(an_endless_request_is_answered_once_and_closed)
{
	_cleanup_close_ int fd = client();
	uint8_t bytes[4096];

	memset(bytes, 0xff, sizeof(bytes));
	for (unsigned i = 0; i < 2000 && send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) != -1; i++)
		sd_event_run(event, 1000);
	ck_assert(errno == EPIPE || errno == ECONNRESET || errno == EAGAIN);
	loop_for(event, 10000);
	ck_assert_str_eq(imported, "");
}
END_TEST

START_TEST(half_a_request_ends_with_its_connection)
{
	unsigned n_fds;
	int fd;

	warm_up();
	n_fds = count_fds();
	fd = client();
	say(fd,
	    "\x01\x11\x80\x03\0\0\0\0"
	    "1-1",
	    11);
	wait_fds(n_fds + 2);
	close(fd);
	wait_fds(n_fds);
	ck_assert_str_eq(imported, "");
}
END_TEST

START_TEST(one_who_says_nothing_is_closed_after_a_while)
{
	_cleanup_close_ int fd = client();
	struct pollfd polled = { .fd = fd, .events = POLLIN };

	for (unsigned i = 0; i < 200 && poll(&polled, 1, 0) == 0; i++)
		sd_event_run(event, 100000);
	ck_assert_int_eq(recv(fd, &polled, 1, MSG_DONTWAIT), 0);
}
END_TEST

/* ---- who may not ---- */

START_TEST(a_foreigner_gets_the_status_for_that)
{
	_cleanup_close_ int list = client(), import = client();

	is_allowed = false;
	say_header(list, USBIP_VERSION, 0x8005);
	expect_status(list, USBIP_DEVLIST, USBIP_NOT_AVAILABLE);
	say_import(import, "1-1");
	expect_status(import, USBIP_IMPORT, USBIP_NOT_AVAILABLE);
	ck_assert_str_eq(imported, "");
}
END_TEST

START_TEST(foreigners_take_no_place_of_others)
{
	int fds[40];
	uint8_t bytes[12];

	is_allowed = false;
	for (size_t i = 0; i < 40; i++) {
		fds[i] = client();
		sd_event_run(event, 0);
	}
	let_it_see();
	is_allowed = true;
	n_listed = 0;
	{
		_cleanup_close_ int fd = client();

		say_header(fd, USBIP_VERSION, 0x8005);
		ck_assert_uint_eq(hear(fd, bytes, sizeof(bytes)), sizeof(bytes));
	}
	for (size_t i = 0; i < 40; i++)
		close(fds[i]);
}
END_TEST

START_TEST(connections_are_bounded)
{
	unsigned n_fds;
	int fds[60];

	warm_up();
	n_fds = count_fds();
	for (size_t i = 0; i < 60; i++) {
		fds[i] = client();
		sd_event_run(event, 0);
	}
	let_it_see();
	ck_assert_uint_le(count_fds(), n_fds + 60 + 24);
	for (size_t i = 0; i < 60; i++)
		close(fds[i]);
	wait_fds(n_fds);
}
END_TEST

START_TEST(a_port_that_is_taken_is_told_with_its_cure)
{
	struct import_server *second = NULL;
	struct failure failure;

	ck_assert_int_lt(import_server_new(event, import_server_get_port(server), 1000, &HANDLERS, NULL, &second, &failure), 0);
	ck_assert_ptr_null(second);
	ck_assert_int_eq(failure.code, FAILURE_BUSY);
	ck_assert_ptr_nonnull(strstr(failure.cure, "usbipd"));
}
END_TEST

START_TEST(ipv6_is_served_too)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6,
					.sin6_port = htons(import_server_get_port(server)),
					.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return; /* this machine has no IPv6 */
	is_allowed = false;
	say_header(fd, USBIP_VERSION, 0x8005);
	expect_status(fd, USBIP_DEVLIST, USBIP_NOT_AVAILABLE);
	ck_assert_str_eq(importer, "::1");
}
END_TEST

/* ---- a session ---- */

static unsigned n_ended;
static enum failure_code end_code;

static void on_ended(const struct failure *failure, void *userdata)
{
	(void)userdata;
	n_ended++;
	end_code = failure->code;
}

static bool has_ended(void *userdata)
{
	(void)userdata;
	return n_ended > 0;
}

static struct direct_session *start_session(int *ret_client)
{
	struct direct_session *session;
	uint8_t bytes[320];

	*ret_client = client();
	say_import(*ret_client, "1-1");
	ck_assert_uint_eq(hear(*ret_client, bytes, sizeof(bytes)), sizeof(bytes));
	n_ended = 0;
	ck_assert_int_eq(direct_session_new(event, kernel_fd, "192.168.1.7", 8000, on_ended, NULL, &session), 0);
	ck_assert_str_eq(direct_session_get_peer(session), "192.168.1.7");
	return session;
}

START_TEST(the_peers_end_ends_a_session)
{
	int fd;
	struct direct_session *session = start_session(&fd);

	say(fd, "bytes", 5); /* which the kernel has not read yet, and nobody else does */
	let_it_see();
	ck_assert_uint_eq(n_ended, 0);
	close(fd);
	ck_assert(loop_until(event, has_ended, NULL));
	ck_assert_uint_eq(n_ended, 1);
	ck_assert_int_eq(end_code, FAILURE_GONE);
	direct_session_free(session);
}
END_TEST

START_TEST(the_kernels_end_ends_a_session)
{
	int fd;
	struct direct_session *session = start_session(&fd);

	shutdown(kernel_fd, SHUT_RDWR); /* as stub_shutdown_connection() does at an unplug */
	ck_assert(loop_until(event, has_ended, NULL));
	direct_session_free(session);
	expect_end(fd);
	close(fd);
}
END_TEST

START_TEST(to_end_a_session_is_the_end_for_both_kernels)
{
	int fd;
	struct direct_session *session = start_session(&fd);
	char byte;

	direct_session_free(session);
	ck_assert_int_eq(recv(kernel_fd, &byte, 1, MSG_DONTWAIT), 0);
	expect_end(fd);
	ck_assert_uint_eq(n_ended, 0);
	close(fd);
}
END_TEST

START_TEST(the_servers_end_is_not_the_sessions)
{
	int fd;
	struct direct_session *session = start_session(&fd);
	char text[8];

	server = import_server_free(server);
	say(fd, "URB", 3);
	ck_assert_int_eq(recv(kernel_fd, text, sizeof(text), 0), 3);
	direct_session_free(session);
	close(fd);
}
END_TEST

int main(void)
{
	TCase *lists = tcase_create("lists"), *imports = tcase_create("imports"), *wrong = tcase_create("wrong input"),
	      *bounds = tcase_create("bounds"), *sessions = tcase_create("sessions");

	tcase_add_checked_fixture(lists, setup, teardown);
	tcase_add_test(lists, a_list_is_told_byte_by_byte);
	tcase_add_test(lists, a_list_of_nothing_is_one_too);
	tcase_add_test(lists, a_long_list_comes_whole_to_one_who_reads_slowly);
	tcase_add_checked_fixture(imports, setup, teardown);
	tcase_add_test(imports, an_import_gives_the_connection_away_behind_its_reply);
	tcase_add_test(imports, urbs_right_behind_the_request_are_left_for_the_kernel);
	tcase_add_loop_test(imports, a_refused_import_has_its_status_and_no_body, 0, ARRAY_SIZE(REFUSALS));
	tcase_add_loop_test(imports, what_is_no_bus_id_is_no_device, 0, 5);
	tcase_add_test(imports, a_request_may_come_byte_by_byte);
	tcase_add_checked_fixture(wrong, setup, teardown);
	tcase_add_test(wrong, another_version_is_refused);
	tcase_add_loop_test(wrong, an_unknown_request_is_refused, 0, 8);
	tcase_add_test(wrong, an_endless_request_is_answered_once_and_closed);
	tcase_add_test(wrong, half_a_request_ends_with_its_connection);
	tcase_add_test(wrong, one_who_says_nothing_is_closed_after_a_while);
	tcase_add_checked_fixture(bounds, setup, teardown);
	tcase_add_test(bounds, a_foreigner_gets_the_status_for_that);
	tcase_add_test(bounds, foreigners_take_no_place_of_others);
	tcase_add_test(bounds, connections_are_bounded);
	tcase_add_test(bounds, a_port_that_is_taken_is_told_with_its_cure);
	tcase_add_test(bounds, ipv6_is_served_too);
	tcase_add_checked_fixture(sessions, setup, teardown);
	tcase_add_test(sessions, the_peers_end_ends_a_session);
	tcase_add_test(sessions, the_kernels_end_ends_a_session);
	tcase_add_test(sessions, to_end_a_session_is_the_end_for_both_kernels);
	tcase_add_test(sessions, the_servers_end_is_not_the_sessions);
	return check_program_run("import_server", lists, imports, wrong, bounds, sessions, NULL);
}
