#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "temp_tree.h"

/* A real avahi-daemon on a D-Bus of its own, in a network with nothing but the loopback, for this process and those that it starts. */
struct avahi_bed {
	struct temp_tree tree;
	pid_t dbus, avahi; /* 0: not running */
};

/* Unshares the network and starts both. False where the machine does not allow that (no root). */
bool avahi_bed_setup(struct avahi_bed *bed);

/* Ends both. */
void avahi_bed_teardown(struct avahi_bed *bed);

/* One by one, as packages' upgrades do. */
void avahi_bed_start_dbus(struct avahi_bed *bed);
void avahi_bed_stop_dbus(struct avahi_bed *bed);
void avahi_bed_start_avahi(struct avahi_bed *bed);
void avahi_bed_stop_avahi(struct avahi_bed *bed);
