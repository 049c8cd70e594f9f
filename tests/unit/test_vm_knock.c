/* The VM's knock: where it goes, what is sent, and that nobody at the other end can make it wait. */

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "knock.h"
#include "vm_bed.h"
#include "whereabouts.h"

#define USEC_PER_SEC UINT64_C(1000000)

/* ---- where each Pi was ---- */

static struct temp_tree tree;
static sd_event *event;
static struct job_runner *jobs;
static struct whereabouts *whereabouts;

static void setup_file(void)
{
	temp_tree_new(&tree);
	ck_assert_int_ge(sd_event_new(&event), 0);
	ck_assert_int_eq(job_runner_new(event, 4, &jobs), 0);
	ck_assert_int_eq(whereabouts_new(event, jobs, temp_tree_path(&tree, "addresses"), &whereabouts), 0);
}

static void teardown_file(void)
{
	whereabouts = whereabouts_free(whereabouts);
	jobs = job_runner_free(jobs);
	event = sd_event_unref(event);
	temp_tree_free(&tree);
}

static bool keeps(const char *wanted)
{
	_cleanup_json_ json_t *kept = whereabouts_read(temp_tree_path(&tree, "addresses"));
	const char *address = json_string_value(json_object_get(kept, BED_PI));

	return address && strcmp(address, wanted) == 0;
}

static bool is_kept(void *userdata)
{
	const char *const *wanted = userdata;

	return keeps(*wanted);
}

static bool is_forgotten(void *userdata)
{
	(void)userdata;
	return !keeps("fe80::7%eth0");
}

static void expect_kept(const char *address)
{
	ck_assert_msg(loop_until(event, is_kept, &address), "%s is not kept", address);
}

static ino_t file_number(void)
{
	struct stat status;

	return stat(temp_tree_path(&tree, "addresses"), &status) == 0 ? status.st_ino : 0;
}

START_TEST(an_address_is_kept_and_written_only_when_it_changes)
{
	static struct piconf nobody;
	ino_t written;

	whereabouts_note(whereabouts, BED_PI, "10.0.0.6");
	whereabouts_note(whereabouts, BED_PI, "10.0.0.7"); /* one write for both */
	ck_assert_uint_eq(file_number(), 0);
	expect_kept("10.0.0.7");
	written = file_number();

	whereabouts = whereabouts_free(whereabouts); /* the machine boots */
	ck_assert_int_eq(whereabouts_new(event, jobs, temp_tree_path(&tree, "addresses"), &whereabouts), 0);
	whereabouts_note(whereabouts, BED_PI, "10.0.0.7");
	loop_for(event, 6 * USEC_PER_SEC);
	ck_assert_uint_eq(file_number(), written);
	whereabouts_note(whereabouts, BED_PI, "fe80::7%eth0");
	expect_kept("fe80::7%eth0");
	whereabouts_prune(whereabouts, &nobody);
	ck_assert(loop_until(event, is_forgotten, NULL));
}
END_TEST

/* Through a tunnel, or from a sshd that says nonsense: it would be our own machine at which we knock, or nothing. */
START_TEST(what_is_no_address_of_a_pi_is_not_kept)
{
	static const char *const addresses[] = {
		"",
		"127.0.0.1",
		"127.1.2.3",
		"::1",
		"pi.local",
		"10.0.0.7; reboot",
		"10.0.0.7%eth0",
		"fe80::1%",
		"fe80::1%../..",
		"fe80::1%et h0",
		"10.0.0.7\n",
		"[::2]",
		"UNKNOWN",
		"10.0.0.256",
		"2001:0db8:0000:0000:0000:0000:0000:0001%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	};

	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		whereabouts_note(whereabouts, BED_PI, addresses[i]);
	loop_for(event, 6 * USEC_PER_SEC);
	ck_assert_uint_eq(file_number(), 0);
}
END_TEST

START_TEST(a_file_that_can_not_be_written_costs_nothing_else)
{
	whereabouts = whereabouts_free(whereabouts);
	ck_assert_int_eq(whereabouts_new(event, jobs, "/dev/null/addresses", &whereabouts), 0);
	whereabouts_note(whereabouts, BED_PI, "10.0.0.7");
	loop_for(event, 6 * USEC_PER_SEC);
	whereabouts_note(whereabouts, BED_PI, "10.0.0.8");
}
END_TEST

static const struct {
	const char *content;
	size_t n;
} FILES[] = {
	{ "", 0 },
	{ "{", 0 },
	{ "[]", 0 },
	{ "\"10.0.0.7\"", 0 },
	{ "{}\n", 0 },
	{ "{\"" BED_PI "\":\"10.0.0.7\"}\n", 1 },
	{ "{\"" BED_PI "\":\"10.0.0.7\",\"" BED_PI "\":\"10.0.0.8\"}\n", 0 },
	{ "{\"" BED_PI "\":\"10.0.0.7\",\"" BED_OTHER "\":7}\n", 1 },
	{ "{\"" BED_PI "\":[\"10.0.0.7\"]}\n", 0 },
	{ "{\"" BED_PI "\":\"10.0.0.7\\u0000\"}\n", 0 },
	{ "{\"" BED_PI "\":\"10.0.0.7\\r\\nX-Evil: 1\"}\n", 0 },
	{ "{\"" BED_PI "\":\"evil.example\"}\n", 0 },
	{ "{\"../../etc\":\"10.0.0.7\",\"\":\"10.0.0.7\"}\n", 0 },
	{ "{\"" BED_PI "\":\"fe80::7%eth0\",\"" BED_OTHER "\":\"2001:db8::7\"}\n", 2 },
};

START_TEST(a_file_is_checked_when_it_is_read)
{
	_cleanup_json_ json_t *kept = NULL;

	temp_tree_put(&tree, "addresses", FILES[_i].content);
	kept = whereabouts_read(temp_tree_path(&tree, "addresses"));
	ck_assert_uint_eq(json_object_size(kept), FILES[_i].n);
}
END_TEST

START_TEST(a_file_of_any_size_yields_no_more_than_there_are_pis)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *many = json_object(), *kept = NULL, *none = NULL;
	char id[16];

	for (unsigned i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "%x", i);
		json_object_set_new(many, id, json_string("10.0.0.7"));
	}
	text = json_dumps(many, 0);
	temp_tree_put(&tree, "addresses", text);
	kept = whereabouts_read(temp_tree_path(&tree, "addresses"));
	ck_assert_uint_eq(json_object_size(kept), PICONF_MAX_PIS);
	free(text);
	text = malloc(100001);
	memset(text, ' ', 100000);
	memcpy(text + 99998, "{}", 3);
	temp_tree_put(&tree, "addresses", text);
	none = whereabouts_read(temp_tree_path(&tree, "addresses"));
	ck_assert_uint_eq(json_object_size(none), 0);
}
END_TEST

static bool is_handlers(void *userdata)
{
	_cleanup_json_ json_t *kept = whereabouts_read(userdata);

	return json_object_size(kept) > 0;
}

/* Its first line says from where a Pi comes; the handler notes it. */
START_TEST(the_handler_keeps_from_where_a_paired_pi_connects)
{
	static struct vm_bed bed;
	_cleanup_json_ json_t *kept = NULL;
	int fds[2];

	vm_bed_setup(&bed);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	handler_accept_relay(bed.handler, "00000000000000000000000000000bad", "10.0.0.66", fds[0]);
	close(fds[1]);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	handler_accept_relay(bed.handler, BED_PI, "10.0.0.7", fds[0]);
	ck_assert(loop_until(bed.event, is_handlers, bed.addresses));
	kept = whereabouts_read(bed.addresses);
	ck_assert_uint_eq(json_object_size(kept), 1);
	ck_assert_str_eq(json_string_value(json_object_get(kept, BED_PI)), "10.0.0.7");
	close(fds[1]);
	vm_bed_teardown(&bed);
}
END_TEST

/* ---- the knock ---- */

static uint16_t port;
static int listeners[8];
static unsigned n_listeners;
static struct knock *knock;

/* Listens there, at the port of all. */
static int pi_listen(const char *address)
{
	bool is_ipv6 = strchr(address, ':') != NULL;
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr *name = is_ipv6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in;
	socklen_t size = is_ipv6 ? sizeof(in6) : sizeof(in);
	int fd = socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	ck_assert_int_eq(inet_pton(name->sa_family, address, is_ipv6 ? (void *)&in6.sin6_addr : (void *)&in.sin_addr), 1);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	ck_assert_int_eq(bind(fd, name, size), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	ck_assert_int_eq(getsockname(fd, name, &size), 0);
	port = ntohs(is_ipv6 ? in6.sin6_port : in.sin_port);
	listeners[n_listeners++] = fd;
	return fd;
}

static void setup_knock(void)
{
	port = 0;
	n_listeners = 0;
	knock = NULL;
}

static void teardown_knock(void)
{
	knock = knock_free(knock);
	while (n_listeners > 0)
		close(listeners[--n_listeners]);
}

/* Whether somebody comes to it within the time. */
static bool has_visitor(int listener, unsigned msec)
{
	struct timeval limit = { .tv_sec = msec / 1000, .tv_usec = (msec % 1000) * 1000L };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(listener, &set);
	return select(listener + 1, &set, NULL, NULL, &limit) == 1;
}

/* The next one who comes to it. */
static int pi_accept(int listener)
{
	ck_assert(has_visitor(listener, 10000));
	return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

static void expect_request(int fd, const char *host)
{
	char text[512], expected[512];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	snprintf(
		expected, sizeof(expected),
		"POST /api/v1/knock HTTP/1.1\r\nHost: %s:%u\r\nContent-Type: application/json\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		host, port);
	ck_assert_str_eq(text, expected);
}

/* It has hung up. */
static void expect_end(int fd)
{
	char byte;

	ck_assert(has_visitor(fd, 10000));
	ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
}

static uint64_t began_usec;

static void start(const char *const *addresses, size_t n)
{
	began_usec = clock_now_usec();
	ck_assert_int_eq(knock_start(addresses, n, port, &knock), 0);
}

/* It was not the limit that ended it. */
static void expect_early(void)
{
	ck_assert_uint_lt(clock_now_usec() - began_usec, KNOCK_LIMIT_MS * UINT64_C(1000));
}

static void expect_quick_end(void)
{
	began_usec = clock_now_usec();
	knock = knock_free(knock);
	expect_early();
}

START_TEST(a_pi_is_told_and_left_as_soon_as_it_answers)
{
	const char *const addresses[] = { "127.0.0.1" };
	int listener = pi_listen(addresses[0]);
	_cleanup_close_ int fd = -EBADF;

	start(addresses, 1);
	fd = pi_accept(listener);
	expect_request(fd, "127.0.0.1");
	ck_assert_int_eq(send(fd, "HTTP/1.1 204 No Content\r\n\r\n", 27, MSG_NOSIGNAL), 27);
	expect_end(fd);
	expect_early();
	ck_assert(!has_visitor(listener, 1200)); /* once is enough */
	expect_quick_end();
}
END_TEST

START_TEST(one_who_is_silent_and_one_who_drips_hold_up_no_other)
{
	const char *const addresses[] = { "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4" };
	int silent = pi_listen(addresses[0]), dripping = pi_listen(addresses[1]), talker = pi_listen(addresses[2]),
	    good = pi_listen(addresses[3]);
	_cleanup_close_ int drip_fd = -EBADF, talk_fd = -EBADF, fd = -EBADF;
	static char nonsense[65536];

	(void)silent; /* never accepts, never reads */
	start(addresses, 4);
	drip_fd = pi_accept(dripping);
	talk_fd = pi_accept(talker);
	fd = pi_accept(good);
	memset(nonsense, 0xff, sizeof(nonsense));
	ck_assert_int_eq(send(drip_fd, "H", 1, MSG_NOSIGNAL), 1);
	(void)send(talk_fd, nonsense, sizeof(nonsense), MSG_NOSIGNAL | MSG_DONTWAIT);
	expect_request(fd, "127.0.0.4");
	expect_request(drip_fd, "127.0.0.2");
	expect_end(drip_fd); /* a byte is an answer */
	expect_early();
	expect_quick_end();
}
END_TEST

START_TEST(a_pi_that_never_answers_is_given_up)
{
	const char *const addresses[] = { "127.0.0.1" };
	int listener = pi_listen(addresses[0]);
	_cleanup_close_ int fd = -EBADF;

	start(addresses, 1);
	fd = pi_accept(listener);
	expect_request(fd, "127.0.0.1");
	expect_end(fd);
	ck_assert_uint_ge(clock_now_usec() - began_usec, KNOCK_LIMIT_MS * UINT64_C(1000));
	ck_assert(!has_visitor(listener, 100));
}
END_TEST

static size_t count_threads(void)
{
	_cleanup_closedir_ DIR *tasks = opendir("/proc/self/task");
	const struct dirent *entry;
	size_t n = 0;

	while ((entry = readdir(tasks)))
		n += entry->d_name[0] != '.';
	return n;
}

START_TEST(a_machine_that_refuses_is_left_in_peace)
{
	const char *const addresses[] = { "127.0.0.2" };
	size_t n_threads = count_threads(); /* more than ours under qemu-user */

	(void)pi_listen("127.0.0.1"); /* so that the port is nobody else's */
	start(addresses, 1);
	while (count_threads() > n_threads)
		usleep(10000);
	expect_early();
}
END_TEST

START_TEST(an_ipv6_address_is_one_too_and_its_scope_stays_here)
{
	const char *const addresses[] = { "::1%1" };
	_cleanup_close_ int fd = -EBADF;
	int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 here = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	bool has_ipv6 = probe >= 0 && bind(probe, (struct sockaddr *)&here, sizeof(here)) == 0;

	close_fd(probe);
	if (!has_ipv6)
		return;
	fd = pi_listen("::1");
	start(addresses, 1);
	fd = pi_accept(fd);
	expect_request(fd, "[::1]");
}
END_TEST

/* The interface may come in a moment; nobody waits for it. */
START_TEST(a_network_that_is_not_there_yet_holds_up_nobody)
{
	const char *const addresses[] = { "fe80::1%nosuch0", "127.0.0.1" };
	int listener = pi_listen("127.0.0.1");
	_cleanup_close_ int fd = -EBADF;

	start(addresses, 2);
	fd = pi_accept(listener);
	expect_request(fd, "127.0.0.1");
	expect_quick_end();
}
END_TEST

START_TEST(any_number_of_addresses_is_bounded)
{
	const char *addresses[PICONF_MAX_PIS + 20];
	int listener = pi_listen("127.0.0.1");

	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		addresses[i] = i < PICONF_MAX_PIS ? "fe80::1%nosuch0" : "127.0.0.1";
	start(addresses, ARRAY_SIZE(addresses));
	ck_assert(!has_visitor(listener, 300));
	expect_quick_end();
}
END_TEST

int main(void)
{
	TCase *file = tcase_create("where each Pi was"), *knocks = tcase_create("knock");

	tcase_add_checked_fixture(file, setup_file, teardown_file);
	tcase_set_timeout(file, 120);
	tcase_add_test(file, an_address_is_kept_and_written_only_when_it_changes);
	tcase_add_test(file, what_is_no_address_of_a_pi_is_not_kept);
	tcase_add_test(file, a_file_that_can_not_be_written_costs_nothing_else);
	tcase_add_loop_test(file, a_file_is_checked_when_it_is_read, 0, ARRAY_SIZE(FILES));
	tcase_add_test(file, a_file_of_any_size_yields_no_more_than_there_are_pis);
	tcase_add_test(file, the_handler_keeps_from_where_a_paired_pi_connects);

	tcase_add_checked_fixture(knocks, setup_knock, teardown_knock);
	tcase_set_timeout(knocks, 120);
	tcase_add_test(knocks, a_pi_is_told_and_left_as_soon_as_it_answers);
	tcase_add_test(knocks, one_who_is_silent_and_one_who_drips_hold_up_no_other);
	tcase_add_test(knocks, a_pi_that_never_answers_is_given_up);
	tcase_add_test(knocks, a_machine_that_refuses_is_left_in_peace);
	tcase_add_test(knocks, an_ipv6_address_is_one_too_and_its_scope_stays_here);
	tcase_add_test(knocks, a_network_that_is_not_there_yet_holds_up_nobody);
	tcase_add_test(knocks, any_number_of_addresses_is_bounded);
	return check_program_run("vm_knock", file, knocks, NULL);
}
