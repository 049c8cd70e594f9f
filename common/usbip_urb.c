#include "usbip_urb.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* The places of the numbers in a header, four bytes each (struct usbip_header). */
enum {
	AT_COMMAND,
	AT_SEQNUM,
	AT_DEVID,
	AT_DIRECTION,
	AT_ENDPOINT,
	AT_FLAGS, /* from here on by command */
	AT_UNLINKED = AT_FLAGS,
	AT_STATUS = AT_FLAGS,
	AT_LENGTH,
	AT_START_FRAME,
	AT_N_PACKETS,
	AT_INTERVAL,
	AT_N_ERRORS = AT_INTERVAL,
	AT_SETUP,
};

#define DIRECTION_IN 1
#define MAX_ENDPOINT 15

static uint32_t get(const uint8_t *bytes, size_t at)
{
	uint32_t value;

	memcpy(&value, bytes + 4 * at, sizeof(value));
	return be32toh(value);
}

static void put(uint8_t *bytes, size_t at, uint32_t value)
{
	value = htobe32(value);
	memcpy(bytes + 4 * at, &value, sizeof(value));
}

/* "0xffffffff if not an ISO transfer", says the protocol; kernels send 0. */
static uint32_t get_n_packets(const uint8_t *bytes)
{
	uint32_t n = get(bytes, AT_N_PACKETS);

	return n == UINT32_MAX ? 0 : n;
}

static const char *find_problem(const uint8_t *bytes)
{
	uint32_t command = get(bytes, AT_COMMAND);

	if (command != USBIP_CMD_SUBMIT && command != USBIP_CMD_UNLINK)
		return "a command that there is not";
	if (command == USBIP_CMD_UNLINK)
		return NULL;
	if (get(bytes, AT_DIRECTION) > DIRECTION_IN)
		return "a direction that there is not";
	if (get(bytes, AT_ENDPOINT) > MAX_ENDPOINT)
		return "an endpoint above 15";
	if (get(bytes, AT_LENGTH) > USBIP_URB_MAX_LENGTH)
		return "a transfer of more than 16 MiB";
	if (get_n_packets(bytes) > USBIP_URB_MAX_PACKETS)
		return "more than 1024 isochronous packets";
	return NULL;
}

int usbip_urb_decode(const uint8_t bytes[static USBIP_URB_HEADER_SIZE], struct usbip_urb *ret_request, const char **ret_problem)
{
	const char *problem = find_problem(bytes);

	if (problem) {
		*ret_problem = problem;
		return -EBADMSG;
	}
	*ret_request = (struct usbip_urb){
		.command = (enum usbip_command)get(bytes, AT_COMMAND),
		.seqnum = get(bytes, AT_SEQNUM),
		.devid = get(bytes, AT_DEVID),
	};
	if (ret_request->command == USBIP_CMD_UNLINK) {
		ret_request->unlinked = get(bytes, AT_UNLINKED);
		return 0;
	}
	ret_request->is_in = get(bytes, AT_DIRECTION) == DIRECTION_IN;
	ret_request->endpoint = (uint8_t)get(bytes, AT_ENDPOINT);
	ret_request->flags = get(bytes, AT_FLAGS);
	ret_request->length = get(bytes, AT_LENGTH);
	ret_request->n_packets = get_n_packets(bytes);
	memcpy(ret_request->setup, bytes + AT_SETUP * sizeof(uint32_t), USBIP_SETUP_SIZE);
	return 0;
}

void usbip_urb_encode(const struct usbip_urb *request, uint8_t bytes[static USBIP_URB_HEADER_SIZE])
{
	memset(bytes, 0, USBIP_URB_HEADER_SIZE);
	put(bytes, AT_COMMAND, request->command);
	put(bytes, AT_SEQNUM, request->seqnum);
	put(bytes, AT_DEVID, request->devid);
	if (request->command == USBIP_CMD_UNLINK) {
		put(bytes, AT_UNLINKED, request->unlinked);
		return;
	}
	put(bytes, AT_DIRECTION, request->is_in ? DIRECTION_IN : 0);
	put(bytes, AT_ENDPOINT, request->endpoint);
	put(bytes, AT_FLAGS, request->flags);
	put(bytes, AT_LENGTH, request->length);
	put(bytes, AT_N_PACKETS, request->n_packets);
	memcpy(bytes + AT_SETUP * sizeof(uint32_t), request->setup, USBIP_SETUP_SIZE);
}

/* devid, direction and endpoint are 0 in an answer (setup_base_pdu() in stub_tx.c). */
void usbip_submitted_encode(uint32_t seqnum, int32_t status, uint32_t actual_length, uint32_t n_packets, uint32_t n_errors,
			    uint8_t bytes[static USBIP_URB_HEADER_SIZE])
{
	memset(bytes, 0, USBIP_URB_HEADER_SIZE);
	put(bytes, AT_COMMAND, USBIP_RET_SUBMIT);
	put(bytes, AT_SEQNUM, seqnum);
	put(bytes, AT_STATUS, (uint32_t)status);
	put(bytes, AT_LENGTH, actual_length);
	put(bytes, AT_N_PACKETS, n_packets);
	put(bytes, AT_N_ERRORS, n_errors);
}

void usbip_unlinked_encode(uint32_t seqnum, int32_t status, uint8_t bytes[static USBIP_URB_HEADER_SIZE])
{
	memset(bytes, 0, USBIP_URB_HEADER_SIZE);
	put(bytes, AT_COMMAND, USBIP_RET_UNLINK);
	put(bytes, AT_SEQNUM, seqnum);
	put(bytes, AT_STATUS, (uint32_t)status);
}

void usbip_packet_encode(const struct usbip_packet *packet, uint8_t bytes[static USBIP_PACKET_SIZE])
{
	put(bytes, 0, packet->offset);
	put(bytes, 1, packet->length);
	put(bytes, 2, packet->actual_length);
	put(bytes, 3, (uint32_t)packet->status);
}

void usbip_packet_decode(const uint8_t bytes[static USBIP_PACKET_SIZE], struct usbip_packet *ret_packet)
{
	*ret_packet = (struct usbip_packet){
		.offset = get(bytes, 0),
		.length = get(bytes, 1),
		.actual_length = get(bytes, 2),
		.status = (int32_t)get(bytes, 3),
	};
}
