#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "http_listen.h"
#include "log.h"
#include "portal.h"
#include "secret.h"
#include "setup_code.h"

static const char HELP[] = "usbpush-portal: the web page and the JSON API of this Pi, at port 8080 or that of portal.conf\n"
			   "\n"
			   "It is started by systemd (usbpush-portal.service). See usbpush-portal(8).\n"
			   "\n"
			   "  --debug            log what happens in detail\n"
			   "  --config FILE      instead of /etc/usbpush/portal.conf\n"
			   "  --port PORT        instead of what the file says; 0 takes a free one\n"
			   "  --control SOCKET   instead of /run/usbpush/control.sock\n"
			   "  --state DIR        instead of /var/lib/usbpush-portal (the owner's password)\n"
			   "  --setup-code FILE  instead of /run/usbpush/setup-code\n"
			   "  --help, --version\n";

struct program {
	struct daemon daemon;
	struct portal_options options;
	const char *config_path;
	long port; /* -1: the file's */
	bool is_debug;
};

static void main_on_stop(void *userdata)
{
	struct program *program = userdata;

	daemon_exit(&program->daemon, 0);
}

static void main_on_problem(const struct config_problem *problem, void *userdata)
{
	(void)userdata;
	log_warning("%s", problem->text);
}

static void main_set_port(struct program *program, const char *text)
{
	char *end;

	program->port = strtol(text, &end, 10);
	if (end == text || *end || program->port < 0 || program->port > UINT16_MAX) {
		fprintf(stderr, "usbpush-portal: --port takes a number from 0 to 65535, not \"%s\"\n", text);
		exit(2);
	}
}

static void main_set_option(struct program *program, int option)
{
	switch (option) {
	case 'd':
		program->is_debug = true;
		return;
	case 'c':
		program->config_path = optarg;
		return;
	case 'p':
		main_set_port(program, optarg);
		return;
	case 'u':
		program->options.control_path = optarg;
		return;
	case 's':
		program->options.state_dir = optarg;
		return;
	case 'k':
		program->options.code_path = optarg;
		return;
	case 'h':
		fputs(HELP, stdout);
		exit(0);
	case 'V':
		puts("usbpush-portal " USBPUSH_VERSION);
		exit(0);
	default:
		exit(2);
	}
}

static void main_parse(int argc, char **argv, struct program *program)
{
	static const struct option long_options[] = {
		{ "debug", no_argument, NULL, 'd' },
		{ "config", required_argument, NULL, 'c' },
		{ "port", required_argument, NULL, 'p' },
		{ "control", required_argument, NULL, 'u' },
		{ "state", required_argument, NULL, 's' },
		{ "setup-code", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0)
		main_set_option(program, option);
	if (optind < argc) {
		fprintf(stderr, "usbpush-portal: unexpected argument \"%s\"; see usbpush-portal --help\n", argv[optind]);
		exit(2);
	}
}

static int main_listen(struct program *program)
{
	struct portal_config *config = &program->options.config;
	int r = portal_config_load(program->config_path, main_on_problem, config);

	if (r < 0)
		log_warning("%s can't be read: %s. All is as without it.", program->config_path, strerror(-r));
	if (r < 0)
		*config = (struct portal_config){ .port = PORTAL_PORT_DEFAULT };
	if (program->port >= 0)
		config->port = (uint16_t)program->port;
	program->options.listen_fd = http_listen(config->address, config->port);
	if (program->options.listen_fd < 0)
		log_error(
			"can't listen on %s port %u: %s. Is another program there? PORTAL_PORT and PORTAL_ADDRESS in %s set another place.",
			config->address[0] ? config->address : "any address", config->port, strerror(-program->options.listen_fd),
			program->config_path);
	return program->options.listen_fd;
}

static int main_run(struct program *program)
{
	struct portal *portal = NULL;
	int r;

	if (daemon_init(&program->daemon, main_on_stop, NULL, program) < 0 || main_listen(program) < 0)
		return 1;
	log_info("listening on port %u", http_listen_port(program->options.listen_fd));
	r = portal_new(program->daemon.event, &program->options, &portal);
	if (r < 0) {
		log_error("can't start: %s", strerror(-r));
		return 1;
	}
	r = daemon_run(&program->daemon);
	portal_free(portal);
	return r < 0 ? 1 : r;
}

int main(int argc, char **argv)
{
	struct program program = {
		.config_path = PORTAL_CONFIG_PATH,
		.port = -1,
		.options = { .control_path = "/run/usbpush/control.sock", .state_dir = PORTAL_STATE_DIR, .code_path = SETUP_CODE_PATH }
	};
	int r;

	secret_wipe_json();
	main_parse(argc, argv, &program);
	umask(0077);
	log_init("usbpush-portal", program.is_debug);
	r = main_run(&program);
	daemon_done(&program.daemon);
	return r;
}
