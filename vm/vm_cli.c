#include "vm_cli.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "authorize.h"
#include "authorize_hold.h"
#include "boot_attach.h"
#include "cleanup.h"
#include "container.h"
#include "json_text.h"
#include "local_request.h"
#include "pair.h"
#include "revocation.h"
#include "table.h"
#include "vm_doctor.h"
#include "vm_status_view.h"

#define ANSWER_LIMIT_MS 10000
#define DETACH_LIMIT_MS 15000
#define HOLD_LIMIT_MS   60000 /* the Pi tries the link for 20 s */
#define CLEAR_SCREEN    "\033[H\033[2J\033[3J"

/* What the options said. */
struct vm_cli_arguments {
	const char *socket_path, *root; /* for tests */
	const char *name, *address;
	bool is_json, is_watching, is_requested, is_held;
	const char *operand; /* NULL without one */
};

int vm_cli_print_failure(const char *where, const struct failure *failure)
{
	size_t length = strlen(failure->text);
	const char *stop = length > 0 && failure->text[length - 1] == '.' ? "" : ".";

	fprintf(stderr, "usbpush-vm: %s%s%s%s%s%s\n", where ? where : "", where ? ": " : "", failure->text, stop,
		failure->cure[0] ? " " : "", failure->cure);
	return EXIT_FAILURE;
}

int vm_cli_usage(const char *text)
{
	fprintf(stderr, "usbpush-vm: %s. See usbpush-vm --help\n", text);
	return VM_CLI_EXIT_USAGE;
}

/* A connection and one request on it. The fd, the caller's, or a negative errno with ret_failure filled. */
static int vm_cli_ask(const char *socket_path, json_t *request, json_t **ret_answer, struct failure *ret_failure)
{
	_cleanup_json_ json_t *object = request;
	_cleanup_close_ int fd = local_connect(socket_path, "usbpush-handler", ret_failure);
	int err;

	if (fd < 0)
		return fd;
	err = local_request(fd, object, ANSWER_LIMIT_MS, ret_answer, ret_failure);
	return err < 0 ? err : TAKE_FD(fd);
}

/* ---- status ---- */

/* Whole or not at all. An exit status. */
static int print_json(const json_t *object, size_t flags)
{
	int r = json_print(object, stdout, flags);

	if (r < 0)
		fprintf(stderr, "usbpush-vm: the answer could not be written: %s\n", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int print_status_once(const struct vm_cli_arguments *arguments)
{
	_cleanup_json_ json_t *status = NULL;
	struct failure failure;
	_cleanup_close_ int fd = vm_cli_ask(arguments->socket_path, json_pack("{s:s}", "request", "status"), &status, &failure);

	if (fd < 0)
		return vm_cli_print_failure(NULL, &failure);
	json_object_del(status, "ok");
	if (arguments->is_json)
		return print_json(status, arguments->is_watching ? 0 : JSON_INDENT(2)); /* watching: an object a line */
	fputs(arguments->is_watching && isatty(STDOUT_FILENO) ? CLEAR_SCREEN : "", stdout);
	vm_status_view_print(status, stdout, table_wants_color(stdout));
	fflush(stdout);
	return EXIT_SUCCESS;
}

static int show_event(const struct vm_cli_arguments *arguments, const json_t *event)
{
	if (arguments->is_json)
		return print_json(event, 0);
	if (isatty(STDOUT_FILENO))
		(void)print_status_once(arguments);
	else
		vm_status_view_print_event(event, stdout);
	return EXIT_SUCCESS;
}

static int watch(const struct vm_cli_arguments *arguments)
{
	_cleanup_json_ json_t *first = NULL;
	struct failure failure;
	_cleanup_close_ int fd = vm_cli_ask(arguments->socket_path, json_pack("{s:s}", "request", "watch"), &first, &failure);
	int err;

	if (fd < 0)
		return vm_cli_print_failure(NULL, &failure);
	if (print_status_once(arguments) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	for (;;) {
		_cleanup_json_ json_t *event = NULL;

		err = local_next_event(fd, -1, &event);
		if (err < 0)
			break;
		if (show_event(arguments, event) != EXIT_SUCCESS)
			return EXIT_FAILURE;
	}
	failure_set(&failure, FAILURE_UNREACHABLE, "See: systemctl status usbpush-handler", "usbpush-handler ended");
	return vm_cli_print_failure(NULL, &failure);
}

static int vm_cli_status(const struct vm_cli_arguments *arguments)
{
	if (arguments->operand)
		return vm_cli_usage("status takes no argument");
	return arguments->is_watching ? watch(arguments) : print_status_once(arguments);
}

/* ---- authorize, unpair ---- */

/* The handler reads pi.conf anew; one that does not run reads it when it starts. */
static void tell_handler(const struct vm_cli_arguments *arguments)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;
	int fd;

	if (*arguments->root)
		return;
	fd = vm_cli_ask(arguments->socket_path, json_pack("{s:s}", "request", "reload"), &answer, &failure);
	if (fd < 0)
		fprintf(stderr, "usbpush-vm: note: %s %s\n", failure.text, failure.cure);
	close_fd(fd);
}

static int vm_cli_authorize_held(const struct vm_cli_arguments *arguments)
{
	const struct authorize_hold_options options = { .root = arguments->root,
							.socket_path = *arguments->root ? NULL : arguments->socket_path,
							.name = arguments->name,
							.address = arguments->address,
							.limit_ms = HOLD_LIMIT_MS };

	if (strcmp(arguments->operand, "-") != 0)
		return vm_cli_usage("authorize --hold reads the key from standard input: -");
	return authorize_hold(&options, STDIN_FILENO, stdout);
}

static int vm_cli_authorize(const struct vm_cli_arguments *arguments)
{
	struct piconf_entry entry;
	struct failure failure;

	if (!arguments->operand || !arguments->name)
		return vm_cli_usage("authorize needs --name NAME and a key file (or - for standard input)");
	if (arguments->is_held)
		return vm_cli_authorize_held(arguments);
	if (authorize_pi(arguments->root, arguments->name, arguments->address, arguments->operand, &entry, &failure) < 0)
		return vm_cli_print_failure("authorize", &failure);
	tell_handler(arguments);
	printf("%s may connect now (id %s).\n", entry.name, entry.id);
	authorize_print_next_step(arguments->root, stdout);
	return EXIT_SUCCESS;
}

struct unpair_requests {
	const struct vm_cli_arguments *arguments;
	bool has_failed;
};

static void unpair_requested(const char *pi_id, void *userdata)
{
	struct unpair_requests *requests = userdata;
	struct piconf_entry entry;
	struct failure failure;

	if (authorize_remove_revoked(requests->arguments->root, pi_id, &entry, &failure) >= 0) {
		printf("%s ended its pairing; its key is taken out.\n", entry.name);
	} else if (failure.code != FAILURE_NOT_FOUND) { /* unpaired meanwhile is as well */
		vm_cli_print_failure(pi_id, &failure);
		requests->has_failed = true;
	}
}

/* For usbpush-unpair.service: what the handler noted, and may not do itself. */
static int unpair_all_requested(const struct vm_cli_arguments *arguments)
{
	struct unpair_requests requests = { .arguments = arguments };
	struct failure failure;
	char directory[PATH_MAX];
	int r;

	snprintf(directory, sizeof(directory), "%s%s", arguments->root, REVOCATION_RUNTIME_DIR);
	r = revocation_take_requests(directory, unpair_requested, &requests);
	if (r < 0) {
		failure_set(&failure, FAILURE_NO_PERMISSION, NULL, "%s: %s", directory, strerror(-r));
		return vm_cli_print_failure("unpair", &failure);
	}
	if (r > 0)
		tell_handler(arguments);
	return requests.has_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int vm_cli_unpair(const struct vm_cli_arguments *arguments)
{
	struct piconf_entry entry;
	struct failure failure;

	if (arguments->is_requested)
		return arguments->operand ? vm_cli_usage("unpair --requested takes no PI") : unpair_all_requested(arguments);
	if (!arguments->operand)
		return vm_cli_usage("unpair needs the name or the id of a Pi");
	if (authorize_remove(arguments->root, arguments->operand, &entry, &failure) < 0)
		return vm_cli_print_failure("unpair", &failure);
	tell_handler(arguments);
	printf("%s is not paired any more; its devices are detached.\n", entry.name);
	return EXIT_SUCCESS;
}

/* ---- detach ---- */

static bool event_is_end_of(const json_t *event, const char *offer_id)
{
	const json_t *device = json_object_get(event, "device");
	const char *offer = json_string_value(json_object_get(device, "offer"));
	const char *state = json_string_value(json_object_get(device, "state"));

	return offer && state && strcmp(offer, offer_id) == 0 && (strcmp(state, "gone") == 0 || strcmp(state, "failed") == 0);
}

static int wait_for_end(int events_fd, const char *offer_id)
{
	for (;;) {
		_cleanup_json_ json_t *event = NULL;
		int err = local_next_event(events_fd, DETACH_LIMIT_MS, &event);

		if (err < 0)
			return err;
		if (event_is_end_of(event, offer_id))
			return 0;
	}
}

static int vm_cli_detach(const struct vm_cli_arguments *arguments)
{
	_cleanup_json_ json_t *first = NULL, *answer = NULL;
	_cleanup_close_ int events_fd = -EBADF, fd = -EBADF;
	struct failure failure;
	const char *offer_id;

	if (!arguments->operand)
		return vm_cli_usage("detach needs a DEVICE: a bus id, a name, VID:PID, a serial or a node");
	events_fd = vm_cli_ask(arguments->socket_path, json_pack("{s:s}", "request", "watch"), &first, &failure);
	if (events_fd < 0)
		return vm_cli_print_failure(NULL, &failure);
	fd = vm_cli_ask(arguments->socket_path, json_pack("{s:s, s:s}", "request", "detach", "device", arguments->operand), &answer,
			&failure);
	if (fd < 0)
		return vm_cli_print_failure("detach", &failure);
	offer_id = json_string_value(json_array_get(json_object_get(answer, "offers"), 0));
	if (!offer_id || wait_for_end(events_fd, offer_id) < 0) {
		failure_set(&failure, FAILURE_TIMEOUT, "See: usbpush-vm status, and dmesg", "%s: the kernel has not freed the port yet",
			    arguments->operand);
		return vm_cli_print_failure("detach", &failure);
	}
	printf("%s is detached.\n", arguments->operand);
	return EXIT_SUCCESS;
}

/* ---- container ---- */

static int vm_cli_container(const struct vm_cli_arguments *arguments)
{
	_cleanup_json_ json_t *answer = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct failure failure;

	if (!arguments->operand)
		return vm_cli_usage("container needs a DEVICE: best its name");
	fd = vm_cli_ask(arguments->socket_path, json_pack("{s:s, s:s}", "request", "find", "device", arguments->operand), &answer,
			&failure);
	if (fd < 0)
		return vm_cli_print_failure("container", &failure);
	if (container_print(json_object_get(answer, "device"), stdout) < 0) {
		failure_set(&failure, FAILURE_NOT_FOUND, "See: usbpush-vm status", "%s has no device node on this VM", arguments->operand);
		return vm_cli_print_failure("container", &failure);
	}
	return EXIT_SUCCESS;
}

/* ---- the line itself ---- */

static void print_help(void)
{
	puts("Usage: usbpush-vm COMMAND [OPTIONS]\n"
	     "\n"
	     "  status [--json] [--watch]                        what is attached, and whether all works\n"
	     "  pair [PI] [--pi-port N] [--address HOST] [--port N] [--name NAME]\n"
	     "                                                   pair with a Pi: shows six digits to type there (root)\n"
	     "  authorize --name NAME [--address HOST] KEYFILE|- let the Pi with this public key in (root)\n"
	     "  unpair PI                                        shut a Pi out, by its name or id (root)\n"
	     "  detach DEVICE                                    detach a device (root)\n"
	     "  doctor [--json] [--archive FILE]                 look at all it stands on, and say what to do; FILE for a bug report\n"
	     "  container DEVICE                                 the lines that give it to an LXC or Docker container\n"
	     "  boot-attach [--timeout SECONDS]                  have everything pushed now, and wait for it (root)\n"
	     "\n"
	     "DEVICE is a bus id on the VM or on the Pi, a name, VID:PID, a serial, or a node such as /dev/ttyUSB0.\n"
	     "  --help     print this\n"
	     "  --version  print the version\n"
	     "Exit status: 0 done, 1 failed, 2 usage. See usbpush-vm(8).");
}

static int vm_cli_parse(int argc, char **argv, struct vm_cli_arguments *arguments)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },         { "watch", no_argument, NULL, 'w' },
		{ "name", required_argument, NULL, 'n' },   { "address", required_argument, NULL, 'a' },
		{ "socket", required_argument, NULL, 's' }, { "root", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },         { "requested", no_argument, NULL, 'R' },
		{ "hold", no_argument, NULL, 'H' },         { NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'j':
			arguments->is_json = true;
			break;
		case 'w':
			arguments->is_watching = true;
			break;
		case 'n':
			arguments->name = optarg;
			break;
		case 'a':
			arguments->address = optarg;
			break;
		case 's':
			arguments->socket_path = optarg;
			break;
		case 'r':
			arguments->root = optarg;
			break;
		case 'H':
			arguments->is_held = true;
			break;
		case 'R':
			arguments->is_requested = true;
			break;
		case 'h':
			print_help();
			exit(EXIT_SUCCESS);
		default:
			return -EINVAL;
		}
	}
	arguments->operand = optind < argc ? argv[optind++] : NULL;
	return optind == argc ? 0 : -EINVAL;
}

int vm_cli_main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct vm_cli_arguments *arguments);
	} commands[] = {
		{ "status", vm_cli_status }, { "authorize", vm_cli_authorize }, { "unpair", vm_cli_unpair },
		{ "detach", vm_cli_detach }, { "container", vm_cli_container },
	};
	struct vm_cli_arguments arguments = { .socket_path = VM_CLI_SOCKET_PATH, .root = "" };

	if (argc < 2)
		return vm_cli_usage("a command is missing");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		print_help();
		return EXIT_SUCCESS;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("usbpush-vm " USBPUSH_VERSION);
		return EXIT_SUCCESS;
	}
	if (strcmp(argv[1], "pair") == 0)
		return pair_main(argc - 1, argv + 1);
	if (strcmp(argv[1], "doctor") == 0)
		return vm_doctor_main(argc - 1, argv + 1);
	if (strcmp(argv[1], "boot-attach") == 0)
		return boot_attach_main(argc - 1, argv + 1);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, argv[1]) != 0)
			continue;
		if (vm_cli_parse(argc - 1, argv + 1, &arguments) < 0)
			return vm_cli_usage("an argument makes no sense");
		return commands[i].run(&arguments);
	}
	return vm_cli_usage("an unknown command");
}
