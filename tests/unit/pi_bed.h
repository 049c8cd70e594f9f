#pragma once

#include "exporter.h"
#include "fake_kernel.h"
#include "ssh_vm.h"

/* A Pi for tests: the real exporter on a fake kernel, and a VM behind a real sshd. */
struct pi_bed {
	struct fake_kernel kernel;
	struct ssh_vm vm;
	struct daemon daemon;
	struct exporter_options options;
	char config_path[128], rules_path[128], state_dir[96], run_dir[96], modules_dir[128];
	struct exporter *exporter;
};

/* Kernel and VM, unpaired, no exporter yet. */
void pi_bed_setup(struct pi_bed *bed);

/* Writes the pairing with the VM into vm.conf. */
void pi_bed_pair(struct pi_bed *bed);

/* Kernel and VM, paired, an exporter, and the link is UP. */
void pi_bed_setup_up(struct pi_bed *bed);

/* Starts an exporter, also after another one that was killed. */
void pi_bed_start(struct pi_bed *bed);

/* The same where it may fail: a negative errno. */
int pi_bed_try_start(struct pi_bed *bed);

/* The exporter dies as it is: nothing is given back. */
void pi_bed_kill(struct pi_bed *bed);

/* The exporter ends cleanly, as by SIGTERM, and all is as it was before it: no session, no entry, each device with the Pi's own driver. */
void pi_bed_stop(struct pi_bed *bed);

/* Stops the exporter if it runs, and takes all away. */
void pi_bed_teardown(struct pi_bed *bed);

/* Runs the loop until the link, or a device, is in that state ("UP", "ATTACHED"). */
void pi_bed_wait_link(struct pi_bed *bed, const char *state);
void pi_bed_wait(struct pi_bed *bed, const char *busid, const char *state);

/* Runs the loop until nothing is plugged in at that bus id any more, as the exporter sees it, and its entry is out of the kernel's table. */
void pi_bed_wait_gone(struct pi_bed *bed, const char *busid);

/* Runs the loop until it is with that driver. */
void pi_bed_wait_driver(struct pi_bed *bed, const char *busid, const char *driver);

/* `status --json`. A new reference. */
json_t *pi_bed_status(struct pi_bed *bed);

/* A field of the device in `status --json` as text; "" if there is no such device or field. In a buffer that lives until the next call. */
const char *pi_bed_field(struct pi_bed *bed, const char *busid, const char *field);

/* The device itself; the test fails without it. */
struct device *pi_bed_device(struct pi_bed *bed, const char *busid);

/* Runs the loop for a while in which something must not happen. */
void pi_bed_run(struct pi_bed *bed, uint64_t usec);

/* Runs the loop until is_done says so. */
void pi_bed_until(struct pi_bed *bed, bool (*is_done)(struct pi_bed *bed), const char *what);

/* Runs the loop until the VM, which is another process, has heard that text so many times on the control channel, and all that the exporter has said so far (if the
 * link is UP): then it is not there more often. */
void pi_bed_expect_heard(struct pi_bed *bed, const char *text, unsigned times);
