/* A daemon's socket and who asks there. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "line.h"
#include "local_request.h"
#include "local_server.h"
#include "temp_tree.h"

#define MAX_CLIENTS 4

static struct temp_tree tree;
static char path[128];
static sd_event *event;
static struct local_server *server;
static struct local_client *last_client;
static unsigned n_requests, n_gone;
static int taken_fd;

/* "echo" answers at once, "later" never by itself, "fail" refuses, "watch" subscribes, "take" hands the socket on. */
static void on_request(struct local_client *client, const char *request, json_t *arguments, void *userdata)
{
	struct failure failure;

	ck_assert_ptr_eq(userdata, &tree);
	n_requests++;
	last_client = client;
	if (strcmp(request, "echo") == 0) {
		local_client_reply(client, json_pack("{s:O}", "said", json_object_get(arguments, "say")));
	} else if (strcmp(request, "fail") == 0) {
		failure_set(&failure, FAILURE_AMBIGUOUS, "Say which.", "two of them");
		local_client_fail(client, &failure);
	} else if (strcmp(request, "watch") == 0) {
		local_client_subscribe(client);
		local_client_done(client);
	} else if (strcmp(request, "take") == 0) {
		taken_fd = local_client_take_fd(client);
		last_client = NULL;
	}
}

static void on_gone(struct local_client *client, void *userdata)
{
	(void)userdata;
	n_gone++;
	if (client == last_client)
		last_client = NULL;
}

static void setup(void)
{
	temp_tree_new(&tree);
	snprintf(path, sizeof(path), "%s/daemon.sock", tree.path);
	ck_assert_int_ge(sd_event_new(&event), 0);
	n_requests = n_gone = 0;
	last_client = NULL;
	taken_fd = -EBADF;
	ck_assert_int_eq(local_server_new(event, path, 0640, MAX_CLIENTS, on_request, on_gone, &tree, &server), 0);
}

static void teardown(void)
{
	close_fd(taken_fd);
	server = local_server_free(server);
	event = sd_event_unref(event);
	temp_tree_free(&tree);
}

static int connect_raw(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Runs the loop until fd has a whole line or its end; the line without its newline, "" for the end. */
static const char *hear(int fd)
{
	static char line[8192];
	size_t used = 0;
	uint64_t end = clock_now_usec() + 10 * UINT64_C(1000000);

	for (;;) {
		ssize_t n = recv(fd, line + used, 1, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return "";
		if (n < 0) {
			ck_assert_int_eq(errno, EAGAIN);
			ck_assert_uint_lt(clock_now_usec(), end);
			ck_assert_int_ge(sd_event_run(event, 10000), 0);
			continue;
		}
		if (line[used] == '\n')
			break;
		used++;
		ck_assert_uint_lt(used, sizeof(line));
	}
	line[used] = '\0';
	return line;
}

static bool has_field(const char *line, const char *field)
{
	return strstr(line, field) != NULL;
}

static bool has_requests(void *userdata)
{
	return n_requests >= *(unsigned *)userdata;
}

static void wait_requests(unsigned n)
{
	ck_assert(loop_until(event, has_requests, &n));
}

static bool has_gone(void *userdata)
{
	return n_gone >= *(unsigned *)userdata;
}

static void wait_gone(unsigned n)
{
	ck_assert(loop_until(event, has_gone, &n));
}

/* ---- the daemon's side ---- */

START_TEST(a_request_is_answered_on_its_connection)
{
	_cleanup_close_ int first = connect_raw(), second = connect_raw();

	say(first, "{\"request\":\"echo\",\"say\":\"one\"}\n");
	say(second, "{\"request\":\"echo\",\"say\":\"two\"}\n");
	ck_assert_str_eq(hear(second), "{\"said\":\"two\",\"ok\":true}");
	ck_assert_str_eq(hear(first), "{\"said\":\"one\",\"ok\":true}");
}
END_TEST

START_TEST(several_requests_at_once_are_answered_in_order)
{
	_cleanup_close_ int fd = connect_raw();

	say(fd, "{\"request\":\"echo\",\"say\":1}\n{\"request\":\"echo\",\"say\":2}\n{\"request\":\"echo\",\"say\":3}\n");
	ck_assert(has_field(hear(fd), "\"said\":1"));
	ck_assert(has_field(hear(fd), "\"said\":2"));
	ck_assert(has_field(hear(fd), "\"said\":3"));
}
END_TEST

START_TEST(a_request_in_pieces_waits_for_its_end_and_keeps_nobody_awake)
{
	_cleanup_close_ int fd = connect_raw();
	unsigned n_turns = 0;

	say(fd, "{\"request\":\"ec");
	while (sd_event_run(event, 50000) > 0)
		n_turns++;
	ck_assert_uint_eq(n_requests, 0);
	ck_assert_uint_lt(n_turns, 10);
	say(fd, "ho\",\"say\":\"all\"}");
	say(fd, "\n");
	ck_assert_str_eq(hear(fd), "{\"said\":\"all\",\"ok\":true}");
}
END_TEST

START_TEST(a_refusal_has_code_text_and_cure)
{
	_cleanup_close_ int fd = connect_raw();
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;

	say(fd, "{\"request\":\"fail\"}\n");
	answer = json_loads(hear(fd), 0, NULL);
	ck_assert(json_is_false(json_object_get(answer, "ok")));
	failure_from_json(json_object_get(answer, "error"), &failure);
	ck_assert_int_eq(failure.code, FAILURE_AMBIGUOUS);
	ck_assert_str_eq(failure.cure, "Say which.");
}
END_TEST

static const char *const GARBAGE[] = {
	"hello\n",
	"\n",
	"[]\n",
	"{}\n",
	"17\n",
	"{\"request\":17}\n",
	"{\"request\":\"echo\",\"request\":\"fail\"}\n",
	"{\"request\":\"echo\"\n",
	"GET / HTTP/1.1\r\n",
	"{\"request\":\"\xff\"}\n",
};

START_TEST(who_talks_nonsense_is_told_so_and_cut_off)
{
	_cleanup_close_ int fd = connect_raw();

	say(fd, GARBAGE[_i]);
	ck_assert(has_field(hear(fd), "\"code\":\"bad-request\""));
	ck_assert_str_eq(hear(fd), "");
	ck_assert_uint_eq(n_requests, 0);
	ck_assert_uint_eq(n_gone, 1);
}
END_TEST

START_TEST(a_nul_byte_ends_the_connection)
{
	_cleanup_close_ int fd = connect_raw();

	ck_assert_int_eq(send(fd, "{\"request\":\"echo\"\0}\n", 20, 0), 20);
	ck_assert_str_eq(hear(fd), "");
	ck_assert_uint_eq(n_requests, 0);
}
END_TEST

START_TEST(an_endless_line_ends_the_connection)
{
	_cleanup_close_ int fd = connect_raw();
	char chunk[4096];
	size_t sent = 0;

	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	memset(chunk, 'x', sizeof(chunk));
	while (n_gone == 0) {
		ssize_t n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		ck_assert_uint_lt(sent, 8 * 1024 * 1024);
		ck_assert_int_ge(sd_event_run(event, 1000), 0);
	}
	ck_assert_uint_eq(n_requests, 0);
}
END_TEST

START_TEST(the_longest_request_passes)
{
	_cleanup_close_ int fd = connect_raw();
	_cleanup_free_ char *line = malloc(LINE_MAX_SIZE + 1);
	int length = snprintf(line, LINE_MAX_SIZE, "{\"request\":\"echo\",\"say\":1,\"pad\":\"");
	size_t at = 0;

	memset(line + length, 'x', LINE_MAX_SIZE - (size_t)length);
	memcpy(line + LINE_MAX_SIZE - 3, "\"}\n", 4);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while (at < LINE_MAX_SIZE) {
		ssize_t n = send(fd, line + at, LINE_MAX_SIZE - at, MSG_NOSIGNAL);

		at += n > 0 ? (size_t)n : 0;
		ck_assert_int_ge(sd_event_run(event, 1000), 0);
	}
	ck_assert_str_eq(hear(fd), "{\"said\":1,\"ok\":true}");
}
END_TEST

START_TEST(who_goes_is_told_once)
{
	int fd = connect_raw();

	say(fd, "{\"request\":\"later\"}\n");
	wait_requests(1);
	ck_assert_uint_eq(n_gone, 0);
	close(fd);
	wait_gone(1);
	loop_for(event, 20000);
	ck_assert_uint_eq(n_gone, 1);
}
END_TEST

START_TEST(an_answer_may_come_later)
{
	_cleanup_close_ int fd = connect_raw();

	say(fd, "{\"request\":\"later\"}\n");
	wait_requests(1);
	local_client_done(last_client);
	ck_assert_str_eq(hear(fd), "{\"ok\":true}");
}
END_TEST

START_TEST(a_client_knows_its_caller_and_what_was_noted)
{
	_cleanup_close_ int fd = connect_raw();

	say(fd, "{\"request\":\"later\"}\n");
	wait_requests(1);
	ck_assert_uint_eq(local_client_uid(last_client), getuid());
	ck_assert_ptr_null(local_client_get_data(last_client));
	local_client_set_data(last_client, &tree);
	ck_assert_ptr_eq(local_client_get_data(last_client), &tree);
}
END_TEST

START_TEST(one_too_many_is_turned_away_and_the_others_stay)
{
	int fds[MAX_CLIENTS];
	_cleanup_close_ int extra = -EBADF;

	for (unsigned i = 0; i < MAX_CLIENTS; i++) {
		fds[i] = connect_raw();
		say(fds[i], "{\"request\":\"later\"}\n");
	}
	wait_requests(MAX_CLIENTS);
	extra = connect_raw();
	ck_assert_str_eq(hear(extra), "");
	say(fds[0], "{\"request\":\"echo\",\"say\":1}\n");
	ck_assert_str_eq(hear(fds[0]), "{\"said\":1,\"ok\":true}");
	close(fds[1]);
	wait_gone(1);
	fds[1] = connect_raw();
	say(fds[1], "{\"request\":\"echo\",\"say\":2}\n");
	ck_assert_str_eq(hear(fds[1]), "{\"said\":2,\"ok\":true}");
	for (unsigned i = 0; i < MAX_CLIENTS; i++)
		close(fds[i]);
}
END_TEST

/* ---- whose the places are ---- */

#define MANY_PLACES 8

static uid_t own_uid;

static bool is_own(uid_t uid, void *userdata)
{
	ck_assert_ptr_eq(userdata, &tree);
	return uid == own_uid;
}

static void share_places(uid_t uid)
{
	own_uid = uid;
	local_server_free(server);
	ck_assert_int_eq(local_server_new(event, path, 0666, MANY_PLACES, on_request, on_gone, &tree, &server), 0);
	local_server_share_places(server, is_own);
}

/* It has a place if it is answered. */
static int connect_and_echo(void)
{
	int fd = connect_raw();

	say(fd, "{\"request\":\"echo\",\"say\":1}\n");
	ck_assert_str_eq(hear(fd), "{\"said\":1,\"ok\":true}");
	return fd;
}

static int connect_as(uid_t uid)
{
	int fd;

	ck_assert_int_eq(seteuid(uid), 0);
	fd = connect_raw();
	ck_assert_int_eq(seteuid(0), 0);
	return fd;
}

static void expect_turned_away(int fd, const char *whose)
{
	const char *answer = hear(fd);

	ck_assert_msg(has_field(answer, "\"ok\":false") && has_field(answer, "\"code\":\"busy\"") && has_field(answer, whose), "%s",
		      answer);
	ck_assert_str_eq(hear(fd), "");
}

START_TEST(one_user_holds_a_quarter_of_the_places_and_is_told_why_not_more)
{
	int fds[MANY_PLACES];
	_cleanup_close_ int extra = -EBADF;
	unsigned n = 0;

	share_places((uid_t)-1);
	while (n < MANY_PLACES / 4)
		fds[n++] = connect_and_echo();
	extra = connect_raw();
	expect_turned_away(extra, "one user");
	close(fds[--n]);
	wait_gone(1);
	fds[n++] = connect_and_echo(); /* what is free again is his again */
	own_uid = geteuid();
	while (n < MANY_PLACES) /* the daemons have all that is left */
		fds[n++] = connect_and_echo();
	while (n > 0)
		close(fds[--n]);
}
END_TEST

START_TEST(all_users_together_leave_the_daemons_a_quarter)
{
	int fds[MANY_PLACES];
	_cleanup_close_ int extra = -EBADF;
	unsigned n = 0;

	if (geteuid() != 0)
		return; /* it takes root to become somebody else */
	share_places(0);
	ck_assert_int_eq(chmod(tree.path, 0755), 0);
	while (n < MANY_PLACES / 4 * 3) {
		fds[n] = connect_as(1001 + n / 2);
		say(fds[n], "{\"request\":\"echo\",\"say\":1}\n");
		ck_assert_str_eq(hear(fds[n++]), "{\"said\":1,\"ok\":true}");
	}
	extra = connect_as(1001 + n / 2);
	expect_turned_away(extra, "all users together");
	while (n < MANY_PLACES)
		fds[n++] = connect_and_echo();
	while (n > 0)
		close(fds[--n]);
}
END_TEST

START_TEST(who_is_turned_away_before_he_asks_hears_why)
{
	_cleanup_json_ json_t *request = json_pack("{s:s}", "request", "later"), *answer = NULL;
	_cleanup_close_ int first = -EBADF, second = -EBADF, extra = -EBADF;
	struct failure failure;

	share_places((uid_t)-1);
	first = connect_and_echo();
	second = connect_and_echo();
	extra = connect_raw();
	loop_for(event, 20000); /* it is closed by now */
	ck_assert_int_eq(local_request(extra, request, 5000, &answer, &failure), -EREMOTEIO);
	ck_assert_int_eq(failure.code, FAILURE_BUSY);
	ck_assert(has_field(failure.cure, "--watch"));
}
END_TEST

/* ---- subscribers ---- */

static void publish(int number)
{
	_cleanup_json_ json_t *object = json_pack("{s:i}", "event", number);

	local_server_publish(server, object);
}

START_TEST(a_subscriber_hears_its_answer_first_then_every_event)
{
	_cleanup_close_ int subscriber = connect_raw(), other = connect_raw();

	ck_assert(!local_server_has_subscribers(server));
	say(other, "{\"request\":\"later\"}\n");
	say(subscriber, "{\"request\":\"watch\"}\n");
	wait_requests(2);
	ck_assert(local_server_has_subscribers(server));
	publish(1);
	publish(2);
	ck_assert_str_eq(hear(subscriber), "{\"ok\":true}");
	ck_assert_str_eq(hear(subscriber), "{\"event\":1}");
	ck_assert_str_eq(hear(subscriber), "{\"event\":2}");
	say(other, "{\"request\":\"echo\",\"say\":0}\n");
	ck_assert_str_eq(hear(other), "{\"said\":0,\"ok\":true}");
}
END_TEST

START_TEST(a_subscriber_that_does_not_read_is_dropped_and_the_others_hear_on)
{
	_cleanup_close_ int sleeper = connect_raw(), reader = connect_raw();
	_cleanup_free_ char *text = calloc(1, 30001);
	_cleanup_json_ json_t *object = NULL;

	memset(text, 'x', 30000);
	object = json_pack("{s:s}", "event", text);
	say(sleeper, "{\"request\":\"watch\"}\n");
	say(reader, "{\"request\":\"watch\"}\n");
	wait_requests(2);
	for (unsigned i = 0; i < 200 * test_slowness() && n_gone == 0; i++) {
		char drain[65536];

		local_server_publish(server, object);
		while (recv(reader, drain, sizeof(drain), MSG_DONTWAIT) > 0)
			;
		ck_assert_int_ge(sd_event_run(event, 1000), 0);
	}
	ck_assert_uint_eq(n_gone, 1);
	ck_assert(local_server_has_subscribers(server));
}
END_TEST

START_TEST(a_subscriber_that_was_behind_gets_everything_in_order)
{
	_cleanup_close_ int fd = connect_raw();

	say(fd, "{\"request\":\"watch\"}\n");
	wait_requests(1);
	for (int i = 0; i < 20000; i++)
		publish(i);
	ck_assert_str_eq(hear(fd), "{\"ok\":true}");
	for (int i = 0; i < 20000; i++) {
		char expected[32];

		snprintf(expected, sizeof(expected), "{\"event\":%d}", i);
		ck_assert_str_eq(hear(fd), expected);
	}
}
END_TEST

START_TEST(a_subscriber_that_left_is_published_to_no_more)
{
	int fd = connect_raw();

	say(fd, "{\"request\":\"watch\"}\n");
	wait_requests(1);
	close(fd);
	publish(1);
	publish(2);
	wait_gone(1);
	ck_assert(!local_server_has_subscribers(server));
	publish(3);
}
END_TEST

/* ---- a socket taken over ---- */

START_TEST(what_follows_the_line_is_left_for_who_takes_the_socket)
{
	_cleanup_close_ int fd = connect_raw();
	char rest[64] = "";

	say(fd, "{\"request\":\"take\"}\nthe first bytes of a stream");
	wait_requests(1);
	ck_assert_int_ge(taken_fd, 0);
	ck_assert_int_eq(fcntl(taken_fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ck_assert_int_eq(recv(taken_fd, rest, sizeof(rest) - 1, MSG_DONTWAIT), (ssize_t)strlen("the first bytes of a stream"));
	ck_assert_str_eq(rest, "the first bytes of a stream");
	ck_assert_int_eq(send(taken_fd, "answer\n", 7, 0), 7);
	ck_assert_str_eq(hear(fd), "answer");
	ck_assert_uint_eq(n_gone, 0);
}
END_TEST

START_TEST(a_line_in_pieces_before_the_taking_leaves_the_rest_too)
{
	_cleanup_close_ int fd = connect_raw();
	char rest[64] = "";

	say(fd, "{\"reque");
	loop_for(event, 20000);
	say(fd, "st\":\"take\"}\nrest");
	wait_requests(1);
	ck_assert_int_eq(recv(taken_fd, rest, sizeof(rest) - 1, MSG_DONTWAIT), 4);
	ck_assert_str_eq(rest, "rest");
}
END_TEST

START_TEST(a_socket_that_was_taken_counts_as_a_client_no_more)
{
	for (unsigned i = 0; i < 3 * MAX_CLIENTS; i++) {
		_cleanup_close_ int fd = connect_raw();

		say(fd, "{\"request\":\"take\"}\n");
		wait_requests(i + 1);
		taken_fd = close_fd(taken_fd);
	}
	ck_assert_uint_eq(n_requests, 3 * MAX_CLIENTS);
}
END_TEST

/* ---- life ---- */

START_TEST(the_socket_has_its_mode_whatever_the_umask)
{
	struct stat status;

	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 0777, 0640);
}
END_TEST

START_TEST(a_dead_predecessors_socket_is_replaced_and_ours_goes_with_us)
{
	_cleanup_close_ int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct local_server *other = NULL;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/other.sock", tree.path);
	ck_assert_int_eq(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(local_server_new(event, address.sun_path, 0600, 1, on_request, NULL, NULL, &other), 0);
	local_server_free(other);
	ck_assert_int_eq(access(address.sun_path, F_OK), -1);
}
END_TEST

START_TEST(a_path_that_can_not_be_a_socket_is_told)
{
	struct local_server *other = NULL;
	char longest[200];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	ck_assert_int_eq(local_server_new(event, longest, 0600, 1, on_request, NULL, NULL, &other), -ENAMETOOLONG);
	ck_assert_int_eq(local_server_new(event, temp_tree_path(&tree, "none/x.sock"), 0600, 1, on_request, NULL, NULL, &other), -ENOENT);
	ck_assert_ptr_null(other);
}
END_TEST

START_TEST(no_file_descriptor_is_left_behind)
{
	unsigned before = count_fds();

	for (unsigned i = 0; i < 30; i++) {
		int fd = connect_raw();

		say(fd, i % 3 == 0 ? "{\"request\":\"watch\"}\n" : i % 3 == 1 ? "nonsense\n" : "{\"request\":\"echo\",\"say\":1}\n");
		hear(fd);
		close(fd);
		wait_gone(i + 1);
	}
	ck_assert_uint_eq(count_fds(), before);
}
END_TEST

/* ---- the caller's side, against a real server in another thread ---- */

static bool is_serving;

static void *serve(void *userdata)
{
	(void)userdata;
	while (__atomic_load_n(&is_serving, __ATOMIC_ACQUIRE))
		sd_event_run(event, 10000);
	return NULL;
}

static pthread_t thread;

static void setup_serving(void)
{
	setup();
	is_serving = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, serve, NULL), 0);
}

static void teardown_serving(void)
{
	__atomic_store_n(&is_serving, false, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	teardown();
}

/* Asks once; the answer is the caller's. */
static int ask(int fd, const char *request, int timeout_ms, json_t **ret_answer, struct failure *ret_failure)
{
	_cleanup_json_ json_t *object = json_loads(request, 0, NULL);

	ck_assert_ptr_nonnull(object);
	return local_request(fd, object, timeout_ms, ret_answer, ret_failure);
}

START_TEST(a_caller_gets_the_answer)
{
	_cleanup_close_ int fd = local_connect(path, "usbpush-exporter", NULL);
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ask(fd, "{\"request\":\"echo\",\"say\":\"hello\"}", 5000, &answer, &failure), 0);
	ck_assert_str_eq(json_string_value(json_object_get(answer, "said")), "hello");
}
END_TEST

START_TEST(a_caller_gets_the_daemons_own_failure)
{
	_cleanup_close_ int fd = local_connect(path, "usbpush-exporter", NULL);
	struct failure failure;
	json_t *answer = NULL;

	ck_assert_int_eq(ask(fd, "{\"request\":\"fail\"}", 5000, &answer, &failure), -EREMOTEIO);
	ck_assert_int_eq(failure.code, FAILURE_AMBIGUOUS);
	ck_assert_str_eq(failure.text, "two of them");
	ck_assert_ptr_null(answer);
}
END_TEST

START_TEST(a_daemon_that_does_not_answer_is_not_waited_for_for_ever)
{
	_cleanup_close_ int fd = local_connect(path, "usbpush-exporter", NULL);
	uint64_t begin = clock_now_usec();
	struct failure failure;
	json_t *answer = NULL;

	ck_assert_int_eq(ask(fd, "{\"request\":\"later\"}", 100, &answer, &failure), -ETIMEDOUT);
	ck_assert_int_eq(failure.code, FAILURE_TIMEOUT);
	ck_assert_uint_ge(clock_now_usec() - begin, 100000);
}
END_TEST

START_TEST(a_daemon_that_is_not_there_is_told_with_the_cure)
{
	struct failure failure;

	ck_assert_int_lt(local_connect(temp_tree_path(&tree, "none.sock"), "usbpush-exporter", &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_UNREACHABLE);
	ck_assert(has_field(failure.text, "usbpush-exporter is not running"));
	ck_assert(has_field(failure.cure, "sudo systemctl start usbpush-exporter"));
}
END_TEST

START_TEST(a_socket_that_one_may_not_use_is_not_called_dead)
{
	struct failure failure;

	if (geteuid() != 0)
		return; /* it takes root to become somebody else */
	ck_assert_int_eq(chmod(tree.path, 0755), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_lt(local_connect(path, "usbpush-exporter", &failure), 0);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(failure.code, FAILURE_NOT_ALLOWED);
	ck_assert_str_eq(failure.cure, "Run it with sudo.");
}
END_TEST

/* ---- the caller's side, against a scripted daemon ---- */

static int pair[2];

static void setup_pair(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static void teardown_pair(void)
{
	close(pair[0]);
	pair[1] = close_fd(pair[1]);
}

static json_int_t next_number(int timeout_ms)
{
	_cleanup_json_ json_t *object = NULL;
	int r = local_next_event(pair[0], timeout_ms, &object);

	return r < 0 ? r : json_integer_value(json_object_get(object, "n"));
}

START_TEST(events_come_one_by_one_however_they_were_sent)
{
	say(pair[1], "{\"n\":1}\n{\"n\":2}\n{\"n\"");
	ck_assert_int_eq(next_number(1000), 1);
	ck_assert_int_eq(next_number(1000), 2);
	say(pair[1], ":3}\n");
	ck_assert_int_eq(next_number(1000), 3);
	ck_assert_int_eq(next_number(0), -ETIMEDOUT);
}
END_TEST

static void *send_rest(void *userdata)
{
	(void)userdata;
	say(pair[1], "\":1}\n{\"n\":2}\n");
	return NULL;
}

START_TEST(a_line_that_has_begun_is_not_torn_by_a_short_timeout)
{
	pthread_t writer;

	say(pair[1], "{\"n");
	ck_assert_int_eq(pthread_create(&writer, NULL, send_rest, NULL), 0);
	ck_assert_int_eq(next_number(0), 1);
	ck_assert_int_eq(next_number(1000), 2);
	pthread_join(writer, NULL);
}
END_TEST

START_TEST(a_daemon_that_ended_is_told)
{
	pair[1] = close_fd(pair[1]);
	ck_assert_int_eq(next_number(1000), -ECONNRESET);
}
END_TEST

START_TEST(what_is_no_object_is_no_event)
{
	say(pair[1], "[]\nnonsense\n");
	ck_assert_int_eq(next_number(1000), -EBADMSG);
	ck_assert_int_eq(next_number(1000), -EBADMSG);
}
END_TEST

static void *flood(void *userdata)
{
	static char chunk[65536];

	(void)userdata;
	memset(chunk, 'x', sizeof(chunk));
	while (send(pair[1], chunk, sizeof(chunk), MSG_NOSIGNAL) > 0)
		;
	return NULL;
}

START_TEST(an_answer_without_end_is_given_up)
{
	pthread_t writer;

	ck_assert_int_eq(pthread_create(&writer, NULL, flood, NULL), 0);
	ck_assert_int_eq(next_number(30000), -EBADMSG);
	shutdown(pair[0], SHUT_RDWR);
	pthread_join(writer, NULL);
}
END_TEST

int main(void)
{
	TCase *daemon = tcase_create("the daemon's side"), *caller = tcase_create("the caller's side"),
	      *scripted = tcase_create("a scripted daemon");

	tcase_add_checked_fixture(daemon, setup, teardown);
	tcase_add_test(daemon, a_request_is_answered_on_its_connection);
	tcase_add_test(daemon, several_requests_at_once_are_answered_in_order);
	tcase_add_test(daemon, a_request_in_pieces_waits_for_its_end_and_keeps_nobody_awake);
	tcase_add_test(daemon, a_refusal_has_code_text_and_cure);
	tcase_add_loop_test(daemon, who_talks_nonsense_is_told_so_and_cut_off, 0, ARRAY_SIZE(GARBAGE));
	tcase_add_test(daemon, a_nul_byte_ends_the_connection);
	tcase_add_test(daemon, an_endless_line_ends_the_connection);
	tcase_add_test(daemon, the_longest_request_passes);
	tcase_add_test(daemon, who_goes_is_told_once);
	tcase_add_test(daemon, an_answer_may_come_later);
	tcase_add_test(daemon, a_client_knows_its_caller_and_what_was_noted);
	tcase_add_test(daemon, one_too_many_is_turned_away_and_the_others_stay);
	tcase_add_test(daemon, one_user_holds_a_quarter_of_the_places_and_is_told_why_not_more);
	tcase_add_test(daemon, all_users_together_leave_the_daemons_a_quarter);
	tcase_add_test(daemon, who_is_turned_away_before_he_asks_hears_why);
	tcase_add_test(daemon, a_subscriber_hears_its_answer_first_then_every_event);
	tcase_add_test(daemon, a_subscriber_that_does_not_read_is_dropped_and_the_others_hear_on);
	tcase_add_test(daemon, a_subscriber_that_was_behind_gets_everything_in_order);
	tcase_add_test(daemon, a_subscriber_that_left_is_published_to_no_more);
	tcase_add_test(daemon, what_follows_the_line_is_left_for_who_takes_the_socket);
	tcase_add_test(daemon, a_line_in_pieces_before_the_taking_leaves_the_rest_too);
	tcase_add_test(daemon, a_socket_that_was_taken_counts_as_a_client_no_more);
	tcase_add_test(daemon, the_socket_has_its_mode_whatever_the_umask);
	tcase_add_test(daemon, a_dead_predecessors_socket_is_replaced_and_ours_goes_with_us);
	tcase_add_test(daemon, a_path_that_can_not_be_a_socket_is_told);
	tcase_add_test(daemon, no_file_descriptor_is_left_behind);
	tcase_add_checked_fixture(caller, setup_serving, teardown_serving);
	tcase_add_test(caller, a_caller_gets_the_answer);
	tcase_add_test(caller, a_caller_gets_the_daemons_own_failure);
	tcase_add_test(caller, a_daemon_that_does_not_answer_is_not_waited_for_for_ever);
	tcase_add_test(caller, a_daemon_that_is_not_there_is_told_with_the_cure);
	tcase_add_test(caller, a_socket_that_one_may_not_use_is_not_called_dead);
	tcase_add_checked_fixture(scripted, setup_pair, teardown_pair);
	tcase_add_test(scripted, events_come_one_by_one_however_they_were_sent);
	tcase_add_test(scripted, a_line_that_has_begun_is_not_torn_by_a_short_timeout);
	tcase_add_test(scripted, a_daemon_that_ended_is_told);
	tcase_add_test(scripted, what_is_no_object_is_no_event);
	tcase_add_test(scripted, an_answer_without_end_is_given_up);
	return check_program_run("common_local", daemon, caller, scripted, NULL);
}
