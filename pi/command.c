#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "command_internal.h"
#include "control.h"
#include "daemon.h"
#include "json_text.h"
#include "json_whole.h"
#include "local_request.h"
#include "status_view.h"
#include "table.h"

#define TEST_TIMEOUT_MS   22000
#define TEST_STEP_MS      100
#define UNPAIR_TIMEOUT_MS (8000 + WRITE_TIMEOUT_MS) /* the VM has 8 s, after that */

int command_fail(const struct failure *failure)
{
	size_t length = strlen(failure->text);
	const char *stop = failure->cure[0] && length > 0 && !strchr(".!?", failure->text[length - 1]) ? "." : "";

	fprintf(stderr, "usbpush: %s%s%s%s\n", failure->text, stop, failure->cure[0] ? " " : "", failure->cure);
	return FAILED;
}

int command_usage(const char *format, ...)
{
	va_list arguments;

	fputs("usbpush: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputs("; see usbpush --help\n", stderr);
	return USAGE;
}

const char *command_control_path(void)
{
	const char *path = getenv("USBPUSH_CONTROL_SOCKET");

	return path ? path : CONTROL_SOCKET;
}

int command_ask(json_t *request, int timeout_ms, json_t **ret_answer, struct failure *ret_failure)
{
	_cleanup_json_ json_t *owned = request;
	_cleanup_close_ int fd = local_connect(command_control_path(), "usbpush-exporter", ret_failure);

	if (fd < 0)
		return fd;
	return local_request(fd, owned, timeout_ms, ret_answer, ret_failure);
}

/* Whole or not at all. DONE or FAILED. */
static int print_json(const json_t *object, size_t flags)
{
	int r = json_print(object, stdout, flags | JSON_REAL_PRECISION(6));

	if (r < 0)
		fprintf(stderr, "usbpush: the answer could not be written: %s\n", strerror(-r));
	return r < 0 ? FAILED : DONE;
}

struct flags {
	bool is_json, is_watch, is_explain, is_follow, is_all;
};

/* Options of the simple commands; which of them are allowed stands in allowed ("jw"). Returns the first argument's index, or negative for a usage error. */
static int parse_flags(int argc, char **argv, const char *allowed, struct flags *ret_flags)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },   { "watch", no_argument, NULL, 'w' }, { "explain", no_argument, NULL, 'e' },
		{ "follow", no_argument, NULL, 'f' }, { "all", no_argument, NULL, 'a' },   { 0 },
	};
	int option;

	*ret_flags = (struct flags){ 0 };
	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == '?' || !strchr(allowed, option))
			return -command_usage("%s does not take %s", argv[0], argv[optind - 1]);
		ret_flags->is_json |= option == 'j';
		ret_flags->is_watch |= option == 'w';
		ret_flags->is_explain |= option == 'e';
		ret_flags->is_follow |= option == 'f';
		ret_flags->is_all |= option == 'a';
	}
	return optind;
}

static int show_status(const struct flags *flags)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;

	if (command_ask(json_pack("{s:s}", "request", "status"), ANSWER_TIMEOUT_MS, &answer, &failure) < 0)
		return command_fail(&failure);
	json_object_del(answer, "ok");
	if (flags->is_json)
		return print_json(answer, JSON_INDENT(2));
	status_view_print(answer, stdout, table_wants_color(stdout));
	fflush(stdout);
	return DONE;
}

/* Everything that piled up while we drew is one change. */
static int skip_pending_events(int fd)
{
	int r;

	do {
		_cleanup_json_ json_t *event = NULL;
		r = local_next_event(fd, 0, &event);
	} while (r == 0);
	return r == -ETIMEDOUT ? 0 : r;
}

static int watch_status(const struct flags *flags)
{
	_cleanup_json_ json_t *request = json_pack("{s:s}", "request", "watch"), *answer = NULL;
	struct failure failure;
	_cleanup_close_ int fd = local_connect(command_control_path(), "usbpush-exporter", &failure);

	if (fd < 0 || local_request(fd, request, ANSWER_TIMEOUT_MS, &answer, &failure) < 0)
		return command_fail(&failure);
	for (;;) {
		_cleanup_json_ json_t *event = NULL;

		if (!flags->is_json && isatty(STDOUT_FILENO))
			fputs("\033[H\033[2J", stdout);
		if (show_status(flags) != DONE)
			return FAILED;
		if (local_next_event(fd, -1, &event) < 0 || skip_pending_events(fd) < 0) {
			fprintf(stderr, "usbpush: the exporter ended.\n");
			return FAILED;
		}
	}
}

int command_status(int argc, char **argv)
{
	struct flags flags;
	int at = parse_flags(argc, argv, "jw", &flags);

	if (at < 0)
		return -at;
	if (at < argc)
		return command_usage("status takes no argument \"%s\"", argv[at]);
	return flags.is_watch ? watch_status(&flags) : show_status(&flags);
}

int command_devices(int argc, char **argv)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;
	struct flags flags;
	int at = parse_flags(argc, argv, "je", &flags);

	if (at < 0)
		return -at;
	if (at < argc)
		return command_usage("devices takes no argument \"%s\"", argv[at]);
	if (command_ask(json_pack("{s:s}", "request", "status"), ANSWER_TIMEOUT_MS, &answer, &failure) < 0)
		return command_fail(&failure);
	if (flags.is_json)
		return print_json(json_object_get(answer, "devices"), JSON_INDENT(2));
	status_view_print_devices(answer, stdout, table_wants_color(stdout), flags.is_explain);
	return DONE;
}

static int change_device(int argc, char **argv, const char *allowed, const char *done)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;
	struct flags flags;
	int at = parse_flags(argc, argv, allowed, &flags);

	if (at < 0)
		return -at;
	if (flags.is_all ? argc != at : argc != at + 1)
		return command_usage("%s takes one DEVICE%s", argv[0], strchr(allowed, 'a') ? " or --all" : "");
	if (command_ask(flags.is_all ? json_pack("{s:s, s:b}", "request", argv[0], "all", 1) :
				       json_pack("{s:s, s:s}", "request", argv[0], "device", argv[at]),
			ANSWER_TIMEOUT_MS, &answer, &failure) < 0)
		return command_fail(&failure);
	printf("%s: %s\n", flags.is_all ? "all devices" : json_string_value(json_object_get(answer, "busid")), done);
	return DONE;
}

int command_attach(int argc, char **argv)
{
	return change_device(argc, argv, "a", "on its way to the VM; usbpush status shows how far it is");
}

int command_detach(int argc, char **argv)
{
	return change_device(argc, argv, "", "taken from the VM; usbpush attach brings it back");
}

int command_key(int argc, char **argv)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;

	if (argc > 1)
		return command_usage("key takes no argument \"%s\"", argv[1]);
	if (command_ask(json_pack("{s:s}", "request", "key"), ANSWER_TIMEOUT_MS, &answer, &failure) < 0)
		return command_fail(&failure);
	puts(json_string_value(json_object_get(answer, "key")));
	return DONE;
}

int command_unpair(int argc, char **argv)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;

	if (argc > 1)
		return command_usage("unpair takes no argument \"%s\"", argv[1]);
	if (command_ask(json_pack("{s:s}", "request", "unpair"), UNPAIR_TIMEOUT_MS, &answer, &failure) < 0)
		return command_fail(&failure);
	printf("Unpaired; the devices are this Pi's own again.\n");
	fflush(stdout);
	if (json_is_true(json_object_get(answer, "vm_cleaned")))
		return DONE;
	failure_from_json(json_object_get(answer, "left"), &failure);
	(void)command_fail(&failure); /* this Pi's side is done all the same */
	return DONE;
}

static int show_event(const json_t *event, bool is_json)
{
	if (is_json)
		return print_json(event, 0);
	status_view_print_event(event, stdout, table_wants_color(stdout));
	return DONE;
}

int command_events(int argc, char **argv)
{
	_cleanup_json_ json_t *request = json_pack("{s:s}", "request", "events"), *answer = NULL;
	const json_t *event;
	struct failure failure;
	struct flags flags;
	size_t i;
	int at = parse_flags(argc, argv, "jf", &flags);
	_cleanup_close_ int fd = -EBADF;

	if (at < 0)
		return -at;
	if (at < argc)
		return command_usage("events takes no argument \"%s\"", argv[at]);
	json_whole_set(&request, "follow", json_boolean(flags.is_follow));
	fd = local_connect(command_control_path(), "usbpush-exporter", &failure);
	if (fd < 0 || local_request(fd, request, ANSWER_TIMEOUT_MS, &answer, &failure) < 0)
		return command_fail(&failure);
	json_array_foreach(json_object_get(answer, "events"), i, event)
		if (show_event(event, flags.is_json) != DONE)
			return FAILED;
	while (flags.is_follow) {
		_cleanup_json_ json_t *line = NULL;

		if (local_next_event(fd, -1, &line) < 0) {
			fprintf(stderr, "usbpush: the exporter ended.\n");
			return FAILED;
		}
		if (show_event(json_object_get(line, "event"), flags.is_json) != DONE)
			return FAILED;
	}
	return DONE;
}

static void print_step(const json_t *steps, const char *key, const char *words)
{
	const json_t *value = json_object_get(steps, key);

	if (json_is_number(value))
		printf("  ok    %-32s after %.0f ms\n", words, json_number_value(value));
	else
		printf("  --    %s\n", words);
}

static void print_test(const json_t *link)
{
	const json_t *steps = json_object_get(link, "steps_ms"), *error = json_object_get(link, "error");

	printf("%s@%s port %d\n", json_string_value(json_object_get(link, "user")), json_string_value(json_object_get(link, "host")),
	       (int)json_integer_value(json_object_get(link, "port")));
	print_step(steps, "tcp", "address found, TCP connected");
	print_step(steps, "host_key", "SSH up, host key as pinned");
	print_step(steps, "login", "this Pi's key accepted");
	print_step(steps, "handler", "usbpush-relay started");
	print_step(steps, "sync", "usbpush-handler answered");
	if (json_is_object(error))
		printf("Stopped: %s. %s\n", json_string_value(json_object_get(error, "text")),
		       json_string_value(json_object_get(error, "cure")));
}

/* A round trip came in after the test began, or the try ended. */
static bool test_is_over(const json_t *link)
{
	const char *state = json_string_value(json_object_get(link, "state"));

	if (strcmp(state, "UP") == 0)
		return json_is_number(json_object_get(link, "rtt_ms"));
	return strcmp(state, "UNPAIRED") == 0 || strcmp(state, "DOWN") == 0 || strcmp(state, "REFUSED") == 0;
}

/* A link that comes up or goes down makes an event; a round trip makes none, so it is asked for now and then. */
static int test_wait(int fd, json_t **ret_status, struct failure *ret_failure)
{
	uint64_t end = clock_now_usec() + TEST_TIMEOUT_MS * UINT64_C(1000);

	for (;;) {
		_cleanup_json_ json_t *event = NULL, *status = NULL;
		int r = command_ask(json_pack("{s:s}", "request", "status"), ANSWER_TIMEOUT_MS, &status, ret_failure);

		if (r < 0)
			return r;
		if (test_is_over(json_object_get(status, "link"))) {
			*ret_status = TAKE_PTR(status);
			return 0;
		}
		r = local_next_event(fd, TEST_STEP_MS, &event);
		if ((r < 0 && r != -ETIMEDOUT) || clock_now_usec() > end)
			return failure_set(ret_failure, FAILURE_TIMEOUT, "See: journalctl -u usbpush-exporter.",
					   "the link did not come to an end of its try");
	}
}

/* The direct road, where it is in use; and what is wrong with the exporter as a whole. */
static void print_direct(const json_t *status)
{
	const json_t *port = json_object_get(status, "direct_port"), *problem = json_object_get(status, "problem");

	if (json_is_integer(port))
		printf("  ok    direct road: port %d is open for the VM\n", (int)json_integer_value(port));
	else if (json_is_object(problem))
		printf("  --    %s. %s\n", json_string_value(json_object_get(problem, "text")),
		       json_string_value(json_object_get(problem, "cure")));
}

int command_test(int argc, char **argv)
{
	_cleanup_json_ json_t *watch = json_pack("{s:s}", "request", "watch"), *watching = NULL, *answer = NULL, *status = NULL;
	const char *state;
	struct failure failure;
	_cleanup_close_ int fd = -EBADF;

	if (argc > 1)
		return command_usage("test takes no argument \"%s\"", argv[1]);
	fd = local_connect(command_control_path(), "usbpush-exporter", &failure);
	if (fd < 0 || local_request(fd, watch, ANSWER_TIMEOUT_MS, &watching, &failure) < 0 ||
	    command_ask(json_pack("{s:s}", "request", "test"), ANSWER_TIMEOUT_MS, &answer, &failure) < 0 ||
	    test_wait(fd, &status, &failure) < 0)
		return command_fail(&failure);
	state = json_string_value(json_object_get(json_object_get(status, "link"), "state"));
	if (strcmp(state, "UNPAIRED") == 0) {
		fprintf(stderr, "usbpush: this Pi is not paired with a VM. Run usbpush pair.\n");
		return FAILED;
	}
	print_test(json_object_get(status, "link"));
	if (strcmp(state, "UP") != 0)
		return FAILED;
	print_direct(status);
	printf("The link works: round trip %.1f ms.\n", json_number_value(json_object_get(json_object_get(status, "link"), "rtt_ms")));
	return DONE;
}
