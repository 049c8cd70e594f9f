#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "daemon.h"
#include "device.h"
#include "event_log.h"
#include "link.h"
#include "uevent.h"

/* The Pi's daemon: which devices there are, where they are on their way, and the link to the VM. It owns them all and passes on what happens
 * between them. */
struct exporter;
struct follow;
struct login_pair;
struct own_key;
struct pair_desk;
struct pair_limits;
struct rulebook;

struct exporter_options {
	const char *sysfs_root, *dev_root;     /* "/sys", "/dev" */
	const char *config_path;               /* vm.conf */
	const char *state_dir;                 /* the key: /var/lib/usbpush */
	const char *run_dir;                   /* /run/usbpush */
	const char *modules_dir;               /* NULL: the running kernel's */
	const char *rules_path, *proc_root;    /* NULL: /etc/usbpush/devices.conf, /proc */
	struct hold_store *holds;              /* borrowed; NULL: nobody keeps them */
	const struct pair_limits *pair_limits; /* NULL: as in PROTOCOL.md */
	bool is_any_port;                      /* for tests: the direct road is on any free port */
};

/* Reads the configuration, finds what is plugged in, starts the link. Problems of the configuration are logged. The object is the caller's. */
int exporter_new(struct daemon *daemon, const struct exporter_options *options, struct exporter **ret_exporter);

/* Takes NULL, returns NULL. Devices stay as they are: use exporter_stop() first for a clean end. */
struct exporter *exporter_free(struct exporter *exporter);

/* Ends all streams, gives all devices back to the Pi's drivers, lets what is being written get to the disk, then ends the daemon's loop; within a bound of a few seconds. */
void exporter_stop(struct exporter *exporter);

/* What the kernel says of devices; the seam for tests. */
void exporter_handle_uevent(struct exporter *exporter, const struct uevent *uevent);

/* Reads vm.conf and devices.conf again; a changed VM drops the old link. */
void exporter_reload(struct exporter *exporter);

/* Pairs with a VM: the link is tried with config; `exporter_pair_result` comes by on_done. On failure the old pairing is back. On success vm.conf has the
 * new one. -EBUSY while another pairing runs. */
typedef void (*exporter_pair_fn)(const struct failure *failure, void *userdata);

/* Starts a try: see pairing.h. */
int exporter_pair(struct exporter *exporter, const struct vm_config *config, exporter_pair_fn on_done, void *userdata);

/* The one who waits for a pairing is gone: it goes on without him. */
void exporter_pair_forget(struct exporter *exporter, void *userdata);

/* How the end of a pairing went: see pairing_ended_fn. */
typedef void (*exporter_unpair_fn)(bool is_ended, const struct failure *failure, void *userdata);

/* Ends the pairing, on the VM too where that can be told: see pairing_end(). Devices go back to the Pi's drivers. */
int exporter_unpair(struct exporter *exporter, exporter_unpair_fn on_ended, void *userdata, struct failure *ret_failure);

/* The devices that fit a selection best (selection.h). ret_devices (max n) are borrowed. Returns how many they are. */
size_t exporter_select(struct exporter *exporter, const char *selection, struct device **ret_devices, size_t n);

/* Resets the device, or (is_hard) takes its power for a moment: see device_list_recover(). */
int exporter_recover(struct exporter *exporter, struct device *device, bool is_hard, struct failure *ret_failure);

/* Calls fn for each device that is plugged in. */
void exporter_for_each(struct exporter *exporter, void (*fn)(struct device *device, void *userdata), void *userdata);

/* Where VMs that show six digits are received; borrowed. */
struct pair_desk *exporter_pair_desk(struct exporter *exporter);

/* Pairing by a login of the VM; borrowed. */
struct login_pair *exporter_login_pair(struct exporter *exporter);

/* The VMs on the network; borrowed. */
struct follow *exporter_follow(struct exporter *exporter);

/* The owner's rules; borrowed. */
struct rulebook *exporter_rulebook(struct exporter *exporter);

/* The link; borrowed. */
struct link *exporter_link(struct exporter *exporter);

/* The events; borrowed. */
struct event_log *exporter_events(struct exporter *exporter);

/* Where the Pi's SSH key lies; borrowed. */
const char *exporter_key_path(const struct exporter *exporter);

/* That there is one; borrowed. */
struct own_key *exporter_own_key(struct exporter *exporter);

/* What `usbpush status --json` prints; a new reference. */
json_t *exporter_to_json(struct exporter *exporter);
