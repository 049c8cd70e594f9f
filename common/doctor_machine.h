#pragma once

#include "doctor_check.h"

/* The checks that are the same on both machines. */

struct statvfs;

/* The kernel's own version: Debian's release name ("6.1.0-28-amd64") hides it, /proc/version has it. False if it can't be read. */
bool doctor_kernel_version(const struct doctor *doctor, unsigned ret_version[3]);

/* Whether version is below a.b.c. */
bool doctor_version_is_below(const unsigned version[3], unsigned a, unsigned b, unsigned c);

/* Whether the kernel is one that usbpush was tried on, and one that has USB at all. */
void doctor_check_kernel(struct doctor *doctor);

/* Says what is to say of a kernel module that is needed: `interface` (below /sys) is there once it is loaded, `file` is its name without ".ko". Whether it is there. */
bool doctor_check_module(struct doctor *doctor, const char *interface, const char *file);

/* Room for configuration and state, and whether they can be written. */
void doctor_check_disk(struct doctor *doctor);

/* What a file system's numbers mean. */
void doctor_judge_disk(struct doctor *doctor, const char *path, const struct statvfs *status);

/* Whether the clock can be right: for logs, and for who reads them. */
void doctor_check_clock(struct doctor *doctor);

/* Whether avahi-daemon is there, by which the two find each other. */
void doctor_check_mdns(struct doctor *doctor);

/* Whether this machine's own firewall lets port in; what says who needs that. By nft's rules, as far as they can be understood. */
void doctor_check_firewall(struct doctor *doctor, unsigned port, const char *what);

/* Asks the daemon at socket_path (below root) for its status, once: doctor->status. Says what is wrong if there is none. */
bool doctor_ask_daemon(struct doctor *doctor, const char *socket_path, const char *unit, const char *version_field);
