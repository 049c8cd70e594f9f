/* Tries what its arguments say, as a unit's program that somebody has taken over would, and tells how each ended: "ATTEMPT RESULT" a line, the result "done" or an
 * error's name. What could do harm where it is allowed has arguments that the kernel refuses later than it refuses the caller. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int result_of(long r)
{
	return r < 0 ? errno : 0;
}

/* ---- files ---- */

static int try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), r = result_of(fd);

	if (fd >= 0)
		close(fd);
	return r;
}

static int try_modify(const char *path)
{
	return try_open(path, O_WRONLY);
}

static int try_read(const char *path)
{
	return try_open(path, O_RDONLY);
}

/* A new file in that directory; gone again at once. */
static int try_create(const char *directory)
{
	char path[256];
	int fd, r;

	snprintf(path, sizeof(path), "%s/.sandbox-probe", directory);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	r = result_of(fd);
	if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	return r;
}

/* ---- sockets ---- */

static int try_socket(const char *name)
{
	static const struct {
		const char *name;
		int family, type;
	} kinds[] = {
		{ "unix", AF_UNIX, SOCK_STREAM },    { "inet", AF_INET, SOCK_STREAM },  { "inet6", AF_INET6, SOCK_STREAM },
		{ "netlink", AF_NETLINK, SOCK_RAW }, { "packet", AF_PACKET, SOCK_RAW }, { "raw", AF_INET, SOCK_RAW },
		{ "vsock", AF_VSOCK, SOCK_STREAM },  { "alg", AF_ALG, SOCK_SEQPACKET },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].name, name) == 0) {
			int fd = socket(kinds[i].family, kinds[i].type | SOCK_CLOEXEC,
					kinds[i].type == SOCK_RAW && kinds[i].family == AF_INET ? 255 : 0);
			int r = result_of(fd);

			if (fd >= 0)
				close(fd);
			return r;
		}
	return ENOSYS;
}

static int try_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	r = result_of(connect(fd, (const struct sockaddr *)&address, sizeof(address)));
	close(fd);
	return r;
}

/* ---- programs ---- */

/* Whether it is started, whatever it makes of its arguments. The pipe closes when it is, else the error comes through. */
static int try_exec(const char *path)
{
	char *const argv[] = { (char *)path, "-c", "exit 0", NULL };
	int pipe_fds[2], error = 0;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return errno;
	pid = fork();
	if (pid == 0) {
		close(STDOUT_FILENO); /* the results of this program, not of that one */
		close(STDERR_FILENO);
		execv(path, argv);
		error = errno;
		_exit(write(pipe_fds[1], &error, sizeof(error)) < 0);
	}
	error = pid < 0 ? errno : 0;
	close(pipe_fds[1]);
	if (pid > 0 && read(pipe_fds[0], &error, sizeof(error)) <= 0)
		error = 0;
	close(pipe_fds[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return error;
}

/* A program of its own, written into that directory and run. */
static int try_plant(const char *directory)
{
	char path[256];
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to, r;
	struct stat status;

	snprintf(path, sizeof(path), "%s/.sandbox-probe", directory);
	to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	if (from < 0 || to < 0 || fstat(from, &status) < 0 || sendfile(to, from, NULL, (size_t)status.st_size) < 0)
		r = errno;
	else
		r = close(to) < 0 ? errno : try_exec(path);
	unlink(path);
	close(from);
	return r;
}

/* ---- system calls ---- */

static int try_mount(const char *unused)
{
	return result_of(mount("none", "/", "no-such-file-system", 0, NULL));
}

static int try_unshare(const char *unused)
{
	return result_of(unshare(CLONE_NEWUTS));
}

static int try_user_namespace(const char *unused)
{
	return result_of(unshare(CLONE_NEWUSER));
}

static int try_trace(const char *unused)
{
	return result_of(ptrace(PTRACE_ATTACH, 0, NULL, NULL));
}

static int try_bpf(const char *unused)
{
	return result_of(syscall(SYS_bpf, -1, NULL, 0));
}

static int try_perf(const char *unused)
{
	return result_of(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
}

static int try_module(const char *unused)
{
	return result_of(syscall(SYS_init_module, NULL, 0, NULL));
}

static int try_reboot(const char *unused)
{
	return result_of(syscall(SYS_reboot, 0, 0, 0, NULL));
}

static int try_clock(const char *unused)
{
	const struct timespec never = { .tv_sec = -1, .tv_nsec = -1 };

	return result_of(syscall(SYS_clock_settime, CLOCK_REALTIME, &never)); /* the library's would look first */
}

static int try_host_name(const char *unused)
{
	return result_of(syscall(SYS_sethostname, NULL, -1));
}

static int try_chroot(const char *unused)
{
	return result_of(chroot("/"));
}

/* Memory that can be written and run. */
static int try_memory(const char *unused)
{
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? errno : 0;
}

/* No signal at all: whether one would be let through. */
static int try_signal(const char *pid)
{
	return result_of(kill((pid_t)strtol(pid, NULL, 10), 0));
}

static int try_signal_to_thread(const char *pid)
{
	return result_of(syscall(SYS_tgkill, (pid_t)strtol(pid, NULL, 10), (pid_t)strtol(pid, NULL, 10), 0));
}

static const struct {
	const char *verb;
	int (*attempt)(const char *what);
} ATTEMPTS[] = {
	{ "create", try_create },
	{ "modify", try_modify },
	{ "read", try_read },
	{ "socket", try_socket },
	{ "connect", try_connect },
	{ "exec", try_exec },
	{ "plant", try_plant },
	{ "mount", try_mount },
	{ "unshare", try_unshare },
	{ "trace", try_trace },
	{ "bpf", try_bpf },
	{ "perf", try_perf },
	{ "module", try_module },
	{ "reboot", try_reboot },
	{ "clock", try_clock },
	{ "host-name", try_host_name },
	{ "memory", try_memory },
	{ "signal", try_signal },
	{ "signal-to-thread", try_signal_to_thread },
	{ "chroot", try_chroot },
	{ "user-namespace", try_user_namespace }, /* last: afterwards this process is another */
};

static int attempt(const char *verb, const char *what)
{
	for (size_t i = 0; i < sizeof(ATTEMPTS) / sizeof(ATTEMPTS[0]); i++)
		if (strcmp(ATTEMPTS[i].verb, verb) == 0)
			return ATTEMPTS[i].attempt(what);
	return ENOSYS;
}

/* sandbox_probe VERB[:WHAT]... */
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char verb[32];
		const char *colon = strchr(argv[i], ':');
		int error;

		snprintf(verb, sizeof(verb), "%.*s", (int)strcspn(argv[i], ":"), argv[i]);
		error = attempt(verb, colon ? colon + 1 : "");
		printf("%s %s\n", argv[i], error ? strerrorname_np(error) : "done");
		fflush(stdout);
	}
	return 0;
}
