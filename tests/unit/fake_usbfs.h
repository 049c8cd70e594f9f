#pragma once

#include <linux/usbdevice_fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A device's node in usbfs for tests: our code's ioctls on it (inject.h) are answered by the rules of drivers/usb/core/devio.c. What the device does is the
 * test's to say. What the real one would answer by giving the device to another driver, or with a line in the kernel's log, ends the test. */

#define FAKE_USBFS_INTERFACES 3
#define FAKE_USBFS_SETTINGS   3 /* of each interface */
#define FAKE_USBFS_URBS       20000

struct fake_transfer {
	struct usbdevfs_urb *urb; /* the program's */
	bool is_done;
	int status;
	size_t actual_length;
	const uint8_t *data;                           /* owned: what the device says; NULL without */
	struct usbdevfs_iso_packet_desc packets[1024]; /* what became of them */
};

struct fake_usbfs {
	int node;    /* owned by who opened it: the node, or a duplicate of it */
	int far_end; /* owned */
	int filler;  /* borrowed: one of the two; what is written to it fills the node */
	unsigned long long inode;
	pthread_mutex_t lock; /* guards what follows */
	bool is_ready;        /* as poll() has it: something is over */
	bool is_unplugged;
	struct {
		bool is_claimed;
		char driver[16]; /* "" without one */
	} interfaces[FAKE_USBFS_INTERFACES];
	unsigned n_interfaces;
	struct fake_transfer *transfers[FAKE_USBFS_URBS]; /* owned: in the order of their start, then of their end */
	unsigned n_transfers;
	unsigned max_transfers;               /* above that there is no memory; 0: no limit */
	unsigned n_refused;                   /* for want of it */
	uint16_t in_endpoints, out_endpoints; /* one bit each */
	int special_result;                   /* of what is not a transfer */
	bool is_held;                         /* a reset, a setting or the end of a halt lasts until it is false */
	bool is_in_special;                   /* one does: whoever asks for anything meanwhile sleeps */
	char log[4096];                       /* "claim 0; claim 1; reset; ..." */
	char crime[128];
};

/* The descriptors of such a device with two interfaces. */
extern const uint8_t FAKE_USBFS_DESCRIPTORS[];
extern const size_t FAKE_USBFS_DESCRIPTORS_SIZE;

/* A device with that many interfaces, each with driver ftdi_sio, and endpoints 1 and 2 both ways, 3 IN. From then on our code's ioctls pass by it. */
void fake_usbfs_new(struct fake_usbfs *usbfs, unsigned n_interfaces);

/* The same with the file at path in the place of a node that our code opens by itself. */
void fake_usbfs_new_at(struct fake_usbfs *usbfs, const char *path, unsigned n_interfaces);

/* Takes it away. Fails the test for a crime. */
void fake_usbfs_free(struct fake_usbfs *usbfs);

/* Somebody is in the device's place: the oldest transfer on that endpoint (0x81: IN 1; 0: control) is over, with this status and, for IN, these bytes; for OUT
 * so many are moved. False: there is none. */
bool fake_usbfs_complete(struct fake_usbfs *usbfs, uint8_t endpoint, int status, const void *data, size_t size);

/* The same for an isochronous one: each packet moves size bytes, or none if its index is that. */
bool fake_usbfs_complete_packets(struct fake_usbfs *usbfs, uint8_t endpoint, const void *data, size_t size, unsigned failing);

/* The oldest transfer there that is not over; NULL without. Its buffer is the program's. */
const struct usbdevfs_urb *fake_usbfs_find(struct fake_usbfs *usbfs, uint8_t endpoint);

/* How many are not over. */
unsigned fake_usbfs_count(struct fake_usbfs *usbfs);

/* All under way are over, and the node says so. */
void fake_usbfs_unplug(struct fake_usbfs *usbfs);

/* From now on the device keeps whoever wants to change it waiting; or no longer. */
void fake_usbfs_hold(struct fake_usbfs *usbfs, bool is_held);

/* Whether somebody is kept waiting. */
bool fake_usbfs_is_in_special(struct fake_usbfs *usbfs);

/* What was asked for since the last call, transfers apart. */
const char *fake_usbfs_log(struct fake_usbfs *usbfs);
