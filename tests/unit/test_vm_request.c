/* Who may ask the handler for what: the kernel says who calls. */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "handler_request.h"
#include "local_server.h"
#include "vm_bed.h"

#define RELAY_UID  1234
#define NOBODY_UID 65534

static struct vm_bed bed;
static struct local_server *server;
static char path[100];

static void setup(void)
{
	vm_bed_setup(&bed);
	bed.options.relay_uid = RELAY_UID;
	vm_bed_restart_handler(&bed);
	ck_assert_int_eq(chmod(bed.tree.path, 0755), 0);
	snprintf(path, sizeof(path), "%s/test.sock", bed.tree.path);
	ck_assert_int_eq(local_server_new(bed.event, path, 0666, 8, handler_on_request, NULL, bed.handler, &server), 0);
}

static void teardown(void)
{
	server = local_server_free(server);
	vm_bed_teardown(&bed);
}

static int connect_as(uid_t uid)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	ck_assert_int_eq(seteuid(uid), 0);
	r = connect(fd, (struct sockaddr *)&address, sizeof(address));
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(r, 0);
	return fd;
}

/* What comes back: "ok", an error's code, or "" when the connection went on as a Pi's. */
static const char *ask_as(uid_t uid, const char *request)
{
	static char answer[65536];
	_cleanup_close_ int fd = connect_as(uid);
	_cleanup_json_ json_t *object = NULL;
	const char *code;
	ssize_t n;

	ck_assert_int_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
	vm_bed_settle(&bed);
	n = recv(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT);
	answer[n > 0 ? n : 0] = '\0';
	object = json_loads(answer, 0, NULL);
	if (json_is_true(json_object_get(object, "ok")))
		return "ok";
	code = json_string_value(json_object_get(json_object_get(object, "error"), "code"));
	snprintf(answer, sizeof(answer), "%s", code ? code : "");
	return answer;
}

static const struct {
	const char *request;
	const char *as_root, *as_relay, *as_nobody;
} REQUESTS[] = {
	{ "{\"request\":\"status\"}\n", "ok", "ok", "ok" },
	{ "{\"request\":\"watch\"}\n", "ok", "ok", "ok" },
	{ "{\"request\":\"relay\",\"pi\":\"" BED_PI "\"}\n", "", "", "not-allowed" },
	{ "{\"request\":\"detach\",\"device\":\"1-1\"}\n", "not-found", "not-allowed", "not-allowed" },
	{ "{\"request\":\"reload\"}\n", "ok", "not-allowed", "not-allowed" },
	{ "{\"request\":\"resync\"}\n", "ok", "not-allowed", "not-allowed" },
	{ "{\"request\":\"format\"}\n", "bad-request", "bad-request", "bad-request" },
};

START_TEST(nobody_but_root_and_the_relays_login_may_do_more_than_look)
{
	if (geteuid() != 0)
		return; /* who is not root can't be somebody else */
	ck_assert_str_eq(ask_as(0, REQUESTS[_i].request), REQUESTS[_i].as_root);
	ck_assert_str_eq(ask_as(RELAY_UID, REQUESTS[_i].request), REQUESTS[_i].as_relay);
	ck_assert_str_eq(ask_as(NOBODY_UID, REQUESTS[_i].request), REQUESTS[_i].as_nobody);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("requests");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, nobody_but_root_and_the_relays_login_may_do_more_than_look, 0, ARRAY_SIZE(REQUESTS));
	return check_program_run("vm_request", tests, NULL);
}
