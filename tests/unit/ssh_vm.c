#include "ssh_vm.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic_file.h"
#include "check_program.h"
#include "cleanup.h"
#include "ssh_people.h"
#include "transport.h"

#define SSHD "/usr/sbin/sshd"

static const char HELLO[] =
	"{\"type\":\"hello\",\"protocol\":1,\"software\":\"test\",\"role\":\"vm\",\"id\":\"0123456789abcdef0123456789abcdef\",\"name\":\"bench-vm\",\"boot_id\":\"beef\","
	"\"patience_ms\":8000,\"ports\":16,\"direct\":true,\"partial\":true}";

static const char OLD_HELLO[] =
	"{\"type\":\"hello\",\"protocol\":1,\"software\":\"test\",\"role\":\"vm\",\"id\":\"0123456789abcdef0123456789abcdef\",\"name\":\"bench-vm\",\"boot_id\":\"beef\","
	"\"patience_ms\":8000,\"ports\":16}";

/* ---- the part that sshd starts: plays a script on stdin and stdout ---- */

static const char *play_dir;
static char play_kind[16];

static void play_note(const char *file, const char *text)
{
	char path[256];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s.%s", play_dir, play_kind, file);
	stream = fopen(path, "a");
	if (stream) {
		fprintf(stream, "%s\n", text);
		fclose(stream);
	}
}

/* For ssh_vm_end_players(), which must not take the file away between our opening and our writing it. */
static void play_note_pid(void)
{
	char path[256];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s.pid", play_dir, play_kind);
	stream = fopen(path, "a");
	if (!stream)
		return;
	(void)flock(fileno(stream), LOCK_EX);
	fprintf(stream, "%d\n", (int)getpid());
	fclose(stream);
}

static void play_write(const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, data, size);

		if (n < 0)
			_exit(0); /* the Pi went away; _exit(): nobody cares what a player leaves */
		data += n;
		size -= (size_t)n;
	}
}

static void play_say(const char *line)
{
	play_write(line, strlen(line));
	play_write("\n", 1);
}

/* The next line from the Pi; ends the program at the end of the channel. */
static const char *play_listen(void)
{
	static char line[70000];
	size_t used = 0;
	ssize_t n;

	while ((n = read(STDIN_FILENO, line + used, 1)) == 1 && line[used] != '\n')
		used += used < sizeof(line) - 2;
	if (n != 1) {
		play_note("end", "of input");
		_exit(0);
	}
	line[used] = '\0';
	play_note("heard", line);
	return line;
}

static bool play_is(const char *line, const char *type)
{
	_cleanup_json_ json_t *object = json_loads(line, 0, NULL);
	const char *is = json_string_value(json_object_get(object, "type"));

	return is && strcmp(is, type) == 0;
}

static void play_hear(const char *type)
{
	while (!play_is(play_listen(), type))
		;
}

/* In one write: several processes may speak. */
static void play_say_json(json_t *object)
{
	_cleanup_json_ json_t *owned = object;
	_cleanup_free_ char *line = json_dumps(owned, JSON_COMPACT);
	size_t length = strlen(line);

	line[length] = '\n'; /* takes the NUL's place */
	play_write(line, length + 1);
}

/* Whether a stream of that offer reached its session within 20 s: its player says so by a file. */
static bool play_is_session_up(const char *offer)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/up.%s", play_dir, offer);
	for (unsigned i = 0; i < 2000; i++) {
		if (access(path, F_OK) == 0)
			return true;
		poll(NULL, 0, 10);
	}
	return false;
}

/* While this process lives the channel is not at its end, whoever ended who plays on it. */
static void play_die_with(pid_t player)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != player)
		_exit(0); /* it was sooner */
}

/* No device waits for another: each waits in a process of its own. */
static void play_say_when_due(json_t *object, const char *offer)
{
	const char *type = json_string_value(json_object_get(object, "type"));
	bool is_attached = type && strcmp(type, "attached") == 0;
	pid_t player = getpid();

	if (is_attached && fork() > 0)
		return;
	if (is_attached)
		play_die_with(player);
	if (!is_attached || play_is_session_up(offer))
		play_say_json(json_incref(object));
	if (is_attached)
		_exit(0);
}

/* What the test wants said about an offer; NULL for nothing. */
static json_t *play_read_answer(const char *offer)
{
	char path[256], line[1024] = "";
	json_t *object;
	FILE *answer;

	snprintf(path, sizeof(path), "%s/connect.answer", play_dir);
	answer = fopen(path, "r");
	if (!answer)
		return NULL;
	object = fgets(line, sizeof(line), answer) ? json_loads(line, 0, NULL) : NULL;
	fclose(answer);
	json_object_set_new(object, "id", json_string(offer));
	return object;
}

static void play_answer_connect(const json_t *connect)
{
	const char *offer = json_string_value(json_object_get(json_object_get(connect, "offer"), "id"));
	_cleanup_json_ json_t *answer = play_read_answer(offer);

	if (answer)
		play_say_when_due(answer, offer);
}

static bool play_keeps = true, play_is_old = false;

/* Whether a `connect` of this offer came, by whichever channel. Who was never told of a device has nothing to keep. */
static bool play_knows(const char *offer)
{
	_cleanup_free_ char *heard = NULL;
	char path[256], words[160];

	snprintf(path, sizeof(path), "%s/%s.heard", play_dir, play_kind);
	snprintf(words, sizeof(words), "{\"offer\":{\"id\":\"%s\"", offer);
	return file_read(path, (size_t)16 * 1024 * 1024, &heard) >= 0 && strstr(heard, words);
}

static bool play_is_kept(const json_t *offer)
{
	return play_keeps && json_is_true(json_object_get(offer, "streaming")) &&
	       play_knows(json_string_value(json_object_get(offer, "id")));
}

static void play_answer_sync(const json_t *sync)
{
	json_t *keep = json_array(), *offer;
	size_t i;

	json_array_foreach(json_object_get(sync, "offers"), i, offer)
		if (play_is_kept(offer))
			json_array_append(keep, json_object_get(offer, "id"));
	play_say_json(json_pack("{s:s, s:O, s:O}", "type", "synced", "seq", json_object_get(sync, "seq"), "keep", keep));
	json_array_foreach(keep, i, offer) {
		_cleanup_json_ json_t *answer = play_read_answer(json_string_value(offer));

		if (answer)
			play_say_when_due(answer, json_string_value(offer));
	}
	json_decref(keep);
}

static void play_answer_unpair(void)
{
	char path[256], line[512] = "{\"type\":\"unpaired\"}";
	FILE *answer;

	snprintf(path, sizeof(path), "%s/unpair.answer", play_dir);
	answer = fopen(path, "r");
	if (answer && !fgets(line, sizeof(line), answer))
		line[0] = '\0';
	if (answer)
		fclose(answer);
	if (line[0])
		play_say(line);
}

/* What the test wants said now, once. */
static void play_interject(void)
{
	char path[256], taken[264], line[8192];
	FILE *words;

	snprintf(path, sizeof(path), "%s/control.now", play_dir);
	snprintf(taken, sizeof(taken), "%s.said", path);
	if (rename(path, taken) < 0)
		return;
	words = fopen(taken, "r");
	while (words && fgets(line, sizeof(line), words))
		play_write(line, strlen(line));
	if (words)
		fclose(words);
}

/* A VM as it should be. line was heard already. */
static void play_serve(const char *line)
{
	for (;; line = play_listen()) {
		_cleanup_json_ json_t *object = json_loads(line, 0, NULL);

		if (play_is(line, "hello"))
			play_say(play_is_old ? OLD_HELLO : HELLO);
		else if (play_is(line, "sync"))
			play_answer_sync(object);
		else if (play_is(line, "connect"))
			play_answer_connect(object);
		else if (play_is(line, "unpair"))
			play_answer_unpair();
		else if (play_is(line, "ping"))
			play_say_json(json_pack("{s:s, s:O}", "type", "pong", "seq", json_object_get(object, "seq")));
		play_interject();
	}
}

static void play_raw(const char *text)
{
	for (; *text; text++) {
		char c = *text;

		if (c == '\\' && text[1]) {
			text++;
			c = *text == 'n' ? '\n' : *text == '0' ? '\0' : *text;
		}
		play_write(&c, 1);
	}
}

static void play_fill(size_t size, bool is_endless)
{
	char chunk[4096];

	memset(chunk, 'x', sizeof(chunk));
	while (is_endless || size > 0) {
		size_t part = is_endless || size > sizeof(chunk) ? sizeof(chunk) : size;

		play_write(chunk, part);
		size -= is_endless ? 0 : part;
	}
}

/* "N LINE": writes that line N times, in large pieces. */
static void play_repeat(const char *argument)
{
	static char chunk[65536];
	char *line;
	size_t n = strtoul(argument, &line, 10), length = strlen(++line), used = 0;

	while (n-- > 0) {
		memcpy(chunk + used, line, length);
		chunk[used + length] = '\n';
		used += length + 1;
		if (n == 0 || used + length + 1 > sizeof(chunk)) {
			play_write(chunk, used);
			used = 0;
		}
	}
}

static void play_echo(void)
{
	static char chunk[65536];
	ssize_t n;

	while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) > 0)
		play_write(chunk, (size_t)n);
	play_note("end", "of input");
}

static void play_wait(void)
{
	char chunk[4096];

	while (read(STDIN_FILENO, chunk, sizeof(chunk)) > 0)
		;
	play_note("end", "of input");
}

/* Until the channel ends, but without reading. */
static void play_sleep(void)
{
	struct pollfd poll_fd = { .fd = STDIN_FILENO };

	while (!(poll_fd.revents & (POLLHUP | POLLERR)))
		poll(&poll_fd, 1, -1);
}

/* As the two kernels do: the VM's speaks first, and the Pi's (which echoes here) answers. */
static void play_session(const char *first)
{
	_cleanup_json_ json_t *object = json_loads(first, 0, NULL);
	char urb[48] = "a URB", file[96];
	size_t got = 0;
	ssize_t n = 0;

	play_say("OK");
	play_write(urb, sizeof(urb));
	while (got < sizeof(urb) && (n = read(STDIN_FILENO, urb, sizeof(urb) - got)) > 0)
		got += (size_t)n;
	if (n > 0) {
		snprintf(file, sizeof(file), "%s/up.%s", play_dir, json_string_value(json_object_get(object, "offer")));
		fclose(fopen(file, "w"));
	}
	play_wait();
}

static void play_line(const char *command, const char *argument, const char *first)
{
	if (strcmp(command, "hear") == 0 && !play_is(first, argument))
		play_hear(argument);
	else if (strcmp(command, "say") == 0)
		play_say(argument);
	else if (strcmp(command, "raw") == 0)
		play_raw(argument);
	else if (strcmp(command, "fill") == 0)
		play_fill(strtoul(argument, NULL, 10), false);
	else if (strcmp(command, "repeat") == 0)
		play_repeat(argument);
	else if (strcmp(command, "flood") == 0)
		play_fill(0, true);
	else if (strcmp(command, "complain") == 0)
		dprintf(STDERR_FILENO, "%s\n", argument);
	else if (strcmp(command, "echo") == 0)
		play_echo();
	else if (strcmp(command, "forget") == 0)
		play_keeps = false;
	else if (strcmp(command, "old") == 0)
		play_is_old = true;
	else if (strcmp(command, "serve") == 0)
		play_serve(first);
	else if (strcmp(command, "session") == 0)
		play_session(first);
	else if (strcmp(command, "wait") == 0)
		play_wait();
	else if (strcmp(command, "sleep") == 0)
		play_sleep();
	else if (strcmp(command, "end") == 0)
		_exit(0);
}

void ssh_vm_play(int argc, char **argv)
{
	char path[256], line[8192];
	const char *first;
	FILE *script;

	if (argc != 3 || strcmp(argv[1], "--play") != 0)
		return;
	signal(SIGPIPE, SIG_IGN);
	play_dir = argv[2];
	snprintf(play_kind, sizeof(play_kind), "begun");
	play_note("any", "channel");
	/* What kind of channel it is stands in its first line; before that, that it was opened ahead. */
	snprintf(play_kind, sizeof(play_kind), "first");
	first = play_listen();
	if (play_is(first, "spare"))
		first = play_listen();
	snprintf(play_kind, sizeof(play_kind), "%s", play_is(first, "stream") ? "stream" : "control");
	play_note_pid(); /* before the test can know of us, and end us */
	play_note("heard", first);
	play_note("begun", "here");
	first = strdup(first);
	snprintf(path, sizeof(path), "%s/%s.script", play_dir, play_kind);
	script = fopen(path, "r");
	while (script && fgets(line, sizeof(line), script)) {
		char *argument = line + strcspn(line, " \n");

		line[strcspn(line, "\n")] = '\0';
		if (*argument)
			*argument++ = '\0';
		play_line(line, argument, first);
	}
	_exit(0);
}

/* ---- the test's part ---- */

void ssh_vm_script(struct ssh_vm *vm, const char *kind, const char *script)
{
	char path[32];

	snprintf(path, sizeof(path), "%s.script", kind);
	temp_tree_replace(&vm->tree, path, script);
}

void ssh_vm_say_now(struct ssh_vm *vm, const char *text)
{
	temp_tree_replace(&vm->tree, "control.now", text);
}

const char *ssh_vm_heard(const struct ssh_vm *vm, const char *kind)
{
	char path[32];

	snprintf(path, sizeof(path), "%s.heard", kind);
	return faccessat(vm->tree.fd, path, F_OK, 0) == 0 ? temp_tree_get(&vm->tree, path) : "";
}

void ssh_vm_note_session(struct ssh_vm *vm, const char *offer_id)
{
	char path[96];

	snprintf(path, sizeof(path), "up.%s", offer_id);
	temp_tree_put(&vm->tree, path, "");
}

unsigned ssh_vm_count_heard(const struct ssh_vm *vm, const char *text)
{
	unsigned n = 0;

	for (const char *at = ssh_vm_heard(vm, "control"); (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* Where the offer's id begins in the next `connect` behind at; NULL without one. */
static const char *find_connect(const char *at)
{
	static const char start[] = "\"offer\":{\"id\":\"";

	at = strstr(at, start);
	return at ? at + strlen(start) : NULL;
}

unsigned ssh_vm_count_offers(const struct ssh_vm *vm)
{
	const char *heard = ssh_vm_heard(vm, "control");
	unsigned n = 0;

	for (const char *id = heard; (id = find_connect(id));) {
		const char *first = heard;

		do
			first = find_connect(first);
		while (strncmp(first, id, strcspn(id, "\"") + 1) != 0);
		n += first == id;
	}
	return n;
}

const char *ssh_vm_describe(const struct ssh_vm *vm)
{
	static char text[4096];
	const char *log = faccessat(vm->tree.fd, "sshd.log", F_OK, 0) == 0 ? temp_tree_get(&vm->tree, "sshd.log") : "no log";
	size_t n = (size_t)snprintf(text, sizeof(text), "%u connections;", vm->n_connections), length = strlen(log);

	for (unsigned i = 0; i < vm->n_connections && i < ARRAY_SIZE(vm->sshds) && n < 2000; i++) {
		siginfo_t info = { 0 };
		bool is_ended = vm->sshds[i] && waitid(P_PID, (id_t)vm->sshds[i], &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid;

		n += (size_t)snprintf(text + n, sizeof(text) - n, " sshd %d %s;", (int)vm->sshds[i],
				      !vm->sshds[i] ? "was killed" :
				      is_ended      ? "ended by itself" :
						      "runs");
	}
	snprintf(text + n, sizeof(text) - n, " sshd's log ends: %s", length > 1500 ? log + length - 1500 : log);
	return text;
}

unsigned ssh_vm_count(const struct ssh_vm *vm, const char *kind)
{
	char path[32];
	unsigned n = 0;

	snprintf(path, sizeof(path), "%s.begun", kind);
	if (faccessat(vm->tree.fd, path, F_OK, 0) < 0)
		return 0;
	for (const char *c = temp_tree_get(&vm->tree, path); *c; c++)
		n += *c == '\n';
	return n;
}

static void write_sshd_config(struct ssh_vm *vm)
{
	char program[256], text[2048];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

	ck_assert_int_gt(n, 0);
	program[n] = '\0';
	/* PAM as on Debian, where root is: else sshd itself refuses logins without a password. A home of its own: bash that sshd starts reads
	 * ~/.bashrc, and what people have there (pyenv, nvm) takes seconds, or a minute. */
	snprintf(
		text, sizeof(text),
		"HostKey %s/%s\nAuthorizedKeysFile %s/authorized_keys\nForceCommand %s --play %s\nMaxSessions %u\n"
		"UsePAM %s\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nStrictModes no\nPrintMotd no\n"
		"PrintLastLog no\nPidFile none\nUseDNS no\nLogLevel VERBOSE\nSetEnv HOME=%s " CHECK_PROGRAM_PLAYS "=1\n",
		vm->tree.path, vm->host_key, vm->tree.path, program, vm->tree.path, vm->max_sessions, geteuid() == 0 ? "yes" : "no",
		vm->tree.path);
	temp_tree_replace(&vm->tree, "sshd_config", text);
}

static void run_keygen(const char *path, const char *type)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execlp("ssh-keygen", "ssh-keygen", "-q", "-t", type, "-N", "", "-f", path, NULL);
		_exit(127);
	}
	ck_assert_int_ge(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

void ssh_vm_change_host_key(struct ssh_vm *vm, const char *type)
{
	static unsigned n;

	snprintf(vm->host_key, sizeof(vm->host_key), "host_%s_%u", type, n++);
	run_keygen(temp_tree_path(&vm->tree, vm->host_key), type);
	write_sshd_config(vm);
}

void ssh_vm_answer_unpair(struct ssh_vm *vm, const char *answer)
{
	temp_tree_replace(&vm->tree, "unpair.answer", answer);
}

void ssh_vm_answer_connect(struct ssh_vm *vm, const char *answer)
{
	temp_tree_replace(&vm->tree, "connect.answer", answer);
}

void ssh_vm_limit_sessions(struct ssh_vm *vm, unsigned max)
{
	vm->max_sessions = max;
	write_sshd_config(vm);
}

void ssh_vm_deauthorize(struct ssh_vm *vm)
{
	temp_tree_replace(&vm->tree, "authorized_keys", "");
}

static pid_t start_sshd(struct ssh_vm *vm, int fd)
{
	const char *config = temp_tree_path(&vm->tree, "sshd_config"), *log = temp_tree_path(&vm->tree, "sshd.log");
	pid_t pid = fork();

	/* No check's macro in the child: it takes memory, and a job's thread may have held the allocator's lock at the fork. */
	if (pid != 0) {
		(void)setpgid(pid, pid); /* or the child was first, below */
		return pid;
	}
	(void)setpgid(0, 0);
	if (vm->has_people && !ssh_people_enter(vm))
		_exit(126);
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	/* -E: what it says is a file's, the test's own stderr stays readable */
	execl(SSHD, SSHD, "-i", "-f", config, "-E", log, NULL);
	_exit(127);
}

/* An sshd that does what none does. */
static pid_t start_rogue(const struct ssh_vm *vm, int fd)
{
	const char *directory = getenv("USBPUSH_SOURCE_DIR"), *log = temp_tree_path(&vm->tree, "rogue.log");
	char program[512], host_key[512];
	pid_t pid;

	snprintf(program, sizeof(program), "%s/tests/unit/rogue_sshd.py", directory ? directory : ".");
	snprintf(host_key, sizeof(host_key), "%s/host", vm->tree.path);
	pid = fork();
	if (pid != 0) {
		if (pid > 0)
			(void)setpgid(pid, pid);
		return pid;
	}
	(void)setpgid(0, 0);
	dup2(fd, STDIN_FILENO);
	execl("/usr/bin/python3", "python3", program, host_key, vm->rogue_acts, log, NULL);
	_exit(127);
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t events, void *userdata)
{
	static const char http[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
	struct ssh_vm *vm = userdata;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

	(void)source;
	(void)events;
	ck_assert_int_ge(fd, 0);
	switch (vm->wire) {
	case WIRE_SSHD:
		vm->sshds[vm->n_connections % 256] = start_sshd(vm, fd);
		ck_assert_int_gt(vm->sshds[vm->n_connections % 256], 0);
		break;
	case WIRE_ROGUE:
		vm->sshds[vm->n_connections % 256] = start_rogue(vm, fd);
		ck_assert_int_gt(vm->sshds[vm->n_connections % 256], 0);
		break;
	case WIRE_SILENT:
		vm->held[vm->n_connections % 16] = dup(fd);
		break;
	case WIRE_HTTP:
		ck_assert_int_gt(send(fd, http, sizeof(http) - 1, MSG_NOSIGNAL), 0);
		break;
	case WIRE_CLOSED:
		break;
	}
	vm->n_connections++;
	close(fd);
	return 0;
}

static void start_listening(struct ssh_vm *vm)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	vm->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(vm->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(vm->listen_fd, 16), 0);
	ck_assert_int_eq(getsockname(vm->listen_fd, (struct sockaddr *)&address, &size), 0);
	ck_assert_int_ge(sd_event_add_io(vm->event, &vm->source, vm->listen_fd, EPOLLIN, on_connection, vm), 0);
	vm->config.port = ntohs(address.sin_port);
}

static void fill_config(struct ssh_vm *vm)
{
	_cleanup_free_ char *host_key = NULL;
	const struct passwd *user = getpwuid(geteuid());
	struct failure failure;

	ck_assert_ptr_nonnull(user);
	vm->config.patience_ms = 8000;
	snprintf(vm->config.host, sizeof(vm->config.host), "127.0.0.1");
	snprintf(vm->config.user, sizeof(vm->config.user), "%s", user->pw_name);
	ck_assert_int_eq(transport_key_public(temp_tree_path(&vm->tree, "host"), "", &host_key, &failure), 0);
	ck_assert_int_eq(transport_key_parse(host_key, vm->config.host_key, sizeof(vm->config.host_key), NULL, &failure), 0);
}

static void authorize(struct ssh_vm *vm)
{
	_cleanup_free_ char *line = NULL;
	struct failure failure;

	ck_assert_int_eq(transport_key_public(vm->key_path, "pi", &line, &failure), 0);
	temp_tree_replace(&vm->tree, "authorized_keys", line);
}

void ssh_vm_new(struct ssh_vm *vm, sd_event *event)
{
	struct failure failure;

	*vm = (struct ssh_vm){ .event = event, .max_sessions = 64, .host_key = "host" };
	for (size_t i = 0; i < ARRAY_SIZE(vm->held); i++)
		vm->held[i] = -EBADF;
	if (geteuid() == 0)
		(void)mkdir("/run/sshd", 0755); /* sshd insists */
	temp_tree_new(&vm->tree);
	snprintf(vm->key_path, sizeof(vm->key_path), "%s/id_ed25519", vm->tree.path);
	ck_assert_int_eq(transport_key_ensure(vm->key_path, &failure), 0);
	ck_assert_int_eq(transport_key_ensure(temp_tree_path(&vm->tree, "host"), &failure), 0);
	authorize(vm);
	write_sshd_config(vm);
	start_listening(vm);
	fill_config(vm);
	ssh_vm_script(vm, "control", "serve\n");
	ssh_vm_script(vm, "stream", "say OK\necho\n");
}

void ssh_vm_end_players(struct ssh_vm *vm, const char *kind)
{
	_cleanup_close_ int fd = -EBADF;
	char path[32];
	const char *pids;

	snprintf(path, sizeof(path), "%s.pid", kind);
	fd = openat(vm->tree.fd, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ck_assert_int_eq(flock(fd, LOCK_EX), 0); /* who has it open now is ended, or stands in it the next time */
	for (pids = temp_tree_get(&vm->tree, path); *pids; pids += strcspn(pids, "\n") + 1)
		kill((pid_t)atoi(pids), SIGKILL);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
}

void ssh_vm_kill(struct ssh_vm *vm)
{
	for (size_t i = 0; i < ARRAY_SIZE(vm->sshds); i++) {
		if (!vm->sshds[i])
			continue;
		kill(-vm->sshds[i], SIGKILL); /* its group: Debian 13's has a child with the connection in it for root, too */
		waitpid(vm->sshds[i], NULL, 0);
		vm->sshds[i] = 0;
	}
}

void ssh_vm_free(struct ssh_vm *vm)
{
	ssh_vm_kill(vm);
	for (size_t i = 0; i < ARRAY_SIZE(vm->held); i++)
		close_fd(vm->held[i]);
	sd_event_source_disable_unref(vm->source);
	close_fd(vm->listen_fd);
	temp_tree_free(&vm->tree);
}
