#pragma once

#include "doctor_archive.h"
#include "doctor_check.h"

/* `usbpush doctor`: everything on the Pi that pushing devices stands on, looked at in the order in which it is needed. */

/* doctor [--json] [--archive FILE]. The exit status: 0 nothing is wrong, 1 something is (or the archive could not be written), 2 usage. */
int command_doctor(int argc, char **argv);

/* The checks, in the order in which they are run, and how many; for tests, too. */
const struct doctor_check *pi_doctor_checks(size_t *ret_n);

/* What --archive puts into the archive beside what they found, and how much; for tests, too. */
const struct doctor_part *pi_doctor_parts(size_t *ret_n);

/* Each check below looks at one thing, says at least one finding with doctor_say(), and changes nothing. One that needs the exporter's status takes what
 * pi_doctor_check_exporter() has left in doctor->status, and says that it was skipped without one. */

/* usbip-host: whether the module is loaded, whether root may write its files, how full the table of 16 is, whether usbipd runs beside us. (doctor_usbip.c) */
void pi_doctor_check_usbip(struct doctor *doctor);

/* vm.conf: each line that makes no sense, and whether a VM is paired. (doctor_settings.c) */
void pi_doctor_check_settings(struct doctor *doctor);

/* This Pi's key: whether it is there, is a key, and nobody else may read it. (doctor_settings.c) */
void pi_doctor_check_key(struct doctor *doctor);

/* Whether the VM's name has an address, and if not, whether that is for want of mDNS in nsswitch.conf. (doctor_path.c) */
void pi_doctor_check_name(struct doctor *doctor);

/* Whether an sshd answers at that address and port; four seconds for each address at most. (doctor_path.c) */
void pi_doctor_check_network(struct doctor *doctor);

/* Asks the exporter for its status, which the next two need: whether it answers, is of this version, and has a problem of its own. (doctor_exporter.c) */
void pi_doctor_check_exporter(struct doctor *doctor);

/* Whether the link is up, else why not and what to do; whether both sides are of one version. (doctor_exporter.c) */
void pi_doctor_check_link(struct doctor *doctor);

/* The direct road: whether it is open where devices are to take it, answers, and is let through by this Pi's firewall. (doctor_direct.c) */
void pi_doctor_check_direct(struct doctor *doctor);

/* Each device that could not be attached, with its cure, and how many are. (doctor_exporter.c) */
void pi_doctor_check_devices(struct doctor *doctor);

/* Whether the web page answers at the port that portal.conf says; without it pairing by six digits is all that is lacking. (doctor_exporter.c) */
void pi_doctor_check_portal(struct doctor *doctor);
