/* A Pi in foreign hands, as the VM hears it: hello, sync, connect, streams. A NUL byte in the input is a change to the next of its connections. Whatever it says,
 * the handler's status can be told, and no port is taken that no stream was given to. */

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "fuzz.h"
#include "fuzz_handler.h"
#include "message.h"

#define MAX_CONNECTIONS 6

/* Everything that came back is what PROTOCOL.md knows. */
static void read_answers(int fd)
{
	static char data[512 * 1024];
	ssize_t n = recv(fd, data, sizeof(data) - 1, MSG_DONTWAIT);
	char *rest = data, *line;

	if (n <= 0)
		return;
	data[n] = '\0';
	while ((line = strsep(&rest, "\n")) && rest) {
		_cleanup_(message_freep) struct message *message = NULL;
		struct failure failure;

		if (strcmp(line, "OK") == 0 || strncmp(line, "NO {", 4) == 0)
			continue;
		FUZZ_CHECK(message_parse(line, strlen(line), &message, &failure) == 0 && message->type != MESSAGE_UNRECOGNIZED);
	}
}

static void say(struct fuzz_handler *bed, int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

		fuzz_handler_settle(bed);
		read_answers(fd);
		if (n <= 0)
			return;
		data += n;
		size -= (size_t)n;
	}
}

static int connect_pi(struct fuzz_handler *bed)
{
	int fds[2];

	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	handler_accept_relay(bed->handler, FUZZ_PI, "", fds[1]);
	return fds[0];
}

static void check_status(struct fuzz_handler *bed)
{
	_cleanup_json_ json_t *status = handler_status_to_json(bed->handler);
	_cleanup_free_ char *text = json_dumps(status, JSON_COMPACT);

	FUZZ_CHECK(text != NULL && fuzz_is_clean(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fds[MAX_CONNECTIONS];
	struct fuzz_handler bed;
	size_t n = 0;

	fuzz_handler_new(&bed);
	while (n < MAX_CONNECTIONS) {
		const uint8_t *end = memchr(data, '\0', size);
		size_t length = end ? (size_t)(end - data) : size;

		fds[n] = connect_pi(&bed);
		say(&bed, fds[n++], data, length);
		if (!end)
			break;
		data += length + 1;
		size -= length + 1;
	}
	check_status(&bed);
	for (size_t i = 0; i < n; i++)
		read_answers(fds[i]);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	fuzz_handler_settle(&bed);
	check_status(&bed);
	fuzz_handler_free(&bed);
	return 0;
}
