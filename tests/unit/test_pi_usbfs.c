/* A session that the exporter carries by itself (pi/usbfs*.c): the VM's kernel is this test's, and so is the device behind usbfs. */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "fake_usbfs.h"
#include "usbfs_session.h"
#include "usbip_urb.h"

#define DEVID     0x10002
#define N_LIMIT   ((size_t)12 << 20)
#define BULK_SIZE 200000
#define N_PACKETS 4

static struct fake_usbfs usbfs;
static struct usbfs_context context;
static struct usbfs_claim *claim;
static struct usbfs_session *session;
static int wire; /* the VM's end */

static void start_session(size_t limit)
{
	int fds[2];

	ck_assert_int_eq(usbfs_memory_new(context.event, limit, &context.memory), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(usbfs_session_new(&context, claim, "1-1", DEVID, fds[1], &session), 0);
	close(fds[1]);
	wire = fds[0];
}

static struct usbfs_layout *make_layout(void)
{
	struct usbfs_layout *layout = NULL;

	ck_assert_int_eq(usbfs_layout_new(FAKE_USBFS_DESCRIPTORS, FAKE_USBFS_DESCRIPTORS_SIZE, &layout), 0);
	return layout;
}

static void setup_claim(void)
{
	ck_assert_int_eq(sd_event_new(&context.event), 0);
	context.max_held_usec = 60000000;
	ck_assert_int_eq(job_runner_new(context.event, 4, &context.jobs), 0);
	fake_usbfs_new(&usbfs, 2);
	ck_assert_int_eq(usbfs_claim_new(usbfs.node, make_layout(), 1, &claim), 0);
	wire = -EBADF;
}

static void setup(void)
{
	setup_claim();
	start_session(N_LIMIT);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "claim 0; claim 1");
}

static void teardown(void)
{
	session = usbfs_session_free(session);
	claim = usbfs_claim_free(claim);
	if (context.memory)
		ck_assert(usbfs_memory_is_whole(context.memory)); /* all was given back */
	context.memory = usbfs_memory_free(context.memory);
	job_runner_free(context.jobs);
	sd_event_unref(context.event);
	close_fd(wire);
	fake_usbfs_free(&usbfs);
}

/* ---- the VM's kernel ---- */

static void say(const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	for (unsigned i = 0; size > 0 && i < 20000 * test_slowness(); i++) {
		ssize_t n = send(wire, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			at += n;
			size -= (size_t)n;
		}
		ck_assert_int_ge(sd_event_run(context.event, n > 0 ? 0 : 1000), 0);
	}
	ck_assert_uint_eq(size, 0);
}

static void ask(const struct usbip_urb *request)
{
	uint8_t header[USBIP_URB_HEADER_SIZE];
	struct usbip_urb whole = *request;

	whole.command = USBIP_CMD_SUBMIT;
	whole.devid = DEVID;
	usbip_urb_encode(&whole, header);
	say(header, sizeof(header));
}

static void ask_in(uint32_t seqnum, uint8_t endpoint, uint32_t length)
{
	ask(&(struct usbip_urb){ .seqnum = seqnum, .is_in = true, .endpoint = endpoint, .length = length });
}

static void ask_out(uint32_t seqnum, uint8_t endpoint, const void *bytes, uint32_t length)
{
	ask(&(struct usbip_urb){ .seqnum = seqnum, .endpoint = endpoint, .length = length });
	say(bytes, length);
}

static void ask_control(uint32_t seqnum, const char setup_bytes[static 8], bool is_in, uint32_t length)
{
	struct usbip_urb request = { .seqnum = seqnum, .is_in = is_in, .length = length };

	memcpy(request.setup, setup_bytes, 8);
	ask(&request);
}

static void ask_unlink(uint32_t seqnum, uint32_t unlinked)
{
	const struct usbip_urb request = { .command = USBIP_CMD_UNLINK, .seqnum = seqnum, .devid = DEVID, .unlinked = unlinked };
	uint8_t header[USBIP_URB_HEADER_SIZE];

	usbip_urb_encode(&request, header);
	say(header, sizeof(header));
}

static size_t hear(void *buffer, size_t size)
{
	size_t used = 0;

	for (unsigned i = 0; used < size && i < 2000 * test_slowness(); i++) {
		ssize_t n = recv(wire, (char *)buffer + used, size - used, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		if (n > 0)
			used += (size_t)n;
		else
			ck_assert_int_ge(sd_event_run(context.event, 5000), 0);
	}
	return used;
}

struct answer {
	uint32_t command, seqnum, status, length, n_packets, n_errors;
};

static struct answer hear_answer(void)
{
	uint32_t words[USBIP_URB_HEADER_SIZE / 4];

	ck_assert_uint_eq(hear(words, sizeof(words)), sizeof(words));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = be32toh(words[i]);
	ck_assert_uint_eq(words[2], 0); /* devid, direction and endpoint */
	ck_assert_uint_eq(words[3], 0);
	ck_assert_uint_eq(words[4], 0);
	return (struct answer){ words[0], words[1], words[5], words[6], words[8], words[9] };
}

static void expect_answer(uint32_t seqnum, int status, uint32_t length)
{
	struct answer answer = hear_answer();

	ck_assert_uint_eq(answer.command, USBIP_RET_SUBMIT);
	ck_assert_uint_eq(answer.seqnum, seqnum);
	ck_assert_int_eq((int)answer.status, status);
	ck_assert_uint_eq(answer.length, length);
}

static void expect_unlinked(uint32_t seqnum, int status)
{
	struct answer answer = hear_answer();

	ck_assert_uint_eq(answer.command, USBIP_RET_UNLINK);
	ck_assert_uint_eq(answer.seqnum, seqnum);
	ck_assert_int_eq((int)answer.status, status);
}

static void expect_bytes(const void *bytes, size_t size)
{
	_cleanup_free_ uint8_t *heard = malloc(size);

	ck_assert_uint_eq(hear(heard, size), size);
	ck_assert(memcmp(heard, bytes, size) == 0);
}

static void expect_end(void)
{
	char byte;

	ck_assert_uint_eq(hear(&byte, 1), 0);
	ck_assert_int_eq(recv(wire, &byte, 1, MSG_DONTWAIT), 0);
}

/* No byte comes. */
static void expect_silence(void)
{
	char byte;

	loop_for(context.event, 20000);
	ck_assert_int_eq(recv(wire, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static void wait_transfers(unsigned n)
{
	for (unsigned i = 0; i < 2000 * test_slowness() && fake_usbfs_count(&usbfs) != n; i++)
		ck_assert_int_ge(sd_event_run(context.event, 5000), 0);
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), n);
}

static void wait_transfer(uint8_t endpoint)
{
	for (unsigned i = 0; i < 2000 * test_slowness() && !fake_usbfs_find(&usbfs, endpoint); i++)
		ck_assert_int_ge(sd_event_run(context.event, 5000), 0);
	ck_assert_ptr_nonnull(fake_usbfs_find(&usbfs, endpoint));
}

static void complete(uint8_t endpoint, int status, const void *data, size_t size)
{
	wait_transfer(endpoint);
	ck_assert(fake_usbfs_complete(&usbfs, endpoint, status, data, size));
}

static uint8_t *make_bytes(size_t size)
{
	uint8_t *bytes = malloc(size);

	ck_assert_ptr_nonnull(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	return bytes;
}

/* ---- transfers ---- */

START_TEST(a_control_transfer_brings_back_what_the_device_says)
{
	ask_control(7, "\x80\x06\x00\x01\x00\x00\x12\x00", true, 18);
	wait_transfer(0);
	ck_assert_int_eq(fake_usbfs_find(&usbfs, 0)->type, USBDEVFS_URB_TYPE_CONTROL);
	ck_assert(memcmp(fake_usbfs_find(&usbfs, 0)->buffer, "\x80\x06\x00\x01\x00\x00\x12\x00", 8) == 0);
	complete(0, 0, "\x12\x01\x00\x02\xff", 5);
	expect_answer(7, 0, 5);
	expect_bytes("\x12\x01\x00\x02\xff", 5);
}
END_TEST

START_TEST(a_control_transfer_takes_its_bytes_to_the_device)
{
	ask_control(8, "\x21\x20\x00\x00\x00\x00\x07\x00", false, 7);
	say("\x00\xc2\x01\x00\x00\x00\x08", 7);
	wait_transfer(0);
	ck_assert(memcmp(fake_usbfs_find(&usbfs, 0)->buffer, "\x21\x20\x00\x00\x00\x00\x07\x00\x00\xc2\x01\x00\x00\x00\x08", 15) == 0);
	complete(0, 0, NULL, 7);
	expect_answer(8, 0, 7);
}
END_TEST

START_TEST(large_transfers_pass_both_ways_whole)
{
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);

	ask_out(1, 2, bytes, BULK_SIZE);
	wait_transfer(0x02);
	ck_assert_int_eq(fake_usbfs_find(&usbfs, 0x02)->buffer_length, BULK_SIZE);
	ck_assert(memcmp(fake_usbfs_find(&usbfs, 0x02)->buffer, bytes, BULK_SIZE) == 0);
	complete(0x02, 0, NULL, BULK_SIZE);
	expect_answer(1, 0, BULK_SIZE);
	ask_in(2, 1, BULK_SIZE);
	complete(0x81, 0, bytes, BULK_SIZE);
	expect_answer(2, 0, BULK_SIZE);
	expect_bytes(bytes, BULK_SIZE);
}
END_TEST

START_TEST(a_short_transfer_is_as_long_as_it_was)
{
	ask_in(3, 1, 512);
	complete(0x81, 0, "\x01\x60", 2);
	expect_answer(3, 0, 2);
	expect_bytes("\x01\x60", 2);
	ask(&(struct usbip_urb){ .seqnum = 4, .is_in = true, .endpoint = 1, .length = 512, .flags = USBIP_URB_SHORT_NOT_OK | 0x200 });
	wait_transfer(0x81);
	ck_assert_uint_eq(fake_usbfs_find(&usbfs, 0x81)->flags, USBDEVFS_URB_SHORT_NOT_OK);
	complete(0x81, -EREMOTEIO, "\x01", 1);
	expect_answer(4, -EREMOTEIO, 1);
	expect_bytes("\x01", 1);
}
END_TEST

START_TEST(a_zero_packet_is_asked_for_where_the_vm_wants_one)
{
	ask(&(struct usbip_urb){ .seqnum = 4, .endpoint = 1, .length = 2, .flags = USBIP_URB_ZERO_PACKET | USBIP_URB_SHORT_NOT_OK });
	say("ab", 2);
	wait_transfer(0x01);
	ck_assert_uint_eq(fake_usbfs_find(&usbfs, 0x01)->flags, USBDEVFS_URB_ZERO_PACKET);
}
END_TEST

START_TEST(what_the_device_refuses_is_told_and_the_session_goes_on)
{
	ask_in(3, 1, 64);
	complete(0x81, -EPIPE, NULL, 0);
	expect_answer(3, -EPIPE, 0);
	ask_in(4, 9, 64); /* an endpoint that is not there */
	expect_answer(4, -EPIPE, 0);
	ask_out(5, 9, "lost", 4);
	expect_answer(5, -EPIPE, 0);
	ask_in(6, 1, 64);
	complete(0x81, 0, "here", 4);
	expect_answer(6, 0, 4);
	expect_bytes("here", 4);
}
END_TEST

START_TEST(an_interface_that_is_not_there_is_not_asked_for)
{
	static const char *const setups[] = { "\xa1\x21\x00\x00\x02\x00\x07\x00", "\xa1\x21\x00\x00\xff\x00\x07\x00",
					      "\xa1\x00\x00\x00\x02\x02\x07\x00", "\xa1\x00\x00\x00\x05\x00\x07\x00",
					      "\xa1\x00\x00\x00\x05\x01\x07\x00" }; /* no printer has that setting, or it is none's */

	for (uint32_t i = 0; i < ARRAY_SIZE(setups); i++) {
		ask_control(i, setups[i], true, 7);
		expect_answer(i, -EPIPE, 0);
	}
	ask_control(5, "\x01\x0b\x02\x00\x02\x00\x00\x00", false, 0);
	expect_answer(5, -EPIPE, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "");
	ask_control(6, "\xc1\x21\x00\x00\x02\x00\x07\x00", true, 7); /* a vendor's index is what the vendor likes */
	complete(0, 0, "x", 1);
	expect_answer(6, 0, 1);
	expect_bytes("x", 1);
	ask_control(7, "\xa1\x00\x00\x00\x02\x01\x07\x00", true, 7); /* a printer's: the setting, then the interface */
	complete(0, 0, "x", 1);
	expect_answer(7, 0, 1);
}
END_TEST

START_TEST(an_endpoint_in_the_wrong_direction_is_not_asked_for)
{
	static const uint8_t absent[] = { 0x03, 0x84, 0x13, 0x93 };
	char get_status[8] = "\x82\x00\x00\x00\x00\x00\x02\x00";

	for (uint32_t i = 0; i < ARRAY_SIZE(absent); i++) {
		get_status[4] = (char)absent[i];
		ask_control(i, get_status, true, 2);
		expect_answer(i, -EPIPE, 0);
	}
	ask_control(4, "\x02\x01\x00\x00\x03\x00\x00\x00", false, 0); /* nor is its halt ended */
	expect_answer(4, -EPIPE, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "");
	get_status[4] = (char)0x83;
	ask_control(5, get_status, true, 2);
	complete(0, 0, "\x01\x00", 2);
	expect_answer(5, 0, 2);
	expect_bytes("\x01\x00", 2);
	ask_control(6, "\xc2\x00\x00\x00\x03\x00\x02\x00", true, 2); /* a vendor's request names what the vendor likes */
	complete(0, 0, NULL, 0);
	expect_answer(6, 0, 0);
}
END_TEST

START_TEST(answers_come_in_the_order_of_their_end)
{
	ask_in(1, 1, 8);
	ask_in(2, 2, 8);
	ask_in(3, 1, 8);
	complete(0x82, 0, "b", 1);
	complete(0x81, 0, "a", 1);
	complete(0x81, 0, "c", 1);
	expect_answer(2, 0, 1);
	expect_bytes("b", 1);
	expect_answer(1, 0, 1);
	expect_bytes("a", 1);
	expect_answer(3, 0, 1);
	expect_bytes("c", 1);
}
END_TEST

START_TEST(a_control_transfer_that_contradicts_itself_is_refused)
{
	ask_control(1, "\x80\x06\x00\x01\x00\x00\x12\x00", false, 18); /* IN by its setup, OUT by its header */
	say("123456789012345678", 18);
	expect_answer(1, -EINVAL, 0);
	ask_control(2, "\x21\x20\x00\x00\x00\x00\xff\xff", false, 7); /* it announces more than it brings */
	say("1234567", 7);
	expect_answer(2, -EINVAL, 0);
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), 0);
}
END_TEST

START_TEST(a_device_that_says_more_than_was_asked_for_is_cut)
{
	ask_control(1, "\x80\x06\x00\x01\x00\x00\x12\x00", true, 4); /* the setup asks for 18 */
	complete(0, 0, "123456789012345678", 18);
	expect_answer(1, 0, 4);
	expect_bytes("1234", 4);
}
END_TEST

/* ---- isochronous ---- */

static void ask_packets(uint32_t seqnum, bool is_in, uint32_t length, const struct usbip_packet *packets, uint32_t n, const void *bytes)
{
	ask(&(struct usbip_urb){
		.seqnum = seqnum, .is_in = is_in, .endpoint = 2, .length = length, .n_packets = n, .flags = USBIP_URB_ISO_ASAP });
	if (!is_in)
		say(bytes, length);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t wire_bytes[USBIP_PACKET_SIZE];

		usbip_packet_encode(&packets[i], wire_bytes);
		say(wire_bytes, sizeof(wire_bytes));
	}
}

static struct usbip_packet hear_packet(void)
{
	uint8_t bytes[USBIP_PACKET_SIZE];
	struct usbip_packet packet;

	ck_assert_uint_eq(hear(bytes, sizeof(bytes)), sizeof(bytes));
	usbip_packet_decode(bytes, &packet);
	return packet;
}

START_TEST(isochronous_packets_come_back_without_the_gaps_between_them)
{
	const struct usbip_packet packets[N_PACKETS] = {
		{ .offset = 0, .length = 4 }, { .offset = 4, .length = 4 }, { .offset = 8, .length = 4 }, { .offset = 20, .length = 4 }
	};
	struct answer answer;

	ask_packets(9, true, 24, packets, N_PACKETS, NULL);
	wait_transfer(0x82);
	ck_assert_int_eq(fake_usbfs_find(&usbfs, 0x82)->type, USBDEVFS_URB_TYPE_ISO);
	ck_assert_uint_eq(fake_usbfs_find(&usbfs, 0x82)->flags, USBDEVFS_URB_ISO_ASAP);
	ck_assert_int_eq(fake_usbfs_find(&usbfs, 0x82)->buffer_length, 16);
	ck_assert(fake_usbfs_complete_packets(&usbfs, 0x82, "aaa.bbb.ccc.ddd.", 3, 1));
	answer = hear_answer();
	ck_assert_uint_eq(answer.seqnum, 9);
	ck_assert_uint_eq(answer.length, 9);
	ck_assert_uint_eq(answer.n_packets, N_PACKETS);
	expect_bytes("aaacccddd", 9);
	for (uint32_t i = 0; i < N_PACKETS; i++) {
		struct usbip_packet packet = hear_packet();

		ck_assert_uint_eq(packet.offset, packets[i].offset);
		ck_assert_uint_eq(packet.length, 4);
		ck_assert_uint_eq(packet.actual_length, i == 1 ? 0 : 3);
		ck_assert_int_eq(packet.status, i == 1 ? -EXDEV : 0);
	}
}
END_TEST

START_TEST(isochronous_packets_go_out_from_where_they_lie)
{
	const struct usbip_packet packets[2] = { { .offset = 2, .length = 3 }, { .offset = 8, .length = 2 } };

	ask_packets(9, false, 10, packets, 2, "..abc...de");
	wait_transfer(0x02);
	ck_assert_int_eq(fake_usbfs_find(&usbfs, 0x02)->buffer_length, 5);
	ck_assert(memcmp(fake_usbfs_find(&usbfs, 0x02)->buffer, "abcde", 5) == 0);
	ck_assert(fake_usbfs_complete_packets(&usbfs, 0x02, NULL, 2, 99));
	expect_answer(9, 0, 4);
	ck_assert_uint_eq(hear_packet().actual_length, 2);
	ck_assert_uint_eq(hear_packet().offset, 8);
}
END_TEST

START_TEST(isochronous_packets_that_lie_outside_are_refused)
{
	static const struct usbip_packet bad[][2] = {
		{ { .offset = 0, .length = 4 }, { .offset = 8, .length = 9 } },
		{ { .offset = 0, .length = 4 }, { .offset = UINT32_MAX, .length = 4 } },
		{ { .offset = 0, .length = UINT32_MAX }, { .offset = 4, .length = 4 } },
		{ { .offset = 0, .length = 4 }, { .offset = 2, .length = 4 } }, /* one in the other */
	};

	for (uint32_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ask_packets(i, true, 16, bad[i], 2, NULL);
		expect_answer(i, -EINVAL, 0);
		ck_assert_int_eq(hear_packet().status, -EINVAL);
		ck_assert_int_eq(hear_packet().status, -EINVAL);
	}
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), 0);
}
END_TEST

START_TEST(isochronous_packets_longer_than_the_endpoints_are_refused)
{
	static const struct usbip_packet packets[2] = { { .offset = 0, .length = 64 }, { .offset = 64, .length = 65 } };

	ask_packets(1, true, 129, packets, 2, NULL);
	expect_answer(1, -EMSGSIZE, 0);
	ck_assert_int_eq(hear_packet().status, -EMSGSIZE);
	ck_assert_int_eq(hear_packet().status, -EMSGSIZE);
	ask_packets(2, true, 129, packets, 1, NULL);
	wait_transfer(0x82);
}
END_TEST

START_TEST(more_packets_than_usbfs_takes_are_refused)
{
	static struct usbip_packet packets[129];

	ask_packets(5, true, 0, packets, 129, NULL);
	expect_answer(5, -EINVAL, 0);
	for (unsigned i = 0; i < 129; i++)
		(void)hear_packet();
	ask_packets(7, false, 4, packets, 129, "lost");
	expect_answer(7, -EINVAL, 0);
	for (unsigned i = 0; i < 129; i++)
		(void)hear_packet();
	ask_in(6, 1, 8);
	complete(0x81, 0, "x", 1);
	expect_answer(6, 0, 1);
}
END_TEST

/* ---- cancelled ---- */

START_TEST(a_cancelled_transfer_has_one_answer)
{
	ask_in(1, 1, 64);
	ask_in(2, 1, 64);
	wait_transfers(2);
	ask_unlink(3, 1);
	expect_unlinked(3, -ECONNRESET);
	expect_silence();
	complete(0x81, 0, "x", 1);
	expect_answer(2, 0, 1);
	expect_bytes("x", 1);
}
END_TEST

START_TEST(a_transfer_that_was_over_before_its_cancellation_is_told_first)
{
	ask_in(1, 1, 64);
	wait_transfer(0x81);
	ck_assert(fake_usbfs_complete(&usbfs, 0x81, 0, "kept", 4)); /* and nobody has reaped it yet */
	ask_unlink(2, 1);
	expect_answer(1, 0, 4);
	expect_bytes("kept", 4);
	expect_unlinked(2, 0);
}
END_TEST

START_TEST(what_nobody_knows_any_more_was_over_before)
{
	ask_unlink(2, 77);
	expect_unlinked(2, 0);
}
END_TEST

START_TEST(a_second_cancellation_of_the_same_is_answered_too)
{
	ask_in(1, 1, 64);
	wait_transfer(0x81);
	ask_unlink(2, 1);
	ask_unlink(3, 1);
	expect_unlinked(2, -ECONNRESET);
	expect_unlinked(3, 0);
}
END_TEST

/* ---- what is the host's to do ---- */

START_TEST(an_alternate_setting_is_set_by_the_kernel)
{
	ask_control(1, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
	expect_answer(1, 0, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "interface 1; setting 2");
}
END_TEST

START_TEST(a_configuration_is_set_while_nothing_is_claimed)
{
	ask_control(1, "\x00\x09\x01\x00\x00\x00\x00\x00", false, 0);
	expect_answer(1, 0, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "release 0; release 1; configuration 1; claim 0; claim 1");
}
END_TEST

START_TEST(an_endpoints_halt_is_ended_by_the_kernel)
{
	ask_control(1, "\x02\x01\x00\x00\x81\x00\x00\x00", false, 0);
	expect_answer(1, 0, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "clear 129");
	ask_control(2, "\x02\x01\x01\x00\x81\x00\x00\x00", false, 0); /* another feature: the device's own business */
	complete(0, 0, NULL, 0);
	expect_answer(2, 0, 0);
}
END_TEST

START_TEST(a_setting_that_is_none_is_not_asked_for)
{
	ask_control(1, "\x01\x0b\x03\x00\x01\x00\x00\x00", false, 0);
	expect_answer(1, -EPIPE, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "");
}
END_TEST

START_TEST(a_halt_is_not_ended_under_a_transfer)
{
	ask_in(1, 1, 64);
	ask_in(2, 2, 64);
	wait_transfers(2);
	ask_control(3, "\x02\x01\x00\x00\x81\x00\x00\x00", false, 0);
	expect_answer(3, -EPIPE, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "");
	ask_unlink(4, 1);
	expect_unlinked(4, -ECONNRESET);
	ask_control(5, "\x02\x01\x00\x00\x81\x00\x00\x00", false, 0); /* as a driver does it */
	expect_answer(5, 0, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "clear 129");
}
END_TEST

START_TEST(a_halt_is_ended_after_what_nobody_has_reaped_yet)
{
	uint8_t header[USBIP_URB_HEADER_SIZE];
	struct usbip_urb request = { .command = USBIP_CMD_SUBMIT, .seqnum = 2, .devid = DEVID };

	memcpy(request.setup, "\x02\x01\x00\x00\x81\x00\x00\x00", 8);
	usbip_urb_encode(&request, header);
	ask_in(1, 1, 64);
	wait_transfer(0x81);
	ck_assert_int_eq(send(wire, header, sizeof(header), MSG_NOSIGNAL), sizeof(header)); /* the loop sees it first */
	ck_assert(fake_usbfs_complete(&usbfs, 0x81, -EPIPE, NULL, 0));
	expect_answer(1, -EPIPE, 0);
	expect_answer(2, 0, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "clear 129");
}
END_TEST

START_TEST(after_a_new_configuration_its_own_endpoints_are_there)
{
	ask_control(1, "\x00\x09\x02\x00\x00\x00\x00\x00", false, 0);
	expect_answer(1, 0, 0);
	ask_control(2, "\x82\x00\x00\x00\x81\x00\x02\x00", true, 2); /* of the first one only */
	expect_answer(2, -EPIPE, 0);
	ask_control(3, "\x00\x09\x01\x00\x00\x00\x00\x00", false, 0);
	expect_answer(3, 0, 0);
	ask_control(4, "\x82\x00\x00\x00\x81\x00\x02\x00", true, 2);
	complete(0, 0, NULL, 0);
	expect_answer(4, 0, 0);
}
END_TEST

START_TEST(a_reset_is_done_by_the_kernel)
{
	ask_control(1, "\x23\x03\x04\x00\x00\x00\x00\x00", false, 0);
	expect_answer(1, 0, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "release 0; release 1; reset; claim 0; claim 1");
}
END_TEST

START_TEST(what_the_kernel_refuses_is_told)
{
	usbfs.special_result = -EPIPE;
	ask_control(1, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
	expect_answer(1, -EPIPE, 0);
	ask_control(2, "\x00\x09\x01\x00\x00\x00\x00\x00", false, 0);
	expect_answer(2, -EPIPE, 0);
}
END_TEST

START_TEST(what_follows_a_new_setting_comes_after_it)
{
	ask_control(1, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
	ask_in(2, 1, 8);
	expect_answer(1, 0, 0);
	complete(0x81, 0, "x", 1);
	expect_answer(2, 0, 1);
}
END_TEST

START_TEST(a_device_keeps_its_address)
{
	ask_control(1, "\x00\x05\x07\x00\x00\x00\x00\x00", false, 0);
	expect_answer(1, 0, 0);
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "");
}
END_TEST

/* The device is being changed, and keeps who does that waiting. */
static void wait_special(void)
{
	for (unsigned i = 0; i < 2000 * test_slowness() && !fake_usbfs_is_in_special(&usbfs); i++)
		ck_assert_int_ge(sd_event_run(context.event, 5000), 0);
	ck_assert(fake_usbfs_is_in_special(&usbfs));
}

START_TEST(while_the_device_is_changed_the_loop_asks_usbfs_for_nothing)
{
	ask_in(1, 1, 8);
	ask_in(2, 2, 8);
	wait_transfers(2);
	fake_usbfs_hold(&usbfs, true);
	ask_control(3, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
	wait_special();
	ck_assert(fake_usbfs_complete(&usbfs, 0x81, 0, "x", 1));
	ask_in(4, 1, 8);
	ask_unlink(5, 2);
	expect_silence();
	fake_usbfs_hold(&usbfs, false);
	expect_answer(3, 0, 0);
	expect_answer(1, 0, 1);
	expect_bytes("x", 1);
	expect_unlinked(5, -ECONNRESET);
	complete(0x81, 0, "y", 1);
	expect_answer(4, 0, 1);
}
END_TEST

START_TEST(an_unplug_while_the_device_is_changed_ends_the_stream)
{
	ask_in(1, 1, 8);
	wait_transfer(0x81);
	fake_usbfs_hold(&usbfs, true);
	ask_control(2, "\x23\x03\x04\x00\x00\x00\x00\x00", false, 0);
	wait_special();
	fake_usbfs_unplug(&usbfs);
	expect_silence();
	fake_usbfs_hold(&usbfs, false);
	ck_assert_uint_eq(hear_answer().seqnum, 2);
	expect_answer(1, -ESHUTDOWN, 0);
	expect_end();
}
END_TEST

START_TEST(a_change_waits_for_what_was_asked_before_it)
{
	usbfs.max_transfers = 1;
	ask_in(1, 1, 8);
	ask_in(2, 1, 8);
	ask_control(3, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
	expect_silence();
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "");
	complete(0x81, 0, "x", 1);
	expect_answer(1, 0, 1);
	expect_bytes("x", 1);
	expect_answer(3, 0, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "interface 1; setting 2");
}
END_TEST

static void ask_reset(uint32_t seqnum)
{
	ask_control(seqnum, "\x23\x03\x04\x00\x00\x00\x00\x00", false, 0);
}

static void expect_log(const char *log)
{
	ck_assert_str_eq(fake_usbfs_log(&usbfs), log);
}

/* Of each reset the kernel's log has a line. */
START_TEST(changes_without_end_wait)
{
	uint64_t start = clock_now_usec();
	uint32_t i;

	for (i = 1; i <= 10; i++) {
		ask_reset(i);
		expect_answer(i, 0, 0);
	}
	(void)fake_usbfs_log(&usbfs);
	ask_control(11, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
	ask_in(12, 1, 8); /* none overtakes it */
	expect_answer(11, 0, 0);
	ck_assert_uint_ge(clock_now_usec() - start, 1000000);
	expect_log("interface 1; setting 2");
	complete(0x81, 0, NULL, 0);
	expect_answer(12, 0, 0);
}
END_TEST

/* As an audio driver chooses them, with each stream that it opens and closes. */
START_TEST(settings_that_are_set_never_wait)
{
	uint32_t seqnum = 1;
	uint64_t now;

	for (unsigned i = 0; i < 30; i++) {
		ask_control(seqnum, i % 2 ? "\x01\x0b\x00\x00\x01\x00\x00\x00" : "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
		expect_answer(seqnum++, 0, 0);
		ask_in(seqnum, 1, 8);
		complete(0x81, 0, "x", 1);
		expect_answer(seqnum++, 0, 1);
		expect_bytes("x", 1);
	}
	now = clock_now_usec();
	for (unsigned i = 0; i < USBFS_CHANGE_BURST; i++) /* what does cost a line has as many as before */
		ck_assert_uint_eq(usbfs_claim_pay_change(claim, now), 0);
}
END_TEST

/* Of each of these the kernel's log has one: "Not enough bandwidth for altsetting". */
START_TEST(settings_that_are_refused_without_end_wait)
{
	uint64_t start = clock_now_usec();

	usbfs.special_result = -ENOSPC;
	for (uint32_t i = 1; i <= 10; i++) {
		ask_control(i, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
		expect_answer(i, -ENOSPC, 0);
	}
	(void)fake_usbfs_log(&usbfs);
	ask_control(11, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
	expect_answer(11, -ENOSPC, 0);
	ck_assert_uint_ge(clock_now_usec() - start, 1000000);
}
END_TEST

START_TEST(a_change_that_waits_for_its_turn_holds_up_who_came_later)
{
	claim->changed_usec = clock_now_usec() + UINT64_C(600000000); /* many were before */
	ask_reset(1);
	ask_in(2, 1, 8);
	ask_control(3, "\x80\x06\x00\x01\x00\x00\x12\x00", true, 18);
	expect_silence();
	expect_log("");
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), 0);
	ask_unlink(4, 1);
	expect_unlinked(4, -ECONNRESET);
	wait_transfers(2);
	ask_control(5, "\x02\x01\x00\x00\x02\x00\x00\x00", false, 0); /* of this the log has none */
	expect_answer(5, 0, 0);
	expect_log("clear 2");
}
END_TEST

START_TEST(after_a_pause_as_many_changes_pass_as_before)
{
	const uint64_t second = 1000000, burst = USBFS_CHANGE_BURST;
	uint64_t now = clock_now_usec();

	for (unsigned i = 0; i < burst; i++)
		ck_assert_uint_eq(usbfs_claim_pay_change(claim, now), 0);
	ck_assert_uint_eq(usbfs_claim_pay_change(claim, now), second);
	ck_assert_uint_eq(usbfs_claim_pay_change(claim, now + second / 4), second / 4 * 3);
	ck_assert_uint_eq(usbfs_claim_pay_change(claim, now + second), 0);
	ck_assert_uint_eq(usbfs_claim_pay_change(claim, now + second), second);
	now += 60 * second;
	for (unsigned i = 0; i < burst; i++)
		ck_assert_uint_eq(usbfs_claim_pay_change(claim, now), 0);
	ck_assert_uint_gt(usbfs_claim_pay_change(claim, now), 0);
}
END_TEST

START_TEST(a_change_that_waits_can_be_cancelled)
{
	usbfs.max_transfers = 1;
	ask_in(1, 1, 8);
	ask_in(2, 1, 8);
	ask_control(3, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
	ask_unlink(4, 3);
	expect_unlinked(4, -ECONNRESET);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "");
}
END_TEST

/* ---- what can't be ---- */

static void say_words(uint32_t command, uint32_t devid, uint32_t direction, uint32_t endpoint, uint32_t length, uint32_t n_packets)
{
	const uint32_t words[12] = { command, 1, devid, direction, endpoint, 0, length, 0, n_packets };
	uint8_t header[USBIP_URB_HEADER_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		uint32_t word = htobe32(words[i]);

		memcpy(header + 4 * i, &word, sizeof(word));
	}
	say(header, sizeof(header));
}

START_TEST(a_request_that_makes_no_sense_ends_the_session)
{
	static const struct {
		uint32_t command, devid, direction, endpoint, length, n_packets;
	} bad[] = {
		{ 0, DEVID, 0, 0, 0, 0 },
		{ 3, DEVID, 0, 0, 0, 0 },
		{ UINT32_MAX, DEVID, 0, 0, 0, 0 },
		{ 1, DEVID + 1, 1, 1, 8, 0 },
		{ 1, DEVID, 2, 1, 8, 0 },
		{ 1, DEVID, 1, 16, 8, 0 },
		{ 1, DEVID, 1, 1, UINT32_C(2) << 30, 0 },
		{ 1, DEVID, 0, 1, UINT32_MAX, 0 },
		{ 1, DEVID, 1, 1, 8, 1025 },
		{ 1, DEVID, 1, 1, 8, UINT32_MAX - 1 },
		{ 2, DEVID + 1, 0, 0, 0, 0 },
		{ 4, DEVID, 0, 0, 0, 0 },                 /* the answer to a cancellation */
		{ UINT32_C(1) << 24, DEVID, 1, 1, 8, 0 }, /* the other order of bytes */
		{ 1, 0, 1, 1, 8, 0 },
		{ 1, UINT32_MAX, 1, 1, 8, 0 },
		{ 1, DEVID, UINT32_MAX, 1, 8, 0 },
		{ 1, DEVID, 0, UINT32_MAX, 8, 0 },
		{ 1, DEVID, 1, 1, (UINT32_C(16) << 20) + 1, 0 },
		{ 1, DEVID, 0, 0, UINT32_C(1) << 31, 0 },
		{ 2, 0, 0, 0, 0, 0 },
		{ 0x80030111, 0, 0, 0, 0, 0 },          /* a request to import */
		{ 0x7b227479, 0x7065223a, 0, 0, 0, 0 }, /* {"type": */
	};

	say_words(bad[_i].command, bad[_i].devid, bad[_i].direction, bad[_i].endpoint, bad[_i].length, bad[_i].n_packets);
	expect_end();
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), 0);
}
END_TEST

START_TEST(a_number_that_is_used_twice_is_answered_twice)
{
	ask_in(1, 1, 8);
	ask_in(1, 1, 8);
	wait_transfers(2);
	complete(0x81, 0, "x", 1);
	expect_answer(1, 0, 1);
	expect_bytes("x", 1);
	ask_unlink(1, 1); /* and once more, for what cancels it */
	expect_unlinked(1, -ECONNRESET);
	wait_transfers(0);
	ask_in(2, 1, 8);
	complete(0x81, 0, "y", 1);
	expect_answer(2, 0, 1);
	expect_bytes("y", 1);
}
END_TEST

START_TEST(a_transfer_of_no_bytes_and_one_of_no_packets_are_none_of_those)
{
	say_words(1, DEVID, 1, 1, 0, UINT32_MAX); /* "0xffffffff if not an ISO transfer" */
	complete(0x81, 0, NULL, 0);
	expect_answer(1, 0, 0);
}
END_TEST

/* ---- memory ---- */

START_TEST(requests_beyond_all_memory_wait_for_their_turn)
{

	teardown();
	setup_claim();
	start_session(64 * 1024);
	for (uint32_t i = 0; i < 40; i++)
		ask_in(i, 1, 4096);
	loop_for(context.event, 20000);
	ck_assert_uint_lt(fake_usbfs_count(&usbfs), 16); /* no more than fits */
	for (uint32_t i = 0; i < 40; i++) {
		complete(0x81, 0, "x", 1);
		expect_answer(i, 0, 1);
		expect_bytes("x", 1);
	}
	for (uint32_t i = 0; i < 12; i++)
		ask_in(i, 1, 8);
	for (uint32_t i = 0; i < 12; i++) {
		complete(0x81, 0, "x", 1);
		expect_answer(i, 0, 1);
		expect_bytes("x", 1);
	}
}
END_TEST

START_TEST(one_that_waits_for_memory_can_be_cancelled)
{
	teardown();
	setup_claim();
	start_session(12288);
	ask_in(1, 1, 8192);
	ask_in(2, 1, 8192);
	wait_transfers(1);
	ask_unlink(3, 2);
	expect_unlinked(3, -ECONNRESET);
	ask_unlink(4, 1);
	expect_unlinked(4, -ECONNRESET);
}
END_TEST

/* As many as fit in one turn of the loop, and no byte behind them. */
START_TEST(the_last_request_of_a_turn_is_not_forgotten)
{
	uint8_t headers[128][USBIP_URB_HEADER_SIZE];

	for (uint32_t i = 0; i < 128; i++)
		usbip_urb_encode(
			&(struct usbip_urb){
				.command = USBIP_CMD_SUBMIT, .seqnum = i, .devid = DEVID, .is_in = true, .endpoint = 1, .length = 8 },
			headers[i]);
	for (uint32_t n = 1; n <= 128; n += 1 + n / 8) {
		ck_assert_int_eq(send(wire, headers, n * USBIP_URB_HEADER_SIZE, MSG_NOSIGNAL), n * USBIP_URB_HEADER_SIZE);
		wait_transfers(n);
		for (uint32_t i = 0; i < n; i++) {
			complete(0x81, 0, "x", 1);
			expect_answer(i, 0, 1);
			expect_bytes("x", 1);
		}
	}
}
END_TEST

START_TEST(one_without_bytes_goes_on_when_there_is_room_for_it)
{
	unsigned n = 0;
	int unread = 0;

	teardown();
	setup_claim();
	start_session(4096);
	ask_in(1, 1, 64); /* more than half of what small ones may have */
	wait_transfer(0x81);
	while (!unread) { /* OUT, of no bytes: its header is all that comes */
		ask(&(struct usbip_urb){ .seqnum = 2 + n++, .endpoint = 1 });
		loop_for(context.event, 2000);
		ck_assert_int_eq(ioctl(wire, SIOCOUTQ, &unread), 0);
		ck_assert_uint_lt(n, 20);
	}
	expect_silence();
	complete(0x81, 0, "x", 1);
	expect_answer(1, 0, 1);
	expect_bytes("x", 1);
	for (uint32_t i = 0; i < n; i++) {
		complete(0x01, 0, NULL, 0);
		expect_answer(2 + i, 0, 0);
	}
}
END_TEST

START_TEST(what_never_ends_leaves_memory_for_the_others)
{
	teardown();
	setup_claim();
	start_session(64 * 1024);
	for (uint32_t i = 0; i < 10; i++)
		ask_in(i, 1, 8000);
	wait_transfers(3); /* half of all is one session's */
	ask_in(10, 2, 64);
	ask_control(11, "\x21\x20\x00\x00\x00\x00\x07\x00", false, 7);
	say("\x00\xc2\x01\x00\x00\x00\x08", 7);
	complete(0, 0, NULL, 7);
	expect_answer(11, 0, 7);
	complete(0x82, 0, "x", 1);
	expect_answer(10, 0, 1);
	expect_bytes("x", 1);
	ask_unlink(12, 9);
	expect_unlinked(12, -ECONNRESET);
}
END_TEST

START_TEST(what_is_more_than_all_memory_is_refused_at_once)
{
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);

	teardown();
	setup_claim();
	start_session(64 * 1024);
	ask_in(1, 1, BULK_SIZE);
	expect_answer(1, -ENOMEM, 0);
	ask_out(2, 1, bytes, BULK_SIZE);
	expect_answer(2, -ENOMEM, 0);
	ask_in(3, 1, 8);
	complete(0x81, 0, "x", 1);
	expect_answer(3, 0, 1);
}
END_TEST

START_TEST(who_waits_behind_a_cancelled_one_goes_on)
{
	teardown();
	setup_claim();
	start_session(16384);
	ask_in(1, 1, 8000);
	ask_in(2, 1, 12000);
	ask_in(3, 1, 512);
	wait_transfers(1);
	ask_unlink(4, 2);
	expect_unlinked(4, -ECONNRESET);
	wait_transfers(2);
}
END_TEST

/* One large OUT is with usbfs, the next waits for what that one has. */
static void fill_memory(const uint8_t *bytes)
{
	teardown();
	setup_claim();
	start_session(BULK_SIZE + 4096);
	ask_out(1, 1, bytes, BULK_SIZE);
	wait_transfer(0x01);
	ask_out(2, 1, bytes, BULK_SIZE);
}

START_TEST(behind_a_large_one_that_waits_the_stream_is_read_on)
{
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);

	fill_memory(bytes);
	ask_in(3, 1, 64);
	complete(0x81, 0, "x", 1);
	expect_answer(3, 0, 1);
	expect_bytes("x", 1);
	ask_unlink(4, 2);
	expect_unlinked(4, -ECONNRESET);
	ask_out(5, 1, bytes, BULK_SIZE);
	ask_unlink(6, 1);
	expect_unlinked(6, -ECONNRESET);
	wait_transfer(0x01);
	ck_assert(memcmp(fake_usbfs_find(&usbfs, 0x01)->buffer, bytes, BULK_SIZE) == 0);
	complete(0x01, 0, NULL, BULK_SIZE);
	expect_answer(5, 0, BULK_SIZE);
}
END_TEST

START_TEST(a_small_one_never_overtakes_a_large_one_that_waits)
{
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);

	fill_memory(bytes);
	ask_out(3, 1, "small", 5);
	ask_out(4, 2, "other", 5); /* on another endpoint one does */
	complete(0x02, 0, NULL, 5);
	expect_answer(4, 0, 5);
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), 1);
	complete(0x01, 0, NULL, BULK_SIZE);
	expect_answer(1, 0, BULK_SIZE);
	wait_transfers(2);
	ck_assert_int_eq(fake_usbfs_find(&usbfs, 0x01)->buffer_length, BULK_SIZE);
	ck_assert(memcmp(fake_usbfs_find(&usbfs, 0x01)->buffer, bytes, BULK_SIZE) == 0);
	complete(0x01, 0, NULL, BULK_SIZE);
	expect_answer(2, 0, BULK_SIZE);
	ck_assert_int_eq(fake_usbfs_find(&usbfs, 0x01)->buffer_length, 5);
	ck_assert(memcmp(fake_usbfs_find(&usbfs, 0x01)->buffer, "small", 5) == 0);
	complete(0x01, 0, NULL, 5);
	expect_answer(3, 0, 5);
}
END_TEST

START_TEST(bytes_that_there_is_no_room_for_stay_on_the_wire)
{
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);
	int unread = 0;

	fill_memory(bytes);
	ask(&(struct usbip_urb){ .seqnum = 3, .endpoint = 1, .length = BULK_SIZE });
	(void)send(wire, bytes, BULK_SIZE / 8, MSG_DONTWAIT | MSG_NOSIGNAL);
	loop_for(context.event, 20000);
	ck_assert_int_eq(ioctl(wire, SIOCOUTQ, &unread), 0);
	ck_assert_int_ge(unread, BULK_SIZE / 8);
	complete(0x01, 0, NULL, BULK_SIZE);
	expect_answer(1, 0, BULK_SIZE);
	say(bytes + BULK_SIZE / 8, BULK_SIZE - BULK_SIZE / 8);
	complete(0x01, 0, NULL, BULK_SIZE);
	expect_answer(2, 0, BULK_SIZE);
	wait_transfer(0x01);
	ck_assert(memcmp(fake_usbfs_find(&usbfs, 0x01)->buffer, bytes, BULK_SIZE) == 0);
}
END_TEST

START_TEST(a_stream_that_is_held_up_goes_on_after_a_moment)
{
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);

	fill_memory(bytes);
	context.max_held_usec = 30000;
	ask_out(3, 2, bytes, BULK_SIZE);
	expect_answer(3, -ENOMEM, 0);
	context.max_held_usec = 60000000;
	ask_out(4, 2, bytes, BULK_SIZE); /* nothing has changed: at once */
	expect_answer(4, -ENOMEM, 0);
	ask_unlink(5, 2);
	expect_unlinked(5, -ECONNRESET);
	ask_out(6, 2, bytes, BULK_SIZE);
	expect_silence();
	complete(0x01, 0, NULL, BULK_SIZE);
	expect_answer(1, 0, BULK_SIZE);
	complete(0x02, 0, NULL, BULK_SIZE);
	expect_answer(6, 0, BULK_SIZE);
}
END_TEST

/* Small ones have their place meanwhile, and go: that says nothing of large ones. */
START_TEST(a_stream_of_large_and_small_ones_is_held_up_once)
{
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);

	fill_memory(bytes);
	context.max_held_usec = 30000;
	ask_out(3, 2, bytes, BULK_SIZE);
	expect_answer(3, -ENOMEM, 0);
	context.max_held_usec = 60000000;
	for (uint32_t i = 4; i < 10; i += 2) {
		ask_out(i, 2, "small", 5);
		complete(0x02, 0, NULL, 5);
		expect_answer(i, 0, 5);
		ask_out(i + 1, 2, bytes, BULK_SIZE);
		expect_answer(i + 1, -ENOMEM, 0);
	}
	ask_unlink(10, 2);
	expect_unlinked(10, -ECONNRESET);
	ask_out(11, 2, bytes, BULK_SIZE); /* it has its place */
	ask(&(struct usbip_urb){ .seqnum = 12, .endpoint = 2, .length = BULK_SIZE });
	expect_silence(); /* and the next waits again */
}
END_TEST

/* What waits for a place is not refused because the device takes its time. */
START_TEST(a_stream_is_not_held_up_by_a_change_that_lasts)
{
	const size_t all = BULK_SIZE + 4096;
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);

	teardown();
	setup_claim();
	start_session(all);
	ck_assert(usbfs_memory_take(context.memory, USBFS_POOL_LARGE_HERE, 0, all));
	usbfs.max_transfers = 1;
	ask_in(1, 1, 8);
	ask_in(2, 1, 8);
	ask_control(3, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0);
	fake_usbfs_hold(&usbfs, true);
	context.max_held_usec = 1000000 * test_slowness();
	ask(&(struct usbip_urb){ .seqnum = 4, .endpoint = 2, .length = BULK_SIZE });
	complete(0x81, 0, NULL, 0);
	expect_answer(1, 0, 0);
	wait_special();
	loop_for(context.event, context.max_held_usec + 100000);
	context.max_held_usec = 60000000;
	fake_usbfs_hold(&usbfs, false);
	expect_answer(3, 0, 0);
	complete(0x81, 0, NULL, 0);
	expect_answer(2, 0, 0);
	usbfs_memory_give(context.memory, USBFS_POOL_LARGE_HERE, all);
	say(bytes, BULK_SIZE);
	complete(0x02, 0, NULL, BULK_SIZE);
	expect_answer(4, 0, BULK_SIZE);
}
END_TEST

START_TEST(one_more_than_may_wait_is_refused_after_a_moment)
{
	context.max_held_usec = 30000;
	for (uint32_t i = 1; i <= 1024 + 256; i++)
		ask_in(i, 1, 8);
	wait_transfers(1024);
	expect_silence();
	ask_in(1281, 1, 8);
	expect_answer(1281, -ENOMEM, 0);
	ask_in(1282, 1, 8);
	expect_answer(1282, -ENOMEM, 0);
	ask_unlink(1283, 7);
	expect_unlinked(1283, -ECONNRESET);
	ask_in(1284, 1, 8); /* there is a place again */
	expect_silence();
	ask_unlink(1285, 1284);
	expect_unlinked(1285, -ECONNRESET);
}
END_TEST

START_TEST(packets_of_what_waits_are_counted)
{
	static struct usbip_packet packets[100];

	teardown();
	setup_claim();
	context.max_held_usec = 30000;
	start_session(16384);
	for (uint32_t i = 1; i <= 3; i++)
		ask_packets(i, true, 0, packets, 100, NULL);
	wait_transfers(1); /* half of all is one session's; the others wait */
	expect_silence();
	ask_packets(4, true, 0, packets, 100, NULL);
	expect_answer(4, -ENOMEM, 0);
	for (unsigned i = 0; i < 100; i++)
		(void)hear_packet();
	ask_unlink(5, 3);
	expect_unlinked(5, -ECONNRESET);
}
END_TEST

START_TEST(what_usbfs_has_no_memory_for_now_is_tried_again)
{
	usbfs.max_transfers = 2;
	for (uint32_t i = 0; i < 6; i++)
		ask_in(i, 1, 64);
	loop_for(context.event, 20000);
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), 2);
	for (uint32_t i = 0; i < 6; i++) {
		complete(0x81, 0, "x", 1);
		expect_answer(i, 0, 1);
		expect_bytes("x", 1);
	}
	ck_assert_uint_gt(usbfs.n_refused, 0);
}
END_TEST

/* Another program has all but that. */
static void leave_usbfs(unsigned n)
{
	static struct usbdevfs_urb other = { .endpoint = 0x8f };

	usbfs.max_transfers = 1 + n;
	usbfs.transfers[usbfs.n_transfers++] = calloc(1, sizeof(struct fake_transfer));
	usbfs.transfers[0]->urb = &other;
}

START_TEST(what_usbfs_never_has_memory_for_is_refused)
{
	leave_usbfs(0);
	context.max_held_usec = 100000;
	ask_in(1, 1, 64);
	ask_in(2, 1, 64);
	expect_answer(1, -ENOMEM, 0);
	expect_answer(2, -ENOMEM, 0);
	ck_assert_uint_gt(usbfs.n_refused, 2);
}
END_TEST

START_TEST(beside_one_that_never_ends_it_is_refused_too)
{
	leave_usbfs(1);
	context.max_held_usec = 100000;
	ask_in(1, 1, 64);
	wait_transfer(0x81);
	ask_out(2, 2, "lost", 4);
	expect_answer(2, -ENOMEM, 0);
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), 2);
}
END_TEST

/* With one under way, or none: no event tells it. */
START_TEST(memory_that_another_program_gives_back_is_found)
{
	leave_usbfs((unsigned)_i);
	if (_i > 0)
		ask_in(1, 1, 64);
	ask_out(2, 2, "late", 4);
	expect_silence();
	ck_assert_ptr_null(fake_usbfs_find(&usbfs, 0x02));
	usbfs.max_transfers++;
	complete(0x02, 0, NULL, 4);
	expect_answer(2, 0, 4);
}
END_TEST

/* Nobody reads the answers: no more than so many requests are read. */
START_TEST(a_vm_that_asks_without_end_is_held_up)
{
	uint8_t header[USBIP_URB_HEADER_SIZE];
	const struct usbip_urb request = { .command = USBIP_CMD_SUBMIT, .devid = DEVID, .is_in = true, .endpoint = 1, .length = 8 };
	unsigned n = 0, n_stuck = 0;

	usbip_urb_encode(&request, header);
	while (n_stuck < 20) {
		if (send(wire, header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(header))
			n++;
		else
			n_stuck++;
		ck_assert_int_ge(sd_event_run(context.event, 1000), 0);
		ck_assert_uint_lt(n, 100000);
	}
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), 1024);
	complete(0x81, 0, "x", 1);
	loop_for(context.event, 20000);
	ck_assert_uint_eq(fake_usbfs_count(&usbfs), 1024); /* the next has its place */
	expect_answer(0, 0, 1);
}
END_TEST

START_TEST(answers_that_nobody_reads_hold_up_the_device_and_no_byte_is_lost)
{
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);

	for (uint32_t i = 0; i < 6; i++)
		ask_in(i, 1, BULK_SIZE);
	for (uint32_t i = 0; i < 6; i++)
		complete(0x81, 0, bytes, BULK_SIZE);
	loop_for(context.event, 20000);
	for (uint32_t i = 0; i < 6; i++) {
		expect_answer(i, 0, BULK_SIZE);
		expect_bytes(bytes, BULK_SIZE);
	}
}
END_TEST

/* ---- ends ---- */

START_TEST(an_unplug_ends_the_stream_at_once)
{
	ask_in(1, 1, 64);
	wait_transfer(0x81);
	fake_usbfs_unplug(&usbfs);
	expect_answer(1, -ESHUTDOWN, 0);
	expect_end();
}
END_TEST

START_TEST(after_a_session_nothing_is_under_way_and_the_device_is_reset)
{
	ask_in(1, 1, 64);
	ask_in(2, 2, 64);
	wait_transfers(2);
	ck_assert(fake_usbfs_complete(&usbfs, 0x82, 0, "late", 4));
	session = usbfs_session_free(session);
	expect_end();
	ck_assert(claim->is_used);
	ck_assert_int_eq(usbfs_claim_settle(claim), 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "release 0; release 1; reset; claim 0; claim 1");
	ck_assert_uint_eq(usbfs.n_transfers, 0);
	ck_assert(!claim->is_used);
}
END_TEST

static void *settle(void *result)
{
	*(int *)result = usbfs_claim_settle(claim);
	return NULL;
}

static void count(void *n)
{
	++*(unsigned *)n;
}

START_TEST(what_an_ended_session_left_under_way_keeps_its_memory)
{
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);
	struct usbfs_waiter *waiter;
	unsigned n_told = 0;
	pthread_t thread;
	int result = -1;

	fill_memory(bytes);
	session = usbfs_session_free(session);
	ck_assert(!usbfs_memory_take(context.memory, USBFS_POOL_LARGE, 0, BULK_SIZE));
	ck_assert(usbfs_memory_take(context.memory, USBFS_POOL_LARGE_HERE, 0, BULK_SIZE)); /* of what waited nothing is left */
	waiter = usbfs_waiter_new(context.memory, count, &n_told);
	usbfs_waiter_set(waiter, true);
	loop_for(context.event, 20000);
	ck_assert_uint_eq(n_told, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, settle, &result), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(result, 0);
	loop_for(context.event, 20000);
	ck_assert_uint_eq(n_told, 1);
	ck_assert(usbfs_memory_take(context.memory, USBFS_POOL_LARGE, 0, BULK_SIZE));
	usbfs_memory_give(context.memory, USBFS_POOL_LARGE, BULK_SIZE);
	usbfs_memory_give(context.memory, USBFS_POOL_LARGE_HERE, BULK_SIZE);
	usbfs_waiter_free(waiter);
}
END_TEST

START_TEST(what_is_given_back_while_somebody_tries_is_told)
{
	unsigned n_told = 0;
	struct usbfs_waiter *waiter = usbfs_waiter_new(context.memory, count, &n_told);

	ck_assert(usbfs_memory_take(context.memory, USBFS_POOL_LARGE, 0, N_LIMIT));
	usbfs_waiter_set(waiter, false);
	ck_assert(!usbfs_memory_take(context.memory, USBFS_POOL_LARGE, 0, 1));
	usbfs_memory_give(context.memory, USBFS_POOL_LARGE, N_LIMIT); /* by another thread, say */
	usbfs_waiter_set(waiter, true);
	loop_for(context.event, 20000);
	ck_assert_uint_eq(n_told, 1);
	usbfs_waiter_set(waiter, false);
	usbfs_waiter_set(waiter, true);
	loop_for(context.event, 20000);
	ck_assert_uint_eq(n_told, 1); /* of nothing nobody is told */
	usbfs_waiter_free(waiter);
}
END_TEST

/* As a job that settles another device: all that it has, piece by piece. */
static void *give_all(void *size)
{
	for (size_t i = 0; i < 64; i++)
		usbfs_memory_give(context.memory, USBFS_POOL_LARGE, *(const size_t *)size / 64);
	return NULL;
}

START_TEST(a_session_that_retries_misses_no_memory)
{
	size_t limit = 16384;
	pthread_t thread;

	teardown();
	setup_claim();
	start_session(limit);
	for (uint32_t i = 1; i < 200; i += 3) {
		ck_assert(usbfs_memory_take(context.memory, USBFS_POOL_LARGE, 0, limit));
		ask_in(i, 1, 8192);
		ck_assert_int_eq(pthread_create(&thread, NULL, give_all, &limit), 0);
		ask_unlink(i + 1, 77); /* it tries again */
		expect_unlinked(i + 1, 0);
		wait_transfer(0x81); /* no event of its own follows */
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
		complete(0x81, 0, NULL, 0);
		expect_answer(i, 0, 0);
	}
}
END_TEST

START_TEST(a_device_is_settled_after_what_a_session_left_under_way)
{
	pthread_t thread;
	int result = -1;

	fake_usbfs_hold(&usbfs, true);
	ask_control(1, "\x23\x03\x04\x00\x00\x00\x00\x00", false, 0);
	wait_special();
	session = usbfs_session_free(session);
	ck_assert(usbfs_specials_has_any(claim->specials));
	ck_assert_int_eq(pthread_create(&thread, NULL, settle, &result), 0);
	loop_for(context.event, 20000);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "release 0; release 1");
	fake_usbfs_hold(&usbfs, false);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(result, 0);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "reset; claim 0; claim 1; release 0; release 1; reset; claim 0; claim 1");
	ck_assert(!usbfs_specials_has_any(claim->specials));
}
END_TEST

START_TEST(a_device_that_could_not_be_claimed_again_is_not_settled)
{
	session = usbfs_session_free(session);
	strcpy(usbfs.interfaces[1].driver, "usbfs"); /* another program takes it as soon as it can */
	ck_assert_int_eq(usbfs_claim_settle(claim), -EBUSY);
	ck_assert(claim->is_used);
	usbfs.interfaces[1].driver[0] = '\0';
	ck_assert_int_eq(usbfs_claim_settle(claim), 0);
	ck_assert(!claim->is_used);
}
END_TEST

START_TEST(the_next_session_is_as_good_as_the_first)
{
	ask_in(1, 1, 64);
	wait_transfer(0x81);
	session = usbfs_session_free(session);
	ck_assert_int_eq(usbfs_claim_settle(claim), 0);
	close(wire);
	usbfs_memory_free(context.memory);
	start_session(N_LIMIT);
	ask_in(1, 1, 64);
	complete(0x81, 0, "anew", 4);
	expect_answer(1, 0, 4);
	expect_bytes("anew", 4);
}
END_TEST

START_TEST(a_vm_that_closes_ends_the_session)
{
	ask_in(1, 1, 64);
	wait_transfer(0x81);
	ck_assert_int_eq(shutdown(wire, SHUT_WR), 0);
	expect_end();
}
END_TEST

START_TEST(a_session_that_ends_in_the_middle_of_anything_leaves_nothing)
{
	_cleanup_free_ uint8_t *bytes = make_bytes(BULK_SIZE);

	ask_control(1, "\x01\x0b\x02\x00\x01\x00\x00\x00", false, 0); /* its job is under way */
	ask(&(struct usbip_urb){ .seqnum = 2, .endpoint = 1, .length = BULK_SIZE });
	(void)send(wire, bytes, 1000, MSG_DONTWAIT | MSG_NOSIGNAL);
	loop_for(context.event, 1000);
	session = usbfs_session_free(session);
	while (hear(bytes, 1) == 1) /* its answer, if it was that soon */
		;
	expect_end();
}
END_TEST

START_TEST(a_device_that_is_given_back_is_with_its_drivers)
{
	ask_in(1, 1, 64);
	wait_transfer(0x81);
	session = usbfs_session_free(session);
	usbfs_claim_release(claim);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "release 0; release 1; reset; connect 0; connect 1");
	ck_assert_str_eq(usbfs.interfaces[1].driver, "ftdi_sio");
}
END_TEST

START_TEST(a_device_is_given_back_in_the_configuration_that_it_had)
{
	ask_control(1, "\x00\x09\x00\x00\x00\x00\x00\x00", false, 0);
	expect_answer(1, 0, 0);
	session = usbfs_session_free(session);
	(void)fake_usbfs_log(&usbfs);
	usbfs_claim_release(claim);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "release 0; release 1; reset; configuration 1; connect 0; connect 1");
}
END_TEST

START_TEST(a_configuration_that_failed_is_mended_when_the_device_is_given_back)
{
	static const struct {
		int result;
		const char *log;
	} cases[] = {
		{ -EPIPE, "release 0; release 1; reset; configuration 1; connect 0; connect 1" }, /* the kernel leaves the device without */
		{ -EINVAL, "release 0; release 1; reset; connect 0; connect 1" },                 /* it had not begun */
		{ -EBUSY, "release 0; release 1; reset; connect 0; connect 1" },
	};

	usbfs.special_result = cases[_i].result;
	ask_control(1, "\x00\x09\x01\x00\x00\x00\x00\x00", false, 0);
	expect_answer(1, cases[_i].result, 0);
	usbfs.special_result = 0;
	session = usbfs_session_free(session);
	(void)fake_usbfs_log(&usbfs);
	usbfs_claim_release(claim);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), cases[_i].log);
}
END_TEST

START_TEST(a_device_without_interfaces_is_not_claimed)
{
	struct usbfs_claim *second = NULL;
	int node = fcntl(usbfs.node, F_DUPFD_CLOEXEC, 3);

	usbfs.n_interfaces = 0;
	ck_assert_int_eq(usbfs_claim_new(node, make_layout(), -1, &second), -ENXIO);
	ck_assert_ptr_null(second);
}
END_TEST

START_TEST(what_another_program_has_is_not_taken)
{
	struct usbfs_claim *second = NULL;
	int node = fcntl(usbfs.node, F_DUPFD_CLOEXEC, 3);

	usbfs_claim_release(claim);
	strcpy(usbfs.interfaces[1].driver, "usbfs");
	(void)fake_usbfs_log(&usbfs);
	ck_assert_int_eq(usbfs_claim_new(node, make_layout(), 1, &second), -EBUSY);
	ck_assert_ptr_null(second);
	ck_assert_str_eq(fake_usbfs_log(&usbfs), "claim 0; claim 1; release 0; connect 0");
}
END_TEST

static TCase *make_case(const char *name)
{
	TCase *made = tcase_create(name);

	tcase_add_checked_fixture(made, setup, teardown);
	return made;
}

static TCase *make_transfers(void)
{
	TCase *transfers = make_case("transfers");

	tcase_add_test(transfers, a_control_transfer_brings_back_what_the_device_says);
	tcase_add_test(transfers, a_control_transfer_takes_its_bytes_to_the_device);
	tcase_add_test(transfers, large_transfers_pass_both_ways_whole);
	tcase_add_test(transfers, a_short_transfer_is_as_long_as_it_was);
	tcase_add_test(transfers, a_zero_packet_is_asked_for_where_the_vm_wants_one);
	tcase_add_test(transfers, what_the_device_refuses_is_told_and_the_session_goes_on);
	tcase_add_test(transfers, an_interface_that_is_not_there_is_not_asked_for);
	tcase_add_test(transfers, an_endpoint_in_the_wrong_direction_is_not_asked_for);
	tcase_add_test(transfers, answers_come_in_the_order_of_their_end);
	tcase_add_test(transfers, a_control_transfer_that_contradicts_itself_is_refused);
	tcase_add_test(transfers, a_device_that_says_more_than_was_asked_for_is_cut);
	return transfers;
}

static TCase *make_packets(void)
{
	TCase *packets = make_case("packets");

	tcase_add_test(packets, isochronous_packets_come_back_without_the_gaps_between_them);
	tcase_add_test(packets, isochronous_packets_go_out_from_where_they_lie);
	tcase_add_test(packets, isochronous_packets_that_lie_outside_are_refused);
	tcase_add_test(packets, isochronous_packets_longer_than_the_endpoints_are_refused);
	tcase_add_test(packets, more_packets_than_usbfs_takes_are_refused);
	return packets;
}

static TCase *make_cancelled(void)
{
	TCase *cancelled = make_case("cancelled");

	tcase_add_test(cancelled, a_cancelled_transfer_has_one_answer);
	tcase_add_test(cancelled, a_transfer_that_was_over_before_its_cancellation_is_told_first);
	tcase_add_test(cancelled, what_nobody_knows_any_more_was_over_before);
	tcase_add_test(cancelled, a_second_cancellation_of_the_same_is_answered_too);
	return cancelled;
}

static TCase *make_special(void)
{
	TCase *special = make_case("special");

	tcase_add_test(special, an_alternate_setting_is_set_by_the_kernel);
	tcase_add_test(special, a_configuration_is_set_while_nothing_is_claimed);
	tcase_add_test(special, an_endpoints_halt_is_ended_by_the_kernel);
	tcase_add_test(special, a_setting_that_is_none_is_not_asked_for);
	tcase_add_test(special, a_halt_is_not_ended_under_a_transfer);
	tcase_add_test(special, a_halt_is_ended_after_what_nobody_has_reaped_yet);
	tcase_add_test(special, after_a_new_configuration_its_own_endpoints_are_there);
	tcase_add_test(special, a_reset_is_done_by_the_kernel);
	tcase_add_test(special, what_the_kernel_refuses_is_told);
	tcase_add_test(special, what_follows_a_new_setting_comes_after_it);
	tcase_add_test(special, a_device_keeps_its_address);
	tcase_add_test(special, while_the_device_is_changed_the_loop_asks_usbfs_for_nothing);
	tcase_add_test(special, an_unplug_while_the_device_is_changed_ends_the_stream);
	tcase_add_test(special, a_change_waits_for_what_was_asked_before_it);
	tcase_add_test(special, changes_without_end_wait);
	tcase_add_test(special, settings_that_are_set_never_wait);
	tcase_add_test(special, settings_that_are_refused_without_end_wait);
	tcase_add_test(special, a_change_that_waits_for_its_turn_holds_up_who_came_later);
	tcase_add_test(special, after_a_pause_as_many_changes_pass_as_before);
	tcase_add_test(special, a_change_that_waits_can_be_cancelled);
	return special;
}

static TCase *make_limits(void)
{
	TCase *limits = make_case("limits");

	tcase_add_test(limits, a_number_that_is_used_twice_is_answered_twice);
	tcase_add_loop_test(limits, a_request_that_makes_no_sense_ends_the_session, 0, 22);
	tcase_add_test(limits, a_transfer_of_no_bytes_and_one_of_no_packets_are_none_of_those);
	tcase_add_test(limits, requests_beyond_all_memory_wait_for_their_turn);
	tcase_add_test(limits, one_that_waits_for_memory_can_be_cancelled);
	tcase_add_test(limits, the_last_request_of_a_turn_is_not_forgotten);
	tcase_add_test(limits, one_without_bytes_goes_on_when_there_is_room_for_it);
	tcase_add_test(limits, what_never_ends_leaves_memory_for_the_others);
	tcase_add_test(limits, what_is_more_than_all_memory_is_refused_at_once);
	tcase_add_test(limits, who_waits_behind_a_cancelled_one_goes_on);
	tcase_add_test(limits, behind_a_large_one_that_waits_the_stream_is_read_on);
	tcase_add_test(limits, a_small_one_never_overtakes_a_large_one_that_waits);
	tcase_add_test(limits, bytes_that_there_is_no_room_for_stay_on_the_wire);
	tcase_add_test(limits, a_stream_that_is_held_up_goes_on_after_a_moment);
	tcase_add_test(limits, a_stream_of_large_and_small_ones_is_held_up_once);
	tcase_add_test(limits, a_stream_is_not_held_up_by_a_change_that_lasts);
	tcase_add_test(limits, one_more_than_may_wait_is_refused_after_a_moment);
	tcase_add_test(limits, packets_of_what_waits_are_counted);
	tcase_add_test(limits, what_usbfs_has_no_memory_for_now_is_tried_again);
	tcase_add_test(limits, what_usbfs_never_has_memory_for_is_refused);
	tcase_add_test(limits, beside_one_that_never_ends_it_is_refused_too);
	tcase_add_loop_test(limits, memory_that_another_program_gives_back_is_found, 0, 2);
	tcase_add_test(limits, a_vm_that_asks_without_end_is_held_up);
	tcase_add_test(limits, answers_that_nobody_reads_hold_up_the_device_and_no_byte_is_lost);
	return limits;
}

static TCase *make_ends(void)
{
	TCase *ends = make_case("ends");

	tcase_add_test(ends, an_unplug_ends_the_stream_at_once);
	tcase_add_test(ends, after_a_session_nothing_is_under_way_and_the_device_is_reset);
	tcase_add_test(ends, what_an_ended_session_left_under_way_keeps_its_memory);
	tcase_add_test(ends, what_is_given_back_while_somebody_tries_is_told);
	tcase_add_test(ends, a_session_that_retries_misses_no_memory);
	tcase_add_test(ends, a_device_is_settled_after_what_a_session_left_under_way);
	tcase_add_test(ends, a_device_that_could_not_be_claimed_again_is_not_settled);
	tcase_add_test(ends, the_next_session_is_as_good_as_the_first);
	tcase_add_test(ends, a_vm_that_closes_ends_the_session);
	tcase_add_test(ends, a_session_that_ends_in_the_middle_of_anything_leaves_nothing);
	tcase_add_test(ends, a_device_that_is_given_back_is_with_its_drivers);
	tcase_add_test(ends, a_device_is_given_back_in_the_configuration_that_it_had);
	tcase_add_loop_test(ends, a_configuration_that_failed_is_mended_when_the_device_is_given_back, 0, 3);
	tcase_add_test(ends, a_device_without_interfaces_is_not_claimed);
	tcase_add_test(ends, what_another_program_has_is_not_taken);
	return ends;
}

int main(void)
{
	return check_program_run("pi_usbfs", make_transfers(), make_packets(), make_cancelled(), make_special(), make_limits(), make_ends(),
				 NULL);
}
