#pragma once

#include <jansson.h>

#include "failure.h"

/* What the subcommands share. */

#define ANSWER_TIMEOUT_MS 5000
#define WRITE_TIMEOUT_MS  30000 /* it is answered when it is on the disk */

enum { DONE = 0, FAILED = 1, USAGE = 2 };

/* Says "usbpush: TEXT CURE". Returns FAILED. */
int command_fail(const struct failure *failure);

/* Says "usbpush: ...; see usbpush --help". Returns USAGE. */
int command_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Pairs by a login of the VM: shows its host key, asks for yes and the password on the terminal. */
int command_pair_login(const char *host, const char *user, json_int_t port);

/* The control socket's path; another one for tests. */
const char *command_control_path(void);

/* Asks once over a connection of its own. The request's reference is taken. 0 and the answer (the caller's), or a negative errno with ret_failure filled. */
int command_ask(json_t *request, int timeout_ms, json_t **ret_answer, struct failure *ret_failure);
