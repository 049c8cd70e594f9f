#include "local_request.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "cleanup.h"
#include "json_text.h"
#include "secret.h"

#define ANSWER_MAX_SIZE ((size_t)4 * 1024 * 1024)
#define LINE_REST_MS    1000 /* the rest of a line that has begun is on its way: given up, its end would pass for the next line */

int local_connect(const char *path, const char *unit, struct failure *ret_failure)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char cure[200];

	if (fd < 0)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "no socket: %s", strerror(errno));
	if (strlen(path) >= sizeof(address.sun_path))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "%s: the path is too long for a socket", path);
	memcpy(address.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno == EACCES)
			return failure_set(ret_failure, FAILURE_NOT_ALLOWED, "Run it with sudo.", "%s: no permission to ask %s", path,
					   unit);
		snprintf(cure, sizeof(cure), "See: systemctl status %s. Start it: sudo systemctl start %s", unit, unit);
		return failure_set(ret_failure, FAILURE_UNREACHABLE, cure, "%s is not running (%s: %s).", unit, path, strerror(errno));
	}
	return TAKE_FD(fd);
}

static int local_send_line(int fd, const json_t *request)
{
	_cleanup_secret_ char *text = json_text(request, 0);
	size_t size, at = 0;

	if (!text)
		return -ENOMEM;
	size = strlen(text);
	text[size++] = '\n'; /* takes the NUL's place */
	while (at < size) {
		ssize_t n = send(fd, text + at, size - at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return 0;
}

static int64_t now_msec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int local_wait(int fd, int64_t deadline)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	int64_t left = deadline < 0 ? -1 : deadline - now_msec();
	int r;

	if (deadline >= 0 && left < 0)
		left = 0;
	r = poll(&poll_fd, 1, (int)left);
	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	return r == 0 ? -ETIMEDOUT : 1;
}

/* Where a newline stands among the n bytes just peeked, or n. */
static size_t local_line_length(const char *data, size_t n)
{
	const char *end = memchr(data, '\n', n);

	return end ? (size_t)(end - data) + 1 : n;
}

/* Reads one line without taking bytes of the next: they belong to the next call. */
static int local_read_line(int fd, int timeout_ms, char **ret_line, size_t *ret_size)
{
	int64_t deadline = timeout_ms < 0 ? -1 : now_msec() + timeout_ms;
	_cleanup_free_ char *line = NULL;
	size_t used = 0;

	for (;;) {
		char chunk[4096];
		ssize_t n;
		char *grown;
		int r = local_wait(fd, deadline);

		if (r < 0)
			return r;
		n = recv(fd, chunk, sizeof(chunk), MSG_PEEK | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		n = recv(fd, chunk, local_line_length(chunk, (size_t)n), MSG_DONTWAIT);
		if (n <= 0 || used + (size_t)n > ANSWER_MAX_SIZE)
			return -EBADMSG;
		grown = realloc(line, used + (size_t)n);
		if (!grown)
			return -ENOMEM;
		line = grown;
		memcpy(line + used, chunk, (size_t)n);
		used += (size_t)n;
		if (deadline >= 0 && used == (size_t)n)
			deadline += LINE_REST_MS;
		if (line[used - 1] == '\n') {
			*ret_line = TAKE_PTR(line);
			*ret_size = used - 1;
			return 0;
		}
	}
}

int local_next_event(int fd, int timeout_ms, json_t **ret_event)
{
	_cleanup_free_ char *line = NULL;
	size_t size;
	json_t *object;
	int r = local_read_line(fd, timeout_ms, &line, &size);

	if (r < 0)
		return r;
	object = json_loadb(line, size, 0, NULL);
	if (!json_is_object(object)) {
		json_decref(object);
		return -EBADMSG;
	}
	*ret_event = object;
	return 0;
}

int local_request(int fd, json_t *request, int timeout_ms, json_t **ret_answer, struct failure *ret_failure)
{
	_cleanup_json_ json_t *answer = NULL;
	int r = local_send_line(fd, request);

	if (r == 0 || r == -EPIPE) /* whoever was turned away before he asked was told why */
		r = local_next_event(fd, timeout_ms, &answer);
	if (r == -ETIMEDOUT)
		return failure_set(ret_failure, FAILURE_TIMEOUT, NULL, "the daemon did not answer within %d s", timeout_ms / 1000);
	if (r < 0)
		return failure_set(ret_failure, FAILURE_UNREACHABLE, "Look at its log with journalctl.",
				   "the daemon ended while it was asked: %s", strerror(-r));
	if (!json_is_true(json_object_get(answer, "ok"))) {
		failure_from_json(json_object_get(answer, "error"), ret_failure);
		return -EREMOTEIO;
	}
	*ret_answer = TAKE_PTR(answer);
	return 0;
}
