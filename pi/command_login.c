#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cleanup.h"
#include "command.h"
#include "command_internal.h"
#include "json_whole.h"
#include "secret.h"

#define LOOK_TIMEOUT_MS  40000
#define LOGIN_TIMEOUT_MS 120000 /* connecting, logging in, usbpush-vm there, the link */
#define LINE_SIZE        256

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* Without its newline; false at the end of input. */
static bool read_line(char line[LINE_SIZE])
{
	if (!fgets(line, LINE_SIZE, stdin))
		return false;
	line[strcspn(line, "\r\n")] = '\0';
	return true;
}

/* Nothing of what is typed is shown. */
static bool read_password(const char *user, const char *host, char password[LINE_SIZE])
{
	struct termios old, silent;
	bool is_terminal = tcgetattr(STDIN_FILENO, &old) == 0, is_read;

	printf("Password of %s at %s: ", user, host);
	fflush(stdout);
	if (is_terminal) {
		silent = old;
		silent.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	}
	is_read = read_line(password);
	if (is_terminal) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
		putchar('\n');
	}
	return is_read && *password;
}

static json_t *request_of(const char *name, const char *host, const char *user, json_int_t port)
{
	return json_pack("{s:s, s:s, s:s, s:I}", "request", name, "host", host, "user", user, "port", port);
}

/* Whether the owner says that it is the VM's key. */
static bool is_key_right(const char *host, const json_t *look)
{
	char line[LINE_SIZE];

	printf("%s shows this host key:\n  %s\nOn the VM, ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub shows it, too. Is it the same? [yes/no] ",
	       host, text_of(look, "fingerprint"), strncmp(text_of(look, "host_key"), "ssh-ed25519", 11) == 0 ? "ed25519" : "*");
	fflush(stdout);
	return read_line(line) && strcmp(line, "yes") == 0;
}

static int give_up(const char *text)
{
	fprintf(stderr, "usbpush: %s; nothing was sent, and nothing has changed.\n", text);
	return FAILED;
}

int command_pair_login(const char *host, const char *user, json_int_t port)
{
	_cleanup_json_ json_t *look = NULL, *answer = NULL;
	char password[LINE_SIZE] = "";
	struct failure failure;
	json_t *request;
	int r;

	if (command_ask(request_of("login-look", host, user, port), LOOK_TIMEOUT_MS, &look, &failure) < 0)
		return command_fail(&failure);
	if (!is_key_right(host, look))
		return give_up("the host key was not said to be right");
	if (!read_password(user, host, password))
		return give_up("no password was typed");
	printf("Logging in, letting this Pi's key in, connecting ...\n");
	fflush(stdout);
	request = request_of("login-pair", host, user, port);
	json_whole_set(&request, "host_key", json_string(text_of(look, "host_key")));
	json_whole_set(&request, "password", json_string(password));
	explicit_bzero(password, sizeof(password));
	r = command_ask(request, LOGIN_TIMEOUT_MS, &answer, &failure);
	if (r < 0) {
		command_fail(&failure);
		fprintf(stderr, "usbpush: not paired; everything is as it was.\n");
		return FAILED;
	}
	printf("Paired with %s. The password is forgotten. Plug a device in: it appears there.\n", host);
	return DONE;
}
