/* The portal as a whole, asked over TCP, on a scripted exporter. */

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "inject.h"
#include "portal_bed.h"
#include "routes.h"

#define HOST "Host: 127.0.0.1\r\n"
#define JSON "Content-Type: application/json\r\n"

static struct portal_bed bed;

static void setup(void)
{
	portal_bed_setup(&bed);
}

static void setup_claimed(void)
{
	portal_bed_setup(&bed);
	portal_bed_claim(&bed);
}

static void teardown(void)
{
	portal_bed_teardown(&bed);
}

static void expect_status(int status, int is, const char *code)
{
	ck_assert_msg(status == is && strcmp(portal_bed_code(), code) == 0, "%d %s, not %d %s: %s", is, portal_bed_code(), status, code,
		      portal_bed_answer());
}

static void expect_answer(const char *part)
{
	ck_assert_msg(strstr(portal_bed_answer(), part) != NULL, "\"%s\" is not in: %.2000s", part, portal_bed_answer());
}

/* ---- who gets in ---- */

START_TEST(nobody_gets_in_before_it_is_claimed)
{
	ck_assert_int_eq(portal_bed_ask(&bed, "GET", "/api/v1/session", HOST, NULL), 200);
	expect_answer("\"claimed\":false,\"authenticated\":false");
	expect_status(401, portal_bed_ask(&bed, "GET", "/api/v1/status", HOST, NULL), "login-needed");
	expect_status(409, portal_bed_ask(&bed, "POST", "/api/v1/login", HOST JSON, "{\"password\":\"correct horse\"}"), "not-claimed");
	expect_status(401,
		      portal_bed_ask(&bed, "POST", "/api/v1/claim", HOST JSON, "{\"code\":\"AAAA-AAAA\",\"password\":\"correct horse\"}"),
		      "wrong-code");
	expect_status(400, portal_bed_ask(&bed, "POST", "/api/v1/claim", HOST JSON, "{\"code\":\"ABCD-EFGH\",\"password\":\"short\"}"),
		      "bad-request");
	expect_status(400, portal_bed_ask(&bed, "POST", "/api/v1/claim", HOST JSON, "{\"code\":\"ABCD-EFGH\"}"), "bad-request");
	expect_status(400, portal_bed_ask(&bed, "POST", "/api/v1/claim", HOST JSON, "{\"code\":7,\"password\":[]}"), "bad-request");
	ck_assert_uint_eq(temp_tree_count(&bed.tree, "state"), 0);
}
END_TEST

START_TEST(whoever_has_the_code_owns_it_and_nobody_after)
{
	struct stat status;

	portal_bed_claim(&bed);
	ck_assert_int_eq(stat(temp_tree_path(&bed.tree, "state/owner"), &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0600);
	ck_assert_int_eq(strncmp(temp_tree_get(&bed.tree, "state/owner"), "$y$", 3), 0);
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
	expect_status(409,
		      portal_bed_ask(&bed, "POST", "/api/v1/claim", HOST JSON, "{\"code\":\"ABCD-EFGH\",\"password\":\"correct horse\"}"),
		      "already-claimed");
}
END_TEST

START_TEST(the_right_password_logs_in_and_no_other)
{
	expect_status(401, portal_bed_ask(&bed, "POST", "/api/v1/login", HOST JSON, "{\"password\":\"wrong horse\"}"), "wrong-password");
	expect_status(401, portal_bed_ask(&bed, "POST", "/api/v1/login", HOST JSON, "{\"password\":\"\"}"), "wrong-password");
	ck_assert_int_eq(portal_bed_ask(&bed, "POST", "/api/v1/login", HOST JSON, "{\"password\":\"correct horse\"}"), 200);
	expect_answer("HttpOnly; SameSite=Strict");
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/logout", "{}"), 200);
	expect_status(401, portal_bed_get(&bed, "/api/v1/status"), "login-needed");
}
END_TEST

static int guess(void)
{
	return portal_bed_ask(&bed, "POST", "/api/v1/login", HOST JSON, "{\"password\":\"wrong horse\"}");
}

START_TEST(guessing_is_slowed_and_the_right_password_waits_too)
{
	for (unsigned i = 0; i < 5; i++)
		expect_status(401, guess(), "wrong-password");
	for (unsigned i = 0; i < 6 && test_slowness() > 1; i++)
		(void)guess(); /* where one guess takes longer than the first wait: that doubles with each */
	expect_status(429, portal_bed_ask(&bed, "POST", "/api/v1/login", HOST JSON, "{\"password\":\"correct horse\"}"), "too-many-tries");
	expect_answer("Retry-After: ");
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
}
END_TEST

START_TEST(a_reset_password_ends_every_session)
{
	temp_tree_remove(&bed.tree, "state/owner");
	expect_status(401, portal_bed_get(&bed, "/api/v1/status"), "login-needed");
	portal_bed_claim(&bed);
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
}
END_TEST

START_TEST(a_broken_owner_file_lets_nobody_in)
{
	static const char *const contents[] = { "", "\n", "x\n", "*0\n", "correct horse\n", "$y$", "$1$x$\n" };

	for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
		int status;

		temp_tree_put(&bed.tree, "state/owner", contents[i]);
		status = portal_bed_ask(&bed, "POST", "/api/v1/login", HOST JSON, "{\"password\":\"correct horse\"}");
		ck_assert_msg(status == 401 || status == 500 || status == 429, "%d for \"%s\"", status, contents[i]);
	}
}
END_TEST

/* ---- what a change takes ---- */

static int change(const char *cookie, const char *csrf, const char *more, const char *body)
{
	char headers[1024];

	snprintf(headers, sizeof(headers), HOST "Cookie: %s\r\nX-Usbpush-Csrf: %s\r\n%s", cookie, csrf, more);
	return portal_bed_ask(&bed, "POST", "/api/v1/unpair", headers, body);
}

START_TEST(a_change_takes_cookie_token_type_and_origin)
{
	expect_status(401, change("usbpush=0", bed.csrf, JSON, "{}"), "login-needed");
	expect_status(403, change(bed.cookie, "", JSON, "{}"), "csrf");
	expect_status(403, change(bed.cookie, bed.csrf + 1, JSON, "{}"), "csrf");
	expect_status(415, change(bed.cookie, bed.csrf, "", "{}"), "unsupported-type");
	expect_status(415, change(bed.cookie, bed.csrf, "Content-Type: application/jsonx\r\n", "{}"), "unsupported-type");
	expect_status(415, change(bed.cookie, bed.csrf, "Content-Type: text/plain\r\n", "{}"), "unsupported-type");
	expect_status(403, change(bed.cookie, bed.csrf, JSON "Origin: http://evil.example\r\n", "{}"), "wrong-origin");
	expect_status(400, change(bed.cookie, bed.csrf, JSON, "[]"), "bad-request");
	expect_status(400, change(bed.cookie, bed.csrf, JSON, "{\"a\":1,\"a\":2}"), "bad-request");
	ck_assert_str_eq(bed.last, "");
	ck_assert_int_eq(change(bed.cookie, bed.csrf, "Content-Type: application/json; charset=utf-8\r\nOrigin: http://127.0.0.1\r\n", ""),
			 200);
	ck_assert_str_eq(bed.last, "{\"request\":\"unpair\"}");
}
END_TEST

START_TEST(every_change_takes_a_login)
{
	size_t n;
	const struct route *routes = routes_all(&n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(routes[i].method, "POST") == 0 && routes[i].access == ROUTE_OWNER)
			expect_status(401, portal_bed_ask(&bed, "POST", routes[i].path, HOST JSON, "{}"), "login-needed");
	ck_assert_str_eq(bed.last, "");
}
END_TEST

START_TEST(a_foreign_name_gets_nothing)
{
	static const char *const hosts[] = { "Host: evil.example\r\n", "Host: evil.example:8080\r\n", "Host: \r\n", "Host: [::1\r\n" };

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		expect_status(421, portal_bed_ask(&bed, "GET", "/", hosts[i], NULL), "wrong-host");
		expect_status(421, portal_bed_ask(&bed, "GET", "/api/v1/session", hosts[i], NULL), "wrong-host");
	}
}
END_TEST

/* ---- errors ---- */

START_TEST(every_error_is_json_with_a_code)
{
	_cleanup_free_ char *large = malloc(20001);

	memset(large, 'x', 20000);
	large[20000] = '\0';
	expect_status(404, portal_bed_get(&bed, "/nothing"), "not-found");
	expect_status(404, portal_bed_get(&bed, "/api/v1/../../etc/passwd"), "not-found");
	expect_status(405, portal_bed_get(&bed, "/api/v1/unpair"), "method-not-allowed");
	expect_answer("Allow: POST\r\n");
	expect_status(405, portal_bed_ask(&bed, "DELETE", "/api/v1/status", HOST, NULL), "method-not-allowed");
	expect_answer("Allow: GET, HEAD\r\n");
	expect_status(413, portal_bed_post(&bed, "/api/v1/unpair", large), "too-large");
	expect_answer("Content-Type: application/json\r\n");
	expect_answer("X-Content-Type-Options: nosniff\r\n");
	expect_answer("Content-Security-Policy: default-src 'self'");
}
END_TEST

/* Above some 18 KiB libmicrohttpd refuses it by itself, in HTML: openapi.json says so. */
START_TEST(a_head_that_is_too_long_is_told_in_json)
{
	static const size_t sizes[] = { 8200, 12000, 16000 };
	char headers[16100], path[16100];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t used = (size_t)snprintf(headers, sizeof(headers), HOST "X-Filler: ");

		memset(headers + used, 'x', sizes[i] - used);
		snprintf(headers + sizes[i], sizeof(headers) - sizes[i], "\r\n");
		expect_status(431, portal_bed_ask(&bed, "GET", "/api/v1/session", headers, NULL), "too-large");
		memset(path, 'x', sizes[i]);
		path[0] = '/';
		path[sizes[i]] = '\0';
		expect_status(431, portal_bed_ask(&bed, "GET", path, HOST, NULL), "too-large");
	}
	snprintf(headers + 7000, sizeof(headers) - 7000, "\r\n");
	ck_assert_int_eq(portal_bed_ask(&bed, "GET", "/api/v1/session", headers, NULL), 200);
}
END_TEST

START_TEST(what_the_exporter_says_is_passed_on)
{
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/devices/1-1.4/attach", "{}"), 200);
	ck_assert_str_eq(bed.last, "{\"device\":\"1-1.4\",\"request\":\"attach\"}");
	ck_assert_str_eq(portal_bed_body(), "{\"busid\":\"1-1\"}");
	bed.refusal = "ambiguous";
	expect_status(409, portal_bed_post(&bed, "/api/v1/devices/0403:6001/detach", "{}"), "ambiguous");
	ck_assert_str_eq(bed.last, "{\"device\":\"0403:6001\",\"request\":\"detach\"}");
	expect_answer("\"cure\":\"Do something.\"");
	bed.refusal = "host-key";
	expect_status(422, portal_bed_post(&bed, "/api/v1/pair", "{\"host\":\"vm\",\"host_key\":\"k\",\"request\":\"detach\",\"port\":22}"),
		      "host-key");
	ck_assert_str_eq(bed.last, "{\"host\":\"vm\",\"host_key\":\"k\",\"port\":22,\"request\":\"pair\"}");
}
END_TEST

START_TEST(a_login_of_the_vm_is_passed_on_and_nothing_else)
{
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/pair/look",
					 "{\"host\":\"vm\",\"port\":22,\"password\":\"x\",\"request\":\"unpair\"}"),
			 200);
	ck_assert_str_eq(bed.last, "{\"host\":\"vm\",\"port\":22,\"request\":\"login-look\"}");
	bed.refusal = "wrong-password";
	expect_status(422,
		      portal_bed_post(&bed, "/api/v1/pair/login",
				      "{\"host\":\"vm\",\"user\":\"ada\",\"password\":\"secret\",\"host_key\":\"k\",\"name\":\"x\"}"),
		      "wrong-password");
	ck_assert_str_eq(bed.last,
			 "{\"host\":\"vm\",\"host_key\":\"k\",\"password\":\"secret\",\"request\":\"login-pair\",\"user\":\"ada\"}");
	bed.last[0] = '\0';
	expect_status(401, portal_bed_ask(&bed, "POST", "/api/v1/pair/login", HOST JSON, "{\"host\":\"vm\",\"password\":\"secret\"}"),
		      "login-needed");
	ck_assert_str_eq(bed.last, "");
}
END_TEST

START_TEST(who_is_logged_in_stays_so_when_the_portal_restarts)
{
	portal_bed_restart(&bed);
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/unpair", "{}"), 200); /* by the CSRF value of before */
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/logout", "{}"), 200);
	portal_bed_restart(&bed);
	expect_status(401, portal_bed_get(&bed, "/api/v1/status"), "login-needed");
}
END_TEST

START_TEST(another_password_ends_all_sessions_also_across_a_restart)
{
	temp_tree_remove(&bed.tree, "state/owner"); /* usbpush reset-password */
	portal_bed_restart(&bed);
	expect_status(401, portal_bed_get(&bed, "/api/v1/status"), "login-needed");
}
END_TEST

#define BEARER "Authorization: Bearer "

START_TEST(a_token_opens_the_metrics_and_nothing_else)
{
	snprintf(bed.config.metrics_token, sizeof(bed.config.metrics_token), "%s/metrics.token", bed.tree.path);
	portal_bed_restart(&bed); /* there is no such file yet */
	expect_status(401, portal_bed_ask(&bed, "GET", "/metrics", HOST BEARER "\r\n", NULL), "login-needed");
	temp_tree_put(&bed.tree, "metrics.token", "0123456789abcdef0123456789abcdef\n");
	ck_assert_int_eq(portal_bed_ask(&bed, "GET", "/metrics", HOST BEARER "0123456789abcdef0123456789abcdef\r\n", NULL), 200);
	expect_answer("usbpush_link_state{state=\"UP\"} 1\n");
	expect_status(401, portal_bed_ask(&bed, "GET", "/metrics", HOST BEARER "0123456789abcdef0123456789abcdee\r\n", NULL),
		      "login-needed");
	expect_status(401, portal_bed_ask(&bed, "GET", "/metrics", HOST BEARER "0123456789abcdef\r\n", NULL), "login-needed");
	expect_status(401, portal_bed_ask(&bed, "GET", "/metrics", HOST "Authorization: Basic 0123456789abcdef0123456789abcdef\r\n", NULL),
		      "login-needed");
	expect_status(401, portal_bed_ask(&bed, "GET", "/metrics", HOST, NULL), "login-needed");
	expect_status(401, portal_bed_ask(&bed, "GET", "/api/v1/status", HOST BEARER "0123456789abcdef0123456789abcdef\r\n", NULL),
		      "login-needed");
	expect_status(401, portal_bed_ask(&bed, "POST", "/api/v1/unpair", HOST JSON BEARER "0123456789abcdef0123456789abcdef\r\n", "{}"),
		      "login-needed");
	temp_tree_put(&bed.tree, "metrics.token", "short\n");
	expect_status(401, portal_bed_ask(&bed, "GET", "/metrics", HOST BEARER "short\r\n", NULL), "login-needed");
	ck_assert_int_eq(portal_bed_get(&bed, "/metrics"), 200); /* the owner's session does as before */
}
END_TEST

START_TEST(a_vms_step_is_passed_on_as_it_is)
{
	ck_assert_int_eq(portal_bed_ask(&bed, "POST", "/api/v1/pairing/begin", HOST JSON, "{\"nonce\":\"00\"}"), 200);
	ck_assert_str_eq(bed.last, "{\"from\":\"127.0.0.1\",\"message\":{\"nonce\":\"00\"},\"request\":\"pairing\",\"step\":\"begin\"}");
	ck_assert_str_eq(portal_bed_body(), "{\"busid\":\"1-1\",\"ok\":true}");
	bed.refusal = "timeout";
	ck_assert_int_eq(portal_bed_ask(&bed, "POST", "/api/v1/pairing/finish", HOST JSON, "{}"), 410);
	bed.last[0] = '\0';
	expect_status(403, portal_bed_ask(&bed, "POST", "/api/v1/pairing/begin", HOST JSON "Origin: http://127.0.0.1\r\n", "{}"),
		      "not-allowed");
	ck_assert_str_eq(bed.last, "");
	portal_bed_stop_exporter(&bed);
	expect_status(503, portal_bed_ask(&bed, "POST", "/api/v1/pairing/begin", HOST JSON, "{}"), "unreachable");
}
END_TEST

START_TEST(vms_that_wait_do_not_keep_the_owner_out)
{
	int fds[24];
	static const char request[] = "POST /api/v1/pairing/exchange HTTP/1.1\r\n" HOST JSON "Content-Length: 2\r\n\r\n{}";

	bed.is_silent = true;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = portal_bed_connect(&bed);
		ck_assert_int_eq(write(fds[i], request, sizeof(request) - 1), sizeof(request) - 1);
	}
	portal_bed_hear(&bed, fds[ARRAY_SIZE(fds) - 1], "\"busy\"");
	bed.is_silent = false;
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/unpair", "{}"), 200);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}
END_TEST

static bool exporter_lost_a_client(void *userdata)
{
	(void)userdata;
	return bed.n_gone > 0;
}

static bool exporter_was_asked(void *userdata)
{
	(void)userdata;
	return bed.last[0];
}

START_TEST(a_vm_that_goes_away_is_not_waited_for)
{
	static const char request[] = "POST /api/v1/pairing/exchange HTTP/1.1\r\n" HOST JSON "Content-Length: 2\r\n\r\n{}";
	int fd = portal_bed_connect(&bed);

	bed.is_silent = true;
	ck_assert_int_eq(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
	ck_assert(loop_until(bed.event, exporter_was_asked, NULL));
	bed.n_gone = 0;
	close(fd);
	ck_assert(loop_until(bed.event, exporter_lost_a_client, NULL));
	bed.is_silent = false;
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/unpair", "{}"), 200);
}
END_TEST

START_TEST(without_the_exporter_it_says_so_and_finds_it_again)
{
	portal_bed_stop_exporter(&bed);
	expect_status(503, portal_bed_post(&bed, "/api/v1/unpair", "{}"), "unreachable");
	expect_answer("sudo systemctl start usbpush-exporter");
	loop_for(bed.event, 1100000);
	expect_status(503, portal_bed_get(&bed, "/api/v1/status"), "unreachable");
	portal_bed_start_exporter(&bed);
	loop_for(bed.event, 1100000);
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
}
END_TEST

/* ---- what is shown ---- */

START_TEST(many_questions_are_one_for_the_exporter)
{
	unsigned before;

	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
	before = bed.n_status_asked;
	for (unsigned i = 0; i < 50; i++)
		ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/devices"), 200);
	ck_assert_uint_le(bed.n_status_asked - before, 2 * test_slowness()); /* one holds for a moment */
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/vms"), 200);
	ck_assert_str_eq(portal_bed_body(), "{\"vms\":[{\"name\":\"bench-vm\"}]}");
}
END_TEST

static int open_stream(void)
{
	int fd = portal_bed_connect(&bed);
	char request[512];
	int n = snprintf(request, sizeof(request), "GET /api/v1/stream HTTP/1.1\r\n" HOST "Cookie: %s\r\n\r\n", bed.cookie);

	ck_assert_int_eq(write(fd, request, (size_t)n), n);
	return fd;
}

START_TEST(a_page_hears_of_each_change_until_its_login_ends)
{
	_cleanup_close_ int fd = open_stream();

	portal_bed_hear(&bed, fd, "\"state\":\"UP\"");
	expect_answer("text/event-stream");
	portal_bed_tell(&bed, "DOWN");
	portal_bed_hear(&bed, fd, "\"state\":\"DOWN\"");
	portal_bed_stop_exporter(&bed);
	portal_bed_hear(&bed, fd, "usbpush-exporter is not running");
	portal_bed_start_exporter(&bed);
	portal_bed_hear(&bed, fd, "\"exporter\":null");
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/logout", "{}"), 200);
	portal_bed_hear(&bed, fd, "0\r\n\r\n");
}
END_TEST

START_TEST(a_page_that_closes_makes_no_trouble)
{
	for (unsigned i = 0; i < 100; i++) {
		int fd = open_stream();

		portal_bed_hear(&bed, fd, "\"exporter\":null");
		close(fd);
	}
	portal_bed_tell(&bed, "DOWN");
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
}
END_TEST

START_TEST(whoever_waits_is_answered_at_the_end)
{
	_cleanup_close_ int stream = open_stream(), silent = portal_bed_connect(&bed), waiting = portal_bed_connect(&bed);
	char request[512];
	int n = snprintf(request, sizeof(request),
			 "POST /api/v1/unpair HTTP/1.1\r\n" HOST JSON "Cookie: %s\r\nX-Usbpush-Csrf: %s\r\nContent-Length: 2\r\n\r\n{}",
			 bed.cookie, bed.csrf);

	bed.is_silent = true;
	ck_assert_int_eq(write(waiting, request, (size_t)n), n);
	portal_bed_hear(&bed, stream, "\"exporter\":null");
	loop_for(bed.event, 200000);
	ck_assert_str_eq(bed.last, "{\"request\":\"unpair\"}");
	bed.portal = portal_free(bed.portal);
	n = (int)read(waiting, request, sizeof(request) - 1);
	ck_assert_int_ge(n, 0);
	request[n] = '\0';
	ck_assert_msg(n == 0 || strstr(request, " 503 ") != NULL, "%s", request);
	(void)silent;
}
END_TEST

/* It lies in the socket and is read at the end only, when nobody is there any more who could ask the exporter. */
START_TEST(who_asks_at_the_last_moment_is_answered_too)
{
	_cleanup_close_ int late = portal_bed_connect(&bed);
	char request[512];
	int n = snprintf(request, sizeof(request),
			 "POST /api/v1/unpair HTTP/1.1\r\n" HOST JSON "Cookie: %s\r\nX-Usbpush-Csrf: %s\r\nContent-Length: 2\r\n\r\n{}",
			 bed.cookie, bed.csrf);

	loop_for(bed.event, 100000); /* it is accepted */
	ck_assert_int_eq(write(late, request, (size_t)n), n);
	bed.portal = portal_free(bed.portal);
	n = (int)read(late, request, sizeof(request) - 1);
	ck_assert_int_ge(n, 0);
	request[n] = '\0';
	ck_assert_msg(strstr(request, " 503 ") != NULL, "%s", request);
}
END_TEST

START_TEST(a_file_comes_packed_or_plain_and_once)
{
	char tag[64], headers[256];
	const char *found;

	ck_assert_int_eq(portal_bed_ask(&bed, "GET", "/icon.svg", HOST, NULL), 200);
	expect_answer("<svg ");
	expect_answer("image/svg+xml");
	found = strstr(portal_bed_answer(), "ETag: ");
	ck_assert_ptr_nonnull(found);
	snprintf(tag, sizeof(tag), "%.*s", (int)strcspn(found + 6, "\r"), found + 6);
	ck_assert_int_eq(portal_bed_ask(&bed, "GET", "/icon.svg", HOST "Accept-Encoding: br, gzip\r\n", NULL), 200);
	expect_answer("Content-Encoding: gzip\r\n");
	ck_assert_int_eq(memcmp(portal_bed_body(), "\x1f\x8b", 2), 0);
	snprintf(headers, sizeof(headers), HOST "If-None-Match: %s\r\n", tag);
	ck_assert_int_eq(portal_bed_ask(&bed, "GET", "/icon.svg", headers, NULL), 304);
	ck_assert_str_eq(portal_bed_body(), "");
}
END_TEST

/* ---- the page, and what it shows first ---- */

/* The state in the page that was answered last. */
static json_t *page_state(void)
{
	static const char mark[] = "<script id=\"state\" type=\"application/json\">";
	const char *start = strstr(portal_bed_body(), mark);
	json_t *state;

	ck_assert_ptr_nonnull(start);
	start += strlen(mark);
	state = json_loadb(start, (size_t)(strstr(start, "</script>") - start), 0, NULL);
	ck_assert_msg(state != NULL, "no JSON: %.500s", start);
	return state;
}

static json_t *ask_page(const char *cookie)
{
	char headers[512];

	snprintf(headers, sizeof(headers), HOST "Cookie: %s\r\n", cookie);
	ck_assert_int_eq(portal_bed_ask(&bed, "GET", "/", headers, NULL), 200);
	expect_answer("Content-Type: text/html; charset=utf-8\r\n");
	expect_answer("Cache-Control: no-store\r\n");
	expect_answer("<!doctype html>");
	ck_assert_str_eq(portal_bed_body() + strlen(portal_bed_body()) - 8, "</html>\n");
	return page_state();
}

START_TEST(the_page_comes_with_what_its_owner_may_see)
{
	_cleanup_json_ json_t *state = NULL;
	const json_t *session, *link;

	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
	state = ask_page(bed.cookie);
	session = json_object_get(state, "session");
	link = json_object_get(json_object_get(json_object_get(state, "snapshot"), "status"), "link");
	ck_assert(json_is_true(json_object_get(session, "authenticated")));
	ck_assert_str_eq(json_string_value(json_object_get(session, "csrf")), bed.csrf);
	ck_assert_str_eq(json_string_value(json_object_get(link, "state")), "UP");
	ck_assert_int_lt(json_integer_value(json_object_get(state, "age_ms")), 60000);
}
END_TEST

START_TEST(the_page_of_a_stranger_says_nothing_about_this_pi)
{
	static const char *const cookies[] = { "", "x=1",
					       "usbpush=", "usbpush=0000000000000000000000000000000000000000000000000000000000000000" };

	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
	for (size_t i = 0; i < ARRAY_SIZE(cookies); i++) {
		_cleanup_json_ json_t *state = ask_page(cookies[i]);

		ck_assert(json_is_null(json_object_get(state, "snapshot")));
		ck_assert(json_is_null(json_object_get(json_object_get(state, "session"), "csrf")));
		ck_assert_ptr_null(strstr(portal_bed_answer(), "bench-vm"));
		ck_assert_ptr_null(strstr(portal_bed_answer(), bed.csrf));
	}
}
END_TEST

/* The device that the page comes with, if it comes with one. */
static const json_t *first_device(const json_t *state)
{
	return json_array_get(json_object_get(json_object_get(json_object_get(state, "snapshot"), "status"), "devices"), 0);
}

static bool has_device(void *userdata)
{
	_cleanup_json_ json_t *state = ask_page(bed.cookie);

	(void)userdata;
	return first_device(state) != NULL;
}

START_TEST(what_a_device_calls_itself_does_not_end_the_state)
{
	static const char bad[] = "</script><script>alert(1)</script><!--<script>\xe2\x80\xa8\\\"";
	_cleanup_json_ json_t *state = NULL;

	json_array_append_new(json_object_get(bed.status, "devices"), json_pack("{s:s, s:s}", "busid", "1-1", "product", bad));
	portal_bed_tell(&bed, "UP");
	ck_assert(loop_until(bed.event, has_device, NULL));
	state = ask_page(bed.cookie);
	ck_assert_str_eq(json_string_value(json_object_get(first_device(state), "product")), bad);
	ck_assert_ptr_null(strstr(portal_bed_answer(), "<script>alert"));
}
END_TEST

/* Runs a file through gzip; the text, until the next call. */
static const char *unpack(const char *data, size_t size)
{
	static char text[512 * 1024];
	_cleanup_free_ char *command = NULL;
	FILE *file = fopen(temp_tree_path(&bed.tree, "page.gz"), "we");
	size_t n;

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(data, 1, size, file), size);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_gt(asprintf(&command, "gzip -dc %s", temp_tree_path(&bed.tree, "page.gz")), 0);
	file = popen(command, "re");
	ck_assert_ptr_nonnull(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	ck_assert_int_eq(pclose(file), 0); /* gzip has checked length and CRC */
	text[n] = '\0';
	return text;
}

START_TEST(the_page_is_the_same_packed_and_plain)
{
	_cleanup_free_ char *plain = NULL, *filler = malloc(70001);
	size_t size;

	memset(filler, 'x', 70000); /* more than one stored block */
	filler[70000] = '\0';
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(portal_bed_ask(&bed, "GET", "/", HOST, NULL), 200);
		free(plain);
		plain = strdup(strstr(portal_bed_body(), "</script>"));
		ck_assert_int_eq(portal_bed_ask(&bed, "GET", "/", HOST "Accept-Encoding: gzip, deflate\r\n", NULL), 200);
		expect_answer("Content-Encoding: gzip\r\n");
		size = strtoul(strstr(portal_bed_answer(), "Content-Length: ") + 16, NULL, 10);
		ck_assert_uint_lt(size, i == 0 ? 30000 : 110000);
		ck_assert_str_eq(strstr(unpack(portal_bed_body(), size), "</script>"), plain);
		json_object_set_new(json_object_get(bed.status, "link"), "filler", json_string(filler));
		bed.config.is_public = true;
		portal_bed_restart(&bed);
		loop_for(bed.event, 300000 * test_slowness());
	}
	ck_assert_ptr_nonnull(strstr(unpack(portal_bed_body(), size), filler));
}
END_TEST

/* ---- out of memory ---- */

/* Asks with the nth allocation from here on failing. False when there were not so many. */
static bool ask_short_of_memory(const char *request, unsigned nth)
{
	_cleanup_close_ int fd = portal_bed_connect(&bed);

	inject_arm(INJECT_MEMORY, nth, 1, 0);
	portal_bed_talk(&bed, fd, request);
	inject_disarm();
	return *inject_failed_call() != '\0';
}

static bool is_refusal(void)
{
	return strncmp(portal_bed_answer(), "HTTP/1.1 5", 10) == 0 || strcmp(portal_bed_answer(), "") == 0;
}

START_TEST(short_of_memory_the_page_is_whole_or_not_there)
{
	char request[512];
	unsigned nth = 0;

	snprintf(request, sizeof(request), "GET / HTTP/1.1\r\n" HOST "Cookie: %s\r\n\r\n", bed.cookie);
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
	while (ask_short_of_memory(request, ++nth)) {
		_cleanup_json_ json_t *state = NULL;

		if (is_refusal())
			continue;
		expect_answer("\r\nContent-Security-Policy: default-src 'self'; ");
		expect_answer("\r\nX-Frame-Options: DENY\r\n");
		expect_answer("\r\nCache-Control: no-store\r\n");
		expect_answer("</html>\n");
		state = page_state();
		ck_assert_ptr_nonnull(json_object_get(state, "session"));
	}
	ck_assert_uint_gt(nth, 20);
}
END_TEST

START_TEST(short_of_memory_a_change_is_passed_on_in_whole_or_not_at_all)
{
	static const char body[] = "{\"host\":\"vm\",\"host_key\":\"k\",\"port\":2222,\"user\":\"u\"}";
	char request[768];
	unsigned nth = 0;

	snprintf(request, sizeof(request),
		 "POST /api/v1/pair HTTP/1.1\r\n" HOST JSON "Cookie: %s\r\nX-Usbpush-Csrf: %s\r\nContent-Length: %zu\r\n\r\n%s", bed.cookie,
		 bed.csrf, strlen(body), body);
	do {
		bed.last[0] = '\0';
		if (!ask_short_of_memory(request, ++nth))
			break;
		if (*bed.last)
			ck_assert_str_eq(bed.last,
					 "{\"host\":\"vm\",\"host_key\":\"k\",\"port\":2222,\"request\":\"pair\",\"user\":\"u\"}");
		else
			ck_assert_msg(is_refusal() || strncmp(portal_bed_answer(), "HTTP/1.1 4", 10) == 0, "%s", portal_bed_answer());
	} while (true);
	ck_assert_uint_gt(nth, 20);
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/unpair", "{}"), 200);
}
END_TEST

int main(void)
{
	TCase *fresh = tcase_create("nobody's"), *claimed = tcase_create("claimed");

	tcase_set_timeout(fresh, 60);
	tcase_set_timeout(claimed, 60);
	tcase_add_checked_fixture(fresh, setup, teardown);
	tcase_add_checked_fixture(claimed, setup_claimed, teardown);
	tcase_add_test(fresh, nobody_gets_in_before_it_is_claimed);
	tcase_add_test(fresh, whoever_has_the_code_owns_it_and_nobody_after);
	tcase_add_test(claimed, the_right_password_logs_in_and_no_other);
	tcase_add_test(claimed, guessing_is_slowed_and_the_right_password_waits_too);
	tcase_add_test(claimed, a_reset_password_ends_every_session);
	tcase_add_test(claimed, a_broken_owner_file_lets_nobody_in);
	tcase_add_test(claimed, a_change_takes_cookie_token_type_and_origin);
	tcase_add_test(claimed, every_change_takes_a_login);
	tcase_add_test(fresh, a_foreign_name_gets_nothing);
	tcase_add_test(claimed, every_error_is_json_with_a_code);
	tcase_add_test(claimed, a_head_that_is_too_long_is_told_in_json);
	tcase_add_test(claimed, what_the_exporter_says_is_passed_on);
	tcase_add_test(claimed, a_login_of_the_vm_is_passed_on_and_nothing_else);
	tcase_add_test(claimed, who_is_logged_in_stays_so_when_the_portal_restarts);
	tcase_add_test(claimed, another_password_ends_all_sessions_also_across_a_restart);
	tcase_add_test(claimed, a_token_opens_the_metrics_and_nothing_else);
	tcase_add_test(fresh, a_vms_step_is_passed_on_as_it_is);
	tcase_add_test(claimed, vms_that_wait_do_not_keep_the_owner_out);
	tcase_add_test(claimed, a_vm_that_goes_away_is_not_waited_for);
	tcase_add_test(claimed, without_the_exporter_it_says_so_and_finds_it_again);
	tcase_add_test(claimed, many_questions_are_one_for_the_exporter);
	tcase_add_test(claimed, a_page_hears_of_each_change_until_its_login_ends);
	tcase_add_test(claimed, a_page_that_closes_makes_no_trouble);
	tcase_add_test(claimed, whoever_waits_is_answered_at_the_end);
	tcase_add_test(claimed, who_asks_at_the_last_moment_is_answered_too);
	tcase_add_test(fresh, a_file_comes_packed_or_plain_and_once);
	tcase_add_test(claimed, the_page_comes_with_what_its_owner_may_see);
	tcase_add_test(claimed, the_page_of_a_stranger_says_nothing_about_this_pi);
	tcase_add_test(claimed, what_a_device_calls_itself_does_not_end_the_state);
	tcase_add_test(claimed, the_page_is_the_same_packed_and_plain);
	tcase_add_test(claimed, short_of_memory_the_page_is_whole_or_not_there);
	tcase_add_test(claimed, short_of_memory_a_change_is_passed_on_in_whole_or_not_at_all);
	return check_program_run("portal", fresh, claimed, NULL);
}
