#pragma once

#include <jansson.h>
#include <stdio.h>

/* Prints the lines that give a device to a container: Proxmox LXC in both forms, Docker, devcontainer. device is one of `usbpush-vm status --json`'s. Each node is named by its
 * link in /dev/usbpush, which stays with the device. 0, or -ENODEV for a device without nodes. */
int container_print(const json_t *device, FILE *stream);
