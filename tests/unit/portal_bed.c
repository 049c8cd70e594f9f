#include "portal_bed.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "http_listen.h"
#include "inject.h"
#include "setup_code.h"

#define HEADERS "Host: 127.0.0.1\r\n"

static char answer[256 * 1024];
static size_t answer_size;

/* ---- the exporter ---- */

static void bed_change(struct portal_bed *bed, struct local_client *client, json_t *arguments)
{
	_cleanup_free_ char *text = NULL;
	struct failure failure;

	inject_pause();
	text = json_dumps(arguments, JSON_COMPACT | JSON_SORT_KEYS);
	inject_resume();
	snprintf(bed->last, sizeof(bed->last), "%s", text);
	bed->n_changes++;
	if (bed->is_silent)
		return;
	if (!bed->refusal) {
		local_client_reply(client, json_pack("{s:s}", "busid", "1-1"));
		return;
	}
	failure_set(&failure, failure_code_from_string(bed->refusal), "Do something.", "it can't be done");
	local_client_fail(client, &failure);
}

static void bed_on_request(struct local_client *client, const char *request, json_t *arguments, void *userdata)
{
	struct portal_bed *bed = userdata;

	if (strcmp(request, "status") == 0) {
		bed->n_status_asked++;
		local_client_reply(client, json_deep_copy(bed->status));
	} else if (strcmp(request, "events") == 0) {
		local_client_subscribe(client);
		local_client_reply(client, json_pack("{s:[]}", "events"));
	} else {
		bed_change(bed, client, arguments);
	}
}

static void bed_on_gone(struct local_client *client, void *userdata)
{
	struct portal_bed *bed = userdata;

	(void)client;
	bed->n_gone++;
}

void portal_bed_start_exporter(struct portal_bed *bed)
{
	ck_assert_int_eq(local_server_new(bed->event, bed->control_path, 0600, 64, bed_on_request, bed_on_gone, bed, &bed->exporter), 0);
}

void portal_bed_stop_exporter(struct portal_bed *bed)
{
	bed->exporter = local_server_free(bed->exporter);
}

void portal_bed_tell(struct portal_bed *bed, const char *state)
{
	_cleanup_json_ json_t *line = json_pack("{s:{s:i, s:s, s:s, s:s, s:s}}", "event", "seq", 1, "time", "2026-01-01T00:00:00.000Z",
						"kind", "link", "state", state, "text", "");

	json_object_set_new(json_object_get(bed->status, "link"), "state", json_string(state));
	local_server_publish(bed->exporter, line);
}

/* ---- the portal ---- */

static void bed_make_tree(struct portal_bed *bed)
{
	temp_tree_new(&bed->tree);
	temp_tree_make_dir(&bed->tree, "state");
	temp_tree_put(&bed->tree, "code", "ABCD-EFGH\n");
	snprintf(bed->control_path, sizeof(bed->control_path), "%s/control.sock", bed->tree.path);
	snprintf(bed->state_dir, sizeof(bed->state_dir), "%s/state", bed->tree.path);
	snprintf(bed->code_path, sizeof(bed->code_path), "%s/code", bed->tree.path);
}

static void bed_start_portal(struct portal_bed *bed)
{
	bed->options = (struct portal_options){
		.control_path = bed->control_path, .state_dir = bed->state_dir, .code_path = bed->code_path, .config = bed->config
	};
	bed->options.listen_fd = http_listen("127.0.0.1", 0);
	ck_assert_int_ge(bed->options.listen_fd, 0);
	bed->port = http_listen_port(bed->options.listen_fd);
	ck_assert_int_eq(portal_new(bed->event, &bed->options, &bed->portal), 0);
}

void portal_bed_restart(struct portal_bed *bed)
{
	bed->portal = portal_free(bed->portal);
	bed_start_portal(bed);
}

void portal_bed_setup(struct portal_bed *bed)
{
	*bed = (struct portal_bed){ .port = 0 };
	bed_make_tree(bed);
	ck_assert_int_ge(sd_event_new(&bed->event), 0);
	bed->status = json_pack("{s:s, s:s, s:{s:s, s:n, s:{}, s:n}, s:[], s:[{s:s}]}", "software", "0", "name", "pi", "link", "state",
				"UP", "rtt_ms", "steps_ms", "error", "devices", "vms", "name", "bench-vm");
	portal_bed_start_exporter(bed);
	bed_start_portal(bed);
}

void portal_bed_setup_on(struct portal_bed *bed, sd_event *event, const char *control_path)
{
	*bed = (struct portal_bed){ .port = 0 };
	bed_make_tree(bed);
	bed->event = sd_event_ref(event);
	snprintf(bed->control_path, sizeof(bed->control_path), "%s", control_path);
	bed_start_portal(bed);
}

void portal_bed_teardown(struct portal_bed *bed)
{
	bed->portal = portal_free(bed->portal);
	bed->exporter = local_server_free(bed->exporter);
	bed->event = sd_event_unref(bed->event);
	json_decref(bed->status);
	temp_tree_free(&bed->tree);
}

int portal_bed_connect(struct portal_bed *bed)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(bed->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

struct wait {
	int fd;
	const char *part; /* NULL: a whole answer */
	bool is_over;
};

/* Headers, and as many bytes of body as they say; with 204 there is none. */
static bool answer_is_whole(void)
{
	const char *end = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "Content-Length: ");

	if (end && strncmp(answer, "HTTP/1.1 204 ", 13) == 0)
		return true;
	return end && length && length < end && answer_size >= (size_t)(end + 4 - answer) + strtoul(length + 16, NULL, 10);
}

static bool bed_has_come(void *userdata)
{
	struct wait *wait = userdata;
	ssize_t n;

	while ((n = recv(wait->fd, answer + answer_size, sizeof(answer) - 1 - answer_size, MSG_DONTWAIT)) > 0)
		answer_size += (size_t)n;
	answer[answer_size] = '\0';
	if (n == 0 || (n < 0 && errno != EAGAIN))
		wait->is_over = true;
	return wait->is_over || (wait->part ? strstr(answer, wait->part) != NULL : answer_is_whole());
}

static void bed_wait(struct portal_bed *bed, int fd, const char *part)
{
	struct wait wait = { .fd = fd, .part = part };

	answer_size = 0;
	answer[0] = '\0';
	ck_assert_msg(loop_until(bed->event, bed_has_come, &wait), "no answer; so far: %s", answer);
}

const char *portal_bed_talk(struct portal_bed *bed, int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	bed_wait(bed, fd, NULL);
	return answer;
}

const char *portal_bed_hear(struct portal_bed *bed, int fd, const char *part)
{
	bed_wait(bed, fd, part);
	ck_assert_msg(strstr(answer, part) != NULL, "\"%s\" is not in: %s", part, answer);
	return answer;
}

int portal_bed_ask(struct portal_bed *bed, const char *method, const char *path, const char *headers, const char *body)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = portal_bed_connect(bed);
	char length[64] = "";

	if (body)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", strlen(body));
	ck_assert_int_gt(asprintf(&text, "%s %s HTTP/1.1\r\n%s%s\r\n%s", method, path, headers, length, body ? body : ""), 0);
	portal_bed_talk(bed, fd, text);
	ck_assert_msg(strncmp(answer, "HTTP/1.1 ", 9) == 0, "%s %s: \"%s\"", method, path, answer);
	return (int)strtol(answer + 9, NULL, 10);
}

const char *portal_bed_answer(void)
{
	return answer;
}

const char *portal_bed_body(void)
{
	const char *end = strstr(answer, "\r\n\r\n");

	return end ? end + 4 : "";
}

const char *portal_bed_code(void)
{
	static char code[64];
	_cleanup_json_ json_t *object = json_loads(portal_bed_body(), 0, NULL);
	const char *text = json_string_value(json_object_get(json_object_get(object, "error"), "code"));

	snprintf(code, sizeof(code), "%s", text ? text : "");
	return code;
}

void portal_bed_claim(struct portal_bed *bed)
{
	_cleanup_json_ json_t *object = NULL;
	const char *cookie;

	ck_assert_int_eq(portal_bed_ask(bed, "POST", "/api/v1/claim", HEADERS "Content-Type: application/json\r\n",
					"{\"code\":\"ABCD-EFGH\",\"password\":\"correct horse\"}"),
			 200);
	cookie = strstr(answer, "Set-Cookie: ");
	ck_assert_ptr_nonnull(cookie);
	snprintf(bed->cookie, sizeof(bed->cookie), "%.*s", (int)strcspn(cookie + 12, ";"), cookie + 12);
	object = json_loads(portal_bed_body(), 0, NULL);
	snprintf(bed->csrf, sizeof(bed->csrf), "%s", json_string_value(json_object_get(object, "csrf")));
}

int portal_bed_get(struct portal_bed *bed, const char *path)
{
	char headers[512];

	snprintf(headers, sizeof(headers), HEADERS "Cookie: %s\r\n", bed->cookie);
	return portal_bed_ask(bed, "GET", path, headers, NULL);
}

int portal_bed_post(struct portal_bed *bed, const char *path, const char *body)
{
	char headers[512];

	snprintf(headers, sizeof(headers), HEADERS "Cookie: %s\r\nX-Usbpush-Csrf: %s\r\nContent-Type: application/json\r\n", bed->cookie,
		 bed->csrf);
	return portal_bed_ask(bed, "POST", path, headers, body);
}
