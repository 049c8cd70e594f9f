/* The portal's small parts: its configuration, the setup code, Prometheus' text, the steps of a test, and who is connected. */

#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api_answer.h"
#include "check_program.h"
#include "cleanup.h"
#include "connection_table.h"
#include "gzip_join.h"
#include "link_test.h"
#include "metrics.h"
#include "portal_config.h"
#include "setup_code.h"
#include "temp_tree.h"

static struct temp_tree tree;
static char problem[512];
static int n_problems;

static void setup(void)
{
	temp_tree_new(&tree);
	n_problems = 0;
	problem[0] = '\0';
}

static void teardown(void)
{
	temp_tree_free(&tree);
}

/* ---- portal.conf ---- */

static void on_problem(const struct config_problem *told, void *userdata)
{
	(void)userdata;
	n_problems++;
	snprintf(problem, sizeof(problem), "%s", told->text);
}

static struct portal_config load(const char *content)
{
	struct portal_config config;
	int r;

	temp_tree_put(&tree, "portal.conf", content);
	r = portal_config_load(temp_tree_path(&tree, "portal.conf"), on_problem, &config);
	ck_assert_int_eq(r, n_problems);
	return config;
}

START_TEST(without_a_file_all_is_default)
{
	struct portal_config config;

	ck_assert_int_eq(portal_config_load(temp_tree_path(&tree, "none"), on_problem, &config), 0);
	ck_assert_uint_eq(config.port, 8080);
	ck_assert_str_eq(config.address, "");
	ck_assert_str_eq(config.host_names, "");
	ck_assert(!config.is_public);
}
END_TEST

START_TEST(each_setting_is_taken)
{
	struct portal_config config =
		load("PORTAL_PORT=80\nPORTAL_ADDRESS=fe80::1%eth0\nPORTAL_PUBLIC_STATUS=Yes\n"
		     "PORTAL_HOST_NAMES=\"usb.example, pi.example\"\nPORTAL_METRICS_TOKEN=/etc/usbpush/metrics.token\n");

	ck_assert_uint_eq(config.port, 80);
	ck_assert_str_eq(config.address, "fe80::1%eth0");
	ck_assert_str_eq(config.host_names, "usb.example, pi.example");
	ck_assert_str_eq(config.metrics_token, "/etc/usbpush/metrics.token");
	ck_assert(config.is_public);
	ck_assert_int_eq(n_problems, 0);
}
END_TEST

static const char *const BAD_LINES[][2] = {
	{ "PORTAL_PORT=0", "a port from 1 to 65535" },
	{ "PORTAL_PORT=65536", "a port from 1 to 65535" },
	{ "PORTAL_PORT=-1", "a port from 1 to 65535" },
	{ "PORTAL_PORT=8080x", "a port from 1 to 65535" },
	{ "PORTAL_PORT=", "a port from 1 to 65535" },
	{ "PORTAL_ADDRESS=kitchen.local", "an IPv4 or IPv6 address" },
	{ "PORTAL_ADDRESS=1.2.3", "an IPv4 or IPv6 address" },
	{ "PORTAL_PUBLIC_STATUS=maybe", "yes or no" },
	{ "PORTAL_PUBLIC_STATUS=", "yes or no" },
	{ "PORTAL_HOST_NAMES=*", "no wildcards" },
	{ "PORTAL_HOST_NAMES=pi.example:8080", "no ports" },
	{ "PORTAL_METRICS_TOKEN=secret", "path of a file" },
	{ "PORTAL_PASSWORD=x", "unknown setting" },
	{ "hello", "expected KEY=VALUE" },
};

START_TEST(a_line_that_makes_no_sense_is_told_and_leaves_the_default)
{
	struct portal_config config = load(BAD_LINES[_i][0]);

	ck_assert_int_eq(n_problems, 1);
	ck_assert_msg(strstr(problem, BAD_LINES[_i][1]) != NULL, "%s", problem);
	ck_assert_msg(strstr(problem, "portal.conf:1: ") != NULL, "%s", problem);
	ck_assert_uint_eq(config.port, 8080);
	ck_assert(!config.is_public);
}
END_TEST

static const char *const PORTS[] = { "",
				     "PORTAL_PORT=81\n",
				     "PORTAL_PORT=81\nPORTAL_PORT=82\n",
				     "PORTAL_PORT=81\nPORTAL_PORT=x\n",
				     "PORTAL_PORT = '81'\nnonsense\n",
				     "PORTAL_PORT=0\n",
				     "PORTAL_PORT=65536\n",
				     "PORTAL_PORT=+81\n" };

START_TEST(who_says_where_the_portal_is_reads_the_port_as_it_does)
{
	struct portal_config config = load(PORTS[_i]);
	uint16_t port = 0;

	ck_assert_int_eq(portal_port_read(temp_tree_path(&tree, "portal.conf"), &port), 0);
	ck_assert_uint_eq(port, config.port);
	ck_assert_int_eq(portal_port_read(temp_tree_path(&tree, "none"), &port), 0);
	ck_assert_uint_eq(port, PORTAL_PORT_DEFAULT);
	port = 7;
	ck_assert_int_lt(portal_port_read(tree.path, &port), 0); /* a directory */
	ck_assert_uint_eq(port, 7);
}
END_TEST

/* ---- the setup code ---- */

START_TEST(a_setup_code_fits_however_it_is_typed)
{
	const char *path = temp_tree_path(&tree, "code");

	temp_tree_put(&tree, "code", "ABCD-EF23\n");
	ck_assert(setup_code_fits(path, "ABCD-EF23"));
	ck_assert(setup_code_fits(path, "abcdef23"));
	ck_assert(setup_code_fits(path, " ab cd - ef 23 "));
}
END_TEST

START_TEST(nothing_else_fits)
{
	static const char *const wrong[] = { "", "-", "ABCD-EF24", "ABCD-EF2", "ABCD-EF233", "BBCD-EF23", "ABCDEF23ABCDEF23" };
	const char *path = temp_tree_path(&tree, "code");

	temp_tree_put(&tree, "code", "ABCD-EF23\n");
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_msg(!setup_code_fits(path, wrong[i]), "%s", wrong[i]);
	ck_assert(!setup_code_fits(temp_tree_path(&tree, "none"), "ABCD-EF23"));
	temp_tree_put(&tree, "code", "");
	ck_assert(!setup_code_fits(path, ""));
	temp_tree_put(&tree, "code", "--------\n");
	ck_assert(!setup_code_fits(path, "--------"));
}
END_TEST

START_TEST(each_code_is_another_one_and_the_last_one_counts)
{
	const char *path = temp_tree_path(&tree, "code");
	char first[SETUP_CODE_SIZE], second[SETUP_CODE_SIZE];

	ck_assert_int_eq(setup_code_make(path, getegid(), first, sizeof(first)), 0);
	ck_assert(setup_code_fits(path, first));
	ck_assert_int_eq(setup_code_make(path, getegid(), second, sizeof(second)), 0);
	ck_assert_str_ne(first, second);
	ck_assert(!setup_code_fits(path, first));
	ck_assert(setup_code_fits(path, second));
	ck_assert_int_eq(setup_code_remove(path), 0);
	ck_assert(!setup_code_fits(path, second));
	ck_assert_int_eq(setup_code_remove(path), 0);
}
END_TEST

START_TEST(a_link_in_the_codes_place_is_not_followed)
{
	char code[SETUP_CODE_SIZE];

	temp_tree_put(&tree, "precious", "as it was");
	temp_tree_link(&tree, "code", temp_tree_path(&tree, "precious"));
	temp_tree_link(&tree, "code.new", temp_tree_path(&tree, "precious"));
	ck_assert_int_eq(setup_code_make(temp_tree_path(&tree, "code"), getegid(), code, sizeof(code)), 0);
	ck_assert_str_eq(temp_tree_get(&tree, "precious"), "as it was");
}
END_TEST

/* ---- /metrics ---- */

static void expect_line(const char *text, const char *line)
{
	ck_assert_msg(strstr(text, line) != NULL, "\"%s\" is not in:\n%s", line, text);
}

START_TEST(prometheus_reads_link_and_devices)
{
	_cleanup_json_ json_t *status = json_loads(
		"{\"software\":\"0.1.0\",\"link\":{\"state\":\"UP\",\"rtt_ms\":1.5,\"attempts\":3},\"devices\":[{\"busid\":\"1-1\","
		"\"vid\":\"0403\",\"pid\":\"6001\",\"serial\":\"A1\",\"state\":\"ATTACHED\",\"attached_count\":2,\"failed_count\":1}],"
		"\"blocked\":[{\"name\":\"1-2\",\"step\":\"write x\",\"since_ms\":2100}]}",
		0, NULL);
	struct portal_numbers numbers = { .n_connections = 4, .n_watchers = 2, .n_requests = 99 };
	_cleanup_free_ char *text = metrics_format(status, &numbers);

	expect_line(text, "\nusbpush_exporter_up 1\n");
	expect_line(text, "\nusbpush_link_state{state=\"UP\"} 1\n");
	expect_line(text, "\nusbpush_link_state{state=\"DOWN\"} 0\n");
	expect_line(text, "\nusbpush_link_round_trip_seconds 0.001500\n");
	expect_line(text, "\nusbpush_devices{state=\"ATTACHED\"} 1\n");
	expect_line(text, "\nusbpush_device_attached_total{busid=\"1-1\",vid=\"0403\",pid=\"6001\",serial=\"A1\"} 2\n");
	expect_line(text, "\nusbpush_blocked_writes 1\n");
	expect_line(text, "\nusbpush_portal_requests_total 99\n");
}
END_TEST

START_TEST(without_an_exporter_there_is_that_to_read)
{
	struct portal_numbers numbers = { 0 };
	_cleanup_free_ char *text = metrics_format(NULL, &numbers);

	expect_line(text, "\nusbpush_exporter_up 0\n");
	ck_assert_ptr_null(strstr(text, "usbpush_link_state"));
}
END_TEST

START_TEST(a_serial_number_does_not_break_out_of_its_label)
{
	_cleanup_json_ json_t *status =
		json_pack("{s:s, s:{s:s}, s:[{s:s, s:s, s:s}]}", "software", "\"} 1\n", "link", "state", "UP\"", "devices", "busid", "1-1",
			  "serial", "a\"b\\c\nusbpush_exporter_up 0", "state", "ATTACHED");
	struct portal_numbers numbers = { 0 };
	_cleanup_free_ char *text = metrics_format(status, &numbers);

	expect_line(text, "serial=\"a\\\"b\\\\c usbpush_exporter_up 0\"");
	ck_assert_ptr_null(strstr(text, "\nusbpush_exporter_up 0"));
	expect_line(text, "version=\"\\\"} 1 \"");
}
END_TEST

START_TEST(a_status_of_another_shape_breaks_nothing)
{
	static const char *const shapes[] = { "{}", "[]", "{\"link\":[],\"devices\":{}}", "{\"link\":7,\"devices\":[7,null,[],{}]}",
					      "{\"link\":{\"state\":7,\"rtt_ms\":\"x\"},\"devices\":[{\"busid\":7}]}" };
	struct portal_numbers numbers = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		_cleanup_json_ json_t *status = json_loads(shapes[i], 0, NULL), *steps = link_test_steps(json_object_get(status, "link"));
		_cleanup_free_ char *text = metrics_format(status, &numbers);

		expect_line(text, "\nusbpush_exporter_up 1\n");
		ck_assert_uint_eq(json_array_size(steps), 6);
	}
}
END_TEST

/* ---- text before a gzip file ---- */

/* `printf 'abc\n' | gzip -9n` */
static const unsigned char ABC[] = { 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x4b, 0x4c,
				     0x4a, 0xe6, 0x02, 0x00, 0x4e, 0x81, 0x88, 0x47, 0x04, 0x00, 0x00, 0x00 };

START_TEST(text_stands_before_what_was_packed)
{
	/* the same header; a stored block of two bytes; the packed block; the CRC32 of "x\nabc\n" and its size */
	static const unsigned char expected[] = { 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x00,
						  0x02, 0x00, 0xfd, 0xff, 'x',  '\n', 0x4b, 0x4c, 0x4a, 0xe6, 0x02,
						  0x00, 0xfc, 0x68, 0xcf, 0x7a, 0x06, 0x00, 0x00, 0x00 };
	size_t size;
	_cleanup_free_ char *joined = gzip_join("x\n", 2, ABC, sizeof(ABC), (const unsigned char *)"abc\n", &size);
	_cleanup_free_ char *same = NULL;

	ck_assert_uint_eq(size, sizeof(expected));
	ck_assert_mem_eq(joined, expected, size);
	same = gzip_join("", 0, ABC, sizeof(ABC), (const unsigned char *)"abc\n", &size);
	ck_assert_uint_eq(size, sizeof(ABC));
	ck_assert_mem_eq(same, ABC, size);
}
END_TEST

START_TEST(what_is_no_gzip_file_of_the_plain_kind_is_not_joined)
{
	unsigned char bad[sizeof(ABC)];
	size_t size = 7;

	for (size_t n = 0; n < 18; n++)
		ck_assert_ptr_null(gzip_join("x", 1, ABC, n, (const unsigned char *)"abc\n", &size));
	for (size_t i = 0; i < 4; i++) {
		memcpy(bad, ABC, sizeof(bad));
		bad[i] ^= 8; /* no magic, another method, or there is a name in it */
		ck_assert_ptr_null(gzip_join("x", 1, bad, sizeof(bad), (const unsigned char *)"abc\n", &size));
	}
	ck_assert_uint_eq(size, 7);
}
END_TEST

/* ---- the steps of a test ---- */

static void expect_steps(const char *link_text, const char *expected)
{
	_cleanup_json_ json_t *link = json_loads(link_text, 0, NULL), *steps = link_test_steps(link);
	const json_t *step;
	char states[128] = "";
	size_t i, at = 0;

	json_array_foreach(steps, i, step)
		at += (size_t)snprintf(states + at, sizeof(states) - at, "%s ", json_string_value(json_object_get(step, "state")));
	ck_assert_str_eq(states, expected);
}

START_TEST(the_steps_tell_how_far_it_came_and_where_it_stopped)
{
	expect_steps("{}", "open open open open open open ");
	expect_steps("{\"steps_ms\":{\"tcp\":1,\"host_key\":2},\"error\":null}", "done done done open open open ");
	expect_steps("{\"state\":\"REFUSED\",\"steps_ms\":{\"tcp\":1,\"host_key\":2},\"error\":{\"code\":\"login\"}}",
		     "done done done failed open open ");
	/* what was wrong at the last try is no verdict on this one */
	expect_steps("{\"state\":\"CONNECTING\",\"address\":\"192.0.2.7\",\"steps_ms\":{},\"error\":{\"code\":\"unreachable\"}}",
		     "open open open open open open ");
	expect_steps("{\"state\":\"DOWN\",\"address\":\"\",\"steps_ms\":{},\"error\":{\"code\":\"unreachable\"}}",
		     "failed open open open open open ");
	expect_steps("{\"state\":\"DOWN\",\"address\":\"192.0.2.7\",\"steps_ms\":{},\"error\":{\"code\":\"unreachable\"}}",
		     "done failed open open open open ");
	expect_steps("{\"steps_ms\":{\"tcp\":1,\"host_key\":2,\"login\":3,\"handler\":4,\"sync\":5},\"error\":null}",
		     "done done done done done done ");
}
END_TEST

START_TEST(an_exporters_error_has_a_status_that_fits)
{
	ck_assert_uint_eq(api_status_of_code("not-found"), 404);
	ck_assert_uint_eq(api_status_of_code("ambiguous"), 409);
	ck_assert_uint_eq(api_status_of_code("locked"), 429);
	ck_assert_uint_eq(api_status_of_code("unreachable"), 503);
	ck_assert_uint_eq(api_status_of_code("of a later version"), 500);
	ck_assert_uint_eq(api_status_of_code(""), 500);
}
END_TEST

/* ---- who is connected ---- */

struct peer {
	int ours, theirs;
	struct connection *connection;
};

static struct sockaddr_in ipv4(uint32_t address)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(address) };
}

static struct peer join(struct connection_table *table, const void *address)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	return (struct peer){ fds[0], fds[1], connection_add(table, fds[0], address) };
}

static bool is_shut(const struct peer *peer)
{
	struct pollfd poll_fd = { .fd = peer->theirs, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

static void leave(struct peer *peer)
{
	connection_remove(peer->connection);
	close(peer->ours);
	close(peer->theirs);
}

START_TEST(who_waits_longest_makes_room_and_who_is_served_stays)
{
	struct connection_table *table = connection_table_new(3, 10, 1000000);
	struct sockaddr_in address = ipv4(0xc0000201);
	struct peer served = join(table, &address), silent = join(table, &address), third = join(table, &address), fourth;

	connection_is_served(served.connection);
	ck_assert(!is_shut(&silent));
	fourth = join(table, &address);
	ck_assert(is_shut(&silent));
	ck_assert(!is_shut(&served) && !is_shut(&third) && !is_shut(&fourth));
	ck_assert_uint_eq(connection_table_count(table), 4);
	leave(&silent);
	leave(&served);
	leave(&third);
	leave(&fourth);
	connection_table_free(table);
}
END_TEST

START_TEST(an_address_that_has_its_share_pushes_out_its_own)
{
	struct connection_table *table = connection_table_new(100, 2, 1000000);
	struct sockaddr_in greedy = ipv4(0xc0000201), modest = ipv4(0xc0000202);
	struct peer quiet = join(table, &modest), first = join(table, &greedy), second = join(table, &greedy), third = join(table, &greedy);

	ck_assert(is_shut(&first));
	ck_assert(!is_shut(&quiet) && !is_shut(&second) && !is_shut(&third));
	leave(&quiet);
	leave(&first);
	leave(&second);
	leave(&third);
	connection_table_free(table);
}
END_TEST

START_TEST(a_network_of_ipv6_counts_as_one_address)
{
	struct connection_table *table = connection_table_new(10, 10, 1000000);
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
				    .sin6_addr = { { { 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8 } } } };
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_addr = { { { [10] = 0xff, 0xff, 192, 0, 2, 1 } } } };
	struct peer one = join(table, &in6), two = join(table, &mapped);

	ck_assert_str_eq(connection_address(one.connection), "2001:db8:0:1::");
	ck_assert_str_eq(connection_peer(one.connection), "2001:db8:0:1:102:304:506:708");
	ck_assert_str_eq(connection_address(two.connection), "192.0.2.1");
	ck_assert_str_eq(connection_peer(two.connection), "192.0.2.1");
	leave(&one);
	leave(&two);
	connection_table_free(table);
}
END_TEST

START_TEST(who_takes_too_long_is_shut_out)
{
	struct connection_table *table = connection_table_new(10, 10, 400000 * test_slowness());
	struct sockaddr_in address = ipv4(0xc0000201);
	struct peer slow = join(table, &address), served = join(table, &address);

	connection_is_served(served.connection);
	connection_table_expire(table);
	ck_assert(!is_shut(&slow));
	usleep((useconds_t)(410000 * test_slowness()));
	connection_table_expire(table);
	ck_assert(is_shut(&slow));
	ck_assert(!is_shut(&served));
	connection_is_waiting(served.connection);
	connection_table_expire(table);
	ck_assert(!is_shut(&served));
	leave(&slow);
	leave(&served);
	connection_table_free(table);
}
END_TEST

int main(void)
{
	TCase *config = tcase_create("portal.conf"), *code = tcase_create("the setup code"), *metrics = tcase_create("metrics"),
	      *test = tcase_create("the test of the link"), *connections = tcase_create("connections"), *gzip = tcase_create("gzip");

	tcase_add_checked_fixture(config, setup, teardown);
	tcase_add_test(config, without_a_file_all_is_default);
	tcase_add_test(config, each_setting_is_taken);
	tcase_add_loop_test(config, a_line_that_makes_no_sense_is_told_and_leaves_the_default, 0, ARRAY_SIZE(BAD_LINES));
	tcase_add_loop_test(config, who_says_where_the_portal_is_reads_the_port_as_it_does, 0, ARRAY_SIZE(PORTS));
	tcase_add_checked_fixture(code, setup, teardown);
	tcase_add_test(code, a_setup_code_fits_however_it_is_typed);
	tcase_add_test(code, nothing_else_fits);
	tcase_add_test(code, each_code_is_another_one_and_the_last_one_counts);
	tcase_add_test(code, a_link_in_the_codes_place_is_not_followed);
	tcase_add_test(metrics, prometheus_reads_link_and_devices);
	tcase_add_test(metrics, without_an_exporter_there_is_that_to_read);
	tcase_add_test(metrics, a_serial_number_does_not_break_out_of_its_label);
	tcase_add_test(metrics, a_status_of_another_shape_breaks_nothing);
	tcase_add_test(test, the_steps_tell_how_far_it_came_and_where_it_stopped);
	tcase_add_test(test, an_exporters_error_has_a_status_that_fits);
	tcase_add_test(connections, who_waits_longest_makes_room_and_who_is_served_stays);
	tcase_add_test(connections, an_address_that_has_its_share_pushes_out_its_own);
	tcase_add_test(connections, a_network_of_ipv6_counts_as_one_address);
	tcase_add_test(connections, who_takes_too_long_is_shut_out);
	tcase_add_test(gzip, text_stands_before_what_was_packed);
	tcase_add_test(gzip, what_is_no_gzip_file_of_the_plain_kind_is_not_joined);
	return check_program_run("portal parts", config, code, metrics, test, connections, gzip, NULL);
}
