#include "usbfs_layout.h"

#include <errno.h>
#include <linux/usb/ch9.h>
#include <stdlib.h>
#include <string.h>

#include "descriptor.h"

struct usbfs_layout {
	size_t size;
	uint8_t bytes[]; /* whole descriptors, one behind the other, as long as they say */
};

/* Where the walk is: in which configuration, and in which setting of which interface. */
struct place {
	size_t at; /* of the next descriptor */
	int configuration;
	uint8_t interface, setting;
};

/* ---- life ---- */

static bool are_descriptors(const uint8_t *bytes, size_t size)
{
	if (size < USB_DT_DEVICE_SIZE || bytes[0] != USB_DT_DEVICE_SIZE || bytes[1] != USB_DT_DEVICE)
		return false;
	for (size_t at = 0; at < size; at += bytes[at])
		if (size - at < 2 || bytes[at] < 2 || bytes[at] > size - at)
			return false;
	return true;
}

int usbfs_layout_new(const uint8_t *bytes, size_t size, struct usbfs_layout **ret_layout)
{
	struct usbfs_layout *layout;

	if (!are_descriptors(bytes, size))
		return -EBADMSG;
	layout = malloc(sizeof(*layout) + size);
	if (!layout)
		return -ENOMEM;
	layout->size = size;
	memcpy(layout->bytes, bytes, size);
	*ret_layout = layout;
	return 0;
}

int usbfs_layout_read(int device_fd, struct usbfs_layout **ret_layout)
{
	uint8_t bytes[DESCRIPTOR_MAX_SIZE] = { 0 };
	int n = descriptors_read_bytes(device_fd, bytes);

	return n < 0 ? n : usbfs_layout_new(bytes, (size_t)n, ret_layout);
}

struct usbfs_layout *usbfs_layout_free(struct usbfs_layout *layout)
{
	free(layout);
	return NULL;
}

/* ---- what is there ---- */

/* The next descriptor of that type and size, and where it stands; NULL behind the last. */
static const uint8_t *layout_find(const struct usbfs_layout *layout, struct place *place, uint8_t type, uint8_t size)
{
	while (place->at < layout->size) {
		const uint8_t *bytes = layout->bytes + place->at;

		place->at += bytes[0];
		if (bytes[1] == USB_DT_CONFIG && bytes[0] >= USB_DT_CONFIG_SIZE)
			place->configuration = bytes[5];
		if (bytes[1] == USB_DT_INTERFACE && bytes[0] >= USB_DT_INTERFACE_SIZE) {
			place->interface = bytes[2];
			place->setting = bytes[3];
		}
		if (bytes[1] == type && bytes[0] >= size)
			return bytes;
	}
	return NULL;
}

bool usbfs_layout_has_endpoint(const struct usbfs_layout *layout, int configuration, uint8_t address)
{
	struct place place = { .configuration = -1 };
	const uint8_t *endpoint;

	if ((address & ~USB_DIR_IN) == 0)
		return true;
	while ((endpoint = layout_find(layout, &place, USB_DT_ENDPOINT, USB_DT_ENDPOINT_SIZE)))
		if ((configuration < 0 || configuration == place.configuration) && endpoint[2] == address)
			return true;
	return false;
}

static uint32_t get_u16(const uint8_t *bytes)
{
	return (uint32_t)(bytes[0] | bytes[1] << 8);
}

/* USB 2.0, table 9-13: of high speed it may be sent up to three times; other speeds have zeros there. */
static uint32_t packet_size(const uint8_t *endpoint)
{
	uint32_t size = get_u16(endpoint + 4);

	return (size & USB_ENDPOINT_MAXP_MASK) * (1 + (size >> USB_EP_MAXP_MULT_SHIFT & 3));
}

/* With its companions, the descriptors behind it. USB 3.2, sections 9.6.7 and 9.6.8. */
static uint32_t layout_get_burst_size(const struct usbfs_layout *layout, size_t at, const uint8_t *endpoint)
{
	uint32_t size = packet_size(endpoint);

	for (; at < layout->size; at += layout->bytes[at]) {
		const uint8_t *bytes = layout->bytes + at;

		if (bytes[1] == USB_DT_SS_ENDPOINT_COMP && bytes[0] >= USB_DT_SS_EP_COMP_SIZE)
			size = get_u16(endpoint + 4) * (1U + bytes[2]) * (1U + (bytes[3] & 3));
		else if (bytes[1] == USB_DT_SSP_ISOC_ENDPOINT_COMP && bytes[0] >= USB_DT_SSP_ISOC_EP_COMP_SIZE)
			size = get_u16(bytes + 4) | get_u16(bytes + 6) << 16;
		else if (bytes[1] == USB_DT_ENDPOINT || bytes[1] == USB_DT_INTERFACE || bytes[1] == USB_DT_CONFIG)
			break;
	}
	return size;
}

uint32_t usbfs_layout_get_packet_size(const struct usbfs_layout *layout, int configuration, uint8_t address)
{
	struct place place = { .configuration = -1 };
	const uint8_t *endpoint;
	uint32_t largest = 0;

	while ((endpoint = layout_find(layout, &place, USB_DT_ENDPOINT, USB_DT_ENDPOINT_SIZE))) {
		uint32_t size = layout_get_burst_size(layout, place.at, endpoint);

		if ((configuration < 0 || configuration == place.configuration) && endpoint[2] == address && size > largest)
			largest = size;
	}
	return largest;
}

int usbfs_layout_get_class(const struct usbfs_layout *layout, int configuration, uint8_t interface, uint8_t setting)
{
	struct place place = { .configuration = -1 };
	const uint8_t *found;

	while ((found = layout_find(layout, &place, USB_DT_INTERFACE, USB_DT_INTERFACE_SIZE)))
		if ((configuration < 0 || configuration == place.configuration) && place.interface == interface && place.setting == setting)
			return found[5];
	return -ENOENT;
}

bool usbfs_layout_has_setting(const struct usbfs_layout *layout, int configuration, uint8_t interface, uint8_t setting)
{
	return usbfs_layout_get_class(layout, configuration, interface, setting) >= 0;
}
