#include "control_ask.h"

#include <check.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"

struct wanted {
	struct control_ask *ask;
	json_t *answer;
};

void control_ask_start(struct control_ask *ask, const char *path, json_t *request)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_json_ json_t *owned = request;
	_cleanup_free_ char *line = json_dumps(owned, JSON_COMPACT);
	size_t length = strlen(line);

	ask->used = 0;
	ask->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_ge(ask->fd, 0);
	ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path));
	ck_assert_int_eq(connect(ask->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	line[length] = '\n'; /* takes the NUL's place */
	ck_assert_int_eq(write(ask->fd, line, length + 1), (ssize_t)length + 1);
}

json_t *control_ask_take(struct control_ask *ask)
{
	ssize_t n = read(ask->fd, ask->data + ask->used, sizeof(ask->data) - ask->used);
	json_t *answer;

	if (n < 0 && errno == EAGAIN)
		return NULL;
	ck_assert_msg(n > 0, "the connection ended without an answer");
	ask->used += (size_t)n;
	if (ask->data[ask->used - 1] != '\n')
		return NULL;
	answer = json_loadb(ask->data, ask->used, 0, NULL);
	ck_assert_ptr_nonnull(answer);
	control_ask_drop(ask);
	return answer;
}

void control_ask_drop(struct control_ask *ask)
{
	ask->fd = close_fd(ask->fd);
}

static bool is_answered(void *userdata)
{
	struct wanted *wanted = userdata;

	wanted->answer = control_ask_take(wanted->ask);
	return wanted->answer != NULL;
}

json_t *control_ask_wait(struct control_ask *ask, sd_event *event)
{
	struct wanted wanted = { ask, NULL };

	ck_assert_msg(loop_until(event, is_answered, &wanted), "no answer");
	return wanted.answer;
}

json_t *control_ask(sd_event *event, const char *path, json_t *request)
{
	struct control_ask ask;

	control_ask_start(&ask, path, request);
	return control_ask_wait(&ask, event);
}
