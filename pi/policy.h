#pragma once

#include <stdbool.h>

#include "atomic_file.h"
#include "busid.h"
#include "config.h"
#include "descriptor.h"
#include "failure.h"
#include "identity.h"
#include "rule.h"

#define DEVICES_CONFIG_PATH "/etc/usbpush/devices.conf"

/* Which devices are shared, and under which names (DESIGN section 6): the owner's rules in devices.conf, and by default what a device is. */
struct policy;

struct policy_options {
	const char *modules_dir; /* NULL: the running kernel's */
	const char *rules_path;  /* devices.conf */
	const char *sysfs_root, *proc_root;
};

/* A device that is asked about. All borrowed. */
struct policy_device {
	const char *syspath; /* "/sys/devices/..." */
	const struct busid *busid;
	const struct identity *identity;
	const struct descriptors *descriptors;
};

struct policy_decision {
	bool is_shared;
	bool is_asking;            /* it waits for the owner's yes; is_shared is false */
	bool is_unsure;            /* what decides could not be read: ask again later; is_shared is false */
	bool is_never;             /* no rule can share it */
	bool is_reset;             /* by the rule: reset it before it is shared */
	enum rule_recover recover; /* by the rule: how far to go where attaching fails again and again */
	bool is_direct;            /* its bytes take the direct road */
	enum rule_backend backend; /* by the rule: what carries it */
	char reason[192];          /* "serial driver ftdi_sio", "a hub", "a rule shares it" ... */
	char rule[256];            /* "/etc/usbpush/devices.conf:3: share 0403:*"; empty where none decided */
	char name[RULE_NAME_SIZE]; /* the owner's; empty without */
};

/* Reads the rules; what is wrong with them is told by on_problem (may be NULL). options are borrowed: they outlive it. The object is the caller's. */
int policy_new(const struct policy_options *options, config_problem_fn on_problem, void *userdata, struct policy **ret_policy);

/* Takes NULL, returns NULL. */
struct policy *policy_free(struct policy *policy);

/* Reads the rules anew. One with a line that makes no sense is told and not used: the rules stay as they were. The number of problems, or a negative errno. */
int policy_reload(struct policy *policy, config_problem_fn on_problem, void *userdata);

/* Whether the last try to read the rules found a file that could not be read: another try may. */
bool policy_is_unread(const struct policy *policy);

/* The problem of the rules as they lie in the file, or NULL; borrowed. is_in_force: what is below that line decides nothing now (else the rules are those
 * from before). */
const struct config_problem *policy_get_problem(const struct policy *policy, bool *ret_is_in_force);

/* Which road is taken where no rule says it: TRANSPORT= of vm.conf. The tunnel until then. */
void policy_set_direct(struct policy *policy, bool is_direct);

/* Whether any device may take the direct road: by default or by a rule that is in force. */
bool policy_may_be_direct(const struct policy *policy);

/* Decides. */
void policy_decide(struct policy *policy, const struct policy_device *device, struct policy_decision *ret_decision);

/* Whether policy_decide() will surely share it, by the tunnel and as it is, when its serial number is read and its drivers have it: only what is a serial
 * device and nothing that the Pi may be using. device's identity is passed over. */
bool policy_foresees_sharing(struct policy *policy, const struct policy_device *device);

/* A device of that name (empty: none given) is in the socket: what comes there next under a VID:PID linked to it is the same board. */
void policy_note_place(struct policy *policy, const struct busid *busid, const char *name);

/* The owner's yes or no to a device that waits for it. It holds for this device until the exporter ends. */
void policy_answer(struct policy *policy, const struct policy_device *device, bool is_yes);

enum policy_action { POLICY_SHARE, POLICY_IGNORE, POLICY_ASK, POLICY_DEFAULT };

/* The rules as they lie there, with one for this very device, or with the one that there is changed: for the caller to write, and then to reload. ret_draft is the
 * caller's: file_draft_done(). 0, or a negative errno with ret_failure. */
int policy_draft_action(const struct policy *policy, const struct policy_device *device, enum policy_action action,
			struct file_draft *ret_draft, struct failure *ret_failure);

/* The same with a name; also: the VID:PID of its boot loader, NULL without. */
int policy_draft_name(const struct policy *policy, const struct policy_device *device, const char *name, const char *also,
		      struct file_draft *ret_draft, struct failure *ret_failure);

/* Whether they can be a name and a VID:PID at all, whatever the rules say: 0, or a negative errno with ret_failure. */
int policy_check_name(const char *name, const char *also, struct failure *ret_failure);

/* What a person is told when they could not be written there (a negative errno). Returns a negative errno. */
int policy_fail_to_write(const struct policy *policy, int error, struct failure *ret_failure);
