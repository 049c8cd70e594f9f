#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "control.h"
#include "exporter.h"
#include "hold_store.h"
#include "log.h"
#include "secret.h"
#include "vm_config.h"

static const char HELP[] = "usbpush-exporter: pushes this machine's USB serial devices to the VM that it is paired with\n"
			   "\n"
			   "It is started by systemd (usbpush-exporter.service). See usbpush-exporter(8).\n"
			   "\n"
			   "  --debug          log what happens in detail\n"
			   "  --config FILE    instead of /etc/usbpush/vm.conf\n"
			   "  --state DIR      instead of /var/lib/usbpush (the SSH key)\n"
			   "  --run DIR        instead of /run/usbpush (the control socket)\n"
			   "  --help, --version\n";

struct program {
	struct daemon daemon;
	struct hold_store *holds;
	struct exporter *exporter;
};

static void main_on_stop(void *userdata)
{
	struct program *program = userdata;

	exporter_stop(program->exporter);
}

static void main_on_reload(void *userdata)
{
	struct program *program = userdata;

	exporter_reload(program->exporter);
}

static int main_parse(int argc, char **argv, struct exporter_options *options, bool *ret_is_debug)
{
	static const struct option long_options[] = {
		{ "debug", no_argument, NULL, 'd' },
		{ "config", required_argument, NULL, 'c' },
		{ "state", required_argument, NULL, 's' },
		{ "run", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
		switch (option) {
		case 'd':
			*ret_is_debug = true;
			break;
		case 'c':
			options->config_path = optarg;
			break;
		case 's':
			options->state_dir = optarg;
			break;
		case 'r':
			options->run_dir = optarg;
			break;
		case 'h':
			fputs(HELP, stdout);
			exit(0);
		case 'V':
			puts("usbpush-exporter " USBPUSH_VERSION);
			exit(0);
		default:
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "usbpush-exporter: unexpected argument \"%s\"; see usbpush-exporter --help\n", argv[optind]);
		return 2;
	}
	return 0;
}

static int main_run(struct program *program, struct exporter_options *options)
{
	struct control *control = NULL;
	char path[256];
	int r;

	if (daemon_init(&program->daemon, main_on_stop, main_on_reload, program) < 0)
		return 1;
	r = hold_store_new(&program->holds);
	if (r == 0)
		r = hold_store_take_over(program->holds);
	if (r < 0)
		log_warning("what systemd kept of a predecessor can't be taken over: %s", strerror(-r));
	options->holds = program->holds;
	r = exporter_new(&program->daemon, options, &program->exporter);
	if (r < 0) {
		log_error("can't start: %s", strerror(-r));
		return 1;
	}
	snprintf(path, sizeof(path), "%s/control.sock", options->run_dir);
	r = control_new(program->daemon.event, path, program->exporter, &control);
	if (r < 0) {
		log_error("can't listen at %s: %s. Is its directory there and writable?", path, strerror(-r));
		return 1;
	}
	r = daemon_run(&program->daemon);
	control_free(control);
	return r < 0 ? 1 : r;
}

int main(int argc, char **argv)
{
	struct exporter_options options = { .sysfs_root = "/sys",
					    .dev_root = "/dev",
					    .config_path = VM_CONFIG_PATH,
					    .state_dir = "/var/lib/usbpush",
					    .run_dir = "/run/usbpush" };
	struct program program = { 0 };
	bool is_debug = false;
	int r;

	secret_wipe_json();
	r = main_parse(argc, argv, &options, &is_debug);
	if (r)
		return r;
	umask(0022);
	log_init("usbpush-exporter", is_debug);
	r = main_run(&program, &options);
	exporter_free(program.exporter);
	hold_store_free(program.holds);
	daemon_done(&program.daemon);
	return r;
}
