#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What two kernels say to each other on a USB/IP stream, once a device is imported: requests for transfers (URBs), their cancellation, and the answers. Linux'
 * Documentation/usb/usbip_protocol.rst and drivers/usb/usbip/usbip_common.h. All numbers are big-endian. Behind the header of an OUT request come its bytes,
 * behind those of an isochronous one its packets; behind the header of an answer to an IN request the bytes that were read, without gaps, then the packets. */

#define USBIP_URB_HEADER_SIZE ((size_t)48)
#define USBIP_PACKET_SIZE     ((size_t)16)
#define USBIP_SETUP_SIZE      ((size_t)8)
#define USBIP_URB_MAX_LENGTH  (UINT32_C(16) << 20) /* of one transfer; usbfs itself lends no more to all of a machine's devices */
#define USBIP_URB_MAX_PACKETS 1024                 /* USBIP_MAX_ISO_PACKETS */

enum usbip_command {
	USBIP_CMD_SUBMIT = 1,
	USBIP_CMD_UNLINK = 2,
	USBIP_RET_SUBMIT = 3,
	USBIP_RET_UNLINK = 4,
};

/* Of a request's flags those that mean something to a device. */
enum usbip_urb_flag {
	USBIP_URB_SHORT_NOT_OK = 0x1,
	USBIP_URB_ISO_ASAP = 0x2,
	USBIP_URB_ZERO_PACKET = 0x40,
};

struct usbip_urb {
	enum usbip_command command; /* USBIP_CMD_SUBMIT, USBIP_CMD_UNLINK */
	uint32_t seqnum, devid;
	uint32_t unlinked; /* USBIP_CMD_UNLINK: the seqnum of the request that is to end; the rest is USBIP_CMD_SUBMIT's */
	bool is_in;
	uint8_t endpoint;   /* its number, at most 15 */
	uint32_t flags;     /* enum usbip_urb_flag, and others */
	uint32_t length;    /* of the transfer's bytes, at most USBIP_URB_MAX_LENGTH */
	uint32_t n_packets; /* at most USBIP_URB_MAX_PACKETS; 0: it is not isochronous */
	uint8_t setup[USBIP_SETUP_SIZE];
};

/* One packet of an isochronous transfer. */
struct usbip_packet {
	uint32_t offset, length, actual_length;
	int32_t status;
};

/* Understands a request's header. -EBADMSG, with *ret_problem (a text that lives for ever) saying what can't be: who says that is not to be listened to any
 * further. *ret_request is untouched then. */
int usbip_urb_decode(const uint8_t bytes[static USBIP_URB_HEADER_SIZE], struct usbip_urb *ret_request, const char **ret_problem);

/* Writes a request's header: what the VM's kernel does, for tests. */
void usbip_urb_encode(const struct usbip_urb *request, uint8_t bytes[static USBIP_URB_HEADER_SIZE]);

/* The header of the answer to a transfer: what became of it (0, or a negative errno), how many bytes were moved, and of an isochronous one how many packets follow and how
 * many of them failed. */
void usbip_submitted_encode(uint32_t seqnum, int32_t status, uint32_t actual_length, uint32_t n_packets, uint32_t n_errors,
			    uint8_t bytes[static USBIP_URB_HEADER_SIZE]);

/* The header of the answer to a cancellation: -ECONNRESET, or 0 where the transfer was over before. */
void usbip_unlinked_encode(uint32_t seqnum, int32_t status, uint8_t bytes[static USBIP_URB_HEADER_SIZE]);

/* A packet as it is on the wire. */
void usbip_packet_encode(const struct usbip_packet *packet, uint8_t bytes[static USBIP_PACKET_SIZE]);

/* And back. Any bytes are a packet: whether its place and length make sense is the caller's to check. */
void usbip_packet_decode(const uint8_t bytes[static USBIP_PACKET_SIZE], struct usbip_packet *ret_packet);
