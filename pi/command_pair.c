#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "command.h"
#include "command_internal.h"
#include "daemon.h"
#include "json_whole.h"
#include "local_request.h"
#include "pair_exchange.h"

#define PAIR_TIMEOUT_MS (21000 + WRITE_TIMEOUT_MS) /* the link is tried for 20 s */
#define CODE_TIMEOUT_MS 70000                      /* PROTOCOL.md: the exporter answers within 60 s */
#define VM_WAIT_USEC    (120 * UINT64_C(1000000))
#define CODE_MAX_TRIES  3 /* at typing six digits; no guesses */

/* ---- by hand: host and key are given ---- */

/* Fills the request from the options; 0, or a usage error. */
static int parse_pair(int argc, char **argv, json_t **request, const char **ret_operand)
{
	static const struct option options[] = {
		{ "host", required_argument, NULL, 'h' },  { "host-key", required_argument, NULL, 'k' },
		{ "user", required_argument, NULL, 'u' },  { "port", required_argument, NULL, 'p' },
		{ "login", required_argument, NULL, 'l' }, { 0 },
	};
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		char *end = NULL;

		if (option == 'h')
			json_whole_set(request, "host", json_string(optarg));
		else if (option == 'k')
			json_whole_set(request, "host_key", json_string(optarg));
		else if (option == 'u')
			json_whole_set(request, "user", json_string(optarg));
		else if (option == 'l')
			json_whole_set(request, "login", json_string(optarg));
		else if (option == 'p')
			json_whole_set(request, "port", json_integer(strtol(optarg, &end, 10)));
		else
			return command_usage("pair does not take that");
		if (end && (end == optarg || *end))
			return command_usage("--port takes a number, not \"%s\"", optarg);
	}
	if (!*request)
		return command_usage("pair: an option is not UTF-8, or memory has run out");
	*ret_operand = optind < argc ? argv[optind++] : NULL;
	if (json_object_get(*request, "login"))
		return optind < argc || !*ret_operand || json_object_get(*request, "host") || json_object_get(*request, "host_key") ||
				       json_object_get(*request, "user") ?
			       command_usage("pair --login takes a login of the VM, --port, and the VM's name or address") :
			       0;
	if (optind < argc || (*ret_operand && json_object_size(*request) > 1))
		return command_usage("pair takes a VM's name, or --host and --host-key, or nothing");
	if (json_object_size(*request) > 1 && (!json_object_get(*request, "host") || !json_object_get(*request, "host_key")))
		return command_usage(
			"pair takes --host VM and --host-key 'ssh-ed25519 AAAA...' (usbpush-vm authorize prints the whole command)");
	return 0;
}

static int pair_by_hand(json_t *request)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;
	int r = command_ask(json_incref(request), PAIR_TIMEOUT_MS, &answer, &failure);

	if (r < 0) {
		bool has_end = r == -EREMOTEIO || failure.code != FAILURE_TIMEOUT;

		command_fail(&failure);
		fprintf(stderr, has_end ? "usbpush: not paired; everything is as it was.\n" :
					  "usbpush: it goes on; usbpush status tells how it ends.\n");
		return FAILED;
	}
	printf("Paired with %s. Plug a device in: it appears there.\n", json_string_value(json_object_get(request, "host")));
	return DONE;
}

/* ---- by six digits ---- */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static bool pairing_fits(const json_t *pairing, const char *wanted)
{
	return strcmp(text_of(pairing, "state"), "WAITING") == 0 &&
	       (!wanted || strcmp(text_of(pairing, "name"), wanted) == 0 || strcmp(text_of(pairing, "host"), wanted) == 0 ||
		strcmp(text_of(pairing, "from"), wanted) == 0);
}

/* The only one that waits and fits: 1, 0 for none yet, -ENOTUNIQ for several, which are listed. */
static int choose_vm(const json_t *list, const char *wanted, json_t **ret_pairing)
{
	json_t *pairing, *chosen = NULL;
	size_t i, n = 0;

	json_array_foreach(list, i, pairing)
		if (pairing_fits(pairing, wanted)) {
			chosen = pairing;
			n++;
		}
	if (n == 1)
		*ret_pairing = json_incref(chosen);
	if (n < 2)
		return (int)n;
	fprintf(stderr, "usbpush: several VMs ask to be paired. Say which: usbpush pair HOST\n");
	json_array_foreach(list, i, pairing)
		if (pairing_fits(pairing, wanted))
			fprintf(stderr, "  %s  %s\n", text_of(pairing, "host"), text_of(pairing, "name"));
	return -ENOTUNIQ;
}

/* Looks whenever something happens, and when the time is up. 0 and the VM, or a negative errno (told already). */
static int wait_for_vm(int events_fd, const char *wanted, json_t **ret_pairing)
{
	uint64_t end = clock_now_usec() + VM_WAIT_USEC;
	bool is_told = false;

	for (;;) {
		_cleanup_json_ json_t *answer = NULL, *event = NULL;
		struct failure failure = { 0 };
		uint64_t now;
		int r = command_ask(json_pack("{s:s}", "request", "pairings"), ANSWER_TIMEOUT_MS, &answer, &failure);

		if (r < 0) {
			command_fail(&failure);
			return r;
		}
		r = choose_vm(json_object_get(answer, "pairings"), wanted, ret_pairing);
		if (r)
			return r < 0 ? r : 0;
		if (!is_told)
			printf("Run this on the VM:  sudo usbpush-vm pair\nWaiting for it ...\n");
		is_told = true;
		fflush(stdout);
		now = clock_now_usec();
		r = now < end ? local_next_event(events_fd, (int)((end - now) / 1000) + 1, &event) : -ETIMEDOUT;
		if (r < 0) {
			failure_set(&failure, r == -ETIMEDOUT ? FAILURE_TIMEOUT : FAILURE_UNREACHABLE,
				    "Does the VM reach this Pi's portal? usbpush-vm pair says so.", "no VM asked to be paired");
			command_fail(&failure);
			return r;
		}
	}
}

static int read_code(char ret_code[PAIR_CODE_SIZE])
{
	char line[64];

	for (unsigned i = 0; i < CODE_MAX_TRIES; i++) {
		printf("The six digits that it shows: ");
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			break;
		line[strcspn(line, "\r\n")] = '\0';
		if (pair_code_parse(line, ret_code) == 0)
			return 0;
		printf("A code has six digits.\n");
	}
	fprintf(stderr, "usbpush: no code was typed; nothing has changed.\n");
	return -EINVAL;
}

static void cancel(const char *session)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;

	(void)command_ask(json_pack("{s:s, s:s}", "request", "pairing-cancel", "session", session), ANSWER_TIMEOUT_MS, &answer, &failure);
}

static int pair_with_code(const json_t *pairing)
{
	_cleanup_json_ json_t *answer = NULL;
	const char *session = text_of(pairing, "session");
	struct failure failure;
	char code[PAIR_CODE_SIZE];

	printf("%s at %s asks to be paired. Its host key: %s\n", text_of(pairing, "name"), text_of(pairing, "host"),
	       text_of(pairing, "fingerprint"));
	if (read_code(code) < 0) {
		cancel(session);
		return FAILED;
	}
	printf("Comparing the digits, then connecting ...\n");
	fflush(stdout);
	if (command_ask(json_pack("{s:s, s:s, s:s}", "request", "pairing-code", "session", session, "code", code), CODE_TIMEOUT_MS, &answer,
			&failure) < 0) {
		command_fail(&failure);
		fprintf(stderr, "usbpush: not paired; everything is as it was.\n");
		return FAILED;
	}
	printf("Paired with %s (%s). Plug a device in: it appears there.\n", text_of(answer, "name"), text_of(answer, "host"));
	return DONE;
}

static int pair_by_code(const char *wanted)
{
	_cleanup_json_ json_t *watch = json_pack("{s:s}", "request", "watch"), *watching = NULL, *pairing = NULL;
	struct failure failure;
	_cleanup_close_ int fd = local_connect(command_control_path(), "usbpush-exporter", &failure);

	if (fd < 0 || local_request(fd, watch, ANSWER_TIMEOUT_MS, &watching, &failure) < 0)
		return command_fail(&failure);
	if (wait_for_vm(fd, wanted, &pairing) < 0)
		return FAILED;
	return pair_with_code(pairing);
}

int command_pair(int argc, char **argv)
{
	_cleanup_json_ json_t *request = json_pack("{s:s}", "request", "pair");
	const char *operand = NULL;
	int r = parse_pair(argc, argv, &request, &operand);

	if (r)
		return r;
	if (json_object_get(request, "login"))
		return command_pair_login(operand, text_of(request, "login"),
					  json_object_get(request, "port") ? json_integer_value(json_object_get(request, "port")) : 22);
	return json_object_size(request) > 1 ? pair_by_hand(request) : pair_by_code(operand);
}
