#pragma once

#include <stddef.h>

/* What this Pi itself uses a device for, as the kernel tells it now: sharing such a device would pull it from under the Pi. */

/* Looks for network interfaces and block devices below the device (syspath: ".../devices/..."), and whether one of the latter is mounted, swap, or held by another
 * (LVM, RAID). sysfs_root "/sys", proc_root "/proc". 1 with the use in words in ret_use, 0 if there is none. What can't be read counts as used. */
int in_use_find(const char *sysfs_root, const char *proc_root, const char *syspath, char *ret_use, size_t size);
