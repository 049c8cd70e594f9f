/* The lab's hand inside a guest: runs commands for the host over a virtio
 * serial port, and forwards the guest's uevents over a second one.
 *
 * Frames on the command port are { u32 length, u32 stream, u32 type } and a
 * payload, little endian. A guest may be reset in the middle of a frame, so
 * both ends start over with MAGIC: the agent says hello with a nonce, and
 * passes over everything until the host repeats that nonce.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "events.h"
#include "port.h"

enum frame_type {
	FRAME_EXEC = 2,
	FRAME_STDIN = 3,
	FRAME_STDIN_EOF = 4,
	FRAME_KILL = 5,
	FRAME_WINSIZE = 6,
	FRAME_HELLO_AGAIN = 7,
	FRAME_STDOUT = 17,
	FRAME_STDERR = 18,
	FRAME_EXIT = 19,
	FRAME_CREDIT = 20,
	FRAME_READY = 21,
};

enum { EXEC_PTY = 1, MAX_STREAMS = 256, MAX_FRAME = 1 << 20, CHUNK = 32768 - 64 };

static const char READY_SOCKET[] = "\0usbpush-lab-agent";

struct frame_header {
	uint32_t length, stream, type;
};

struct stream {
	uint32_t id; /* 0: free slot */
	pid_t pid;
	int in, out, err; /* owned; -EBADF when closed; in == out for a pty */
	bool in_ending;
	char *pending; /* owned: stdin bytes the command has not taken yet */
	size_t n_pending;
};

static struct stream streams[MAX_STREAMS];
static int port_fd = -EBADF, epoll_fd = -EBADF, signal_fd = -EBADF, ready_fd = -EBADF;
static bool is_ready;
static uint64_t nonce;
static bool in_step; /* the host has repeated our nonce */
static char *input;
static size_t n_input, input_size;

enum { SOURCE_PORT, SOURCE_SIGNAL, SOURCE_READY, SOURCE_STREAM };
enum { SIDE_IN, SIDE_OUT, SIDE_ERR };

static void watch(int op, int fd, uint32_t events, uint32_t source, uint32_t slot, uint32_t side)
{
	struct epoll_event e = { .events = events,
		.data.u64 = ((uint64_t)source << 32) | (slot << 2) | side };

	epoll_ctl(epoll_fd, op, fd, &e);
}

static void send_frame(uint32_t stream, enum frame_type type, const void *data, size_t n)
{
	struct frame_header h = { .length = n, .stream = stream, .type = type };
	static char frame[sizeof h + CHUNK];

	if (!in_step)
		return;
	memcpy(frame, &h, sizeof h);
	if (n)
		memcpy(frame + sizeof h, data, n);
	port_write(port_fd, frame, sizeof h + n);
}

static void send_hello(void)
{
	char hello[PORT_MAGIC_SIZE + 8 + 1 + 36];

	getrandom(&nonce, sizeof nonce, 0);
	in_step = false;
	memcpy(hello, PORT_MAGIC, PORT_MAGIC_SIZE);
	memcpy(hello + PORT_MAGIC_SIZE, &nonce, 8);
	hello[PORT_MAGIC_SIZE + 8] = is_ready;
	port_boot_id(hello + PORT_MAGIC_SIZE + 9);
	port_write(port_fd, hello, sizeof hello);
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

/* Returns false when this side has ended. */
static bool stream_forward(struct stream *s, int *fd, enum frame_type type)
{
	static char buf[CHUNK];
	ssize_t n = read(*fd, buf, sizeof buf);

	if (n > 0) {
		send_frame(s->id, type, buf, n);
		return true;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (s->in == *fd)
		s->in = -EBADF;
	close_fd(fd);
	return false;
}

static void stream_feed(struct stream *s)
{
	while (s->in >= 0 && s->n_pending > 0) {
		ssize_t n = write(s->in, s->pending, s->n_pending);
		uint32_t credit;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) { /* the command has closed its stdin: what comes is lost */
			credit = s->n_pending;
			send_frame(s->id, FRAME_CREDIT, &credit, sizeof credit);
			stream_close_in(s);
			return;
		}
		memmove(s->pending, s->pending + n, s->n_pending - n);
		s->n_pending -= n;
		credit = n;
		send_frame(s->id, FRAME_CREDIT, &credit, sizeof credit);
	}
	if (s->in >= 0 && s->in != s->out)
		watch(EPOLL_CTL_MOD, s->in, s->n_pending ? EPOLLOUT : 0, SOURCE_STREAM,
			s - streams, SIDE_IN);
	else if (s->in >= 0)
		watch(EPOLL_CTL_MOD, s->in, EPOLLIN | (s->n_pending ? EPOLLOUT : 0),
			SOURCE_STREAM, s - streams, SIDE_OUT);
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
		if (!getenv("TERM"))
			setenv("TERM", "xterm", 1);
		child_exec(argv);
	}
	if (pid < 0)
		return -errno;
	fcntl(master, F_SETFD, FD_CLOEXEC);
	s->in = s->out = master;
	return pid;
}

static void start_stream(uint32_t id, char *payload, size_t n)
{
	struct { uint32_t flags; uint16_t rows, columns; } head;
	struct stream *s = stream_find(0);
	char *argv[64];
	int argc = 0;
	int32_t failed = 126;

	if (!s || n < sizeof head + 1 || payload[n - 1] != '\0') {
		send_frame(id, FRAME_EXIT, &failed, sizeof failed);
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
		send_frame(id, FRAME_EXIT, &failed, sizeof failed);
		stream_free(s);
		return;
	}
	uint32_t slot = s - streams;
	fcntl(s->in, F_SETFL, O_NONBLOCK);
	fcntl(s->out, F_SETFL, O_NONBLOCK);
	watch(EPOLL_CTL_ADD, s->out, EPOLLIN, SOURCE_STREAM, slot, SIDE_OUT);
	if (s->in != s->out)
		watch(EPOLL_CTL_ADD, s->in, 0, SOURCE_STREAM, slot, SIDE_IN);
	if (s->err >= 0) {
		fcntl(s->err, F_SETFL, O_NONBLOCK);
		watch(EPOLL_CTL_ADD, s->err, EPOLLIN, SOURCE_STREAM, slot, SIDE_ERR);
	}
}

static void reap_children(void)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(signal_fd, &info, sizeof info) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < MAX_STREAMS; i++) {
			struct stream *s = &streams[i];
			int32_t code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

			if (!s->id || s->pid != pid)
				continue;
			/* What it wrote before its end, but no waiting for a
			 * background process that still holds the pipe. */
			while (s->out >= 0 && stream_forward(s, &s->out, FRAME_STDOUT))
				;
			while (s->err >= 0 && stream_forward(s, &s->err, FRAME_STDERR))
				;
			send_frame(s->id, FRAME_EXIT, &code, sizeof code);
			stream_free(s);
		}
	}
}

static void queue_stdin(struct stream *s, const char *data, size_t n)
{
	char *grown = s->in >= 0 ? realloc(s->pending, s->n_pending + n) : NULL;

	if (!grown) {
		uint32_t credit = n;
		send_frame(s->id, FRAME_CREDIT, &credit, sizeof credit);
		return;
	}
	memcpy(grown + s->n_pending, data, n);
	s->pending = grown;
	s->n_pending += n;
	stream_feed(s);
}

static void kill_all_streams(void)
{
	for (int i = 0; i < MAX_STREAMS; i++)
		if (streams[i].id) {
			kill(-streams[i].pid, SIGKILL);
			stream_free(&streams[i]);
		}
}

static void handle_frame(struct frame_header *h, char *payload)
{
	struct stream *s = h->stream ? stream_find(h->stream) : NULL;
	uint32_t number = 0;

	if (h->length >= sizeof number)
		memcpy(&number, payload, sizeof number);
	if (h->type == FRAME_EXEC && h->stream)
		start_stream(h->stream, payload, h->length);
	else if (h->type == FRAME_HELLO_AGAIN) {
		kill_all_streams();
		send_hello();
	} else if (!s)
		return; /* it ended while the frame was under way */
	else if (h->type == FRAME_STDIN && h->length)
		queue_stdin(s, payload, h->length);
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

static void drop_input(size_t n)
{
	memmove(input, input + n, n_input - n);
	n_input -= n;
}

static bool find_step(void)
{
	char want[PORT_MAGIC_SIZE + 8];

	memcpy(want, PORT_MAGIC, PORT_MAGIC_SIZE);
	memcpy(want + PORT_MAGIC_SIZE, &nonce, 8);
	char *at = memmem(input, n_input, want, sizeof want);
	if (!at) {
		if (n_input >= sizeof want)
			drop_input(n_input - sizeof want + 1);
		return false;
	}
	drop_input(at - input + sizeof want);
	in_step = true;
	if (is_ready)
		send_frame(0, FRAME_READY, NULL, 0);
	return true;
}

static void handle_input(void)
{
	for (;;) {
		struct frame_header h;

		if (!in_step && !find_step())
			return;
		if (n_input < sizeof h)
			return;
		memcpy(&h, input, sizeof h);
		if (h.length > MAX_FRAME) { /* out of step: start over */
			n_input = 0;
			kill_all_streams();
			send_hello();
			return;
		}
		if (n_input < sizeof h + h.length)
			return;
		handle_frame(&h, input + sizeof h);
		drop_input(sizeof h + h.length);
	}
}

static void read_port(void)
{
	if (input_size - n_input < 65536) {
		input_size = n_input + 131072;
		input = realloc(input, input_size);
		if (!input)
			exit(1);
	}
	ssize_t n = read(port_fd, input + n_input, input_size - n_input);
	if (n > 0) {
		n_input += n;
		handle_input();
	} else if (n == 0 || errno != EAGAIN) {
		poll(NULL, 0, 20); /* no host there (yet) */
	}
}

static void handle_stream(uint32_t slot, uint32_t side, uint32_t events)
{
	struct stream *s = &streams[slot];

	if (!s->id)
		return;
	if (side == SIDE_IN && s->in >= 0) {
		if (events & EPOLLERR && !(events & EPOLLOUT)) {
			stream_close_in(s);
			return;
		}
		stream_feed(s);
		return;
	}
	if (side == SIDE_OUT && events & EPOLLOUT)
		stream_feed(s);
	if (side == SIDE_OUT && s->out >= 0 && events & (EPOLLIN | EPOLLHUP))
		stream_forward(s, &s->out, FRAME_STDOUT);
	if (side == SIDE_ERR && s->err >= 0)
		stream_forward(s, &s->err, FRAME_STDERR);
}

static void handle_ready(void)
{
	char buf[16];

	while (recv(ready_fd, buf, sizeof buf, MSG_DONTWAIT) > 0)
		is_ready = true;
	send_frame(0, FRAME_READY, NULL, 0);
}

static struct sockaddr_un ready_address(socklen_t *ret_length)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	memcpy(a.sun_path, READY_SOCKET, sizeof READY_SOCKET - 1);
	*ret_length = offsetof(struct sockaddr_un, sun_path) + sizeof READY_SOCKET - 1;
	return a;
}

static int tell_ready(void)
{
	socklen_t length;
	struct sockaddr_un a = ready_address(&length);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return sendto(fd, "ready", 5, 0, (struct sockaddr *)&a, length) == 5 ? 0 : 1;
}

static void set_up(void)
{
	socklen_t length;
	struct sockaddr_un a = ready_address(&length);
	sigset_t child;

	for (int i = 0; i < MAX_STREAMS; i++)
		streams[i].in = streams[i].out = streams[i].err = -EBADF;
	signal(SIGPIPE, SIG_IGN);
	setenv("HOME", "/root", 1);
	setenv("LANG", "C.UTF-8", 1);
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	ready_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bind(ready_fd, (struct sockaddr *)&a, length);
	port_fd = port_open("usbpush.agent", O_NONBLOCK);
	watch(EPOLL_CTL_ADD, port_fd, EPOLLIN, SOURCE_PORT, 0, 0);
	watch(EPOLL_CTL_ADD, signal_fd, EPOLLIN, SOURCE_SIGNAL, 0, 0);
	watch(EPOLL_CTL_ADD, ready_fd, EPOLLIN, SOURCE_READY, 0, 0);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "ready"))
		return tell_ready();

	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		events_forward();
		_exit(1);
	}
	set_up();
	send_hello();
	for (;;) {
		struct epoll_event batch[32];
		int n = epoll_wait(epoll_fd, batch, 32, -1);

		for (int i = 0; i < n; i++) {
			uint64_t what = batch[i].data.u64;

			switch (what >> 32) {
			case SOURCE_PORT: read_port(); break;
			case SOURCE_SIGNAL: reap_children(); break;
			case SOURCE_READY: handle_ready(); break;
			case SOURCE_STREAM:
				handle_stream((uint32_t)what >> 2, what & 3, batch[i].events);
				break;
			}
		}
	}
}
