#pragma once

#include <stdbool.h>

#include "ssh_vm.h"

/* People with passwords on the VM of ssh_vm.h: its sshds run in a mount namespace where /etc/passwd, /etc/shadow and /etc/sudoers are the test's own, so that sshd, PAM and sudo
 * are the real ones (sudo only where a process may gain rights: not in a container that forbids it, where a script stands in). It takes root. The programs that they find first are in the tree's bin/, with a usbpush-vm that is the real one on the tree's root/. */

#define PERSON_ROOT     "root"
#define PERSON_SUDO     "ada"                      /* may use sudo, with her password */
#define PERSON_PLAIN    "bob"                      /* may not */
#define PERSON_OTHER    "eve"                      /* may, with root's password */
#define PERSON_FREE     "max"                      /* may, without a password */
#define PERSON_PASSWORD "correct horse; 'battery'" /* of each of them but root */
#define ROOT_PASSWORD   "staple \"$HOME\" `id`"

enum ssh_asking { ASKING_PASSWORD, ASKING_QUESTIONS, ASKING_NOTHING }; /* how sshd takes a password */

/* Whether that can be done here. */
bool ssh_people_are_possible(void);

/* Moves them in; the login usbpush takes what the tree's root/ authorizes. */
void ssh_people_move_in(struct ssh_vm *vm, enum ssh_asking asking);

/* Replaces a program by a shell script ("" takes it away). */
void ssh_people_put_program(struct ssh_vm *vm, const char *name, const char *script);

/* In the child that becomes sshd: the namespace. No memory is taken. False if it can't be. */
bool ssh_people_enter(const struct ssh_vm *vm);
