#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "descriptor.h"
#include "identity.h"
#include "serial_driver.h"

/* The owner's rules for devices, a line each: devices.conf on the Pi, accept.conf on the VM (their man pages have the whole).
 *
 *     ACTION MATCH... [name=NAME] [also=VID:PID] [reset-before-share] [recover=reset|power] [transport=tunnel|direct] [backend=usbip-host|usbfs]      # comment
 *
 * A rule applies to a device that fits all of its matches: VID:PID, serial=, socket=, driver=, class=, pi=. The first rule that fits decides. */

#define RULE_NAME_SIZE    49
#define RULE_MAX_ALSO     4
#define RULE_SERIAL_SIZE  (2 * IDENTITY_STRING_SIZE) /* each character may need a backslash */
#define RULE_PATTERN_SIZE 64
#define RULE_MAX_LINE     2048
#define RULE_MAX_DRIVERS  32

/* What a file may have in it. */
enum rule_key {
	RULE_KEY_SOCKET = 1,
	RULE_KEY_PI = 2,
	RULE_KEY_NAME = 4,
	RULE_KEY_RESET = 8,
	RULE_KEY_TRANSPORT = 16,
	RULE_KEY_BACKEND = 32
};

/* How far an attempt to attach may go by itself, where it fails again and again. */
enum rule_recover { RULE_RECOVER_NONE, RULE_RECOVER_RESET, RULE_RECOVER_POWER };

/* Which way a device's bytes go. */
enum rule_transport { RULE_TRANSPORT_DEFAULT, RULE_TRANSPORT_TUNNEL, RULE_TRANSPORT_DIRECT };

/* What carries a device on the Pi. */
enum rule_backend { RULE_BACKEND_DEFAULT, RULE_BACKEND_USBIP_HOST, RULE_BACKEND_USBFS };

struct rule_syntax {
	const char *const *actions; /* NULL-ended; the index is struct rule's action */
	unsigned keys;              /* enum rule_key, beside those that every file has */
};

/* Patterns (glob.h); empty: any. */
struct rule {
	unsigned line;
	unsigned action;
	char id[10]; /* "0403:6001", in lower case, with wildcards */
	char serial[RULE_SERIAL_SIZE];
	char socket[RULE_PATTERN_SIZE];
	char driver[RULE_PATTERN_SIZE];
	char class[9]; /* "03:01:01", parts left out at its end are any */
	char pi[RULE_PATTERN_SIZE];
	char name[RULE_NAME_SIZE];    /* empty without */
	char also[RULE_MAX_ALSO][10]; /* VID:PIDs under which the same board comes back (its boot loader); "" where there are fewer */
	bool is_reset;
	enum rule_recover recover;
	enum rule_transport transport;
	enum rule_backend backend;
};

/* What a rule is asked about. All borrowed. */
struct rule_subject {
	const struct descriptors *descriptors;
	const char *serial;
	const char *socket;    /* the bus id on the Pi */
	const char *pi;        /* the Pi's name; NULL on the Pi */
	const char *last_name; /* of the named device that was in this socket before; NULL if none is known */
	size_t n_drivers;      /* that the kernel has for its interfaces */
	char drivers[RULE_MAX_DRIVERS][SERIAL_DRIVER_NAME_SIZE];
};

/* Understands one line (without its newline; it is changed). 1 with a rule, 0 for a blank or comment line, -EINVAL with what was found and expected in problem. */
int rule_parse(const struct rule_syntax *syntax, char *line, struct rule *ret_rule, char *problem, size_t problem_size);

/* Whether the device fits all matches; or it fits one of also=, and is in the socket of, or has the serial of, the board that the rule is about. */
bool rule_fits(const struct rule *rule, const struct rule_subject *subject);

/* What is known of that before the serial number can be read. MAYBE: the serial number decides. */
enum rule_fit { RULE_FIT_NO, RULE_FIT_MAYBE, RULE_FIT_YES };

/* The same as rule_fits(), of a device whose serial number can't be read yet: the subject's is passed over. */
enum rule_fit rule_fits_unread(const struct rule *rule, const struct rule_subject *subject);

/* Writes the rule as a line, without newline and comment. 0, or -ENOSPC. */
int rule_format(const struct rule_syntax *syntax, const struct rule *rule, char *buffer, size_t size);

/* Whether two rules are about exactly the same devices. */
bool rule_matches_equal(const struct rule *a, const struct rule *b);

/* Whether text can be a device's name: it becomes a file's name on the VM. Letters, digits, '.', '_', '-', not first '.' or '-', at most 48. */
bool rule_is_name(const char *text);

/* Whether text is a plain VID:PID, four and four hex digits. */
bool rule_is_id(const char *text);
