#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "vm_doctor.h"

#define UNIT     "usbpush-unpair.path"
#define REQUESTS "/run/usbpush/unpair" /* where the handler leaves a file for each Pi that has gone */

/* What systemctl says: a line, "active", "inactive", "failed". */
static bool is_active(const char *said)
{
	return strcmp(said, "active") == 0 || strcmp(said, "active\n") == 0;
}

void vm_doctor_check_unpair(struct doctor *doctor)
{
	static const char *const command[] = { "/usr/bin/systemctl", "is-active", UNIT, NULL };
	_cleanup_free_ char *said = NULL;
	int r = doctor_command(doctor, command, NULL, &said);

	if (r == -ENOENT)
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, "no systemd here: whether " UNIT " is at work can't be asked");
	else if (r < 0)
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, "systemctl does not answer: %s", strerror(-r));
	else if (is_active(said))
		doctor_say(doctor, DOCTOR_OK, NULL, "a Pi that ends its pairing has its key taken out");
	else
		doctor_say(doctor, DOCTOR_WRONG, "sudo systemctl enable --now " UNIT,
			   UNIT " is not active (%.*s): the key of a Pi that ends its pairing stays in the files (%s)",
			   (int)strcspn(said, "\n"), said, REQUESTS);
}
