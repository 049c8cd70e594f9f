#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "doctor_machine.h"
#include "vm_doctor.h"

#define CONTROLLER "/sys/devices/platform/vhci_hcd.0"

/* CVE-2026-97484: `status` read straight after modprobe; mended in 6.1.190 and 6.12.111. */
static void check_version(struct doctor *doctor)
{
	unsigned version[3];

	if (!doctor_kernel_version(doctor, version))
		return;
	if (doctor_version_is_below(version, 6, 1, 190) ||
	    (!doctor_version_is_below(version, 6, 2, 0) && doctor_version_is_below(version, 6, 12, 111)))
		doctor_say(doctor, DOCTOR_NOTE,
			   "sudo apt upgrade, then reboot. usbpush waits where that would happen; other programs may not.",
			   "the kernel %u.%u.%u can crash when vhci_hcd's status is read as it is loaded (CVE-2026-97484)", version[0],
			   version[1], version[2]);
}

static void check_permission(struct doctor *doctor)
{
	static const char *const files[] = { CONTROLLER "/attach", CONTROLLER "/detach", CONTROLLER "/status", CONTROLLER "/nports" };

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char path[DOCTOR_PATH_SIZE];
		struct stat status;

		if (!doctor_path(doctor, files[i], path) || stat(path, &status) < 0)
			doctor_say(doctor, DOCTOR_WRONG, "sudo modprobe -r vhci_hcd; sudo modprobe vhci_hcd; see dmesg.", "%s is missing",
				   files[i]);
		else if (i < 2 && !(status.st_mode & S_IWUSR))
			doctor_say(doctor, DOCTOR_WRONG,
				   "In a container vhci_hcd belongs to the host: run usbpush-vm there (README, \"A container on the VM\").",
				   "%s can't be written by root", files[i]);
	}
}

/* Until the handler has prepared them, drivers bind to whatever a Pi offers. */
static void check_authorized_default(struct doctor *doctor)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[DOCTOR_PATH_SIZE];
	unsigned n = 0, n_open = 0;
	struct dirent *entry;

	if (doctor_path(doctor, CONTROLLER, path))
		dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		char attribute[DOCTOR_PATH_SIZE], value[16];

		if (strncmp(entry->d_name, "usb", 3) != 0)
			continue;
		snprintf(attribute, sizeof(attribute), CONTROLLER "/%.32s/authorized_default", entry->d_name);
		if (doctor_read_line(doctor, attribute, value, sizeof(value)) < 0)
			continue;
		n++;
		n_open += strcmp(value, "0") != 0;
	}
	if (n_open)
		doctor_say(doctor, DOCTOR_WRONG,
			   "sudo systemctl restart usbpush-handler sets it to 0; if something sets it back, remove that.",
			   "vhci_hcd lets drivers at devices before they were looked at (authorized_default is not 0)");
	else if (n)
		doctor_say(doctor, DOCTOR_OK, NULL, "no driver sees a device before it was looked at");
}

void vm_doctor_check_vhci(struct doctor *doctor)
{
	char ports[16];

	if (!doctor_check_module(doctor, CONTROLLER, "vhci-hcd"))
		return;
	check_version(doctor);
	check_permission(doctor);
	check_authorized_default(doctor);
	if (doctor_read_line(doctor, CONTROLLER "/nports", ports, sizeof(ports)) == 0)
		doctor_say(doctor, DOCTOR_OK, NULL, "%s ports", ports);
}
