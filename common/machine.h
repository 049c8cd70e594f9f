#pragma once

#include <stddef.h>

/* Who this machine is. */

/* A short id that stays: 32 hex digits derived from /etc/machine-id and not reversible to it (sd_id128_get_machine_app_specific). */
int machine_id(char *buffer, size_t size);

/* The kernel's boot id, 32 hex digits. */
int machine_boot_id(char *buffer, size_t size);

/* The host name, made safe for display. */
void machine_name(char *buffer, size_t size);

/* Debian's name of the architecture of a kernel release, which ends with it ("6.1.0-28-cloud-arm64"): as linux-image-NAME has it. "amd64" if it is not known. */
const char *machine_kernel_arch(const char *release);
