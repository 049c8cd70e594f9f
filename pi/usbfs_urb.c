#include "usbfs_urb.h"

#include <errno.h>
#include <linux/usb/ch11.h>
#include <linux/usb/ch9.h>
#include <stdlib.h>
#include <string.h>

#define USBFS_MAX_PACKETS 128   /* proc_do_submiturb() in drivers/usb/core/devio.c */
#define USBFS_MAX_LENGTH  98304 /* the same: of one packet */
#define SMALL_COST        ((size_t)4096)
#define KERNEL_OVERHEAD   ((size_t)512) /* struct async and struct urb */

static bool is_control(const struct usbip_urb *request)
{
	return request->endpoint == 0;
}

/* ---- life ---- */

struct usbfs_urb *usbfs_urb_new(const struct usbip_urb *request)
{
	uint32_t n_packets = request->n_packets < USBFS_MAX_PACKETS ? request->n_packets : USBFS_MAX_PACKETS;
	struct usbfs_urb *urb = calloc(1, sizeof(*urb) + n_packets * sizeof(urb->kernel.iso_frame_desc[0]));

	if (!urb)
		return NULL;
	urb->request = *request;
	urb->refusal = request->n_packets > USBFS_MAX_PACKETS ? -EINVAL : 0;
	if (request->n_packets == 0)
		return urb;
	urb->packets = malloc(request->n_packets * USBIP_PACKET_SIZE);
	return urb->packets ? urb : usbfs_urb_free(urb);
}

struct usbfs_urb *usbfs_urb_free(struct usbfs_urb *urb)
{
	if (!urb)
		return NULL;
	usbfs_urb_free(urb->unlinked);
	free(urb->data);
	free(urb->packets);
	free(urb);
	return NULL;
}

void usbfs_urb_list_free(struct usbfs_urb_list *list)
{
	struct usbfs_urb *urb;

	while ((urb = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, urb, entry);
		usbfs_urb_free(urb);
	}
}

struct usbfs_urb *usbfs_urb_list_find(const struct usbfs_urb_list *list, uint32_t seqnum)
{
	struct usbfs_urb *urb;

	TAILQ_FOREACH(urb, list, entry)
		if (urb->request.seqnum == seqnum)
			return urb;
	return NULL;
}

/* ---- what it is ---- */

uint32_t usbfs_urb_get_pipe(const struct usbfs_urb *urb)
{
	return UINT32_C(1) << (urb->request.endpoint + (urb->request.endpoint && urb->request.is_in ? 16 : 0));
}

static uint16_t get_u16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static enum usbfs_urb_kind control_kind(const struct usb_ctrlrequest *setup)
{
	switch (setup->bRequestType << 8 | setup->bRequest) {
	case USB_RECIP_INTERFACE << 8 | USB_REQ_SET_INTERFACE:
		return USBFS_URB_SET_INTERFACE;
	case USB_RECIP_DEVICE << 8 | USB_REQ_SET_ADDRESS:
		return USBFS_URB_SET_ADDRESS;
	case USB_RECIP_DEVICE << 8 | USB_REQ_SET_CONFIGURATION:
		return USBFS_URB_SET_CONFIGURATION;
	case USB_RECIP_ENDPOINT << 8 | USB_REQ_CLEAR_FEATURE:
		return get_u16((const uint8_t *)&setup->wValue) == USB_ENDPOINT_HALT ? USBFS_URB_CLEAR_HALT : USBFS_URB_TRANSFER;
	case USB_RT_PORT << 8 | USB_REQ_SET_FEATURE:
		return get_u16((const uint8_t *)&setup->wValue) == USB_PORT_FEAT_RESET ? USBFS_URB_RESET : USBFS_URB_TRANSFER;
	default:
		return USBFS_URB_TRANSFER;
	}
}

enum usbfs_urb_kind usbfs_urb_get_kind(const struct usbfs_urb *urb)
{
	struct usb_ctrlrequest setup;

	memcpy(&setup, urb->request.setup, sizeof(setup));
	return is_control(&urb->request) ? control_kind(&setup) : USBFS_URB_TRANSFER;
}

static bool has_bit(uint32_t bits, unsigned i)
{
	return i < 32 && (bits >> i & 1);
}

/* check_ctrlrecip() in drivers/usb/core/devio.c. */
static bool is_setup_within(const struct usb_ctrlrequest *setup, uint32_t interfaces)
{
	uint16_t index = get_u16((const uint8_t *)&setup->wIndex);

	if ((setup->bRequestType & USB_TYPE_MASK) == USB_TYPE_VENDOR)
		return true;
	switch (setup->bRequestType & USB_RECIP_MASK) {
	case USB_RECIP_INTERFACE:
		return has_bit(interfaces, index & 0xff);
	case USB_RECIP_ENDPOINT:
		return interfaces != 0 || (index & USB_ENDPOINT_NUMBER_MASK) == 0;
	default:
		return true;
	}
}

/* The same: a printer's GET_DEVICE_ID has interface and setting there. */
static bool is_of_printer(const struct usb_ctrlrequest *setup, const struct usbfs_layout *layout, int configuration)
{
	uint16_t index = get_u16((const uint8_t *)&setup->wIndex);

	return setup->bRequestType == (USB_DIR_IN | USB_TYPE_CLASS | USB_RECIP_INTERFACE) && setup->bRequest == 0 &&
	       usbfs_layout_get_class(layout, configuration, (uint8_t)(index >> 8), (uint8_t)(index & 0xff)) == USB_CLASS_PRINTER;
}

bool usbfs_urb_is_within(const struct usbfs_urb *urb, uint32_t interfaces, const struct usbfs_layout *layout, int configuration)
{
	struct usb_ctrlrequest setup;

	memcpy(&setup, urb->request.setup, sizeof(setup));
	if (!is_control(&urb->request))
		return interfaces != 0;
	return is_of_printer(&setup, layout, configuration) || is_setup_within(&setup, interfaces);
}

/* The endpoint that a control transfer is about, as findintfep() in devio.c looks for it. */
static uint8_t setup_endpoint(const struct usb_ctrlrequest *setup)
{
	return (uint8_t)(get_u16((const uint8_t *)&setup->wIndex) & 0xff);
}

static bool is_setup_known(const struct usb_ctrlrequest *setup, const struct usbfs_layout *layout, int configuration)
{
	if (control_kind(setup) == USBFS_URB_SET_INTERFACE)
		return usbfs_layout_has_setting(layout, configuration, (uint8_t)(get_u16((const uint8_t *)&setup->wIndex) & 0xff),
						(uint8_t)(get_u16((const uint8_t *)&setup->wValue) & 0xff));
	if ((setup->bRequestType & USB_TYPE_MASK) == USB_TYPE_VENDOR || (setup->bRequestType & USB_RECIP_MASK) != USB_RECIP_ENDPOINT)
		return true;
	return usbfs_layout_has_endpoint(layout, configuration, setup_endpoint(setup));
}

bool usbfs_urb_is_known(const struct usbfs_urb *urb, const struct usbfs_layout *layout, int configuration)
{
	struct usb_ctrlrequest setup;

	memcpy(&setup, urb->request.setup, sizeof(setup));
	return !is_control(&urb->request) || is_setup_known(&setup, layout, configuration);
}

bool usbfs_urb_clears_halt_under(const struct usbfs_urb *urb, const struct usbfs_urb *other)
{
	struct usb_ctrlrequest setup;

	memcpy(&setup, urb->request.setup, sizeof(setup));
	if (usbfs_urb_get_kind(urb) != USBFS_URB_CLEAR_HALT || is_control(&other->request))
		return false;
	return setup_endpoint(&setup) == (other->request.endpoint | (other->request.is_in ? USB_DIR_IN : USB_DIR_OUT));
}

/* Of a control transfer's stage of data, as its setup has it: usbfs takes that, whatever else is said. */
static uint16_t control_length(const struct usbip_urb *request)
{
	return get_u16(request->setup + 6);
}

static size_t data_size(const struct usbip_urb *request)
{
	size_t length = request->length;

	if (!is_control(request))
		return length;
	return USBIP_SETUP_SIZE + (length > control_length(request) ? length : control_length(request));
}

size_t usbfs_urb_get_cost(const struct usbfs_urb *urb)
{
	const struct usbip_urb *request = &urb->request;

	return sizeof(*urb) + KERNEL_OVERHEAD + data_size(request) +
	       request->n_packets * (USBIP_PACKET_SIZE + 2 * sizeof(urb->kernel.iso_frame_desc[0]));
}

size_t usbfs_urb_get_cost_here(const struct usbfs_urb *urb)
{
	const struct usbip_urb *request = &urb->request;
	size_t n_packets = request->n_packets * (USBIP_PACKET_SIZE + sizeof(urb->kernel.iso_frame_desc[0]));

	if (request->is_in)
		return n_packets > 0 ? sizeof(*urb) + n_packets : 0;
	return sizeof(*urb) + n_packets + data_size(request);
}

bool usbfs_urb_has_place(const struct usbfs_urb *urb)
{
	return urb->n_taken > 0 || urb->refusal || usbfs_urb_get_cost_here(urb) == 0;
}

bool usbfs_urb_is_small(const struct usbfs_urb *urb)
{
	return usbfs_urb_get_cost(urb) <= SMALL_COST || (is_control(&urb->request) && urb->request.length <= UINT16_MAX);
}

int usbfs_urb_make_room(struct usbfs_urb *urb)
{
	size_t size = data_size(&urb->request);

	/* Zeros: what a device did not fill must not be what was there before. */
	urb->data = calloc(1, size ? size : 1);
	return urb->data ? 0 : -ENOMEM;
}

/* ---- from the wire ---- */

static uint8_t *payload(const struct usbfs_urb *urb)
{
	return urb->data + (is_control(&urb->request) ? USBIP_SETUP_SIZE : 0);
}

size_t usbfs_urb_get_gap(struct usbfs_urb *urb, size_t n_read, uint8_t **ret_bytes)
{
	const struct usbip_urb *request = &urb->request;
	size_t n_data = request->is_in ? 0 : request->length, n_packets = request->n_packets * USBIP_PACKET_SIZE;

	if (n_read < n_data) {
		*ret_bytes = urb->data ? payload(urb) + n_read : NULL;
		return n_data - n_read;
	}
	n_read -= n_data;
	*ret_bytes = n_packets ? urb->packets + n_read : NULL;
	return n_packets - n_read;
}

/* ---- to usbfs ---- */

static int prepare_control(struct usbfs_urb *urb)
{
	const struct usbip_urb *request = &urb->request;
	uint16_t length = control_length(request);

	if (length > 0 && request->is_in != ((request->setup[0] & USB_DIR_IN) != 0))
		return -EINVAL;
	if (!request->is_in && request->length < length)
		return -EINVAL;
	memcpy(urb->data, request->setup, USBIP_SETUP_SIZE);
	urb->kernel.type = USBDEVFS_URB_TYPE_CONTROL;
	urb->kernel.buffer_length = (int)USBIP_SETUP_SIZE + length;
	return 0;
}

/* usbfs knows an interrupt endpoint by itself ("allow single-shot interrupt transfers"). */
static int prepare_bulk(struct usbfs_urb *urb)
{
	const struct usbip_urb *request = &urb->request;

	urb->kernel.type = USBDEVFS_URB_TYPE_BULK;
	urb->kernel.buffer_length = (int)request->length;
	if (request->is_in && (request->flags & USBIP_URB_SHORT_NOT_OK))
		urb->kernel.flags = USBDEVFS_URB_SHORT_NOT_OK;
	if (!request->is_in && (request->flags & USBIP_URB_ZERO_PACKET))
		urb->kernel.flags = USBDEVFS_URB_ZERO_PACKET;
	return 0;
}

/* usbfs has the packets one behind the other. Those of a request lie where it says, in order; bytes that are to be written are moved together. */
static int prepare_packets(struct usbfs_urb *urb, uint32_t max_size)
{
	const struct usbip_urb *request = &urb->request;
	uint32_t total = 0;

	for (uint32_t i = 0; i < request->n_packets; i++) {
		struct usbip_packet packet;

		usbip_packet_decode(urb->packets + i * USBIP_PACKET_SIZE, &packet);
		if (packet.length > USBFS_MAX_LENGTH || packet.offset > request->length ||
		    packet.length > request->length - packet.offset || packet.offset < total)
			return -EINVAL;
		if (packet.length > max_size)
			return -EMSGSIZE;
		if (!request->is_in && packet.offset > total)
			memmove(urb->data + total, urb->data + packet.offset, packet.length);
		urb->kernel.iso_frame_desc[i].length = packet.length;
		total += packet.length;
	}
	urb->kernel.buffer_length = (int)total;
	return 0;
}

static int prepare_isochronous(struct usbfs_urb *urb, uint32_t max_size)
{
	const struct usbip_urb *request = &urb->request;

	urb->kernel.type = USBDEVFS_URB_TYPE_ISO;
	urb->kernel.number_of_packets = (int)request->n_packets;
	if (request->flags & USBIP_URB_ISO_ASAP)
		urb->kernel.flags = USBDEVFS_URB_ISO_ASAP;
	return prepare_packets(urb, max_size);
}

int usbfs_urb_prepare(struct usbfs_urb *urb, const struct usbfs_layout *layout, int configuration)
{
	const struct usbip_urb *request = &urb->request;

	urb->kernel.endpoint = (unsigned char)(request->endpoint | (request->is_in ? USB_DIR_IN : USB_DIR_OUT));
	urb->kernel.buffer = urb->data;
	urb->kernel.usercontext = urb;
	if (is_control(request))
		return request->n_packets ? -EINVAL : prepare_control(urb);
	if (request->n_packets == 0)
		return prepare_bulk(urb);
	return prepare_isochronous(urb, usbfs_layout_get_packet_size(layout, configuration, urb->kernel.endpoint));
}

/* ---- back ---- */

/* The packets in the answer have the places that they had in the request; the bytes between them, in usbfs' buffer, those that it gave them. Only those
 * that were read are sent ("without padding"). */
static uint32_t take_packets(struct usbfs_urb *urb)
{
	const struct usbip_urb *request = &urb->request;
	uint32_t from = 0, total = 0;

	for (uint32_t i = 0; i < request->n_packets; i++) {
		const struct usbdevfs_iso_packet_desc *result = &urb->kernel.iso_frame_desc[i];
		uint8_t *bytes = urb->packets + i * USBIP_PACKET_SIZE;
		struct usbip_packet packet;

		usbip_packet_decode(bytes, &packet);
		packet.actual_length = result->actual_length < result->length ? result->actual_length : result->length;
		packet.status = (int32_t)result->status;
		usbip_packet_encode(&packet, bytes);
		if (request->is_in && from != total)
			memmove(urb->data + total, urb->data + from, packet.actual_length);
		from += result->length;
		total += packet.actual_length;
	}
	return total;
}

/* A transfer that usbfs ended ("killed") is to the VM one that was cancelled. */
static int32_t status_to_wire(int status)
{
	return status == -ENOENT ? -ECONNRESET : status;
}

static void encode_header(struct usbfs_urb *urb)
{
	usbip_submitted_encode(urb->request.seqnum, urb->status, urb->actual_length, urb->request.n_packets,
			       (uint32_t)urb->kernel.error_count, urb->header);
}

void usbfs_urb_take_result(struct usbfs_urb *urb)
{
	uint32_t actual_length = urb->kernel.actual_length > 0 ? (uint32_t)urb->kernel.actual_length : 0;

	if (urb->request.n_packets)
		actual_length = take_packets(urb);
	urb->actual_length = actual_length < urb->request.length ? actual_length : urb->request.length;
	urb->status = status_to_wire(urb->kernel.status);
	encode_header(urb);
}

/* Packets of a transfer that was none: nothing was moved in any. */
static void clear_packets(struct usbfs_urb *urb, int status)
{
	for (uint32_t i = 0; i < urb->request.n_packets; i++) {
		uint8_t *bytes = urb->packets + i * USBIP_PACKET_SIZE;
		struct usbip_packet packet;

		usbip_packet_decode(bytes, &packet);
		packet.actual_length = 0;
		packet.status = status;
		usbip_packet_encode(&packet, bytes);
	}
}

void usbfs_urb_set_result(struct usbfs_urb *urb, int status)
{
	urb->status = status;
	urb->actual_length = status == 0 && !urb->request.is_in ? urb->request.length : 0;
	clear_packets(urb, status);
	encode_header(urb);
}

void usbfs_urb_set_unlinked(struct usbfs_urb *urb, int status)
{
	urb->status = status;
	usbip_unlinked_encode(urb->request.seqnum, status, urb->header);
}

static int add_piece(struct iovec *pieces, int n, const void *bytes, size_t size, size_t *n_sent)
{
	size_t skipped = *n_sent < size ? *n_sent : size;

	*n_sent -= skipped;
	if (skipped == size)
		return n;
	pieces[n] = (struct iovec){ .iov_base = (uint8_t *)bytes + skipped, .iov_len = size - skipped };
	return n + 1;
}

int usbfs_urb_get_unsent(const struct usbfs_urb *urb, struct iovec ret_pieces[static 3])
{
	const struct usbip_urb *request = &urb->request;
	bool is_submitted = request->command == USBIP_CMD_SUBMIT;
	size_t n_sent = urb->n_sent;
	int n = add_piece(ret_pieces, 0, urb->header, sizeof(urb->header), &n_sent);

	if (is_submitted && request->is_in && urb->actual_length > 0)
		n = add_piece(ret_pieces, n, payload(urb), urb->actual_length, &n_sent);
	if (is_submitted && request->n_packets)
		n = add_piece(ret_pieces, n, urb->packets, request->n_packets * USBIP_PACKET_SIZE, &n_sent);
	return n;
}
