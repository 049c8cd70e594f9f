#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "allow_list.h"
#include "config.h"
#include "failure.h"

#define VM_CONFIG_PATH "/etc/usbpush/vm.conf"

/* To which VM this Pi pushes: vm.conf. */
struct vm_config {
	char host[256];      /* name or address; empty: not paired */
	uint16_t port;       /* 22 */
	char user[64];       /* usbpush */
	char host_key[4096]; /* "ssh-ed25519 AAAA...", without comment */
	uint32_t patience_ms;
	char id[33];             /* of the VM, as it calls itself; empty where the pairing did not say it */
	bool is_direct;          /* TRANSPORT=direct: the devices' bytes go by TCP, not in the link */
	struct allow_list allow; /* who may import devices on the direct road, beside the VM */
};

/* Without a file all is default: not paired. Each line that makes no sense is passed to on_problem and leaves its default; a host without a usable host
 * key counts as not paired, which is a problem too. Returns the number of problems, or a negative errno if the file can't be read. */
int vm_config_load(const char *path, config_problem_fn on_problem, void *userdata, struct vm_config *ret_config);

/* Whether host and host key are there. */
bool vm_config_is_paired(const struct vm_config *config);

/* Whether text can be a VM's id: 32 hex digits. */
bool vm_config_is_id(const char *text);

/* Whether the two mean the same link; which road the devices take is not part of it. */
bool vm_config_equal(const struct vm_config *a, const struct vm_config *b);

/* Whether both are paired, and with the same VM wherever it is now: by its host key. */
bool vm_config_is_same_vm(const struct vm_config *a, const struct vm_config *b);

/* Checks host, port and user alone, what is needed before there is a host key. FAILURE_BAD_REQUEST with the cure otherwise. */
int vm_config_check_login(const struct vm_config *config, struct failure *ret_failure);

/* Checks what a person gave for pairing. FAILURE_BAD_REQUEST with the cure otherwise. */
int vm_config_check(const struct vm_config *config, struct failure *ret_failure);

/* Writes host, port, user, host key and id into the file at path, keeping all else; an unpaired config takes them out. */
int vm_config_save(const char *path, const struct vm_config *config);
