/* USB/IP on TCP: common/usbip_wire's decoders, and the addresses that may ask: pi/allow_list. */

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "allow_list.h"
#include "cleanup.h"
#include "fuzz.h"
#include "usbip_wire.h"

/* Every eight bytes are a header. */
static void check_header(const uint8_t *data)
{
	struct usbip_header header;
	uint8_t again[USBIP_HEADER_SIZE];

	usbip_header_decode(data, &header);
	usbip_header_encode(&header, again);
	FUZZ_CHECK(memcmp(data, again, sizeof(again)) == 0);
}

static void check_busid(const uint8_t *data)
{
	struct busid busid = { "untouched" }, again;
	uint8_t request[USBIP_REQUEST_SIZE];

	if (usbip_busid_decode(data, &busid) < 0) {
		FUZZ_CHECK(strcmp(busid.text, "untouched") == 0);
		return;
	}
	FUZZ_CHECK(strspn(busid.text, "0123456789-.") == strlen(busid.text));
	usbip_request_encode(&busid, request);
	FUZZ_CHECK(usbip_busid_decode(request + USBIP_HEADER_SIZE, &again) == 0 && busid_equal(&busid, &again));
}

static void check_device(const uint8_t *data)
{
	struct usbip_device device = { .devnum = 7 }, again;
	uint8_t bytes[USBIP_DEVICE_SIZE];

	if (usbip_device_decode(data, &device) < 0) {
		FUZZ_CHECK(device.devnum == 7 && !device.busid.text[0]);
		return;
	}
	usbip_device_encode(&device, bytes);
	FUZZ_CHECK(usbip_device_decode(bytes, &again) == 0);
	FUZZ_CHECK(strcmp(device.path, again.path) == 0 && busid_equal(&device.busid, &again.busid));
	/* all the numbers, as they came */
	FUZZ_CHECK(memcmp(data + USBIP_PATH_SIZE + USBIP_BUSID_SIZE, bytes + USBIP_PATH_SIZE + USBIP_BUSID_SIZE,
			  USBIP_DEVICE_SIZE - USBIP_PATH_SIZE - USBIP_BUSID_SIZE) == 0);
}

/* The first address of an entry is in it; and the list has what an entry has. */
static void check_list(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	struct allow_list list = { .n = 77 };

	if (!text)
		return;
	if (allow_list_parse(text, &list) < 0) {
		FUZZ_CHECK(list.n == 77);
		return;
	}
	FUZZ_CHECK(list.n <= ALLOW_LIST_MAX);
	for (size_t i = 0; i < list.n; i++) {
		struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_scope_id = list.entries[i].scope };
		struct sockaddr_storage storage = { 0 };

		memcpy(&address.sin6_addr, list.entries[i].address, 16);
		memcpy(&storage, &address, sizeof(address));
		FUZZ_CHECK(list.entries[i].n_bits <= 128);
		FUZZ_CHECK(allow_entry_has(&list.entries[i], &storage) && allow_list_has(&list, &storage));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= USBIP_HEADER_SIZE)
		check_header(data);
	if (size >= USBIP_BUSID_SIZE)
		check_busid(data);
	if (size >= USBIP_DEVICE_SIZE)
		check_device(data);
	check_list(data, size);
	return 0;
}
