#include "authorize_hold.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "authorize.h"
#include "cleanup.h"
#include "daemon.h"
#include "json_text.h"
#include "local_request.h"
#include "pair_lock.h"
#include "pair_undo.h"
#include "stop_signal.h"

#define HOLD_LINE_MAX   1024
#define ANSWER_LIMIT_MS 10000 /* the handler's */

static void answer(FILE *stream, json_t *object)
{
	_cleanup_json_ json_t *owned = object;

	(void)json_print(owned, stream, 0); /* who gets no answer takes everything back */
}

static void answer_failure(FILE *stream, const struct failure *failure)
{
	answer(stream, json_pack("{s:b, s:o}", "ok", 0, "error", failure_to_json(failure)));
}

/* One byte at a time: what comes behind the line is the next one's. 0 or a negative errno. */
static int read_line(int fd, int limit_ms, char line[HOLD_LINE_MAX])
{
	uint64_t end = clock_now_usec() + (uint64_t)limit_ms * 1000;
	size_t used = 0;

	for (;;) {
		uint64_t now = clock_now_usec();
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		int r = now < end ? poll(&poll_fd, 1, (int)((end - now) / 1000) + 1) : 0;

		if (stop_signal_came)
			return -EINTR;
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -ETIMEDOUT;
		if (read(fd, &line[used], 1) != 1)
			return -ECONNRESET;
		if (line[used] == '\n')
			break;
		if (++used == HOLD_LINE_MAX)
			return -EMSGSIZE;
	}
	line[used] = '\0';
	return strlen(line) == used ? 0 : -EBADMSG;
}

static int reload_handler(const struct authorize_hold_options *options, struct failure *failure)
{
	_cleanup_json_ json_t *request = json_pack("{s:s}", "request", "reload"), *said = NULL;
	_cleanup_close_ int fd = -EBADF;

	if (!options->socket_path)
		return 0;
	fd = local_connect(options->socket_path, "usbpush-handler", failure);
	return fd < 0 ? fd : local_request(fd, request, ANSWER_LIMIT_MS, &said, failure);
}

static int read_key(const struct authorize_hold_options *options, int fd, struct pi_key *ret_key, struct failure *failure)
{
	char line[HOLD_LINE_MAX];
	int r = read_line(fd, options->limit_ms, line);

	if (r < 0)
		return failure_set(failure, FAILURE_BAD_REQUEST, NULL, "no public key came: %s", strerror(-r));
	return pi_key_parse(line, "standard input", ret_key, failure);
}

static void problem_pass_over(const struct config_problem *problem, void *userdata)
{
	(void)problem;
	(void)userdata;
}

static int choose_name(const struct authorize_hold_options *options, const struct pi_key *key, char ret_name[MESSAGE_NAME_SIZE],
		       struct failure *failure)
{
	_cleanup_free_ struct piconf *piconf = calloc(1, sizeof(*piconf));
	char path[PATH_MAX];
	int r;

	if (!piconf)
		return failure_set(failure, FAILURE_INTERNAL, NULL, "out of memory");
	snprintf(path, sizeof(path), "%s%s", options->root, PICONF_PATH);
	r = piconf_read(path, problem_pass_over, piconf);
	if (r < 0)
		return failure_set(failure, FAILURE_INTERNAL, NULL, "%s: %s", path, strerror(-r));
	if (piconf_choose_name(piconf, options->name, NULL, key->pi_id, ret_name) < 0)
		return failure_set(failure, FAILURE_BUSY, "See /etc/usbpush/pi.conf.", "every name for this Pi is taken");
	return 0;
}

static int let_in(const struct authorize_hold_options *options, const struct pi_key *key, struct piconf_entry *ret_entry,
		  struct failure *failure)
{
	char name[MESSAGE_NAME_SIZE];
	int r = choose_name(options, key, name, failure);

	if (r == 0)
		r = pair_undo_begin(options->root, key->pi_id, failure);
	if (r == 0)
		r = authorize_pi_key(options->root, name, options->address, key, ret_entry, failure);
	if (r == 0)
		r = pair_undo_written(options->root, failure);
	return r < 0 ? r : reload_handler(options, failure);
}

/* Both files are what they were, also those of a pairing that was killed. */
static int take_back(const struct authorize_hold_options *options, struct failure *failure)
{
	struct failure ignored;
	int r = pair_undo_restore(options->root, failure);

	if (r > 0)
		(void)reload_handler(options, &ignored);
	return r < 0 ? r : 0;
}

static int wait_for_keep(const struct authorize_hold_options *options, int fd, struct failure *failure)
{
	char line[HOLD_LINE_MAX];
	int r = read_line(fd, options->limit_ms, line);

	if (r == 0 && strcmp(line, "keep") == 0)
		return pair_undo_forget(options->root, failure);
	return failure_set(failure, FAILURE_CANCELLED, NULL, "the Pi did not want to keep it (%s)", r < 0 ? strerror(-r) : "it said so");
}

static int hold(const struct authorize_hold_options *options, int fd, FILE *stream, struct failure *failure)
{
	struct piconf_entry entry;
	struct pi_key key;
	int r = take_back(options, failure);

	if (r == 0)
		r = read_key(options, fd, &key, failure);
	if (r == 0)
		r = let_in(options, &key, &entry, failure);
	if (r < 0)
		return r;
	answer(stream, json_pack("{s:b, s:s, s:s, s:s}", "ok", 1, "state", "authorized", "name", entry.name, "id", entry.id));
	return wait_for_keep(options, fd, failure);
}

int authorize_hold(const struct authorize_hold_options *options, int fd, FILE *stream)
{
	struct pair_lock lock = { .fd = -EBADF };
	struct failure failure, undo;
	int r = pair_lock_take(options->root, &lock, &failure);

	if (r < 0) {
		answer_failure(stream, &failure);
		return EXIT_FAILURE;
	}
	/* The connection's end may come as a signal, too: what was written is then taken back, and not left to the next pairing. */
	stop_signal_catch();
	r = hold(options, fd, stream, &failure);
	if (r < 0 && take_back(options, &undo) < 0)
		failure = undo;
	pair_lock_done(&lock);
	if (r < 0)
		answer_failure(stream, &failure);
	else
		answer(stream, json_pack("{s:b, s:s}", "ok", 1, "state", "kept"));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
