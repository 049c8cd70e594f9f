/* A VM's kernel on the stream of a device that the exporter carries by itself: common/usbip_urb's decoder, and a whole session of pi/usbfs_session on a device that is made
 * up here. Every request is answered once, in a form that can be read; nothing reaches usbfs that it would not survive. */

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "fuzz.h"
#include "usbfs.h"
#include "usbfs_layout.h"
#include "usbfs_session.h"
#include "usbfs_special.h"
#include "usbip_urb.h"

#define DEVID      0x10002
#define MAX_FLYING 64
#define MAX_TURNS  400
#define MEMORY     ((size_t)1 << 20)
#define HEARD_MAX  ((size_t)4 << 20)

/* clang-format off */
static const uint8_t DESCRIPTORS[] = {
	18, 1, 0, 2, 0, 0, 0, 64, 0x03, 0x04, 0x01, 0x60, 0, 6, 1, 2, 3, 1, /* the device */
	9, 2, 41, 0, 2, 1, 0, 0x80, 50, /* configuration 1 */
	9, 4, 0, 0, 1, 255, 0, 0, 0, 7, 5, 0x81, 2, 64, 0, 0, /* interface 0 */
	9, 4, 1, 0, 1, 255, 0, 0, 0, 7, 5, 0x02, 2, 64, 0, 0, /* interface 1 */
};
/* clang-format on */

static struct usbdevfs_urb *flying[MAX_FLYING];
static unsigned n_flying, n_reaped;
static job_done_fn special_done;
static void *special_userdata;

/* ---- the device, in the place of pi/usbfs.c and pi/usbfs_special.c ---- */

int usbfs_claim_interfaces(int fd, uint32_t *ret_interfaces)
{
	(void)fd;
	*ret_interfaces = 3;
	return 0;
}

int usbfs_release_interfaces(int fd)
{
	(void)fd;
	return 0;
}

void usbfs_connect_drivers(int fd)
{
	(void)fd;
}

int usbfs_reset(int fd)
{
	(void)fd;
	return 0;
}

int usbfs_set_configuration(int fd, unsigned configuration)
{
	(void)fd;
	(void)configuration;
	return 0;
}

/* What the kernel would read and write is there. */
static void touch(const struct usbdevfs_urb *urb)
{
	uint8_t *bytes = urb->buffer;

	FUZZ_CHECK(urb->buffer_length >= (urb->type == USBDEVFS_URB_TYPE_CONTROL ? 8 : 0));
	for (int i = 0; i < urb->buffer_length; i += 64)
		bytes[i] ^= 0;
	if (urb->buffer_length > 0)
		bytes[urb->buffer_length - 1] ^= 0;
}

int usbfs_submit(int fd, struct usbdevfs_urb *urb)
{
	(void)fd;
	touch(urb);
	if (n_flying == MAX_FLYING)
		return -ENOMEM;
	if ((urb->endpoint & 15) > 8)
		return -ENOENT;
	flying[n_flying++] = urb;
	return 0;
}

int usbfs_discard(int fd, struct usbdevfs_urb *urb)
{
	(void)fd;
	for (unsigned i = 0; i < n_flying; i++)
		if (flying[i] == urb) {
			urb->status = -ENOENT;
			return 0;
		}
	FUZZ_CHECK(!"a transfer is discarded that usbfs does not have");
	return -EINVAL;
}

/* The oldest, every other time. */
int usbfs_reap(int fd, struct usbdevfs_urb **ret_urb)
{
	struct usbdevfs_urb *urb;

	(void)fd;
	if (n_flying == 0 || n_reaped++ % 2)
		return -EAGAIN;
	urb = flying[0];
	memmove(flying, flying + 1, --n_flying * sizeof(*flying));
	urb->actual_length = urb->type == USBDEVFS_URB_TYPE_CONTROL ? urb->buffer_length - 8 : urb->buffer_length;
	for (int i = 0; urb->type == USBDEVFS_URB_TYPE_ISO && i < urb->number_of_packets; i++)
		urb->iso_frame_desc[i].actual_length = urb->iso_frame_desc[i].length - (i % 2 && urb->iso_frame_desc[i].length);
	*ret_urb = urb;
	return 0;
}

int usbfs_special_start(struct job_runner *jobs, const char *name, const struct usbfs_claim *claim, const struct usbfs_urb *urb,
			job_done_fn on_done, void *userdata, struct job **ret_job)
{
	(void)jobs;
	(void)name;
	(void)claim;
	(void)urb;
	FUZZ_CHECK(!special_done);
	special_done = on_done;
	special_userdata = userdata;
	*ret_job = NULL;
	return 0;
}

static void finish_special(void)
{
	job_done_fn done = TAKE_PTR(special_done);

	if (done)
		done(0, NULL, special_userdata);
}

/* ---- what the VM hears ---- */

static uint32_t word(const uint8_t *bytes, size_t at)
{
	return (uint32_t)bytes[4 * at] << 24 | (uint32_t)bytes[4 * at + 1] << 16 | (uint32_t)bytes[4 * at + 2] << 8 | bytes[4 * at + 3];
}

/* How many answers that are whole; direction is not told, so an answer with bytes is one to an IN request by its length. */
static void check_first_answer(const uint8_t *heard, size_t size)
{
	uint32_t command;

	if (size < USBIP_URB_HEADER_SIZE)
		return;
	command = word(heard, 0);
	FUZZ_CHECK(command == USBIP_RET_SUBMIT || command == USBIP_RET_UNLINK);
	FUZZ_CHECK(word(heard, 2) == 0 && word(heard, 3) == 0 && word(heard, 4) == 0);
	FUZZ_CHECK((int32_t)word(heard, 5) <= 0);
	FUZZ_CHECK(command == USBIP_RET_UNLINK || (word(heard, 6) <= USBIP_URB_MAX_LENGTH && word(heard, 8) <= USBIP_URB_MAX_PACKETS));
}

static void check_decoder(const uint8_t *data)
{
	struct usbip_urb request = { .seqnum = 77, .devid = 78 }, again;
	const char *problem = NULL;
	uint8_t bytes[USBIP_URB_HEADER_SIZE], bytes_again[USBIP_URB_HEADER_SIZE];

	if (usbip_urb_decode(data, &request, &problem) < 0) {
		FUZZ_CHECK(problem && request.seqnum == 77 && request.devid == 78);
		return;
	}
	usbip_urb_encode(&request, bytes);
	FUZZ_CHECK(usbip_urb_decode(bytes, &again, &problem) == 0);
	usbip_urb_encode(&again, bytes_again);
	FUZZ_CHECK(memcmp(bytes, bytes_again, sizeof(bytes)) == 0);
	FUZZ_CHECK(request.endpoint <= 15 && request.length <= USBIP_URB_MAX_LENGTH && request.n_packets <= USBIP_URB_MAX_PACKETS);
}

static void talk(sd_event *event, int wire, const uint8_t *data, size_t size)
{
	static uint8_t heard[HEARD_MAX];
	size_t n_heard = 0;

	for (unsigned i = 0; i < MAX_TURNS; i++) {
		ssize_t n = size ? send(wire, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
		n = n_heard < sizeof(heard) ? recv(wire, heard + n_heard, sizeof(heard) - n_heard, MSG_DONTWAIT) : -1;
		if (n == 0)
			break; /* it was ended */
		if (n > 0)
			n_heard += (size_t)n;
		if (i % 3 == 2)
			finish_special();
		FUZZ_CHECK(sd_event_run(event, 0) >= 0);
		if (size == 0 && n_flying == 0 && !special_done && i > 20)
			break;
	}
	check_first_answer(heard, n_heard);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct usbfs_context context = { 0 };
	struct usbfs_session *session = NULL;
	struct usbfs_layout *layout = NULL;
	struct usbfs_claim *claim = NULL;
	int wires[2];

	if (size < USBIP_URB_HEADER_SIZE)
		return 0;
	check_decoder(data);
	n_flying = n_reaped = 0;
	special_done = NULL;
	FUZZ_CHECK(sd_event_new(&context.event) >= 0 && usbfs_memory_new(context.event, MEMORY, &context.memory) == 0);
	FUZZ_CHECK(usbfs_layout_new(DESCRIPTORS, sizeof(DESCRIPTORS), &layout) == 0);
	FUZZ_CHECK(usbfs_claim_new(eventfd(0, EFD_CLOEXEC), layout, 1, &claim) == 0);
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wires) == 0);
	FUZZ_CHECK(usbfs_session_new(&context, claim, "1-1", DEVID, wires[1], &session) == 0);
	close_fd(wires[1]);
	talk(context.event, wires[0], data, size);
	usbfs_session_free(session);
	usbfs_claim_free(claim);
	FUZZ_CHECK(usbfs_memory_is_whole(context.memory)); /* nothing was kept */
	usbfs_memory_free(context.memory);
	sd_event_unref(context.event);
	close_fd(wires[0]);
	return 0;
}
