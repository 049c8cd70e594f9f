#include <stdio.h>
#include <string.h>

#include "command.h"
#include "owner_command.h"
#include "pi_doctor.h"
#include "secret.h"

static const char HELP[] = "usbpush: USB serial devices of this Pi, pushed to a VM\n"
			   "\n"
			   "  usbpush status [--json] [--watch]   the link and the devices\n"
			   "  usbpush devices [--explain] [--json]  all USB devices; why each is shared or not\n"
			   "  usbpush attach DEVICE | --all       share it (again), now\n"
			   "  usbpush detach DEVICE               take it from the VM and keep it here\n"
			   "  usbpush reset DEVICE [--hard]       get a stuck one going again; --hard: take its power, where the hub can\n"
			   "  usbpush share DEVICE                share it from now on, whatever it is; a rule in devices.conf says so\n"
			   "  usbpush ignore DEVICE               keep it here from now on\n"
			   "  usbpush name DEVICE NAME [--also VID:PID]\n"
			   "                                      /dev/usbpush/NAME on the VM; --also: its boot loader's VID:PID\n"
			   "  usbpush key                         this Pi's public key, for usbpush-vm authorize\n"
			   "  usbpush pair [VM]                   pair with the VM on which usbpush-vm pair runs; asks for its code\n"
			   "  usbpush pair --host VM --host-key 'ssh-ed25519 AAAA...' [--user U] [--port N]\n"
			   "                                      the same without a code: push to that VM from now on\n"
			   "  usbpush pair --login USER [--port N] VM\n"
			   "                                      pair by a login of that VM; asks for its password, once\n"
			   "  usbpush unpair                      push no more\n"
			   "  usbpush events [--follow] [--json]  what happened\n"
			   "  usbpush test                        the link, end to end\n"
			   "  usbpush doctor [--json] [--archive FILE]\n"
			   "                                      looks at all it stands on, and says what to do; FILE for a bug report\n"
			   "  usbpush setup-code                  the code that makes you owner of the web page, and its address\n"
			   "  usbpush reset-password              when its password is lost\n"
			   "  usbpush --help, --version\n"
			   "\n"
			   "DEVICE is a bus id (1-1.4), a name, VID:PID (0403:6001) or a serial number.\n"
			   "Exit status: 0 done, 1 failed, 2 usage. See usbpush(1).\n";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} COMMANDS[] = {
	{ "status", command_status },
	{ "devices", command_devices },
	{ "attach", command_attach },
	{ "detach", command_detach },
	{ "reset", command_reset },
	{ "share", command_share },
	{ "ignore", command_ignore },
	{ "name", command_name },
	{ "key", command_key },
	{ "pair", command_pair },
	{ "unpair", command_unpair },
	{ "events", command_events },
	{ "test", command_test },
	{ "doctor", command_doctor },
	{ "setup-code", command_setup_code },
	{ "reset-password", command_reset_password },
};

int main(int argc, char **argv)
{
	secret_wipe_json();
	if (argc < 2) {
		fputs(HELP, stderr);
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		fputs(HELP, stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("usbpush " USBPUSH_VERSION);
		return 0;
	}
	for (size_t i = 0; i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++)
		if (strcmp(argv[1], COMMANDS[i].name) == 0)
			return COMMANDS[i].run(argc - 1, argv + 1);
	fprintf(stderr, "usbpush: no command \"%s\"; see usbpush --help\n", argv[1]);
	return 2;
}
