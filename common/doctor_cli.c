#include "doctor_cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json_text.h"
#include "table.h"

struct doctor_arguments {
	bool is_json;
	const char *archive, *root; /* root: for tests */
};

static int cli_parse(int argc, char **argv, struct doctor_arguments *arguments)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "archive", required_argument, NULL, 'a' },
		{ "root", required_argument, NULL, 'r' },
		{ 0 },
	};
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'j')
			arguments->is_json = true;
		else if (option == 'a')
			arguments->archive = optarg;
		else if (option == 'r')
			arguments->root = optarg;
		else
			return -1;
	}
	return optind == argc ? 0 : -1;
}

/* 0 or a negative errno. */
static int cli_print(const struct doctor *doctor, bool is_json)
{
	_cleanup_json_ json_t *object = is_json ? doctor_to_json(doctor) : NULL;

	if (is_json)
		return json_print(object, stdout, JSON_INDENT(2));
	doctor_print(doctor, stdout, table_wants_color(stdout));
	return fflush(stdout) == 0 ? 0 : -errno;
}

static int cli_archive(const struct doctor *doctor, const struct doctor_side *side, const char *path)
{
	struct failure failure;

	if (doctor_archive_write(doctor, path, side->parts, side->n_parts, &failure) < 0) {
		fprintf(stderr, "%s: %s. %s\n", side->program, failure.text, failure.cure);
		return 1;
	}
	fprintf(stderr,
		"%s: %s has the findings, status, settings, logs and the kernel's view. No private key, password or code is in it; names, addresses "
		"and serial numbers are. Look into it before you send it.\n",
		side->program, path);
	return 0;
}

int doctor_cli(int argc, char **argv, const struct doctor_side *side)
{
	_cleanup_free_ struct doctor *doctor = calloc(1, sizeof(*doctor));
	struct doctor_arguments arguments = { .root = "" };
	int status, r;

	if (cli_parse(argc, argv, &arguments) < 0) {
		fprintf(stderr, "%s: doctor takes --json and --archive FILE; see %s --help\n", side->program, side->program);
		return 2;
	}
	if (!doctor) {
		fprintf(stderr, "%s: out of memory\n", side->program);
		return 1;
	}
	doctor_run(doctor, arguments.root, side->checks, side->n_checks);
	r = cli_print(doctor, arguments.is_json);
	if (r < 0)
		fprintf(stderr, "%s: the findings could not be written: %s\n", side->program, strerror(-r));
	status = r < 0 ? 1 : doctor_exit_status(doctor);
	if (arguments.archive && cli_archive(doctor, side, arguments.archive) != 0)
		status = 1;
	doctor_done(doctor);
	return status;
}
