/* usbpush-mdns: publishes this machine by mDNS and looks for its counterparts. A process of its own on both machines, because what comes from the network is parsed by
 * Avahi's library here: neither the exporter, which writes to sysfs as uid 0, nor the handler, nor the portal with its sessions, has to trust that parser. It has no rights but
 * to speak with D-Bus and, on the Pi, to tell the exporter two kinds of hint. */

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "daemon.h"
#include "file_watch.h"
#include "fingerprint.h"
#include "json_text.h"
#include "log.h"
#include "machine.h"
#include "mdns.h"
#include "mdns_exporter.h"
#include "portal_port.h"

#define CONTROL_SOCKET    "/run/usbpush/control.sock"
#define HOST_KEY_PATH     "/etc/ssh/ssh_host_ed25519_key.pub"
#define HOST_KEY_MAX_SIZE ((size_t)16384)
#define FIND_LIMIT_USEC   UINT64_C(5000000)
#define FIND_QUIET_USEC   UINT64_C(1500000) /* after the last that was found; a question that was lost is asked again after 1 s */

static const char HELP[] =
	"Usage: usbpush-mdns pi | vm | find\n"
	"Publishes this machine on the network by mDNS and finds others. systemd starts it: systemctl start usbpush-mdns.\n"
	"  pi    publish the portal, tell usbpush-exporter of VMs\n"
	"  vm    publish the SSH port\n"
	"  find  print the Pis that are found within some seconds, one JSON object a line\n"
	"  --ssh-port N  the VM's, if it is not 22\n"
	"  --socket FILE the exporter's, for tests\n"
	"  --config FILE instead of " PORTAL_CONFIG_PATH "\n"
	"  --debug       log every step\n"
	"  --help, --version\n"
	"See usbpush-mdns(8).\n";

struct program {
	struct daemon daemon;
	struct mdns *mdns;
	struct mdns_exporter *exporter;
	sd_event_source *end; /* of find */
	/* what is published */
	char name[MDNS_NAME_SIZE], version[48], id[48], fingerprint[80];
	unsigned long ssh_port;
	const char *socket_path, *config_path;
	struct mdns_service portal[2]; /* of a Pi */
};

static void on_stop(void *userdata)
{
	struct program *program = userdata;

	daemon_exit(&program->daemon, 0);
}

/* ---- pi ---- */

static void on_vm_found(const struct mdns_found *found, void *userdata)
{
	struct program *program = userdata;

	mdns_exporter_found(program->exporter, found);
}

static void on_vm_lost(const char *key, void *userdata)
{
	struct program *program = userdata;

	mdns_exporter_lost(program->exporter, key);
}

/* Whether the portal is elsewhere than it was. */
static bool read_portal_port(struct program *program)
{
	uint16_t port = PORTAL_PORT_DEFAULT;
	int r = portal_port_read(program->config_path, &port);

	if (r < 0)
		log_warning("%s can't be read: %s. Port %u is published; the file has to be readable to everybody.", program->config_path,
			    strerror(-r), port);
	if (port == program->portal[0].port)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(program->portal); i++)
		program->portal[i].port = port;
	return true;
}

static void on_config(void *userdata)
{
	struct program *program = userdata;

	if (!read_portal_port(program))
		return;
	log_info("the portal's port is %u now", program->portal[0].port);
	mdns_publish_anew(program->mdns);
}

/* Without it everything goes on; without the directory there is nothing to follow. NULL then. */
static struct file_watch *watch_config(struct program *program)
{
	struct file_watch *watch = NULL;
	int r = file_watch_new(program->daemon.event, program->config_path, on_config, program, &watch);

	if (r < 0 && r != -ENOENT)
		log_warning("%s can't be watched: %s. After a change: systemctl restart usbpush-mdns", program->config_path, strerror(-r));
	return watch;
}

static int run_pi(struct program *program)
{
	static const struct mdns_handlers handlers = { .on_found = on_vm_found, .on_lost = on_vm_lost };
	struct file_watch *watch = watch_config(program); /* before the file is read: no change is missed */
	int r = mdns_exporter_new(program->daemon.event, program->socket_path, &program->exporter);

	program->portal[0] = (struct mdns_service){ MDNS_TYPE_PI, 0, { program->version, program->id, "role=pi" } };
	program->portal[1] = (struct mdns_service){ MDNS_TYPE_WEB, 0, { program->version, program->id, "role=pi", "path=/" } };
	(void)read_portal_port(program);
	if (r >= 0)
		r = mdns_new(program->daemon.event, program->name, program->portal, ARRAY_SIZE(program->portal), MDNS_TYPE_VM, &handlers,
			     program, &program->mdns);
	if (r >= 0)
		r = daemon_run(&program->daemon);
	file_watch_free(watch);
	program->mdns = mdns_free(program->mdns);
	program->exporter = mdns_exporter_free(program->exporter);
	return r;
}

/* ---- vm ---- */

static void read_fingerprint(struct program *program)
{
	_cleanup_free_ char *content = NULL;
	char fingerprint[FINGERPRINT_SIZE];

	if (file_read(HOST_KEY_PATH, HOST_KEY_MAX_SIZE, &content) >= 0 && fingerprint_of(content, fingerprint) == 0)
		snprintf(program->fingerprint, sizeof(program->fingerprint), "host-key=%s", fingerprint);
}

static int run_vm(struct program *program)
{
	static const struct mdns_handlers handlers = { .on_found = NULL };
	struct mdns_service service = { MDNS_TYPE_VM, (uint16_t)program->ssh_port, { program->version, program->id, "role=vm" } };
	int r;

	read_fingerprint(program);
	service.txt[3] = program->fingerprint[0] ? program->fingerprint : NULL;
	r = mdns_new(program->daemon.event, program->name, &service, 1, NULL, &handlers, program, &program->mdns);
	if (r >= 0)
		r = daemon_run(&program->daemon);
	program->mdns = mdns_free(program->mdns);
	return r;
}

/* ---- find ---- */

static int on_find_end(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	on_stop(userdata);
	return 0;
}

static void on_pi_found(const struct mdns_found *found, void *userdata)
{
	struct program *program = userdata;
	_cleanup_json_ json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:i}", "id", found->id, "name", found->name, "host", found->host,
						  "address", found->address, "port", found->port);

	_cleanup_free_ char *text = json_text(object, 0);

	if (!text) {
		log_error("out of memory: a Pi that was found is not told");
		return;
	}
	puts(text);
	fflush(stdout);
	(void)timer_arm(program->daemon.event, &program->end, FIND_QUIET_USEC, on_find_end, program);
}

static void on_pi_lost(const char *key, void *userdata)
{
	(void)key;
	(void)userdata;
}

static int run_find(struct program *program)
{
	static const struct mdns_handlers handlers = { .on_found = on_pi_found, .on_lost = on_pi_lost };
	int r = timer_arm(program->daemon.event, &program->end, FIND_LIMIT_USEC, on_find_end, program);

	if (r >= 0)
		r = mdns_new(program->daemon.event, "", NULL, 0, MDNS_TYPE_PI, &handlers, program, &program->mdns);
	if (r >= 0)
		r = daemon_run(&program->daemon);
	program->mdns = mdns_free(program->mdns);
	sd_event_source_disable_unref(program->end);
	return r;
}

/* ---- the line itself ---- */

static const struct {
	const char *role;
	int (*run)(struct program *program);
} ROLES[] = { { "pi", run_pi }, { "vm", run_vm }, { "find", run_find } };

static void describe_self(struct program *program)
{
	char id[33] = "", name[48];

	machine_name(name, sizeof(name));
	snprintf(program->name, sizeof(program->name), "usbpush on %s", name);
	snprintf(program->version, sizeof(program->version), "version=%s", USBPUSH_VERSION);
	(void)machine_id(id, sizeof(id));
	snprintf(program->id, sizeof(program->id), "id=%s", id);
}

static int run(struct program *program, int (*run_role)(struct program *))
{
	int r = daemon_init(&program->daemon, on_stop, NULL, program);

	describe_self(program);
	if (r >= 0)
		r = run_role(program);
	if (r < 0)
		log_error("usbpush-mdns can't go on: %s", strerror(-r));
	daemon_done(&program->daemon);
	return r < 0 ? EXIT_FAILURE : r;
}

/* The index of the first argument that is no option, or -EINVAL. */
static int read_options(struct program *program, int argc, char **argv)
{
	static const struct option options[] = {
		{ "debug", no_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ "ssh-port", required_argument, NULL, 'p' },
		{ "socket", required_argument, NULL, 's' },
		{ "config", required_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};
	char *end = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'd':
			log_init("usbpush-mdns", true);
			break;
		case 'h':
			fputs(HELP, stdout);
			exit(EXIT_SUCCESS);
		case 'v':
			puts("usbpush-mdns " USBPUSH_VERSION);
			exit(EXIT_SUCCESS);
		case 'p':
			program->ssh_port = strtoul(optarg, &end, 10);
			if (*end || program->ssh_port < 1 || program->ssh_port > UINT16_MAX)
				return -EINVAL;
			break;
		case 's':
			program->socket_path = optarg;
			break;
		case 'c':
			program->config_path = optarg;
			break;
		default:
			return -EINVAL;
		}
	}
	return optind;
}

int main(int argc, char **argv)
{
	static struct program program = { .ssh_port = 22, .socket_path = CONTROL_SOCKET, .config_path = PORTAL_CONFIG_PATH };
	int at;

	log_init("usbpush-mdns", false);
	at = read_options(&program, argc, argv);
	if (at == argc - 1)
		for (size_t i = 0; i < ARRAY_SIZE(ROLES); i++)
			if (strcmp(ROLES[i].role, argv[at]) == 0)
				return run(&program, ROLES[i].run);
	fputs(HELP, stderr);
	return 2;
}
