#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cleanup.h"
#include "daemon.h"
#include "transport_internal.h"
#include "vm_login.h"

#define LOGIN_TIMEOUT_SEC    15L                /* of each of libssh's own waits; PAM takes its time to refuse */
#define AUTHORIZE_LIMIT_USEC UINT64_C(30000000) /* sudo, usbpush-vm, its handler */
#define KEEP_LIMIT_USEC      UINT64_C(10000000)
#define LOGIN_TURN_MS        50
#define LOGIN_OUTPUT_MAX     16384
#define LOGIN_LINE_MAX       2048
#define LOGIN_PROMPTS_MAX    8
#define MARK_SIZE            40

struct vm_login {
	int fd, given_fd;    /* owned; given_fd: its double, as in struct transport */
	ssh_session ssh;     /* owned */
	ssh_channel channel; /* owned */
	char user[64];
	char mark[MARK_SIZE];   /* what runs as root says this first */
	char prompt[MARK_SIZE]; /* what sudo asks for the password with */
	char output[LOGIN_OUTPUT_MAX], complaint[LOGIN_OUTPUT_MAX];
	size_t output_used, output_taken, complaint_used;
	bool is_root; /* the mark came */
	bool has_ended;
};

static int login_fail_ssh(struct vm_login *login, struct failure *failure, const char *what)
{
	return failure_set(failure, FAILURE_UNREACHABLE, "Is it the VM's sshd that answers there?", "%s: %s", what,
			   ssh_get_error(login->ssh));
}

/* ---- connecting ---- */

static int login_set_options(struct vm_login *login, const char *user, ssh_key pinned)
{
	const int no = 0;
	const long timeout = LOGIN_TIMEOUT_SEC;
	const char *types = pinned ? transport_host_key_types(pinned) :
				     "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256";
	int r = 0;

	r |= ssh_options_set(login->ssh, SSH_OPTIONS_PROCESS_CONFIG, &no);
	r |= ssh_options_set(login->ssh, SSH_OPTIONS_HOST, "vm"); /* only a label: the socket is connected already */
	r |= ssh_options_set(login->ssh, SSH_OPTIONS_USER, user);
	r |= ssh_options_set(login->ssh, SSH_OPTIONS_FD, &login->given_fd);
	r |= ssh_options_set(login->ssh, SSH_OPTIONS_TIMEOUT, &timeout);
	r |= ssh_options_set(login->ssh, SSH_OPTIONS_COMPRESSION, "no");
	r |= ssh_options_set(login->ssh, SSH_OPTIONS_HOSTKEYS, types);
	return r == 0 ? 0 : -EINVAL;
}

static int login_connect(struct vm_login *login, bool is_pinned, struct failure *failure)
{
	if (ssh_connect(login->ssh) == SSH_OK)
		return 0;
	if (is_pinned && strstr(ssh_get_error(login->ssh), "no match for method server host key"))
		return failure_set(failure, FAILURE_HOST_KEY,
				   "Look at its fingerprint again. If it was not set up anew, somebody may be in between.",
				   "the VM has no host key any more of the type that was shown a moment ago");
	return login_fail_ssh(login, failure, "the SSH handshake failed");
}

static int login_check_key(struct vm_login *login, ssh_key pinned, struct failure *failure)
{
	ssh_key seen = NULL;
	bool is_same;

	if (ssh_get_server_publickey(login->ssh, &seen) != SSH_OK)
		return login_fail_ssh(login, failure, "the VM's host key can't be read, and no password was sent");
	is_same = ssh_key_cmp(seen, pinned, SSH_KEY_CMP_PUBLIC) == 0;
	ssh_key_free(seen);
	if (is_same)
		return 0;
	return failure_set(failure, FAILURE_HOST_KEY,
			   "Look at its fingerprint again. If the VM was not set up anew, somebody may be in between.",
			   "the VM's host key is not the one that was shown a moment ago; no password was sent");
}

static int login_open(struct vm_login *login, const char *user, ssh_key pinned, struct failure *failure)
{
	int r;

	login->given_fd = fcntl(login->fd, F_DUPFD_CLOEXEC, 3);
	login->ssh = ssh_new();
	if (login->given_fd < 0 || !login->ssh || login_set_options(login, user, pinned) < 0)
		return failure_set(failure, FAILURE_INTERNAL, NULL, "SSH could not be started");
	(void)fcntl(login->fd, F_SETFL, 0); /* of both: they are one socket */
	ssh_set_blocking(login->ssh, 1);
	r = login_connect(login, pinned != NULL, failure);
	return r < 0 || !pinned ? r : login_check_key(login, pinned, failure);
}

static int login_draw(char text[MARK_SIZE], const char *start)
{
	unsigned char bytes[12];
	size_t used = strlen(start);

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	snprintf(text, MARK_SIZE, "%s", start);
	for (size_t i = 0; i < sizeof(bytes); i++)
		used += (size_t)snprintf(text + used, MARK_SIZE - used, "%02x", bytes[i]);
	return 0;
}

int vm_login_open(int tcp_fd, const char *user, const char *pinned, struct vm_login **ret_login, struct failure *ret_failure)
{
	struct vm_login *login = calloc(1, sizeof(*login));
	ssh_key key = NULL;
	int r = 0;

	if (!login) {
		close_fd(tcp_fd);
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	}
	login->fd = tcp_fd;
	login->given_fd = -EBADF;
	snprintf(login->user, sizeof(login->user), "%s", user);
	if (login_draw(login->mark, "usbpush-root-") < 0 || login_draw(login->prompt, "usbpush-sudo-") < 0)
		r = failure_set(ret_failure, FAILURE_INTERNAL, NULL, "no random numbers");
	else if (pinned && transport_import_host_key(pinned, &key) < 0)
		r = failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "that is no host key");
	else
		r = login_open(login, user, key, ret_failure);
	ssh_key_free(key);
	if (r < 0) {
		vm_login_close(login);
		return r;
	}
	*ret_login = login;
	return 0;
}

struct vm_login *vm_login_close(struct vm_login *login)
{
	if (!login)
		return NULL;
	if (login->channel)
		ssh_channel_free(login->channel);
	if (login->ssh) {
		ssh_disconnect(login->ssh);
		ssh_free(login->ssh);
	}
	transport_close_given(login->given_fd, login->fd);
	close_fd(login->fd);
	free(login);
	return NULL;
}

int vm_login_host_key(struct vm_login *login, char *ret_key, size_t size, char *ret_fingerprint, struct failure *ret_failure)
{
	ssh_key key = NULL;
	int r = ssh_get_server_publickey(login->ssh, &key) == SSH_OK ? transport_describe_key(key, ret_key, size, ret_fingerprint) : -EIO;

	ssh_key_free(key);
	return r < 0 ? failure_set(ret_failure, FAILURE_INTERNAL, NULL, "the VM's host key can't be shown") : 0;
}

/* ---- logging in ---- */

static int login_fail_more(struct failure *failure)
{
	return failure_set(failure, FAILURE_NO_PASSWORD_LOGIN, "Pair with six digits: sudo usbpush-vm pair on the VM.",
			   "the VM asks for more than a password");
}

/* PAM asks by itself: the one hidden question is for the password, once. SSH_AUTH_PARTIAL if there is another. */
static int login_answer_questions(struct vm_login *login, const char *password)
{
	bool is_given = false;
	int r = ssh_userauth_kbdint(login->ssh, NULL, NULL);

	for (unsigned i = 0; r == SSH_AUTH_INFO && i < LOGIN_PROMPTS_MAX; i++) {
		int n = ssh_userauth_kbdint_getnprompts(login->ssh);
		char echo = 0;

		if (n > 1 || (n == 1 && is_given))
			return SSH_AUTH_PARTIAL;
		if (n == 1 && ssh_userauth_kbdint_getprompt(login->ssh, 0, &echo) && echo)
			return SSH_AUTH_PARTIAL;
		if (n == 1 && ssh_userauth_kbdint_setanswer(login->ssh, 0, password) < 0)
			return SSH_AUTH_ERROR;
		is_given |= n == 1;
		r = ssh_userauth_kbdint(login->ssh, NULL, NULL);
	}
	return r == SSH_AUTH_INFO ? SSH_AUTH_PARTIAL : r;
}

static int login_try(struct vm_login *login, const char *password, struct failure *failure)
{
	int r = ssh_userauth_none(login->ssh, NULL), methods;

	if (r == SSH_AUTH_SUCCESS || r == SSH_AUTH_ERROR)
		return r;
	methods = ssh_userauth_list(login->ssh, NULL);
	if (methods & SSH_AUTH_METHOD_PASSWORD)
		return ssh_userauth_password(login->ssh, NULL, password);
	if (methods & SSH_AUTH_METHOD_INTERACTIVE)
		return login_answer_questions(login, password);
	failure_set(failure, FAILURE_NO_PASSWORD_LOGIN, "Pair with six digits: sudo usbpush-vm pair on the VM.",
		    "the VM takes no passwords for %s", login->user);
	return SSH_AUTH_AGAIN; /* told already */
}

int vm_login_authenticate(struct vm_login *login, const char *password, struct failure *ret_failure)
{
	switch (login_try(login, password, ret_failure)) {
	case SSH_AUTH_SUCCESS:
		return 0;
	case SSH_AUTH_AGAIN:
		return -EACCES;
	case SSH_AUTH_PARTIAL:
		return login_fail_more(ret_failure);
	case SSH_AUTH_DENIED:
		return failure_set(ret_failure, FAILURE_WRONG_PASSWORD,
				   strcmp(login->user, "root") == 0 ?
					   "Many VMs let root in by key only (PermitRootLogin): use a login that may use sudo." :
					   "Type it again; is that login's name right?",
				   "the VM does not let %s in with that password", login->user);
	default:
		return login_fail_ssh(login, ret_failure, "the login failed");
	}
}

/* ---- what runs there ---- */

static void login_drop_taken(struct vm_login *login)
{
	login->output_used -= login->output_taken;
	memmove(login->output, login->output + login->output_taken, login->output_used + 1);
	login->output_taken = 0;
}

/* What came, as much as there is room for: the rest is nobody's. */
static void login_read_from(struct vm_login *login, bool is_stderr, int timeout_ms)
{
	char *buffer = is_stderr ? login->complaint : login->output, rest[1024];
	size_t *used = is_stderr ? &login->complaint_used : &login->output_used, room = LOGIN_OUTPUT_MAX - 1 - *used;
	int n = ssh_channel_read_timeout(login->channel, room ? buffer + *used : rest, (uint32_t)(room ? room : sizeof(rest)), is_stderr,
					 timeout_ms);

	if (n > 0 && room)
		*used += (size_t)n;
	buffer[*used] = '\0';
	if (n == SSH_ERROR || (n <= 0 && !is_stderr && ssh_channel_is_eof(login->channel)))
		login->has_ended = true;
}

static void login_read(struct vm_login *login)
{
	login_drop_taken(login);
	login_read_from(login, false, LOGIN_TURN_MS);
	login_read_from(login, true, 0);
}

/* Writes all of it. The password may be in it: libssh's buffers are its own and wiped by it. */
static int login_write(struct vm_login *login, const char *text)
{
	return ssh_channel_write(login->channel, text, (uint32_t)strlen(text)) == (int)strlen(text) ? 0 : -EPIPE;
}

/* The next whole line of its output; false: not yet. */
static bool login_take_line(struct vm_login *login, char line[LOGIN_LINE_MAX])
{
	const char *begin = login->output + login->output_taken, *end = memchr(begin, '\n', login->output_used - login->output_taken);

	if (!end)
		return false;
	snprintf(line, LOGIN_LINE_MAX, "%.*s", (int)(end - begin), begin);
	line[strcspn(line, "\r")] = '\0';
	login->output_taken += (size_t)(end - begin) + 1;
	return true;
}

/* The last line that it complained with, without our own prompt. */
static void login_last_complaint(const struct vm_login *login, char *buffer, size_t size)
{
	char text[LOGIN_OUTPUT_MAX], *at;
	size_t length;

	memcpy(text, login->complaint, login->complaint_used + 1);
	while ((at = strstr(text, login->prompt)))
		memmove(at, at + strlen(login->prompt), strlen(at + strlen(login->prompt)) + 1);
	length = strlen(text);
	while (length > 0 && strchr("\r\n ", text[length - 1]))
		text[--length] = '\0';
	at = strrchr(text, '\n');
	snprintf(buffer, size, "%s", at ? at + 1 : text);
}

/* Why what was to say something ended without a word. */
static int login_fail_ended(struct vm_login *login, bool is_password_refused, struct failure *failure)
{
	int status = ssh_channel_get_exit_status(login->channel);
	char complaint[160];

	login_last_complaint(login, complaint, sizeof(complaint));
	if (login->is_root && status == 127)
		return failure_set(
			failure, FAILURE_NOT_INSTALLED,
			"On the VM: sudo vm/install, in usbpush's source tree there; or install the package usbpush-vm. Then try again.",
			"usbpush is not installed on the VM");
	if (login->is_root && status == 2)
		return failure_set(failure, FAILURE_NOT_INSTALLED, "Install the same version of usbpush on both machines.",
				   "usbpush on the VM is too old for this");
	if (login->is_root)
		return failure_set(failure, FAILURE_INTERNAL, NULL, "usbpush-vm on the VM ended without an answer: %s", complaint);
	if (strcmp(login->user, "root") == 0)
		return failure_set(failure, FAILURE_NOT_ALLOWED, NULL, "root may run no commands on the VM: %s", complaint);
	if (status == 127)
		return failure_set(failure, FAILURE_NO_SUDO, "Use the login root; or, on the VM as root: apt install sudo",
				   "there is no sudo on the VM");
	return failure_set(failure, FAILURE_NO_SUDO, "Use a login that may use sudo there, or root.", "%s may not use sudo on the VM%s%s",
			   login->user,
			   is_password_refused ? " with that password" :
			   complaint[0]        ? ": " :
						 "",
			   is_password_refused ? "" : complaint);
}

static unsigned login_count_prompts(const struct vm_login *login)
{
	unsigned n = 0;

	for (const char *at = login->complaint; (at = strstr(at, login->prompt)); at++)
		n++;
	return n;
}

static int login_fail_slow(struct failure *failure)
{
	return failure_set(failure, FAILURE_TIMEOUT, "Is the VM overloaded?", "the VM did not answer in time");
}

/* Gives sudo the password when it asks, once. What the login's shell has to say before the mark is nobody's business. */
static int login_become_root(struct vm_login *login, const char *password, uint64_t end_usec, struct failure *failure)
{
	char line[LOGIN_LINE_MAX];
	bool is_given = false;

	while (clock_now_usec() < end_usec) {
		login_read(login);
		while (login_take_line(login, line))
			if (strcmp(line, login->mark) == 0) {
				login->is_root = true;
				return 0;
			}
		if (login_count_prompts(login) > (is_given ? 1 : 0)) {
			if (is_given)
				return login_fail_ended(login, true, failure);
			is_given = true;
			if (login_write(login, password) == 0)
				(void)login_write(login, "\n");
		}
		if (login->has_ended)
			return login_fail_ended(login, is_given, failure);
	}
	return login_fail_slow(failure);
}

/* The next line that is a JSON object. */
static int login_wait_answer(struct vm_login *login, uint64_t end_usec, json_t **ret_answer, struct failure *failure)
{
	char line[LOGIN_LINE_MAX];

	while (clock_now_usec() < end_usec) {
		login_read(login);
		while (login_take_line(login, line)) {
			json_t *object = line[0] == '{' ? json_loads(line, JSON_REJECT_DUPLICATES, NULL) : NULL;

			if (json_is_object(object)) {
				*ret_answer = object;
				return 0;
			}
			json_decref(object);
		}
		if (login->has_ended)
			return login_fail_ended(login, false, failure);
	}
	return login_fail_slow(failure);
}

/* What usbpush-vm said: that it is done, or why not. */
static int login_wait_state(struct vm_login *login, uint64_t end_usec, const char *state, struct failure *failure)
{
	_cleanup_json_ json_t *answer = NULL;
	const char *is;
	int r = login_wait_answer(login, end_usec, &answer, failure);

	if (r < 0)
		return r;
	is = json_string_value(json_object_get(answer, "state"));
	if (json_is_true(json_object_get(answer, "ok")) && is && strcmp(is, state) == 0)
		return 0;
	failure_from_json(json_object_get(answer, "error"), failure);
	if (!failure->text[0])
		failure_set(failure, FAILURE_VERSION, "Install the same version of usbpush on both machines.",
			    "the VM's answer makes no sense");
	return -EREMOTEIO;
}

/* Goes through the login's shell, whichever it is: nothing in it needs quoting. */
static int login_start(struct vm_login *login, const struct vm_login_pi *pi, struct failure *failure)
{
	char command[512], sudo[80] = "";

	if (strcmp(login->user, "root") != 0)
		snprintf(sudo, sizeof(sudo), "sudo -S -p %s -- ", login->prompt);
	snprintf(command, sizeof(command), "%ssh -c 'echo %s; exec usbpush-vm authorize --name %s%s%s --hold -'", sudo, login->mark,
		 pi->name, pi->address[0] ? " --address " : "", pi->address);
	login->channel = ssh_channel_new(login->ssh);
	if (!login->channel || ssh_channel_open_session(login->channel) != SSH_OK ||
	    ssh_channel_request_exec(login->channel, command) != SSH_OK)
		return login_fail_ssh(login, failure, "the VM runs no command for this login");
	return 0;
}

int vm_login_authorize(struct vm_login *login, const char *password, const struct vm_login_pi *pi, struct failure *ret_failure)
{
	_cleanup_free_ char *key = NULL;
	uint64_t end_usec = clock_now_usec() + AUTHORIZE_LIMIT_USEC;
	int r = login_start(login, pi, ret_failure);

	if (r < 0)
		return r;
	if (asprintf(&key, "%s\n", pi->key) < 0)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	r = login_become_root(login, password, end_usec, ret_failure);
	if (r < 0)
		return r;
	(void)login_write(login, key); /* one that does not listen any more has said why */
	return login_wait_state(login, end_usec, "authorized", ret_failure);
}

int vm_login_keep(struct vm_login *login, struct failure *ret_failure)
{
	(void)login_write(login, "keep\n");
	return login_wait_state(login, clock_now_usec() + KEEP_LIMIT_USEC, "kept", ret_failure);
}
