#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "daemon.h"
#include "doctor_check.h"

#define COMMAND_LIMIT_USEC UINT64_C(10000000)

/* Nothing of the caller's environment decides what such a program does. */
static char *const ENVIRONMENT[] = { (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" }, (char[]){ "LC_ALL=C.UTF-8" },
				     (char[]){ "SYSTEMD_COLORS=0" }, NULL };

static int command_spawn(const char *path, const char *const *argv, int fd, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	int r = posix_spawn_file_actions_init(&actions);

	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, fd, STDERR_FILENO);
	if (r == 0)
		r = posix_spawn(ret_pid, path, &actions, NULL, (char *const *)argv, ENVIRONMENT);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

/* What is past the maximum is taken, too, and thrown away: the program would wait for ever to be rid of it. As recv(2); nothing waits. */
static ssize_t command_receive(int fd, char *output, size_t *used)
{
	char past[16384];
	size_t room = DOCTOR_OUTPUT_MAX - *used;
	ssize_t n = recv(fd, room > 0 ? output + *used : past, room > 0 ? room : sizeof(past), MSG_DONTWAIT);

	if (n > 0 && room > 0)
		*used += (size_t)n;
	return n;
}

/* Reads until the program closes its end. -ETIMEDOUT, and what came so far, for one that takes longer than until end_usec. */
static int command_collect(int fd, uint64_t end_usec, char **ret_output)
{
	size_t used = 0;

	*ret_output = calloc(1, DOCTOR_OUTPUT_MAX + 1);
	if (!*ret_output)
		return -ENOMEM;
	for (;;) {
		struct pollfd polled = { .fd = fd, .events = POLLIN };
		uint64_t now = clock_now_usec();
		ssize_t n;

		if (now >= end_usec || poll(&polled, 1, (int)((end_usec - now) / 1000) + 1) == 0)
			return -ETIMEDOUT;
		n = command_receive(fd, *ret_output, &used);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return 0;
	}
}

/* Whoever says nothing more may still be there: 0 once it has ended, -ETIMEDOUT for one that has not by end_usec, or another negative errno. */
static int command_wait_end(pid_t pid, uint64_t end_usec)
{
	_cleanup_close_ int fd = pidfd_open(pid, 0);

	if (fd < 0)
		return -errno;
	for (;;) {
		struct pollfd polled = { .fd = fd, .events = POLLIN };
		uint64_t now = clock_now_usec();
		int n;

		if (now >= end_usec)
			return -ETIMEDOUT;
		n = poll(&polled, 1, (int)((end_usec - now) / 1000) + 1);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* result < 0: it is ended here, whatever it does. Its exit status, or result. */
static int command_reap(pid_t pid, int result)
{
	int status;

	if (result < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (result < 0)
		return result;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int doctor_command(const struct doctor *doctor, const char *const *argv, const char *input, char **ret_output)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *output = NULL;
	char path[DOCTOR_PATH_SIZE];
	uint64_t end_usec;
	int fds[2], r;
	pid_t pid;

	if (!doctor_path(doctor, argv[0], path))
		return -ENAMETOOLONG;
	if (access(path, X_OK) < 0)
		return -errno;
	/* A socket, not two pipes: whoever reads input late loses nothing, and one end is enough. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	fd = fds[0];
	r = command_spawn(path, argv, fds[1], &pid);
	close(fds[1]);
	if (r < 0)
		return r;
	end_usec = clock_now_usec() + COMMAND_LIMIT_USEC;
	if (input)
		(void)send(fd, input, strlen(input), MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	r = command_collect(fd, end_usec, &output);
	if (r == 0)
		r = command_wait_end(pid, end_usec);
	r = command_reap(pid, r);
	if (r >= 0)
		*ret_output = TAKE_PTR(output);
	return r;
}
