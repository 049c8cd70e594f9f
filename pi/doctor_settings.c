#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "pi_doctor.h"
#include "transport.h"
#include "vm_config.h"

#define STATE_DIR "/var/lib/usbpush"
#define KEY_PATH  STATE_DIR "/id_ed25519"

static void on_problem(const struct config_problem *problem, void *userdata)
{
	doctor_say(userdata, DOCTOR_WRONG, "Mend the line (vm.conf(5) has them all), then: sudo systemctl reload usbpush-exporter", "%s",
		   problem->text);
}

void pi_doctor_check_settings(struct doctor *doctor)
{
	char path[DOCTOR_PATH_SIZE];
	struct vm_config config;
	int r = doctor_path(doctor, VM_CONFIG_PATH, path) ? vm_config_load(path, on_problem, doctor, &config) : -ENAMETOOLONG;

	if (r < 0)
		doctor_say(doctor, DOCTOR_WRONG, "Look at the file's owner and mode.", "%s: %s", VM_CONFIG_PATH, strerror(-r));
	else if (!vm_config_is_paired(&config))
		doctor_say(doctor, DOCTOR_NOTE, "On the VM: sudo usbpush-vm pair. Here: sudo usbpush pair.",
			   "no VM is paired: nothing is pushed");
	else if (r == 0)
		doctor_say(doctor, DOCTOR_OK, NULL, "pushes to %s@%s port %u", config.user, config.host, config.port);
}

void pi_doctor_check_key(struct doctor *doctor)
{
	_cleanup_free_ char *line = NULL;
	char path[DOCTOR_PATH_SIZE];
	struct failure failure;
	struct stat status;

	if (!doctor_path(doctor, KEY_PATH, path) || stat(path, &status) < 0) {
		if (errno == EACCES)
			doctor_say(doctor, DOCTOR_SKIPPED, "Run it with sudo.", "this Pi's key may be looked at by root only");
		else
			doctor_say(doctor, DOCTOR_NOTE, "sudo systemctl restart usbpush-exporter makes one; then pair anew.",
				   "this Pi has no key (%s)", KEY_PATH);
		return;
	}
	if (status.st_mode & 077)
		doctor_say(doctor, DOCTOR_WRONG,
			   "sudo chmod 600 " KEY_PATH ". If others could read it, remove it, restart usbpush-exporter, and pair anew.",
			   "this Pi's private key can be read by others (mode %04o)", (unsigned)status.st_mode & 07777);
	if (access(path, R_OK) < 0)
		doctor_say(doctor, DOCTOR_SKIPPED, "Run it with sudo.", "this Pi's key can't be read");
	else if (transport_key_public(path, "", &line, &failure) < 0)
		doctor_say(doctor, DOCTOR_WRONG, failure.cure, "%s", failure.text);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "this Pi has its key");
}
