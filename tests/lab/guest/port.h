/* A named virtio serial port of this guest. */
#pragma once

#include <stddef.h>

#define PORT_MAGIC "\0usbpush\1lab\2go\n"
enum { PORT_MAGIC_SIZE = 16 };

/* Waits until the port of this name exists; returns its fd. */
int port_open(const char *name, int flags);
/* Writes all of it, waiting while the host is slow or absent. */
void port_write(int fd, const void *data, size_t n);
/* Fills exactly 36 bytes with the kernel's boot id. */
void port_boot_id(char *ret_id);
