#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "command.h"
#include "command_internal.h"
#include "json_whole.h"

/* share, ignore, name, reset: what is done to one device. For the first three the exporter writes the owner's wish into devices.conf and acts on it. */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static int set_rule(int argc, char **argv, const char *done)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;

	if (argc != 2 || argv[1][0] == '-')
		return command_usage("%s takes one DEVICE", argv[0]);
	if (command_ask(json_pack("{s:s, s:s}", "request", argv[0], "device", argv[1]), WRITE_TIMEOUT_MS, &answer, &failure) < 0)
		return command_fail(&failure);
	printf("%s: %s (%s)\n", text_of(answer, "busid"), done, text_of(answer, "rule"));
	return DONE;
}

int command_share(int argc, char **argv)
{
	return set_rule(argc, argv, "shared from now on, whenever it is plugged in");
}

int command_ignore(int argc, char **argv)
{
	return set_rule(argc, argv, "stays with this Pi from now on");
}

struct naming {
	const char *device, *name, *also; /* also NULL: none given */
};

static int ask_name(const struct naming *naming, json_t **ret_answer, struct failure *ret_failure)
{
	json_t *request = json_pack("{s:s, s:s, s:s}", "request", "name", "device", naming->device, "name", naming->name);

	if (naming->also)
		json_whole_set(&request, "also", json_string(naming->also));
	return command_ask(request, WRITE_TIMEOUT_MS, ret_answer, ret_failure);
}

/* Enter means yes. */
static bool ask_yes(const char *question)
{
	char line[16];

	printf("%s [Y/n] ", question);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return false;
	return strchr("yY\n", line[0]) != NULL;
}

/* A board of this kind is known to come back as another device while its boot loader runs. */
static int offer_link(struct naming *naming, const char *busid, const char *loader)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;
	char question[160];

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		printf("In its boot loader such a board is %s. To keep the name there: usbpush name %s %s --also %s\n", loader, busid,
		       naming->name, loader);
		return DONE;
	}
	snprintf(question, sizeof(question), "In its boot loader such a board is %s. Keep the name there?", loader);
	if (!ask_yes(question))
		return DONE;
	naming->device = busid;
	naming->also = loader;
	if (ask_name(naming, &answer, &failure) < 0)
		return command_fail(&failure);
	printf("%s: %s is %s too (%s)\n", busid, loader, naming->name, text_of(answer, "rule"));
	return DONE;
}

static int parse_name(int argc, char **argv, struct naming *ret_naming)
{
	static const struct option options[] = { { "also", required_argument, NULL, 'a' }, { 0 } };
	int option;

	*ret_naming = (struct naming){ 0 };
	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option != 'a')
			return command_usage("name does not take %s", argv[optind - 1]);
		ret_naming->also = optarg;
	}
	if (argc != optind + 2)
		return command_usage("name takes a DEVICE and a NAME");
	ret_naming->device = argv[optind];
	ret_naming->name = argv[optind + 1];
	return DONE;
}

int command_name(int argc, char **argv)
{
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;
	struct naming naming;
	int r = parse_name(argc, argv, &naming);

	if (r != DONE)
		return r;
	if (ask_name(&naming, &answer, &failure) < 0)
		return command_fail(&failure);
	printf("%s: it is %s now; on the VM /dev/usbpush/%s leads to it (%s)\n", text_of(answer, "busid"), naming.name, naming.name,
	       text_of(answer, "rule"));
	if (json_is_string(json_object_get(answer, "loader")))
		return offer_link(&naming, text_of(answer, "busid"), text_of(answer, "loader"));
	return DONE;
}

int command_reset(int argc, char **argv)
{
	static const struct option options[] = { { "hard", no_argument, NULL, 'h' }, { 0 } };
	_cleanup_json_ json_t *answer = NULL;
	struct failure failure;
	bool is_hard = false;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option != 'h')
			return command_usage("reset does not take %s", argv[optind - 1]);
		is_hard = true;
	}
	if (argc != optind + 1)
		return command_usage("reset takes one DEVICE");
	if (command_ask(json_pack("{s:s, s:s, s:b}", "request", "reset", "device", argv[optind], "hard", is_hard), ANSWER_TIMEOUT_MS,
			&answer, &failure) < 0)
		return command_fail(&failure);
	printf("%s: it is being %s; usbpush status shows how it gets on\n", text_of(answer, "busid"),
	       is_hard ? "switched off and on" : "reset");
	return DONE;
}
