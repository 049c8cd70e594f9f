#include "pair_find.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "identity.h"
#include "pair_party.h"
#include "pi_portal.h"

#define FINDER        "/usr/libexec/usbpush/usbpush-mdns"
#define FINDER_USER   "usbpush-mdns"
#define NOBODY        65534
#define POLL_STEP_MS  200
#define FIND_LIMIT_MS 8000 /* it ends by itself after 5 s without a Pi, or 1.5 s after the last one */
#define OUTPUT_MAX    ((size_t)64 * 1024)
#define FIND_MAX_PIS  16

struct found_pi {
	char id[40], name[64];
	struct pair_found at;
};

/* In the child: no rights from here on. */
static void run_finder(const char *program, int out_fd)
{
	const struct passwd *user = getpwnam(FINDER_USER);
	gid_t gid = user ? user->pw_gid : NOBODY;
	uid_t uid = user ? user->pw_uid : NOBODY;

	dup2(out_fd, STDOUT_FILENO);
	if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(uid) < 0))
		_exit(126);
	execl(program, "usbpush-mdns", "find", (char *)NULL);
	_exit(127);
}

/* Reads all that it says, until it ends, is stopped or takes too long. */
static size_t read_output(int fd, const volatile sig_atomic_t *is_stopped, char *buffer)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	size_t used = 0;

	for (unsigned waited = 0; waited < FIND_LIMIT_MS && !*is_stopped && used < OUTPUT_MAX; waited += POLL_STEP_MS) {
		ssize_t n;

		if (poll(&polled, 1, POLL_STEP_MS) <= 0)
			continue;
		n = read(fd, buffer + used, OUTPUT_MAX - used);
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	return used;
}

static int run_and_read(const char *program, const volatile sig_atomic_t *is_stopped, char *buffer, size_t *ret_size)
{
	_cleanup_close_ int in_fd = -EBADF;
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	in_fd = fds[0];
	pid = fork();
	if (pid == 0)
		run_finder(program, fds[1]);
	close(fds[1]);
	if (pid < 0)
		return -EAGAIN;
	*ret_size = read_output(in_fd, is_stopped, buffer);
	kill(pid, SIGTERM);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && (WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127) ? -ENOENT : 0;
}

static bool is_link_local(const char *address)
{
	return strchr(address, '%') != NULL;
}

/* One Pi is found once for each of its addresses: one that works from everywhere is preferred, and IPv4 is what people recognize. */
static bool is_better(const char *address, const char *than)
{
	if (is_link_local(address) != is_link_local(than))
		return is_link_local(than);
	return !strchr(address, ':') && strchr(than, ':');
}

/* The finder always says one. 0 for what can't be one. */
static uint16_t port_of(const json_t *object)
{
	const json_t *port = json_object_get(object, "port");
	json_int_t number = port ? json_integer_value(port) : PI_PORTAL_PORT;

	return number > 0 && number <= UINT16_MAX ? (uint16_t)number : 0;
}

static void take_line(const char *line, size_t length, struct found_pi *pis, size_t *n)
{
	_cleanup_json_ json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
	const char *id = json_string_value(json_object_get(object, "id")), *name = json_string_value(json_object_get(object, "name"));
	const char *address = json_string_value(json_object_get(object, "address"));
	uint16_t port = port_of(object);
	struct found_pi *pi = pis;

	if (!id || !name || !address || !port || !pair_party_is_host(address) || strlen(id) >= sizeof(pis->id))
		return;
	while (pi < pis + *n && (strcmp(pi->id, id) != 0 || !*id))
		pi++;
	if (pi == pis + FIND_MAX_PIS)
		return;
	if (pi < pis + *n && !is_better(address, pi->at.host))
		return;
	*n += pi == pis + *n;
	snprintf(pi->id, sizeof(pi->id), "%s", id);
	identity_clean_string(name, pi->name, sizeof(pi->name));
	snprintf(pi->at.host, sizeof(pi->at.host), "%s", address);
	pi->at.port = port;
}

/* "10.0.0.1 (garage)", and its port where that is not the usual one. */
static void describe(const struct found_pi *pi, char *buffer, size_t size)
{
	if (pi->at.port == PI_PORTAL_PORT)
		snprintf(buffer, size, "%s (%s)", pi->at.host, pi->name);
	else
		snprintf(buffer, size, "%s --pi-port %u (%s)", pi->at.host, pi->at.port, pi->name);
}

/* Whom the list has no room for is left out: the number tells. */
static void list_add(char *list, size_t size, const char *one)
{
	size_t used = strlen(list), length = strlen(one), n_comma = used > 0 ? 2 : 0;

	if (used + n_comma + length >= size)
		return;
	memcpy(list + used, ", ", n_comma);
	memcpy(list + used + n_comma, one, length + 1);
}

static int choose(const struct found_pi *pis, size_t n, struct pair_found *ret_found, struct failure *failure)
{
	char list[200] = "", one[sizeof(*pis) + 32];

	if (n == 1) {
		*ret_found = pis[0].at;
		return 0;
	}
	if (n == 0)
		return failure_set(failure, FAILURE_NOT_FOUND,
				   "Is it on, and on this network? Else give its name or address: usbpush-vm pair raspberrypi.local",
				   "no Pi with usbpush was found by mDNS");
	for (size_t i = 0; i < n; i++) {
		describe(&pis[i], one, sizeof(one));
		list_add(list, sizeof(list), one);
	}
	return failure_set(failure, FAILURE_AMBIGUOUS, "Say which: usbpush-vm pair ADDRESS", "%zu Pis were found: %s", n, list);
}

int pair_find(const char *program, const volatile sig_atomic_t *is_stopped, struct pair_found *ret_found, struct failure *ret_failure)
{
	_cleanup_free_ char *output = malloc(OUTPUT_MAX);
	struct found_pi pis[FIND_MAX_PIS] = { 0 };
	size_t size = 0, n = 0;
	const char *end;

	if (!output)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	if (run_and_read(program ? program : FINDER, is_stopped, output, &size) < 0)
		return failure_set(ret_failure, FAILURE_INTERNAL, "Give the Pi's name or address: usbpush-vm pair raspberrypi.local",
				   "%s can't be run", program ? program : FINDER);
	for (const char *line = output; (end = memchr(line, '\n', (size_t)(output + size - line))); line = end + 1)
		take_line(line, (size_t)(end - line), pis, &n);
	if (*is_stopped)
		return failure_set(ret_failure, FAILURE_CANCELLED, NULL, "stopped by you");
	return choose(pis, n, ret_found, ret_failure);
}
