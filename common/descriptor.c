#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

enum { DEVICE_DESCRIPTOR = 1, DEVICE_DESCRIPTOR_SIZE = 18, INTERFACE_DESCRIPTOR = 4, INTERFACE_DESCRIPTOR_SIZE = 9 };

static uint16_t le16(const uint8_t *data)
{
	return (uint16_t)(data[0] | data[1] << 8);
}

static int descriptors_add_interface(struct descriptors *descriptors, const uint8_t *data)
{
	const struct usb_interface interface = { .number = data[2], .class = data[5], .subclass = data[6], .protocol = data[7] };

	for (size_t i = 0; i < descriptors->n_interfaces; i++)
		if (memcmp(&descriptors->interfaces[i], &interface, sizeof(interface)) == 0)
			return 0;
	if (descriptors->n_interfaces == DESCRIPTOR_MAX_INTERFACES)
		return -E2BIG;
	descriptors->interfaces[descriptors->n_interfaces++] = interface;
	return 0;
}

int descriptors_parse(const uint8_t *data, size_t size, struct descriptors *ret)
{
	struct descriptors found = { 0 };

	if (size < DEVICE_DESCRIPTOR_SIZE || data[0] != DEVICE_DESCRIPTOR_SIZE || data[1] != DEVICE_DESCRIPTOR)
		return -EBADMSG;
	found.class = data[4];
	found.subclass = data[5];
	found.protocol = data[6];
	found.vid = le16(data + 8);
	found.pid = le16(data + 10);
	found.bcd_device = le16(data + 12);
	found.n_configurations = data[17];
	for (size_t at = DEVICE_DESCRIPTOR_SIZE; at < size; at += data[at]) {
		if (size - at < 2 || data[at] < 2 || data[at] > size - at)
			return -EBADMSG;
		if (data[at + 1] != INTERFACE_DESCRIPTOR)
			continue;
		if (data[at] < INTERFACE_DESCRIPTOR_SIZE)
			return -EBADMSG;
		int r = descriptors_add_interface(&found, data + at);
		if (r < 0)
			return r;
	}
	*ret = found;
	return 0;
}

int descriptors_read_bytes(int device_fd, uint8_t ret_bytes[static DESCRIPTOR_MAX_SIZE])
{
	size_t used = 0;
	_cleanup_close_ int fd = openat(device_fd, "descriptors", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n = read(fd, ret_bytes + used, DESCRIPTOR_MAX_SIZE - used);
		if (n < 0)
			return -errno;
		if (n == 0)
			return (int)used;
		used += (size_t)n;
		if (used == DESCRIPTOR_MAX_SIZE)
			return -E2BIG;
	}
}

int descriptors_read(int device_fd, struct descriptors *ret)
{
	uint8_t data[DESCRIPTOR_MAX_SIZE] = { 0 };
	int n = descriptors_read_bytes(device_fd, data);

	return n < 0 ? n : descriptors_parse(data, (size_t)n, ret);
}

int descriptors_modalias(const struct descriptors *descriptors, const struct usb_interface *interface, char *buffer, size_t size)
{
	int n = snprintf(buffer, size, "usb:v%04Xp%04Xd%04Xdc%02Xdsc%02Xdp%02Xic%02Xisc%02Xip%02Xin%02X", descriptors->vid,
			 descriptors->pid, descriptors->bcd_device, descriptors->class, descriptors->subclass, descriptors->protocol,
			 interface->class, interface->subclass, interface->protocol, interface->number);

	return n < 0 || (size_t)n >= size ? -ENOSPC : n;
}
