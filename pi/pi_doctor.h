#pragma once

#include "doctor_check.h"

/* `usbpush doctor`: everything on the Pi that pushing devices stands on, looked at in the order in which it is needed. */

/* doctor [--json] [--archive FILE] */
int command_doctor(int argc, char **argv);

/* The checks; for tests, too. */
const struct doctor_check *pi_doctor_checks(size_t *ret_n);

/* usbip-host: the module, its files, the table of 16. (doctor_usbip.c) */
void pi_doctor_check_usbip(struct doctor *doctor);

/* vm.conf, and this Pi's key. (doctor_settings.c) */
void pi_doctor_check_settings(struct doctor *doctor);
void pi_doctor_check_key(struct doctor *doctor);

/* The VM's name, its sshd, as seen from here. (doctor_path.c) */
void pi_doctor_check_name(struct doctor *doctor);
void pi_doctor_check_network(struct doctor *doctor);

/* What the exporter says: of itself, of the link, of the devices; and whether the portal answers. (doctor_exporter.c) */
void pi_doctor_check_exporter(struct doctor *doctor);
void pi_doctor_check_link(struct doctor *doctor);
void pi_doctor_check_devices(struct doctor *doctor);
void pi_doctor_check_portal(struct doctor *doctor);
