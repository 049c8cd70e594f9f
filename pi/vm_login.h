#pragma once

#include <stddef.h>

#include "failure.h"

/* A login of a person on a VM, by SSH with a password: to show the VM's host key, and to have the Pi's key let in there. It blocks, and is for a job's thread: one call at a
 * time, from whatever thread. Each wait has a bound. The password is kept nowhere. */
struct vm_login;

/* What the VM is to let in. */
struct vm_login_pi {
	const char *name;    /* [A-Za-z0-9._-]+ */
	const char *address; /* [0-9a-f.:]+, or "" */
	const char *key;     /* one line, as `usbpush key` prints it */
};

/* SSH on a connected TCP socket (taken over, also on failure), up to the host key. pinned: the key that it must have, or NULL to see which it has. FAILURE_HOST_KEY,
 * FAILURE_UNREACHABLE. Nothing has been sent of anybody then. */
int vm_login_open(int tcp_fd, const char *user, const char *pinned, struct vm_login **ret_login, struct failure *ret_failure);

/* The host key that it showed, "ssh-ed25519 AAAA...", and its fingerprint (64 bytes). */
int vm_login_host_key(struct vm_login *login, char *ret_key, size_t size, char *ret_fingerprint, struct failure *ret_failure);

/* Logs in. FAILURE_WRONG_PASSWORD, FAILURE_NO_PASSWORD_LOGIN. */
int vm_login_authenticate(struct vm_login *login, const char *password, struct failure *ret_failure);

/* Has `usbpush-vm authorize --hold` run as root: the Pi is let in, for the time being. FAILURE_NO_SUDO, FAILURE_NOT_INSTALLED, or what usbpush-vm says. */
int vm_login_authorize(struct vm_login *login, const char *password, const struct vm_login_pi *pi, struct failure *ret_failure);

/* The Pi is let in for good. On failure it is not, as far as can be told. */
int vm_login_keep(struct vm_login *login, struct failure *ret_failure);

/* Ends it: what was not kept is taken back by the VM. Takes NULL, returns NULL. */
struct vm_login *vm_login_close(struct vm_login *login);
