#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "handler.h"
#include "temp_tree.h"

/* A VM for tests: the real handler on a temporary tree in sysfs' place, whose kernel is played by the test, and Pis that follow a script. */

#define BED_PI    "0123456789abcdef0123456789abcdef" /* paired, named pi1 */
#define BED_OTHER "fedcba9876543210fedcba9876543210" /* paired, named pi2 */
#define BED_PORTS 16                                 /* 8 high-speed, 8 SuperSpeed */
#define BED_HS    8

struct vm_bed {
	struct temp_tree tree;
	char sysfs[96], conf[96], accept[96], addresses[96];
	sd_event *event;
	struct handler_options options;
	struct handler *handler;
	struct {
		unsigned state;
		uint32_t devid;
	} ports[BED_PORTS];
};

/* A scripted Pi's end of a connection. */
struct vm_pi {
	struct vm_bed *bed;
	int fd;
	char input[70000];
	size_t used;
};

/* What a device says of itself. */
struct vm_device {
	uint16_t vid, pid;
	const char *serial;
	uint8_t class, subclass, protocol; /* of its one interface */
};

extern const struct vm_device ACM;      /* 303a:1001, a CDC-ACM device */
extern const struct vm_device KEYBOARD; /* 046d:c31c */

/* Makes the tree and starts the handler on it. */
void vm_bed_setup(struct vm_bed *bed);

/* Makes the tree, without a handler. */
void vm_bed_make(struct vm_bed *bed);

/* Makes the tree with vhci_hcd not loaded. */
void vm_bed_setup_without_module(struct vm_bed *bed);

/* Ends the handler and removes the tree. */
void vm_bed_teardown(struct vm_bed *bed);

/* A handler that was killed leaves its ports as they are; its successor starts. */
void vm_bed_restart_handler(struct vm_bed *bed);

/* Runs the loop until nothing is left to do at once. */
void vm_bed_settle(struct vm_bed *bed);

/* What was written last to vhci_hcd's `attach` or `detach`, now or by the work that is under way; clears it. "" if nothing. */
const char *vm_bed_take_write(struct vm_bed *bed, const char *name);

/* The kernel: takes what `attach` was given (the handler must have written it) and enumerates device there. Returns the port. */
uint32_t vm_bed_enumerate(struct vm_bed *bed, const struct vm_device *device);

/* The same in parts: the kernel has taken an `attach`; it reads the device at port. */
void vm_bed_assign(struct vm_bed *bed, uint32_t port, uint32_t devid);
void vm_bed_show_device(struct vm_bed *bed, uint32_t port, const struct vm_device *device);

/* Only takes `attach`; the device is not read yet. */
uint32_t vm_bed_take_attach(struct vm_bed *bed);

/* udev: a tty below the device at port. */
void vm_bed_add_tty(struct vm_bed *bed, uint32_t port, const char *node, const char *links);

/* The kernel: the device at port goes, and the port is free. */
void vm_bed_remove(struct vm_bed *bed, uint32_t port);

/* The port is another exporter's device now. */
void vm_bed_give_port_to_stranger(struct vm_bed *bed, uint32_t port);

/* What sysfs says of the device at port: "0" or "1" in `authorized`. */
bool vm_bed_is_authorized(struct vm_bed *bed, uint32_t port);

/* How many ports the kernel has in use. */
unsigned vm_bed_count_used(const struct vm_bed *bed);

/* A connection of a Pi, as the relay makes it. */
void vm_pi_connect(struct vm_pi *pi, struct vm_bed *bed, const char *id);

/* Ends it. */
void vm_pi_close(struct vm_pi *pi);

/* Writes bytes, running the handler meanwhile. */
void vm_pi_write(struct vm_pi *pi, const char *data, size_t size);

/* Writes a line, printf-like, with its newline. */
void vm_pi_say(struct vm_pi *pi, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Runs the handler until a line of this type came; passes over others. Fails the test after 10 s. A new reference. */
json_t *vm_pi_expect(struct vm_pi *pi, const char *type);

/* Runs the handler until a line came that begins with start (a stream's answer). */
void vm_pi_expect_text(struct vm_pi *pi, const char *start);

/* Runs the handler until the connection has ended. */
void vm_pi_expect_end(struct vm_pi *pi);

/* hello, and sync with no offers. */
void vm_pi_come_up(struct vm_pi *pi, struct vm_bed *bed, const char *id);

/* hello only. On a slow machine its patience is longer. */
void vm_pi_say_hello(struct vm_pi *pi, unsigned patience_ms);

/* `connect` of device in a socket of the Pi, as offer id. */
void vm_pi_offer(struct vm_pi *pi, const char *id, const char *busid, uint32_t devid, const struct vm_device *device);

/* The same under its owner's name. */
void vm_pi_offer_named(struct vm_pi *pi, const char *id, const char *busid, uint32_t devid, const struct vm_device *device,
		       const char *name);

/* A stream for an offer: the connection, with its first line said. */
void vm_pi_open_stream(struct vm_pi *stream, struct vm_bed *bed, const char *pi_id, const char *offer_id);

/* The state of the one device of an offer in the handler's status; "" if it is not there. Valid until the next call. */
const char *vm_bed_device_state(struct vm_bed *bed, const char *offer_id);

/* The state of a Pi there. */
const char *vm_bed_pi_state(struct vm_bed *bed, const char *pi_id);

/* Runs the handler until an offer's device has this state. Fails the test after 10 s. */
void vm_bed_expect_state(struct vm_bed *bed, const char *offer_id, const char *state);
