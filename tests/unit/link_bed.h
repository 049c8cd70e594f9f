#pragma once

#include "link.h"
#include "ssh_vm.h"

/* A link on a loop of its own, and the VM at its other end. Notes what the link says. */
struct link_bed {
	sd_event *event;
	struct job_runner *jobs;
	struct ssh_vm vm;
	struct link *link;
	char states[4096];   /* "CONNECTING AUTHENTICATING ..." */
	char messages[4096]; /* their types, as numbers */
	unsigned n_syncs, n_lost;
	void (*end_streams)(void); /* what stands on the link ends before it; NULL: nothing does */
	unsigned n_fds;            /* before all this */
};

void link_bed_setup(struct link_bed *bed);

/* Ends it all, and sees that no file descriptor is left. */
void link_bed_teardown(struct link_bed *bed);

/* Runs the loop until the link is in that state. */
void link_bed_wait(struct link_bed *bed, enum link_state state);

/* Configures it with the VM and waits until it is UP. */
void link_bed_come_up(struct link_bed *bed);

/* Waits until the handler's side has heard a line with that text on the control channel. */
void link_bed_wait_heard(struct link_bed *bed, const char *text);

/* The failure that the status shows; NONE without one. */
struct failure link_bed_failure(const struct link_bed *bed);

/* It has that code, and a text. */
void link_bed_expect_failure(const struct link_bed *bed, enum failure_code code);
