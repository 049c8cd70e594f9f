/* The real relay program between pipes, as sshd gives it, and a socket that plays the handler. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"

#define PI_ID      "0123456789abcdef"
#define FIRST_LINE "{\"request\":\"relay\",\"pi\":\"" PI_ID "\"}\n"
#define LIMIT_MS   10000
#define BULK_SIZE  ((size_t)1024 * 1024)

static char dir[64], socket_path[96], program[256];
static int listener;   /* the handler's socket */
static int to_relay;   /* sshd's end of its stdin */
static int from_relay; /* sshd's end of its stdout */
static int handler;    /* the handler's end of the relay's connection */
static pid_t relay;

static void setup(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *build = getenv("USBPUSH_BUILD_DIR");

	signal(SIGPIPE, SIG_IGN);
	unsetenv("SSH_CONNECTION"); /* of who runs this */
	snprintf(program, sizeof(program), "%s/usbpush-relay", build ? build : ".");
	snprintf(dir, sizeof(dir), "/tmp/vm-relay.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(socket_path, sizeof(socket_path), "%s/handler.sock", dir);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 4), 0);
	to_relay = from_relay = handler = -EBADF;
	relay = 0;
}

static void teardown(void)
{
	close_fd(to_relay);
	close_fd(from_relay);
	close_fd(handler);
	close_fd(listener);
	if (relay > 0) {
		kill(relay, SIGKILL);
		waitpid(relay, NULL, 0);
	}
	unlink(socket_path);
	rmdir(dir);
}

static void start_relay(const char *id, const char *path)
{
	int in[2], out[2];

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	relay = fork();
	if (relay == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl(program, program, "--pi", id, "--socket", path, NULL);
		_exit(127);
	}
	ck_assert_int_ge(relay, 0);
	close(in[0]);
	close(out[1]);
	to_relay = in[1];
	from_relay = out[0];
}

static void wait_readable(int fd)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN };

	ck_assert_int_eq(poll(&polled, 1, LIMIT_MS * (int)test_slowness()), 1);
}

static void expect_bytes(int fd, const char *data, size_t size)
{
	char got[65536];

	while (size > 0) {
		ssize_t n;

		wait_readable(fd);
		n = read(fd, got, size < sizeof(got) ? size : sizeof(got));
		ck_assert_int_gt(n, 0);
		ck_assert_mem_eq(got, data, (size_t)n);
		data += n;
		size -= (size_t)n;
	}
}

static void expect_end(int fd)
{
	char byte;

	wait_readable(fd);
	ck_assert_int_le(read(fd, &byte, 1), 0);
}

static int expect_exit(void)
{
	int status;

	/* Its stdout ends when it does. */
	if (from_relay >= 0)
		while (read(from_relay, &(char){ 0 }, 1) > 0)
			;
	ck_assert_int_eq(waitpid(relay, &status, 0), relay);
	relay = 0;
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void join(void)
{
	start_relay(PI_ID, socket_path);
	wait_readable(listener);
	handler = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(handler, 0);
	expect_bytes(handler, FIRST_LINE, strlen(FIRST_LINE));
}

START_TEST(says_which_pi_speaks_before_anything_else)
{
	start_relay(PI_ID, socket_path);
	ck_assert_int_eq(write(to_relay, "hello\n", 6), 6);
	wait_readable(listener);
	handler = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	expect_bytes(handler, FIRST_LINE "hello\n", strlen(FIRST_LINE) + 6);
}
END_TEST

START_TEST(bytes_pass_in_both_directions)
{
	join();
	ck_assert_int_eq(write(to_relay, "up", 2), 2);
	expect_bytes(handler, "up", 2);
	ck_assert_int_eq(write(handler, "down", 4), 4);
	expect_bytes(from_relay, "down", 4);
}
END_TEST

/* Writes what fits and reads what comes, until a megabyte has passed: neither end may block the other. */
static void expect_bulk(int to, int from)
{
	static char data[BULK_SIZE], got[65536];
	size_t n_written = 0, n_read = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7919 >> 5);
	fcntl(to, F_SETFL, O_NONBLOCK);
	while (n_read < sizeof(data)) {
		struct pollfd polled[2] = { { .fd = n_written < sizeof(data) ? to : -1, .events = POLLOUT },
					    { .fd = from, .events = POLLIN } };
		ssize_t n;

		ck_assert_int_gt(poll(polled, 2, LIMIT_MS * (int)test_slowness()), 0);
		if (polled[0].revents && (n = write(to, data + n_written, sizeof(data) - n_written)) > 0)
			n_written += (size_t)n;
		if (!polled[1].revents)
			continue;
		n = read(from, got, sizeof(got));
		ck_assert_int_gt(n, 0);
		ck_assert_mem_eq(got, data + n_read, (size_t)n);
		n_read += (size_t)n;
	}
}

START_TEST(a_megabyte_passes_unchanged_towards_the_handler)
{
	join();
	expect_bulk(to_relay, handler);
}
END_TEST

START_TEST(a_megabyte_passes_unchanged_towards_the_pi)
{
	join();
	expect_bulk(handler, from_relay);
}
END_TEST

START_TEST(the_end_of_stdin_is_passed_on_and_an_answer_still_comes)
{
	join();
	to_relay = close_fd(to_relay);
	expect_end(handler);
	ck_assert_int_eq(write(handler, "bye", 3), 3);
	handler = close_fd(handler);
	expect_bytes(from_relay, "bye", 3);
	ck_assert_int_eq(expect_exit(), 0);
}
END_TEST

START_TEST(exits_when_the_handler_hangs_up_though_stdin_is_open)
{
	join();
	handler = close_fd(handler);
	ck_assert_int_eq(expect_exit(), 0);
}
END_TEST

START_TEST(exits_when_the_kernel_shuts_the_socket_down)
{
	join();
	ck_assert_int_eq(shutdown(handler, SHUT_RDWR), 0);
	ck_assert_int_eq(expect_exit(), 0);
}
END_TEST

START_TEST(exits_when_sshd_is_gone_though_the_handler_is_stuck)
{
	join();
	from_relay = close_fd(from_relay);
	to_relay = close_fd(to_relay);
	ck_assert_int_eq(expect_exit(), 0);
}
END_TEST

START_TEST(exits_when_sshd_is_gone_though_the_socket_is_full)
{
	static char data[65536];
	struct pollfd polled;

	join();
	/* The handler reads nothing: fill the socket, and the pipe before it. */
	fcntl(to_relay, F_SETFL, O_NONBLOCK);
	polled = (struct pollfd){ .fd = to_relay, .events = POLLOUT };
	while (poll(&polled, 1, 200) > 0 && write(to_relay, data, sizeof(data)) > 0)
		;
	from_relay = close_fd(from_relay);
	to_relay = close_fd(to_relay);
	ck_assert_int_eq(expect_exit(), 0);
}
END_TEST

/* The CPU time of the relay, in clock ticks: /proc/PID/stat, fields 14 and 15. */
static unsigned long relay_cpu_ticks(void)
{
	unsigned long user = 0, system = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)relay);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
	fclose(file);
	return user + system;
}

START_TEST(does_not_spin_when_one_side_has_ended)
{
	unsigned long before;
	struct pollfd polled;

	join();
	to_relay = close_fd(to_relay);
	expect_end(handler);
	before = relay_cpu_ticks();
	polled = (struct pollfd){ .fd = handler, .events = POLLIN };
	ck_assert_int_ge(poll(&polled, 0, 500), 0); /* the time in which a spinning relay would burn 50 ticks */
	ck_assert_uint_le(relay_cpu_ticks() - before, 5);
}
END_TEST

START_TEST(waits_for_a_handler_that_is_restarting)
{
	char hidden[128];
	struct pollfd polled;

	snprintf(hidden, sizeof(hidden), "%s.hidden", socket_path);
	ck_assert_int_eq(rename(socket_path, hidden), 0);
	start_relay(PI_ID, socket_path);
	polled = (struct pollfd){ .fd = from_relay, .events = POLLIN };
	ck_assert_int_eq(poll(&polled, 1, 300), 0); /* it is still there */
	ck_assert_int_eq(rename(hidden, socket_path), 0);
	wait_readable(listener);
	handler = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	expect_bytes(handler, FIRST_LINE, strlen(FIRST_LINE));
}
END_TEST

START_TEST(without_a_handler_it_says_so_and_fails)
{
	start_relay(PI_ID, "/nonexistent/handler.sock");
	ck_assert_int_eq(expect_exit(), 1);
}
END_TEST

START_TEST(an_id_that_is_none_is_refused)
{
	start_relay("../../x", socket_path);
	ck_assert_int_eq(expect_exit(), 2);
}
END_TEST

/* What sshd says of the connection, and what of it the first line has. */
static const struct {
	const char *connection, *field;
} CONNECTIONS[] = {
	{ "192.168.1.7 40000 192.168.1.2 22", ",\"from\":\"192.168.1.7\"" },
	{ "fe80::1%eth0 40000 fe80::2%eth0 22", ",\"from\":\"fe80::1%eth0\"" },
	{ "2001:db8::7 1 2001:db8::1 22", ",\"from\":\"2001:db8::7\"" },
	{ "", "" },
	{ " 40000", "" },
	{ "1.2.3.4\",\"pi\":\"x 1 2 3", "" },
	{ "1.2.3.4\\ 1 2 3", "" },
	{ "1.2.3.4\n 1 2 3", "" },
	{ "11111111111111111111111111111111111111111111111111111111111111111111111111111111 1 2 3", "" },
};

START_TEST(says_from_which_address_the_pi_came)
{
	char line[256];

	snprintf(line, sizeof(line), "{\"request\":\"relay\",\"pi\":\"" PI_ID "\"%s}\n", CONNECTIONS[_i].field);
	ck_assert_int_eq(setenv("SSH_CONNECTION", CONNECTIONS[_i].connection, 1), 0);
	start_relay(PI_ID, socket_path);
	wait_readable(listener);
	handler = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	expect_bytes(handler, line, strlen(line));
	ck_assert_int_eq(unsetenv("SSH_CONNECTION"), 0);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("relay");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, says_which_pi_speaks_before_anything_else);
	tcase_add_loop_test(tests, says_from_which_address_the_pi_came, 0, sizeof(CONNECTIONS) / sizeof(CONNECTIONS[0]));
	tcase_add_test(tests, bytes_pass_in_both_directions);
	tcase_add_test(tests, a_megabyte_passes_unchanged_towards_the_handler);
	tcase_add_test(tests, a_megabyte_passes_unchanged_towards_the_pi);
	tcase_add_test(tests, the_end_of_stdin_is_passed_on_and_an_answer_still_comes);
	tcase_add_test(tests, exits_when_the_handler_hangs_up_though_stdin_is_open);
	tcase_add_test(tests, exits_when_the_kernel_shuts_the_socket_down);
	tcase_add_test(tests, exits_when_sshd_is_gone_though_the_handler_is_stuck);
	tcase_add_test(tests, exits_when_sshd_is_gone_though_the_socket_is_full);
	tcase_add_test(tests, does_not_spin_when_one_side_has_ended);
	tcase_add_test(tests, waits_for_a_handler_that_is_restarting);
	tcase_add_test(tests, without_a_handler_it_says_so_and_fails);
	tcase_add_test(tests, an_id_that_is_none_is_refused);
	return check_program_run("vm_relay", tests, NULL);
}
