#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "busid.h"
#include "failure.h"
#include "vhci_status.h"

/* The kernel's virtual host controllers, vhci_hcd, below /sys/devices/platform (drivers/usb/usbip/vhci_sysfs.c). The only file that knows
 * that interface. Works without the module, too: then it says what is missing. */
struct vhci;

/* sysfs_root NULL: /sys; modules_dir NULL: /lib/modules/RELEASE. Succeeds without the module. 0 or negative errno. */
int vhci_new(const char *sysfs_root, const char *modules_dir, struct vhci **ret_vhci);

/* Takes NULL, returns NULL. */
struct vhci *vhci_free(struct vhci *vhci);

/* Learns the controllers and their root hubs anew: at start, and when a root hub appeared or went. */
void vhci_scan(struct vhci *vhci);

/* Whether devices can be attached: 0, or a negative errno with FAILURE_NO_USB or FAILURE_NO_MODULE and the cure. */
int vhci_check(const struct vhci *vhci, struct failure *ret_failure);

/* Sets authorized_default of every vhci root hub to 0, so that no driver sees a device before it was authorized. 0 or a negative errno
 * with ret_failure filled. */
int vhci_prepare(struct vhci *vhci, struct failure *ret_failure);

/* All ports of all controllers; 0 without the module. */
uint32_t vhci_count_ports(const struct vhci *vhci);

/* Reads the state of all ports. The array is the caller's to free. */
int vhci_read_ports(struct vhci *vhci, struct vhci_port **ret_ports, size_t *ret_n);

/* Reads the state of one port. -ENOENT for a port that there is not. */
int vhci_read_port(struct vhci *vhci, uint32_t port, struct vhci_port *ret_port);

/* Whether the caller has a use for a port that the kernel calls free. */
typedef bool (*vhci_is_reserved_fn)(uint32_t port, void *userdata);

/* Finds a free port for a device of speed (Mbit/s; 1 stands for 1.5). Goes round all controllers: a port that was just freed is the last to be used again, so
 * that a late event of its former device is not taken for the new one's. Low, full and high speed each have their own ports and use another's only when
 * their own are taken: the kernel is slower with a device on a port that had one of another speed. -errno with FAILURE_NO_FREE_PORT, NO_MODULE, ... */
int vhci_find_free_port(struct vhci *vhci, uint32_t speed, vhci_is_reserved_fn is_reserved, void *userdata, uint32_t *ret_port,
			struct failure *ret_failure);

/* One write to `attach` or `detach`. The kernel may hold it up as long as it takes the port's former device down (sysfs_lock in drivers/usb/usbip/vhci_sysfs.c and
 * usbip_event.c): it belongs in a job (job.h), and holds all that it needs there. */
struct vhci_write;

/* Gives the stream socket fd to the kernel as the device at port; duplicated: the caller's stays the caller's. NULL without memory or file descriptors. */
struct vhci_write *vhci_write_new_attach(const struct vhci *vhci, uint32_t port, int fd, uint32_t devid, uint32_t speed);

/* Begins to detach what is at port; it is asynchronous. NULL as above. */
struct vhci_write *vhci_write_new_detach(const struct vhci *vhci, uint32_t port);

/* A free_arg of job.h. Takes NULL. */
void vhci_write_free(void *write);

/* A job_fn. 0, or a negative errno. Of `attach` -EBUSY: somebody took the port meanwhile, take another. `detach` of a port that is free already: 0. */
int vhci_write_run(void *write);

/* What an error of a write means to people. Returns it. */
int vhci_write_explain(const struct vhci_write *write, int err, struct failure *ret_failure);

/* Finds the port whose device syspath ("/sys/devices/...") is or is below, and that device's bus id. False for any other path. */
bool vhci_find_port(const struct vhci *vhci, const char *syspath, uint32_t *ret_port, struct busid *ret_busid);

/* Opens the sysfs directory of the device at port: an fd, the caller's, or -ENOENT if none is enumerated. */
int vhci_open_device(const struct vhci *vhci, uint32_t port, struct busid *ret_busid);

/* Has udev look at a device node again, as at a new one. Does nothing for a node that is gone. */
void vhci_nudge_node(const struct vhci *vhci, const char *devnode);
