#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "doctor_machine.h"
#include "pi_doctor.h"

#define DRIVER     "/sys/bus/usb/drivers/usbip-host"
#define TABLE_SIZE 16 /* MAX_BUSID, drivers/usb/usbip/stub.h */

/* root owns these files and needs no capability to write them; somebody may have taken that away. */
static void check_permission(struct doctor *doctor)
{
	static const char *const files[] = { DRIVER "/match_busid", DRIVER "/bind", DRIVER "/unbind", "/sys/bus/usb/drivers/usb/unbind",
					     "/sys/bus/usb/drivers_probe" };

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char path[DOCTOR_PATH_SIZE];
		struct stat status;

		if (!doctor_path(doctor, files[i], path) || stat(path, &status) < 0)
			doctor_say(doctor, DOCTOR_WRONG, "Is the kernel's usbip-host a patched one? Boot the distribution's kernel.",
				   "%s is missing", files[i]);
		else if (!(status.st_mode & S_IWUSR))
			doctor_say(doctor, DOCTOR_WRONG,
				   "In a container or a hardened system: give usbpush-exporter write access to /sys/bus/usb.",
				   "%s can't be written by root", files[i]);
	}
}

static unsigned count_words(const char *text)
{
	unsigned n = 0;

	for (text += strspn(text, " \n"); *text; text += strspn(text, " \n")) {
		text += strcspn(text, " \n");
		n++;
	}
	return n;
}

static void check_table(struct doctor *doctor)
{
	_cleanup_free_ char *table = NULL;
	unsigned n = doctor_read(doctor, DRIVER "/match_busid", 4096, &table) >= 0 ? count_words(table) : 0;

	if (n >= TABLE_SIZE)
		doctor_say(doctor, DOCTOR_NOTE, "Further devices are carried by usbfs; nothing is left to do.",
			   "all %d places of usbip-host's table are taken", TABLE_SIZE);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "%u of %d places of its table are taken", n, TABLE_SIZE);
}

void pi_doctor_check_usbip(struct doctor *doctor)
{
	if (!doctor_check_module(doctor, DRIVER, "usbip-host"))
		return;
	check_permission(doctor);
	check_table(doctor);
	if (doctor_exists(doctor, "/run/usbipd.pid") || doctor_exists(doctor, "/var/run/usbipd"))
		doctor_say(doctor, DOCTOR_NOTE, "If you do not use it: sudo systemctl disable --now usbipd",
			   "usbipd runs, too: what it shares is out of usbpush's reach");
}
