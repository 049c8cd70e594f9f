#include "pair.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "authorize.h"
#include "cleanup.h"
#include "daemon.h"
#include "local_request.h"
#include "machine.h"
#include "pair_exchange.h"
#include "pair_find.h"
#include "pair_lock.h"
#include "pair_undo.h"
#include "pi_portal.h"
#include "stop_signal.h"
#include "vm_cli.h"

#define USEC_PER_SEC      UINT64_C(1000000)
#define REQUEST_LIMIT_MS  15000 /* the exporter answers within 10 s */
#define CANCEL_LIMIT_MS   3000
#define ANSWER_LIMIT_MS   10000 /* the handler's */
#define CODE_LIMIT_USEC   (125 * USEC_PER_SEC)
#define LINK_LIMIT_USEC   (45 * USEC_PER_SEC)
#define FINISH_LIMIT_USEC (20 * USEC_PER_SEC)
#define RETRY_MS          500

/* How long is waited. */
struct pair_patience {
	uint64_t lost_usec;      /* in which no request comes through */
	uint64_t connected_usec; /* for the handler to see the Pi that says it is up */
	uint64_t decided_usec;   /* after `up` without `finish` the Pi has gone back (10 s), and the handler knows (8 s) */
};

static const struct pair_patience PATIENCE = { 15 * USEC_PER_SEC, 10 * USEC_PER_SEC, 20 * USEC_PER_SEC };
static const struct pair_patience HURRY = { 3 * USEC_PER_SEC, 3 * USEC_PER_SEC, 5 * USEC_PER_SEC }; /* for tests */

struct pair_options {
	const char *root, *socket_path, *user, *finder; /* for tests */
	const char *pi, *address, *name;
	unsigned long ssh_port, pi_port;      /* pi_port 0: not given */
	const struct pair_patience *patience; /* borrowed */
};

struct pair {
	const struct pair_options *options; /* borrowed */
	struct pair_lock lock;
	struct pi_portal *portal;       /* owned */
	struct pair_exchange *exchange; /* owned */
	struct pair_party self;
	struct piconf_entry entry; /* of the Pi, once it is let in */
	bool is_begun;             /* the Pi knows of it: it has to be told when it is off */
	bool is_written;           /* something is to be rolled back */
	uint64_t up_usec;
};

static int fail_stopped(struct failure *failure)
{
	return failure_set(failure, FAILURE_CANCELLED, NULL, "stopped by you");
}

/* ---- the handler ---- */

static int ask_handler(const struct pair *pair, const char *request, json_t **ret_answer, struct failure *failure)
{
	_cleanup_json_ json_t *object = json_pack("{s:s}", "request", request);
	_cleanup_close_ int fd = local_connect(pair->options->socket_path, "usbpush-handler", failure);

	return fd < 0 ? fd : local_request(fd, object, ANSWER_LIMIT_MS, ret_answer, failure);
}

static int reload_handler(const struct pair *pair, struct failure *failure)
{
	_cleanup_json_ json_t *answer = NULL;

	return ask_handler(pair, "reload", &answer, failure);
}

/* Whether the Pi that was let in has its link up. */
static bool is_pi_connected(const struct pair *pair)
{
	_cleanup_json_ json_t *status = NULL;
	struct failure failure;
	const json_t *pi;
	size_t i;

	if (ask_handler(pair, "status", &status, &failure) < 0)
		return false;
	json_array_foreach(json_object_get(status, "pis"), i, pi) {
		const char *id = json_string_value(json_object_get(pi, "id"));
		const char *state = json_string_value(json_object_get(pi, "state"));

		if (id && state && strcmp(id, pair->entry.id) == 0)
			return strcmp(state, "up") == 0;
	}
	return false;
}

static bool wait_connected(const struct pair *pair, uint64_t until_usec)
{
	while (!is_pi_connected(pair)) {
		if (stop_signal_came || clock_now_usec() >= until_usec)
			return false;
		poll(NULL, 0, RETRY_MS / 2);
	}
	return true;
}

/* ---- talking to the Pi ---- */

static int post(struct pair *pair, const char *step, const json_t *message, json_t **ret_answer, struct failure *failure)
{
	return stop_signal_came ? fail_stopped(failure) :
				  pi_portal_post(pair->portal, step, message, REQUEST_LIMIT_MS, ret_answer, failure);
}

/* Whether the same request may be sent again: it or its answer was lost on the way. */
static bool is_lost(const struct failure *failure)
{
	return failure->code == FAILURE_TIMEOUT || failure->code == FAILURE_UNREACHABLE;
}

static bool is_answer_state(const json_t *answer, const char *state)
{
	const char *is = json_string_value(json_object_get(answer, "state"));

	return is && strcmp(is, state) == 0;
}

/* Sends the same request until the answer is no longer `pending`; lost ones are repeated. */
static int post_until(struct pair *pair, const char *step, const json_t *message, const char *pending, uint64_t limit_usec,
		      json_t **ret_answer, struct failure *failure)
{
	uint64_t end = clock_now_usec() + limit_usec, heard_usec = clock_now_usec();

	for (;;) {
		_cleanup_json_ json_t *answer = NULL;
		int err = post(pair, step, message, &answer, failure);
		bool is_pending = err == 0 && is_answer_state(answer, pending);

		if (err == 0 && !is_pending) {
			*ret_answer = TAKE_PTR(answer);
			return 0;
		}
		if (err < 0 && (err == -EREMOTEIO || !is_lost(failure)))
			return err;
		if (err == 0)
			heard_usec = clock_now_usec();
		if (err < 0 && clock_now_usec() - heard_usec >= pair->options->patience->lost_usec)
			return err;
		if (clock_now_usec() >= end)
			return err < 0 ? err : failure_set(failure, FAILURE_TIMEOUT, "Start again.", "the Pi took too long");
		if (err < 0)
			poll(NULL, 0, RETRY_MS);
	}
}

static void tell_cancelled(struct pair *pair, const struct failure *failure)
{
	_cleanup_json_ json_t *message = NULL, *answer = NULL;
	struct failure ignored;

	if (!pair->is_begun)
		return;
	pair->is_begun = false;
	stop_signal_came = 0; /* this one request is still to be made */
	message = json_pack("{s:s, s:s}", "session", pair_exchange_session(pair->exchange), "reason",
			    failure->code == FAILURE_WRONG_CODE ? "wrong-code" : "cancelled");
	(void)pi_portal_post(pair->portal, "cancel", message, CANCEL_LIMIT_MS, &answer, &ignored);
}

/* ---- the steps ---- */

static int pair_describe_self(struct pair *pair, struct failure *failure)
{
	const struct pair_options *options = pair->options;
	struct pair_party *self = &pair->self;
	struct pi_key key;
	int err = authorize_read_host_key(options->root, &key, failure);

	if (err < 0)
		return err;
	if (machine_id(self->id, sizeof(self->id)) < 0)
		return failure_set(failure, FAILURE_INTERNAL, "Run systemd-machine-id-setup.", "this machine has no id (/etc/machine-id)");
	machine_name(self->name, sizeof(self->name));
	snprintf(self->host, sizeof(self->host), "%s", options->address ? options->address : pi_portal_own_address(pair->portal));
	snprintf(self->user, sizeof(self->user), "%s", options->user);
	snprintf(self->key, sizeof(self->key), "ssh-ed25519 %s", key.text);
	self->port = (uint16_t)options->ssh_port;
	return 0;
}

static int pair_begin(struct pair *pair, const char *code, json_t **ret_exchange, struct failure *failure)
{
	_cleanup_json_ json_t *begin = NULL, *begun = NULL;
	int err;

	pair->exchange = pair_exchange_free(pair->exchange);
	if (pair_exchange_new(&pair->exchange) < 0 ||
	    pair_vm_begin(pair->exchange, &pair->self, pi_portal_address(pair->portal), pi_portal_port(pair->portal), code, &begin) < 0)
		return failure_set(failure, FAILURE_INTERNAL, NULL, "pairing could not begin");
	err = post(pair, "begin", begin, &begun, failure);
	if (err < 0)
		return err;
	err = pair_vm_handle_begun(pair->exchange, begun, ret_exchange, failure);
	pair->is_begun = err == 0;
	return err;
}

static void show_code(const struct pair *pair, const char *code)
{
	const char *address = pi_portal_address(pair->portal);
	bool is_ipv6 = strchr(address, ':') != NULL;

	printf("\n  Type these digits on the Pi:   %.3s %s\n\n"
	       "in its portal (http://%s%s%s:%u), or in a terminal there (sudo usbpush pair). They are good for two minutes and one try.\n",
	       code, code + 3, is_ipv6 ? "[" : "", address, is_ipv6 ? "]" : "", pi_portal_port(pair->portal));
	fflush(stdout);
}

/* Shows a code and waits until it was typed; makes `confirm` if it was the right one. */
static int pair_exchange_code(struct pair *pair, json_t **ret_confirm, struct failure *failure)
{
	_cleanup_json_ json_t *exchange = NULL, *answered = NULL;
	char code[PAIR_CODE_SIZE];
	int err;

	pair_code_draw(code);
	err = pair_begin(pair, code, &exchange, failure);
	if (err < 0)
		return err;
	show_code(pair, code);
	err = post_until(pair, "exchange", exchange, "waiting", CODE_LIMIT_USEC, &answered, failure);
	return err < 0 ? err : pair_vm_handle_answered(pair->exchange, answered, ret_confirm, failure);
}

/* Until a code was typed rightly, or too many were not. */
static int pair_agree(struct pair *pair, json_t **ret_confirm, struct failure *failure)
{
	for (;;) {
		struct failure locked;
		int err = pair_exchange_code(pair, ret_confirm, failure);

		if (err == 0) {
			pair_lock_clear(&pair->lock);
			printf("The digits are right: this is %s.\n", pair_exchange_pi(pair->exchange)->name);
			return 0;
		}
		if (failure->code != FAILURE_WRONG_CODE)
			return err;
		tell_cancelled(pair, failure);
		if (pair_lock_spend(&pair->lock, &locked) < 0) {
			*failure = locked;
			return -EAGAIN;
		}
		printf("Those were not the digits. Nothing has changed. A new code:\n");
	}
}

static void problem_pass_over(const struct config_problem *problem, void *userdata)
{
	(void)problem;
	(void)userdata;
}

static int read_known(const struct pair *pair, struct piconf *ret_piconf, struct failure *failure)
{
	char path[4096];
	int err;

	snprintf(path, sizeof(path), "%s%s", pair->options->root, PICONF_PATH);
	err = piconf_read(path, problem_pass_over, ret_piconf);
	return err < 0 ? failure_set(failure, FAILURE_INTERNAL, NULL, "%s: %s", path, strerror(-err)) : 0;
}

/* The first thing that is written anywhere. */
static int pair_let_in(struct pair *pair, struct failure *failure)
{
	_cleanup_free_ struct piconf *piconf = calloc(1, sizeof(*piconf));
	const char *root = pair->options->root;
	char name[MESSAGE_NAME_SIZE];
	struct pi_key key;
	int err = pi_key_parse(pair_exchange_pi(pair->exchange)->key, "the Pi's key", &key, failure);

	if (err < 0)
		return err;
	if (!piconf)
		return failure_set(failure, FAILURE_INTERNAL, NULL, "out of memory");
	err = read_known(pair, piconf, failure);
	if (err < 0)
		return err;
	if (piconf_choose_name(piconf, pair_exchange_pi(pair->exchange)->name, pair->options->name, key.pi_id, name) < 0)
		return failure_set(failure, FAILURE_BUSY, "Give another one with --name.", "every name for this Pi is taken");
	err = pair_undo_begin(root, key.pi_id, failure);
	if (err < 0)
		return err;
	pair->is_written = true;
	err = authorize_pi_key(root, name, pi_portal_address(pair->portal), &key, &pair->entry, failure);
	if (err == 0)
		err = pair_undo_written(root, failure);
	return err < 0 ? err : reload_handler(pair, failure);
}

/* The Pi connects; both ends see it. Makes `finish`. */
static int pair_connect(struct pair *pair, const json_t *confirm, json_t **ret_finish, struct failure *failure)
{
	_cleanup_json_ json_t *up = NULL;
	int err;

	printf("%s may log in. It connects to %s port %u ...\n", pair->entry.name, pair->self.host, pair->self.port);
	fflush(stdout);
	err = post_until(pair, "confirm", confirm, "connecting", LINK_LIMIT_USEC, &up, failure);
	if (err == 0)
		err = pair_vm_handle_up(pair->exchange, up, ret_finish, failure);
	if (err < 0)
		return err;
	pair->up_usec = clock_now_usec();
	if (wait_connected(pair, pair->up_usec + pair->options->patience->connected_usec))
		return 0;
	return stop_signal_came ? fail_stopped(failure) :
				  failure_set(failure, FAILURE_IDENTITY,
					      "Does the address given lead here? With NAT or several machines, give this one's: --address.",
					      "the Pi says that it is connected, and it is not connected here");
}

/* The last message. When its answer is lost for good, what the Pi does after its own limit tells whether it heard it. From here on Ctrl-C comes too late: the
 * Pi may have written already. */
static int pair_finish(struct pair *pair, const json_t *finish, struct failure *failure)
{
	_cleanup_json_ json_t *paired = NULL;
	uint64_t decided_usec = pair->up_usec + pair->options->patience->decided_usec;
	int err;

	if (stop_signal_came)
		return fail_stopped(failure);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	err = post_until(pair, "finish", finish, "connecting", FINISH_LIMIT_USEC, &paired, failure);
	if (err == 0)
		err = pair_vm_handle_paired(pair->exchange, paired, failure);
	if (err == 0 || err == -EREMOTEIO)
		return err;
	printf("The Pi's answer is lost; looking whether it stays connected ...\n");
	fflush(stdout);
	while (clock_now_usec() < decided_usec)
		poll(NULL, 0, RETRY_MS);
	return is_pi_connected(pair) ? 0 : err;
}

static void pair_roll_back(struct pair *pair, const struct failure *why)
{
	struct failure failure;

	tell_cancelled(pair, why);
	if (!pair->is_written)
		return;
	if (pair_undo_restore(pair->options->root, &failure) < 0) {
		vm_cli_print_failure("not all could be rolled back", &failure);
		return;
	}
	pair->is_written = false;
	(void)reload_handler(pair, &failure);
}

static int pair_steps(struct pair *pair, struct failure *failure)
{
	_cleanup_json_ json_t *confirm = NULL, *finish = NULL;
	int err = pair_agree(pair, &confirm, failure);

	if (err == 0)
		err = pair_let_in(pair, failure);
	if (err == 0)
		err = pair_connect(pair, confirm, &finish, failure);
	if (err == 0)
		err = pair_finish(pair, finish, failure);
	if (err == 0)
		err = pair_undo_forget(pair->options->root, failure);
	return err;
}

/* Where the Pi's portal is: as it was given, else as it was found. */
static int pair_locate(const struct pair_options *options, struct pair_found *ret_found, struct failure *failure)
{
	struct pair_found found = { .port = PI_PORTAL_PORT };
	int err = 0;

	if (options->pi) {
		snprintf(found.host, sizeof(found.host), "%s", options->pi);
	} else {
		printf("Looking for a Pi on this network ...\n");
		fflush(stdout);
		err = pair_find(options->finder, &stop_signal_came, &found, failure);
	}
	if (err < 0)
		return err;
	if (options->pi_port)
		found.port = (uint16_t)options->pi_port;
	*ret_found = found;
	return 0;
}

static int pair_open(struct pair *pair, struct failure *failure)
{
	_cleanup_json_ json_t *status = NULL;
	struct pair_found found;
	int err = ask_handler(pair, "status", &status, failure); /* without it nothing would connect */

	if (err == 0)
		err = pair_locate(pair->options, &found, failure);
	if (err == 0)
		err = pi_portal_new(found.host, found.port, &stop_signal_came, &pair->portal, failure);
	if (err < 0)
		return err;
	printf("Found %s at %s.\n", found.host, pi_portal_address(pair->portal));
	return pair_describe_self(pair, failure);
}

/* What a pairing that was killed left. */
static int pair_recover(const struct pair *pair, struct failure *failure)
{
	struct failure ignored;
	int err = pair_undo_restore(pair->options->root, failure);

	if (err <= 0)
		return err;
	printf("A pairing that was broken off here is undone.\n");
	(void)reload_handler(pair, &ignored);
	return 0;
}

static int pair_run(const struct pair_options *options)
{
	struct pair pair = { .options = options, .lock = { .fd = -EBADF } };
	struct failure failure = { 0 };
	int err = pair_lock_take(options->root, &pair.lock, &failure);

	if (err == 0)
		err = pair_recover(&pair, &failure);
	if (err == 0)
		err = pair_open(&pair, &failure);
	if (err == 0)
		err = pair_steps(&pair, &failure);
	if (err < 0)
		pair_roll_back(&pair, &failure);
	pi_portal_free(pair.portal);
	pair_exchange_free(pair.exchange);
	pair_lock_done(&pair.lock);
	if (err < 0) {
		vm_cli_print_failure("pair", &failure);
		fputs("usbpush-vm: not paired; everything is as it was.\n", stderr);
		return EXIT_FAILURE;
	}
	printf("Paired with %s. What is plugged in there appears here: usbpush-vm status\n", pair.entry.name);
	return EXIT_SUCCESS;
}

/* ---- the line itself ---- */

static int parse_port(const char *text, unsigned long *ret_port)
{
	char *end;

	errno = 0;
	*ret_port = strtoul(text, &end, 10);
	return errno || end == text || *end || *text == '-' || *ret_port < 1 || *ret_port > UINT16_MAX ? -EINVAL : 0;
}

static int parse_options(int argc, char **argv, struct pair_options *options)
{
	static const struct option known[] = {
		{ "address", required_argument, NULL, 'a' }, { "port", required_argument, NULL, 'p' },
		{ "name", required_argument, NULL, 'n' },    { "socket", required_argument, NULL, 's' },
		{ "root", required_argument, NULL, 'r' },    { "pi-port", required_argument, NULL, 'P' },
		{ "user", required_argument, NULL, 'u' },    { "hurry", no_argument, NULL, 'h' },
		{ "finder", required_argument, NULL, 'f' },  { NULL, 0, NULL, 0 },
	};
	int option, err = 0;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		if (option == 'a')
			options->address = optarg;
		else if (option == 'n')
			options->name = optarg;
		else if (option == 's')
			options->socket_path = optarg;
		else if (option == 'r')
			options->root = optarg;
		else if (option == 'h')
			options->patience = &HURRY;
		else if (option == 'f')
			options->finder = optarg;
		else if (option == 'u')
			options->user = optarg;
		else if (option == 'p')
			err |= parse_port(optarg, &options->ssh_port);
		else if (option == 'P')
			err |= parse_port(optarg, &options->pi_port);
		else
			return -EINVAL;
	}
	options->pi = optind < argc ? argv[optind++] : NULL;
	if (optind != argc || (options->pi && !pair_party_is_host(options->pi)) ||
	    (options->address && !pair_party_is_host(options->address)) || (options->name && !piconf_is_name(options->name)))
		return -EINVAL;
	return err;
}

int pair_main(int argc, char **argv)
{
	struct pair_options options = {
		.patience = &PATIENCE, .root = "", .socket_path = VM_CLI_SOCKET_PATH, .user = "usbpush", .ssh_port = 22
	};

	if (parse_options(argc, argv, &options) < 0)
		return vm_cli_usage(
			"pair takes the Pi's name or address, --pi-port of its portal, --address this machine's, --port of its sshd, --name for the Pi");
	stop_signal_catch();
	return pair_run(&options);
}
