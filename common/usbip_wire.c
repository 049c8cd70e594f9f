#include "usbip_wire.h"

#include <errno.h>
#include <string.h>

static uint8_t *put8(uint8_t *at, size_t value)
{
	*at = (uint8_t)value;
	return at + 1;
}

static uint8_t *put16(uint8_t *at, uint16_t value)
{
	return put8(put8(at, value >> 8), value & 0xff);
}

static uint8_t *put32(uint8_t *at, uint32_t value)
{
	return put16(put16(at, (uint16_t)(value >> 16)), (uint16_t)(value & 0xffff));
}

/* A text in a field of fixed size, zeros behind it. */
static uint8_t *put_text(uint8_t *at, const char *text, size_t size)
{
	memset(at, 0, size);
	memcpy(at, text, strnlen(text, size - 1));
	return at + size;
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

void usbip_header_encode(const struct usbip_header *header, uint8_t bytes[static USBIP_HEADER_SIZE])
{
	put32(put16(put16(bytes, header->version), header->code), header->status);
}

void usbip_header_decode(const uint8_t bytes[static USBIP_HEADER_SIZE], struct usbip_header *ret_header)
{
	*ret_header = (struct usbip_header){ get16(bytes), get16(bytes + 2), get32(bytes + 4) };
}

void usbip_request_encode(const struct busid *busid, uint8_t bytes[static USBIP_REQUEST_SIZE])
{
	const struct usbip_header header = { .version = USBIP_VERSION, .code = USBIP_REQUEST | USBIP_IMPORT };

	usbip_header_encode(&header, bytes);
	put_text(bytes + USBIP_HEADER_SIZE, busid->text, USBIP_BUSID_SIZE);
}

int usbip_busid_decode(const uint8_t bytes[static USBIP_BUSID_SIZE], struct busid *ret_busid)
{
	if (!memchr(bytes, '\0', USBIP_BUSID_SIZE))
		return -EINVAL;
	return busid_parse((const char *)bytes, ret_busid);
}

void usbip_count_encode(uint32_t n, uint8_t bytes[static USBIP_COUNT_SIZE])
{
	put32(bytes, n);
}

void usbip_device_encode(const struct usbip_device *device, uint8_t bytes[static USBIP_DEVICE_SIZE])
{
	uint8_t *at = put_text(bytes, device->path, USBIP_PATH_SIZE);

	at = put_text(at, device->busid.text, USBIP_BUSID_SIZE);
	at = put32(put32(put32(at, device->busnum), device->devnum), device->speed);
	at = put16(put16(put16(at, device->vid), device->pid), device->bcd);
	at = put8(put8(put8(at, device->class), device->subclass), device->protocol);
	put8(put8(put8(at, device->configuration), device->n_configurations), device->n_interfaces);
}

int usbip_device_decode(const uint8_t bytes[static USBIP_DEVICE_SIZE], struct usbip_device *ret_device)
{
	const uint8_t *at = bytes + USBIP_PATH_SIZE + USBIP_BUSID_SIZE;
	struct usbip_device device = { 0 };

	if (!memchr(bytes, '\0', USBIP_PATH_SIZE) || usbip_busid_decode(bytes + USBIP_PATH_SIZE, &device.busid) < 0)
		return -EBADMSG;
	memcpy(device.path, bytes, USBIP_PATH_SIZE);
	device.busnum = get32(at);
	device.devnum = get32(at + 4);
	device.speed = get32(at + 8);
	device.vid = get16(at + 12);
	device.pid = get16(at + 14);
	device.bcd = get16(at + 16);
	device.class = at[18];
	device.subclass = at[19];
	device.protocol = at[20];
	device.configuration = at[21];
	device.n_configurations = at[22];
	device.n_interfaces = at[23];
	*ret_device = device;
	return 0;
}

void usbip_interfaces_encode(const struct usbip_device *device, uint8_t *bytes)
{
	for (size_t i = 0; i < device->n_interfaces; i++) {
		const struct usb_interface *interface = &device->interfaces[i];

		bytes = put8(put8(put8(put8(bytes, interface->class), interface->subclass), interface->protocol), 0);
	}
}

uint32_t usbip_speed_from_mbit(uint32_t speed)
{
	switch (speed) {
	case 1:
		return 1;
	case 12:
		return 2;
	case 480:
		return 3;
	default:
		return speed >= 5000 ? 5 : 0;
	}
}

const char *usbip_status_to_string(uint32_t status)
{
	static const char *const TEXTS[] = {
		[USBIP_OK] = "all is well",
		[USBIP_NOT_AVAILABLE] = "it is not available to this machine",
		[USBIP_BUSY] = "the device is in use",
		[USBIP_DEVICE_ERROR] = "the device is in an error state",
		[USBIP_NO_DEVICE] = "there is no such device",
		[USBIP_ERROR] = "the request was not understood",
	};

	return status < sizeof(TEXTS) / sizeof(TEXTS[0]) ? TEXTS[status] : "a status that this version does not know";
}
