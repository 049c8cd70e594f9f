#include "boot_attach.h"

#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>

#include "cleanup.h"
#include "knock.h"
#include "local_request.h"
#include "pi_portal.h"
#include "vm_cli.h"
#include "vm_status_view.h"
#include "whereabouts.h"

#define HANDLER_LIMIT_MS  10000
#define CONNECT_RETRY_MS  250 /* between bind(2), which inotify tells, and listen(2), which nothing tells */
#define ANSWER_LIMIT_MS   10000
#define QUIET_MS          2000
#define EVENT_BUFFER_SIZE 4096

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Something appeared in the socket's directory, or it is time to try again. */
static void wait_for_directory(int inotify_fd, int64_t left_ms)
{
	struct pollfd polled = { .fd = inotify_fd, .events = POLLIN };
	char events[EVENT_BUFFER_SIZE];

	if (poll(&polled, 1, left_ms < CONNECT_RETRY_MS ? (int)left_ms : CONNECT_RETRY_MS) > 0 &&
	    read(inotify_fd, events, sizeof(events)) < 0)
		return;
}

/* At boot the handler may be a moment behind. */
static int connect_patiently(const char *path, struct failure *ret_failure)
{
	_cleanup_close_ int inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	int64_t deadline = now_ms() + HANDLER_LIMIT_MS;
	char directory[PATH_MAX];

	snprintf(directory, sizeof(directory), "%s", path);
	if (inotify_fd >= 0)
		(void)inotify_add_watch(inotify_fd, dirname(directory), IN_CREATE | IN_MOVED_TO);
	for (;;) {
		int fd = local_connect(path, "usbpush-handler", ret_failure);
		int64_t left = deadline - now_ms();

		if (fd >= 0 || left <= 0)
			return fd;
		wait_for_directory(inotify_fd, left);
	}
}

static int ask(int fd, const char *request, json_t **ret_answer)
{
	_cleanup_json_ json_t *object = json_pack("{s:s}", "request", request);
	struct failure failure;
	int err = local_request(fd, object, ANSWER_LIMIT_MS, ret_answer, &failure);

	if (err < 0)
		vm_cli_print_failure("boot-attach", &failure);
	return err;
}

static size_t count_devices(const json_t *status)
{
	const json_t *pi;
	size_t n = 0, i;

	json_array_foreach(json_object_get(status, "pis"), i, pi)
		n += json_array_size(json_object_get(pi, "devices"));
	return n;
}

/* Looks at the status after each event. What is complete must stay so for a moment: a Pi that has just come up offers its devices only then.
 * 0 complete, -ETIMEDOUT, other negative errno (told already, or the handler ended). */
static int wait_until_complete(int events_fd, int requests_fd, int64_t deadline, json_t **ret_status)
{
	for (;;) {
		_cleanup_json_ json_t *status = NULL, *event = NULL;
		int64_t left = deadline - now_ms();
		bool is_complete;
		int err = ask(requests_fd, "status", &status);

		if (err < 0)
			return err;
		json_decref(*ret_status);
		*ret_status = json_incref(status);
		is_complete = vm_status_is_complete(status);
		if (is_complete && left > QUIET_MS)
			left = QUIET_MS;
		err = left > 0 ? local_next_event(events_fd, (int)left, &event) : -ETIMEDOUT;
		if (err == -ETIMEDOUT && is_complete)
			return 0;
		if (err < 0)
			return err;
	}
}

static int tell_result(int result, const json_t *status)
{
	size_t n_pis = json_array_size(json_object_get(status, "pis"));

	if (result == 0) {
		printf("All is attached: %zu Pis, %zu devices\n", n_pis, count_devices(status));
		return EXIT_SUCCESS;
	}
	if (result != -ETIMEDOUT) {
		fputs("usbpush-boot-attach: the handler ended meanwhile. See: journalctl -u usbpush-handler\n", stderr);
		return EXIT_FAILURE;
	}
	fprintf(stderr, "usbpush-boot-attach: not all is attached (%zu Pis, %zu devices). Missing:\n", n_pis, count_devices(status));
	vm_status_view_print_missing(status, "  ", stderr);
	fputs("It goes on by itself as soon as the Pi is there. See: usbpush-vm status\n", stderr);
	return EXIT_FAILURE;
}

/* The handler listens, and so does sshd, which this is ordered after: whoever hears it may come. What went wrong is not told: the Pis come by themselves. */
static struct knock *knock_at_missing(const struct boot_attach_options *options, const json_t *status)
{
	_cleanup_json_ json_t *kept = whereabouts_read(options->addresses_path);
	const char *addresses[PICONF_MAX_PIS];
	struct knock *knock = NULL;
	const json_t *pi;
	size_t n = 0, i;

	json_array_foreach(json_object_get(status, "pis"), i, pi) {
		const char *id = json_string_value(json_object_get(pi, "id")), *state = json_string_value(json_object_get(pi, "state"));
		const char *address = id ? json_string_value(json_object_get(kept, id)) : NULL;

		if (address && state && strcmp(state, "away") == 0 && n < ARRAY_SIZE(addresses))
			addresses[n++] = address;
	}
	if (n > 0)
		(void)knock_start(addresses, n, options->pi_port, &knock);
	return knock;
}

/* With both connections to the handler made. */
static int attach_all(const struct boot_attach_options *options, int events_fd, int requests_fd, int64_t deadline)
{
	_cleanup_json_ json_t *first = NULL, *answer = NULL, *status = NULL;
	struct knock *knock;
	int result = EXIT_FAILURE;

	if (ask(events_fd, "watch", &first) < 0)
		return EXIT_FAILURE;
	if (json_array_size(json_object_get(first, "pis")) == 0) {
		puts("No Pi is paired: nothing to attach");
		return EXIT_SUCCESS;
	}
	knock = knock_at_missing(options, first);
	if (ask(requests_fd, "resync", &answer) == 0) {
		result = wait_until_complete(events_fd, requests_fd, deadline, &status);
		result = tell_result(result, status);
	}
	knock_free(knock);
	return result;
}

int boot_attach_run(const struct boot_attach_options *options)
{
	_cleanup_close_ int events_fd = -EBADF, requests_fd = -EBADF;
	int64_t deadline = now_ms() + (int64_t)options->timeout_s * 1000;
	struct failure failure;

	events_fd = connect_patiently(options->socket_path, &failure);
	if (events_fd >= 0)
		requests_fd = local_connect(options->socket_path, "usbpush-handler", &failure);
	if (events_fd < 0 || requests_fd < 0) {
		vm_cli_print_failure("boot-attach", &failure);
		return EXIT_FAILURE;
	}
	return attach_all(options, events_fd, requests_fd, deadline);
}

static void print_help(void)
{
	puts("Usage: usbpush-boot-attach [--timeout SECONDS]\n"
	     "Tells every paired Pi that this VM is there, asks it to push its devices now, and waits until all are attached (at most 90 s).\n"
	     "Exit status: 0 all is attached or no Pi is paired, 1 something is missing (it is listed), 2 usage.\n"
	     "See usbpush-boot-attach(8).");
}

int boot_attach_main(int argc, char **argv)
{
	/* Those with an argument but the first are for tests. */
	static const struct option options[] = {
		{ "timeout", required_argument, NULL, 't' },
		{ "socket", required_argument, NULL, 's' },
		{ "addresses", required_argument, NULL, 'a' },
		{ "pi-port", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	struct boot_attach_options given = { .socket_path = VM_CLI_SOCKET_PATH,
					     .addresses_path = WHEREABOUTS_PATH,
					     .pi_port = PI_PORTAL_PORT,
					     .timeout_s = BOOT_ATTACH_TIMEOUT_S };
	unsigned long number;
	char *end;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 't':
			number = strtoul(optarg, &end, 10);
			if (*end || end == optarg || number > 86400)
				return vm_cli_usage("--timeout takes seconds, from 0 to 86400");
			given.timeout_s = (unsigned)number;
			break;
		case 's':
			given.socket_path = optarg;
			break;
		case 'a':
			given.addresses_path = optarg;
			break;
		case 'p':
			given.pi_port = (uint16_t)strtoul(optarg, NULL, 10);
			break;
		case 'h':
			print_help();
			return EXIT_SUCCESS;
		case 'v':
			puts("usbpush-boot-attach " USBPUSH_VERSION);
			return EXIT_SUCCESS;
		default:
			return VM_CLI_EXIT_USAGE;
		}
	}
	return optind == argc ? boot_attach_run(&given) : vm_cli_usage("boot-attach takes no arguments");
}
