/* The lab's hand inside a guest: runs commands for the host over a virtio
 * serial port, and forwards the guest's uevents over a second one.
 *
 * A guest may be reset in the middle of a frame, so both ends start over with a
 * magic: the agent says hello with a nonce, and passes over everything until the
 * host repeats that nonce.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "events.h"
#include "frame.h"
#include "port.h"
#include "stream.h"

enum source { SOURCE_PORT, SOURCE_SIGNAL, SOURCE_READY, SOURCE_STREAM };

static const char READY_SOCKET[] = "\0usbpush-lab-agent";

static int epoll_fd = -EBADF, signal_fd = -EBADF, ready_fd = -EBADF;
static bool is_ready;
static uint64_t nonce;
static char *input; /* owned: what the host has sent and is not obeyed yet */
static size_t n_input, input_size;

static void send_hello(void)
{
	char hello[PORT_MAGIC_SIZE + 8 + 1 + 36];

	getrandom(&nonce, sizeof nonce, 0);
	frame_is_in_step = false;
	memcpy(hello, PORT_MAGIC, PORT_MAGIC_SIZE);
	memcpy(hello + PORT_MAGIC_SIZE, &nonce, 8);
	hello[PORT_MAGIC_SIZE + 8] = is_ready;
	port_boot_id(hello + PORT_MAGIC_SIZE + 9);
	port_write(frame_port_fd, hello, sizeof hello);
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
	frame_is_in_step = true;
	if (is_ready)
		frame_send(0, FRAME_READY, NULL, 0);
	return true;
}

static void start_over(void)
{
	streams_kill_all();
	send_hello();
}

static void handle_input(void)
{
	for (;;) {
		struct frame_header h;

		if (!frame_is_in_step && !find_step())
			return;
		if (n_input < sizeof h)
			return;
		memcpy(&h, input, sizeof h);
		if (h.length > FRAME_MAX) {
			n_input = 0;
			start_over();
			return;
		}
		if (n_input < sizeof h + h.length)
			return;
		if (h.type == FRAME_HELLO_AGAIN)
			start_over();
		else
			streams_take_frame(&h, input + sizeof h);
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
	ssize_t n = read(frame_port_fd, input + n_input, input_size - n_input);
	if (n > 0) {
		n_input += n;
		handle_input();
	} else if (n == 0 || errno != EAGAIN) {
		poll(NULL, 0, 20); /* no host there (yet) */
	}
}

static void reap_children(void)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(signal_fd, &info, sizeof info) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		streams_take_exit(pid, status);
}

static void take_ready(void)
{
	char buf[16];

	while (recv(ready_fd, buf, sizeof buf, MSG_DONTWAIT) > 0)
		is_ready = true;
	frame_send(0, FRAME_READY, NULL, 0);
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

static void watch(int fd, enum source source)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = (uint64_t)source << 32 };

	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

static void set_up(void)
{
	socklen_t length;
	struct sockaddr_un a = ready_address(&length);
	sigset_t child;

	signal(SIGPIPE, SIG_IGN);
	setenv("HOME", "/root", 1);
	setenv("LANG", "C.UTF-8", 1);
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	streams_init(epoll_fd, SOURCE_STREAM);
	signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	ready_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bind(ready_fd, (struct sockaddr *)&a, length);
	frame_port_fd = port_open("usbpush.agent", O_NONBLOCK);
	watch(frame_port_fd, SOURCE_PORT);
	watch(signal_fd, SOURCE_SIGNAL);
	watch(ready_fd, SOURCE_READY);
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

			switch ((enum source)(what >> 32)) {
			case SOURCE_PORT:
				read_port();
				break;
			case SOURCE_SIGNAL:
				reap_children();
				break;
			case SOURCE_READY:
				take_ready();
				break;
			case SOURCE_STREAM:
				streams_take_event(what, batch[i].events);
				break;
			}
		}
	}
}
