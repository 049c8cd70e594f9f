#pragma once

#include "doctor_check.h"

/* `usbpush-vm doctor`: everything on the VM that taking devices stands on, looked at in the order in which it is needed. */

/* doctor [--json] [--archive FILE]. The exit status. */
int vm_doctor_main(int argc, char **argv);

/* The checks; for tests, too. */
const struct doctor_check *vm_doctor_checks(size_t *ret_n);

/* vhci_hcd: the module, its files, what the kernel may do with a device that nobody has looked at. (doctor_vhci.c) */
void vm_doctor_check_vhci(struct doctor *doctor);

/* What sshd does with the login of the Pis, by its own account (sshd -T), and whether it listens. (doctor_sshd.c) */
void vm_doctor_check_sshd(struct doctor *doctor);

/* The port on which sshd listens, by its own account, the first of several; 22 where it does not tell. (doctor_sshd.c) */
unsigned vm_doctor_sshd_port(const struct doctor *doctor);

/* The login itself. (doctor_login.c) */
void vm_doctor_check_login(struct doctor *doctor);

/* The keys that open it. (doctor_login.c) */
void vm_doctor_check_keys(struct doctor *doctor);

/* What takes the keys out of Pis that end their pairing. (doctor_unpair.c) */
void vm_doctor_check_unpair(struct doctor *doctor);

/* What the handler says of itself. (doctor_handler.c) */
void vm_doctor_check_handler(struct doctor *doctor);

/* What it says of the Pis and their devices. (doctor_handler.c) */
void vm_doctor_check_pis(struct doctor *doctor);

/* The direct road of each Pi that has a device on it: whether this machine reaches the port there. (doctor_direct.c) */
void vm_doctor_check_direct(struct doctor *doctor);

/* The relay, up to an answer. (doctor_handler.c) */
void vm_doctor_check_relay(struct doctor *doctor);
