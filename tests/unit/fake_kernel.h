#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "busid.h"
#include "temp_tree.h"
#include "uevent.h"
#include "usb_sample.h"

/* A Pi's kernel for tests: a tree in the place of sysfs and of /dev, whose control files act at the very moment of the write, as sysfs' do. Our code's writes to
 * them (inject.h) are answered by usbip-host's rules (stub_main.c, stub_dev.c): the table of 16 bus ids, who is bound to what, sessions.
 * What the real one would answer with memory corruption ends the test. */

#define FAKE_KERNEL_TABLE 16
#define FAKE_KERNEL_MAX   40

struct fake_device {
	struct busid busid;
	bool is_plugged;
	uint32_t devnum;
	char driver[32];      /* "" without one */
	int session;          /* the socket that usbip_sockfd gave us; negative without */
	uint64_t ending_usec; /* when its teardown is over; 0: it is not ending */
	struct usb_sample sample;
	bool is_dark; /* its port was switched off: it comes back with the power */
};

struct fake_entry {
	struct busid busid; /* "" in a free one */
	uint32_t devnum;    /* of the device that was bound by it; 0: none ever was */
};

struct fake_kernel {
	struct temp_tree tree; /* sys/, dev/ */
	char sysfs[96], dev[96];
	int waker[2], uevents[2];
	pthread_mutex_t lock;    /* guards what follows; who holds it makes no ck_assert() */
	pthread_cond_t released; /* nobody is held up any more */
	char held_write[64];
	char unplugging_write[64];
	unsigned n_held;
	bool is_off;
	struct fake_device devices[FAKE_KERNEL_MAX];
	struct fake_entry table[FAKE_KERNEL_TABLE];
	uint32_t next_devnum;
	bool is_echoing;        /* sessions send back what comes; else they read and forget */
	unsigned end_status;    /* usbip_status after a session's end: 1, or 3 */
	unsigned teardown_msec; /* how long that takes */
	struct {
		char file[48];
		int error;
		unsigned times;
	} refusals[8];
	char writes[8192];       /* "usb/unbind 1-1; usbip-host/match_busid add 1-1; ..." */
	char crime[256];         /* what no real kernel survives */
	sd_event_source *source; /* of the loop that hears uevents */
	uevent_fn on_uevent;
	void *userdata;
};

/* Starts it; from then on every short write(2) of our code passes by it, to the end of this process: kernel must live as long. has_module: usbip-host is
 * loaded. */
void fake_kernel_new(struct fake_kernel *kernel, bool has_module);

/* Takes the tree away. Fails the test for a crime. */
void fake_kernel_free(struct fake_kernel *kernel);

/* on_uevent hears in this loop what the kernel has to say. */
void fake_kernel_listen(struct fake_kernel *kernel, sd_event *event, uevent_fn on_uevent, void *userdata);

/* A plug: enumerated, bound to the generic driver, told. */
void fake_kernel_plug(struct fake_kernel *kernel, const char *busid, const struct usb_sample *sample);

/* The same without a word, as it was before anybody listened; driver may be "" or "usbip-host". */
void fake_kernel_have(struct fake_kernel *kernel, const char *busid, const struct usb_sample *sample, const char *driver);

/* A device without a driver is bound to the generic one, and that is told. */
void fake_kernel_probe(struct fake_kernel *kernel, const char *busid);

/* An unplug: its session ends, it is gone, told. */
void fake_kernel_unplug(struct fake_kernel *kernel, const char *busid);

/* The hub can switch the power of that socket from now on: a device that is plugged in there goes and comes with it. */
void fake_kernel_add_port_switch(struct fake_kernel *kernel, const char *busid);

/* One attribute of it says something else from now on. */
void fake_kernel_set(struct fake_kernel *kernel, const char *busid, const char *attribute, const char *value);

/* The next writes to a file ("usbip-host/bind") are refused with that errno, so many times. */
void fake_kernel_refuse(struct fake_kernel *kernel, const char *file, int error, unsigned times);

/* From now on such a write ("usbip-host/bind 1-1") does not return, until fake_kernel_release(). How many writers wait. */
void fake_kernel_hold(struct fake_kernel *kernel, const char *write);
void fake_kernel_release(struct fake_kernel *kernel);
unsigned fake_kernel_count_held(struct fake_kernel *kernel);

/* Right after the next such write ("usbip-host/bind 1-1") the device is unplugged, before the writer goes on. */
void fake_kernel_unplug_after(struct fake_kernel *kernel, const char *write);

/* Whether something is plugged in there. */
bool fake_kernel_is_plugged(struct fake_kernel *kernel, const char *busid);

/* Its driver now ("" without one). */
const char *fake_kernel_driver(struct fake_kernel *kernel, const char *busid);

/* Whether match_busid has an entry for it. One that no device was bound by does not count: nothing clears it, and the next bind there takes it up. */
bool fake_kernel_has_entry(struct fake_kernel *kernel, const char *busid);

/* How many entries match_busid has; how many sessions are up; how many devices that are plugged in have another driver than the generic one. */
unsigned fake_kernel_count_table(struct fake_kernel *kernel);
unsigned fake_kernel_count_sessions(struct fake_kernel *kernel);
unsigned fake_kernel_count_unbound(struct fake_kernel *kernel);

/* What was written since the last call. */
const char *fake_kernel_writes(struct fake_kernel *kernel);
