#pragma once

#include <pthread.h>

#include "vm_bed.h"

/* A VM on which a Pi and a kernel act by themselves, whatever the handler does: the Pi keeps one ACM device offered as long as it is plugged in, connects again and offers
 * again as an exporter does; the kernel answers `attach` and `detach` at the write, enumerates, and makes a node of what was authorized. */
struct vm_life {
	pthread_mutex_t lock; /* of the kernel: the handler writes to it from threads */
	struct vm_bed bed;
	struct vm_pi control, stream;
	bool is_stopping;
	bool is_plugged, is_synced, is_offered, is_up,
		is_reported; /* up: the stream got its OK; reported: `attached` came for this offer */
	unsigned n_offers, n_complaints;
	uint64_t next_usec, beat_usec;
	struct {
		int session; /* the socket that `attach` gave to the kernel */
		bool has_node, is_detaching;
	} ports[BED_PORTS];
};

/* A tree and nothing on it. */
void vm_life_setup(struct vm_life *life);
void vm_life_teardown(struct vm_life *life);

/* Starts a handler, as systemd does: again if it can't start. */
void vm_life_start(struct vm_life *life);

/* It dies as it is. */
void vm_life_kill(struct vm_life *life);

/* Stops it: at the end no port is in use. */
void vm_life_stop(struct vm_life *life);

/* Until the plugged device is attached in the eyes of all: the kernel, the handler's status, the Pi. */
void vm_life_wait_attached(struct vm_life *life);

/* Until no port is in use, and the handler's status knows of no device. */
void vm_life_wait_free(struct vm_life *life);

/* Lets all of them act until is_done says so. */
void vm_life_until(struct vm_life *life, bool (*is_done)(struct vm_life *life), const char *what);
