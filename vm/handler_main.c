/* usbpush-handler: the VM's daemon. */

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "handler.h"
#include "log.h"

#define EXIT_USAGE 2

struct handler_program {
	struct daemon daemon;
	struct handler *handler;
	struct handler_options options;
	const char *relay_user;
};

static void on_stopped(void *userdata)
{
	struct handler_program *program = userdata;

	daemon_exit(&program->daemon, 0);
}

static void on_stop(void *userdata)
{
	struct handler_program *program = userdata;

	handler_stop(program->handler, on_stopped, program);
}

static void on_reload(void *userdata)
{
	struct handler_program *program = userdata;

	handler_reload(program->handler);
}

static void print_help(void)
{
	puts("Usage: usbpush-handler [--debug]\n"
	     "The VM's daemon of usbpush: attaches what paired Raspberry Pis offer. systemd starts it: systemctl start usbpush-handler.\n"
	     "  --debug    log every step\n"
	     "  --version  print the version\n"
	     "  --help     print this\n"
	     "See usbpush-handler(8).");
}

static int read_arguments(struct handler_program *program, int argc, char **argv)
{
	/* All but the first three are for tests. */
	static const struct option options[] = {
		{ "debug", no_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ "sysfs", required_argument, NULL, 's' },
		{ "modules", required_argument, NULL, 'm' },
		{ "pi-conf", required_argument, NULL, 'p' },
		{ "accept-conf", required_argument, NULL, 'a' },
		{ "runtime-dir", required_argument, NULL, 'r' },
		{ "addresses", required_argument, NULL, 'A' },
		{ "relay-user", required_argument, NULL, 'u' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'd':
			log_init("usbpush-handler", true);
			break;
		case 'h':
			print_help();
			exit(EXIT_SUCCESS);
		case 'v':
			puts("usbpush-handler " USBPUSH_VERSION);
			exit(EXIT_SUCCESS);
		case 's':
			program->options.sysfs_root = optarg;
			break;
		case 'm':
			program->options.modules_dir = optarg;
			break;
		case 'p':
			program->options.piconf_path = optarg;
			break;
		case 'a':
			program->options.accept_path = optarg;
			break;
		case 'r':
			program->options.runtime_dir = optarg;
			break;
		case 'A':
			program->options.addresses_path = optarg;
			break;
		case 'u':
			program->relay_user = optarg;
			break;
		default:
			return -EINVAL;
		}
	}
	return optind == argc ? 0 : -EINVAL;
}

static void find_relay_user(struct handler_program *program)
{
	const struct passwd *user = getpwnam(program->relay_user);

	program->options.relay_uid = user ? user->pw_uid : 0;
	if (!user)
		log_error("there is no user \"%s\": no Pi can connect. Make it: systemd-sysusers", program->relay_user);
}

static int run(struct handler_program *program)
{
	int r = daemon_init(&program->daemon, on_stop, on_reload, program);

	if (r >= 0)
		r = handler_new(program->daemon.event, &program->options, &program->handler);
	if (r >= 0)
		r = handler_listen(program->handler);
	if (r < 0)
		log_error("usbpush-handler can't start: %s", strerror(-r));
	else
		r = daemon_run(&program->daemon);
	handler_free(program->handler);
	daemon_done(&program->daemon);
	return r < 0 ? EXIT_FAILURE : r;
}

int main(int argc, char **argv)
{
	static struct handler_program program = { .relay_user = "usbpush" };

	log_init("usbpush-handler", false);
	if (read_arguments(&program, argc, argv) < 0) {
		fputs("usbpush-handler: unknown argument. See usbpush-handler --help\n", stderr);
		return EXIT_USAGE;
	}
	find_relay_user(&program);
	return run(&program);
}
