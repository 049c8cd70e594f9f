#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frame.h"

enum { EXEC_PTY = 1, MAX_STREAMS = 256 };
enum side { SIDE_IN, SIDE_OUT, SIDE_ERR };

struct stream {
	uint32_t id; /* 0: free slot */
	pid_t pid;
	int in, out, err; /* owned; -EBADF when closed; in == out for a pty */
	bool in_ending;
	char *pending; /* owned: stdin bytes the command has not taken yet */
	size_t n_pending;
};

static struct stream streams[MAX_STREAMS];
static int epoll_fd = -EBADF;
static uint32_t epoll_source;

static void stream_watch(struct stream *s, int op, int fd, enum side side, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.u64 = ((uint64_t)epoll_source << 32) | ((uint32_t)(s - streams) << 2) | side };

	epoll_ctl(epoll_fd, op, fd, &e);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -EBADF;
}

static void stream_close_in(struct stream *s)
{
	if (s->in == s->out && s->out >= 0)
		s->in = -EBADF; /* the pty's one fd stays for reading */
	else
		close_fd(&s->in);
	free(s->pending);
	s->pending = NULL;
	s->n_pending = 0;
}

static void stream_free(struct stream *s)
{
	stream_close_in(s);
	close_fd(&s->out);
	close_fd(&s->err);
	memset(s, 0, sizeof *s);
	s->in = s->out = s->err = -EBADF;
}

static struct stream *stream_find(uint32_t id)
{
	for (int i = 0; i < MAX_STREAMS; i++)
		if (streams[i].id == id)
			return &streams[i];
	return NULL;
}

/* Returns false when there is nothing more for the moment, or for good. */
static bool stream_forward(struct stream *s, int *fd, enum frame_type type)
{
	static char buf[FRAME_CHUNK];
	ssize_t n = read(*fd, buf, sizeof buf);

	if (n > 0) {
		frame_send(s->id, type, buf, n);
		return true;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (s->in == *fd)
		s->in = -EBADF;
	close_fd(fd);
	return false;
}

static void stream_watch_in(struct stream *s)
{
	uint32_t wanted = s->n_pending ? EPOLLOUT : 0;

	if (s->in >= 0 && s->in == s->out)
		stream_watch(s, EPOLL_CTL_MOD, s->in, SIDE_OUT, EPOLLIN | wanted);
	else if (s->in >= 0)
		stream_watch(s, EPOLL_CTL_MOD, s->in, SIDE_IN, wanted);
}

static void stream_feed(struct stream *s)
{
	while (s->in >= 0 && s->n_pending > 0) {
		ssize_t n = write(s->in, s->pending, s->n_pending);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) { /* the command has closed its stdin: what comes is lost */
			frame_send_number(s->id, FRAME_CREDIT, s->n_pending);
			stream_close_in(s);
			return;
		}
		memmove(s->pending, s->pending + n, s->n_pending - n);
		s->n_pending -= n;
		frame_send_number(s->id, FRAME_CREDIT, n);
	}
	stream_watch_in(s);
	if (s->in_ending && !s->n_pending)
		stream_close_in(s);
}

static void child_exec(char **argv)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpriority(PRIO_PROCESS, 0, 0);
	if (chdir("/root") < 0 && chdir("/") < 0)
		_exit(126);
	execvp(argv[0], argv);
	dprintf(2, "lab agent: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static pid_t spawn_pipes(struct stream *s, char **argv)
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return -errno;

	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		child_exec(argv);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	s->in = in[1];
	s->out = out[0];
	s->err = err[0];
	return pid;
}

static pid_t spawn_pty(struct stream *s, char **argv, struct winsize *size)
{
	int master;
	pid_t pid = forkpty(&master, NULL, NULL, size);

	if (pid == 0) {
		setenv("TERM", "xterm", 0);
		child_exec(argv);
	}
	if (pid < 0)
		return -errno;
	fcntl(master, F_SETFD, FD_CLOEXEC);
	s->in = s->out = master;
	return pid;
}

static void stream_watch_all(struct stream *s)
{
	fcntl(s->in, F_SETFL, O_NONBLOCK);
	fcntl(s->out, F_SETFL, O_NONBLOCK);
	stream_watch(s, EPOLL_CTL_ADD, s->out, SIDE_OUT, EPOLLIN);
	if (s->in != s->out)
		stream_watch(s, EPOLL_CTL_ADD, s->in, SIDE_IN, 0);
	if (s->err >= 0) {
		fcntl(s->err, F_SETFL, O_NONBLOCK);
		stream_watch(s, EPOLL_CTL_ADD, s->err, SIDE_ERR, EPOLLIN);
	}
}

static void stream_start(uint32_t id, char *payload, size_t n)
{
	struct {
		uint32_t flags;
		uint16_t rows, columns;
	} head;
	struct stream *s = stream_find(0);
	char *argv[64];
	int argc = 0;

	if (!s || n < sizeof head + 1 || payload[n - 1] != '\0') {
		frame_send_number(id, FRAME_EXIT, 126);
		return;
	}
	memcpy(&head, payload, sizeof head);
	for (size_t at = sizeof head; at < n && argc < 63; at += strlen(payload + at) + 1)
		argv[argc++] = payload + at;
	argv[argc] = NULL;

	struct winsize size = { .ws_row = head.rows, .ws_col = head.columns };
	s->id = id;
	s->pid = head.flags & EXEC_PTY ? spawn_pty(s, argv, &size) : spawn_pipes(s, argv);
	if (s->pid < 0) {
		frame_send_number(id, FRAME_EXIT, 126);
		stream_free(s);
		return;
	}
	stream_watch_all(s);
}

static void stream_queue(struct stream *s, const char *data, size_t n)
{
	char *grown = s->in >= 0 ? realloc(s->pending, s->n_pending + n) : NULL;

	if (!grown) {
		frame_send_number(s->id, FRAME_CREDIT, n);
		return;
	}
	memcpy(grown + s->n_pending, data, n);
	s->pending = grown;
	s->n_pending += n;
	stream_feed(s);
}

void streams_init(int fd, uint32_t source)
{
	epoll_fd = fd;
	epoll_source = source;
	for (int i = 0; i < MAX_STREAMS; i++)
		streams[i].in = streams[i].out = streams[i].err = -EBADF;
}

void streams_take_event(uint32_t which, uint32_t events)
{
	struct stream *s = &streams[which >> 2];
	enum side side = which & 3;

	if (!s->id)
		return;
	if (side == SIDE_IN && events & EPOLLERR && !(events & EPOLLOUT))
		stream_close_in(s);
	else if (side == SIDE_IN || events & EPOLLOUT)
		stream_feed(s);
	if (side == SIDE_OUT && s->out >= 0 && events & (EPOLLIN | EPOLLHUP))
		stream_forward(s, &s->out, FRAME_STDOUT);
	if (side == SIDE_ERR && s->err >= 0)
		stream_forward(s, &s->err, FRAME_STDERR);
}

void streams_take_frame(const struct frame_header *h, char *payload)
{
	struct stream *s = h->stream ? stream_find(h->stream) : NULL;
	uint32_t number = 0;

	if (h->length >= sizeof number)
		memcpy(&number, payload, sizeof number);
	if (h->type == FRAME_EXEC && h->stream)
		stream_start(h->stream, payload, h->length);
	else if (!s)
		return; /* it ended while the frame was under way */
	else if (h->type == FRAME_STDIN && h->length)
		stream_queue(s, payload, h->length);
	else if (h->type == FRAME_STDIN_EOF) {
		s->in_ending = true;
		stream_feed(s);
	} else if (h->type == FRAME_KILL)
		kill(-s->pid, number);
	else if (h->type == FRAME_WINSIZE && s->in >= 0) {
		struct winsize size = { .ws_row = number & 0xffff, .ws_col = number >> 16 };
		ioctl(s->in, TIOCSWINSZ, &size);
	}
}

void streams_take_exit(pid_t pid, int status)
{
	for (struct stream *s = streams; s < streams + MAX_STREAMS; s++) {
		if (!s->id || s->pid != pid)
			continue;
		/* What it wrote before its end, but no waiting for a background
		 * process that still holds the pipe. */
		while (s->out >= 0 && stream_forward(s, &s->out, FRAME_STDOUT))
			;
		while (s->err >= 0 && stream_forward(s, &s->err, FRAME_STDERR))
			;
		frame_send_number(s->id, FRAME_EXIT, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		stream_free(s);
	}
}

void streams_kill_all(void)
{
	for (struct stream *s = streams; s < streams + MAX_STREAMS; s++)
		if (s->id) {
			kill(-s->pid, SIGKILL);
			stream_free(s);
		}
}
