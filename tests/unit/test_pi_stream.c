/* A device's stream between the kernel and the VM, through a real sshd. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "link_bed.h"
#include "stream.h"
#include "transport_internal.h"

#define N_STREAMS 12

/* One stream, and this test in the place of usbip-host. */
struct tube {
	struct stream *stream;
	int kernel_fd;             /* the kernel's reference to its socket; negative before on_ready */
	enum failure_code refusal; /* what on_ready says */
	bool has_ended;
	struct failure failure;
};

static struct link_bed bed;
static struct tube tubes[N_STREAMS], *const tube = &tubes[0];

static int on_ready(int kernel_fd, struct failure *ret_failure, void *userdata)
{
	struct tube *own = userdata;

	if (own->refusal)
		return failure_set(ret_failure, own->refusal, NULL, "the kernel does not want it");
	own->kernel_fd = fcntl(kernel_fd, F_DUPFD_CLOEXEC, 3);
	ck_assert_int_ge(own->kernel_fd, 0);
	return 0;
}

static void on_ended(const struct failure *failure, void *userdata)
{
	struct tube *own = userdata;

	ck_assert(!own->has_ended); /* once */
	own->has_ended = true;
	own->failure = *failure;
	own->stream = stream_free(own->stream);
}

static void setup(void)
{
	link_bed_setup(&bed);
	for (size_t i = 0; i < N_STREAMS; i++)
		tubes[i] = (struct tube){ .kernel_fd = -EBADF };
	link_bed_come_up(&bed);
}

static void teardown(void)
{
	for (size_t i = 0; i < N_STREAMS; i++) {
		stream_free(tubes[i].stream);
		close_fd(tubes[i].kernel_fd);
	}
	link_bed_teardown(&bed);
}

static void open_stream(struct tube *which)
{
	static const struct stream_handlers handlers = { on_ready, on_ended };

	ck_assert_int_eq(stream_new(bed.event, link_get_transport(bed.link), &handlers, which, &which->stream), 0);
}

static void announce(struct tube *which)
{
	open_stream(which);
	stream_announce(which->stream, "a-1");
}

static bool is_ready(void *userdata)
{
	const struct tube *which = userdata;

	return which->kernel_fd >= 0 || which->has_ended;
}

static void expect_ready(struct tube *which)
{
	announce(which);
	ck_assert(loop_until(bed.event, is_ready, which));
	ck_assert_msg(!which->has_ended, "%s", which->failure.text);
}

static bool has_ended(void *userdata)
{
	return ((const struct tube *)userdata)->has_ended;
}

static void expect_end(struct tube *which, enum failure_code code)
{
	ck_assert(loop_until(bed.event, has_ended, which));
	ck_assert_msg(which->failure.code == code, "%s: %s", failure_code_to_string(which->failure.code), which->failure.text);
}

/* Bytes that tell their place. */
static char pattern(size_t at)
{
	return (char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

static size_t kernel_write(struct tube *which, size_t from, size_t to)
{
	static char chunk[65536];
	size_t size = to - from < sizeof(chunk) ? to - from : sizeof(chunk);
	ssize_t n;

	for (size_t i = 0; i < size; i++)
		chunk[i] = pattern(from + i);
	n = send(which->kernel_fd, chunk, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n > 0 ? (size_t)n : 0;
}

static size_t kernel_read(struct tube *which, size_t from)
{
	static char chunk[65536];
	ssize_t n = recv(which->kernel_fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	/* ck_assert() for each byte would be a system call for each byte */
	for (ssize_t i = 0; i < n; i++)
		if (chunk[i] != pattern(from + (size_t)i))
			ck_abort_msg("byte %zu is another", from + (size_t)i);
	return n > 0 ? (size_t)n : 0;
}

/* Sends size bytes through the echo and gets them all back. */
static void expect_echo(struct tube *which, size_t size)
{
	uint64_t end = clock_now_usec() + 40 * UINT64_C(1000000);
	size_t sent = 0, got = 0;

	while (got < size) {
		ck_assert_msg(clock_now_usec() < end && !which->has_ended, "%zu sent, %zu back: %s", sent, got, which->failure.text);
		sent += kernel_write(which, sent, size);
		got += kernel_read(which, got);
		ck_assert_int_ge(sd_event_run(bed.event, 1000), 0);
	}
}

static bool has_heard_end(void *userdata)
{
	(void)userdata;
	return faccessat(bed.vm.tree.fd, "stream.end", F_OK, 0) == 0;
}

/* The kernel's half is at its end. */
static bool is_kernel_at_end(void *userdata)
{
	const struct tube *which = userdata;
	char byte;

	return recv(which->kernel_fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

/* ---- from the announcement to the session ---- */

static bool has_heard_offer(void *userdata)
{
	(void)userdata;
	return *ssh_vm_heard(&bed.vm, "stream") != '\0';
}

START_TEST(a_stream_says_its_offer_and_nothing_more_before_ok)
{
	ssh_vm_script(&bed.vm, "stream", "wait\n");
	announce(tube);
	ck_assert(loop_until(bed.event, has_heard_offer, NULL));
	loop_for(bed.event, 500000);
	ck_assert_str_eq(ssh_vm_heard(&bed.vm, "stream"), "{\"offer\":\"a-1\",\"type\":\"stream\"}\n");
	ck_assert(!is_ready(tube));
}
END_TEST

static bool is_open(void *userdata)
{
	return stream_is_open(((const struct tube *)userdata)->stream);
}

static bool has_heard_spare(void *userdata)
{
	(void)userdata;
	return strstr(ssh_vm_heard(&bed.vm, "first"), "{\"type\":\"spare\"}") != NULL;
}

START_TEST(a_stream_opened_ahead_waits_for_its_offer)
{
	open_stream(tube);
	ck_assert(loop_until(bed.event, is_open, tube));
	ck_assert(loop_until(bed.event, has_heard_spare, NULL));
	loop_for(bed.event, 200000);
	ck_assert_uint_eq(ssh_vm_count(&bed.vm, "stream"), 0);
	ck_assert(!tube->has_ended);
	stream_announce(tube->stream, "a-1");
	ck_assert(loop_until(bed.event, is_ready, tube));
	expect_echo(tube, 1000);
}
END_TEST

START_TEST(bytes_pass_both_ways_after_ok)
{
	expect_ready(tube);
	expect_echo(tube, 48);
	ck_assert(!tube->has_ended);
}
END_TEST

START_TEST(bytes_that_come_with_the_ok_are_the_kernels)
{
	char text[16] = "";

	ssh_vm_script(&bed.vm, "stream", "raw OK\\nURB\nwait\n");
	expect_ready(tube);
	for (unsigned i = 0; i < 500 * test_slowness() && recv(tube->kernel_fd, text, sizeof(text), MSG_DONTWAIT | MSG_PEEK) < 3; i++)
		ck_assert_int_ge(sd_event_run(bed.event, 20000), 0);
	ck_assert_int_eq(recv(tube->kernel_fd, text, sizeof(text), MSG_DONTWAIT), 3);
	ck_assert_str_eq(text, "URB");
}
END_TEST

START_TEST(an_answer_in_pieces_is_put_together)
{
	ssh_vm_script(&bed.vm, "stream", "raw O\nraw K\nraw \\n\nwait\n");
	expect_ready(tube);
}
END_TEST

START_TEST(a_no_ends_the_stream_with_its_code_text_and_cure)
{
	ssh_vm_script(&bed.vm, "stream",
		      "say NO {\"code\":\"no-free-port\",\"text\":\"30 of 30 in use\",\"cure\":\"Detach one.\"}\nwait\n");
	announce(tube);
	expect_end(tube, FAILURE_NO_FREE_PORT);
	ck_assert_str_eq(tube->failure.text, "30 of 30 in use");
	ck_assert_str_eq(tube->failure.cure, "Detach one.");
	ck_assert_int_lt(tube->kernel_fd, 0);
}
END_TEST

static const char *const NONSENSE[] = {
	"say YES\nwait\n",   "say OK \nwait\n",           "say ok\nwait\n", "say NO\nwait\n",
	"say NO []\nwait\n", "say NO {\nwait\n",          "say \nwait\n",   "raw OK\\0\\n\nwait\n",
	"fill 2048\nwait\n", "fill 2048\nsay OK\nwait\n", "flood\n",
};

START_TEST(another_answer_ends_the_stream)
{
	ssh_vm_script(&bed.vm, "stream", NONSENSE[_i]);
	announce(tube);
	expect_end(tube, FAILURE_BAD_REQUEST);
	ck_assert_int_lt(tube->kernel_fd, 0);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
}
END_TEST

START_TEST(a_kernel_that_refuses_ends_the_stream_with_its_reason)
{
	tube->refusal = FAILURE_GONE;
	announce(tube);
	expect_end(tube, FAILURE_GONE);
	ck_assert_str_eq(tube->failure.text, "the kernel does not want it");
	ck_assert(loop_until(bed.event, has_heard_end, NULL));
}
END_TEST

START_TEST(a_handler_that_ends_before_its_answer_is_told_with_its_words)
{
	ssh_vm_script(&bed.vm, "stream", "complain usbpush-handler went away\nend\n");
	announce(tube);
	expect_end(tube, FAILURE_STREAM);
	ck_assert_str_eq(tube->failure.text, "usbpush-handler went away");
}
END_TEST

/* ---- moving ---- */

START_TEST(eight_mebibytes_pass_in_order_both_ways)
{
	expect_ready(tube);
	expect_echo(tube, 8 * 1024 * 1024);
}
END_TEST

/* Writes until nothing more is taken; how much was. */
static size_t fill_up(struct tube *which)
{
	size_t sent = 0;
	unsigned n_idle = 0;

	while (n_idle < 25) {
		size_t n = kernel_write(which, sent, SIZE_MAX);

		sent += n;
		n_idle = n ? 0 : n_idle + 1;
		ck_assert_int_ge(sd_event_run(bed.event, 20000), 0);
		ck_assert_uint_lt(sent, 64 * 1024 * 1024);
	}
	return sent;
}

static uint64_t bytes_in(void)
{
	uint64_t in, out;

	transport_get_traffic(link_get_transport(bed.link), &in, &out);
	return in;
}

START_TEST(a_vm_that_does_not_read_stops_the_kernel_and_nobody_else)
{
	ssh_vm_script(&bed.vm, "stream", "say OK\nsleep\n");
	expect_ready(tube);
	ck_assert_uint_lt(fill_up(tube), 16 * 1024 * 1024);
	ck_assert(!tube->has_ended);
	ssh_vm_script(&bed.vm, "stream", "say OK\necho\n");
	expect_ready(&tubes[1]);
	expect_echo(&tubes[1], 300000);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
}
END_TEST

START_TEST(a_kernel_that_does_not_read_stops_the_vm_and_nobody_else)
{
	uint64_t before = bytes_in(), in;

	ssh_vm_script(&bed.vm, "stream", "say OK\nflood\n");
	expect_ready(tube);
	loop_for(bed.event, 1000000);
	in = bytes_in() - before;
	ck_assert_uint_lt(in, 8 * 1024 * 1024);
	ssh_vm_script(&bed.vm, "stream", "say OK\necho\n");
	expect_ready(&tubes[1]);
	expect_echo(&tubes[1], 300000);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
}
END_TEST

START_TEST(a_stopped_vm_goes_on_when_the_kernel_reads)
{
	static char chunk[65536];
	size_t got = 0;
	uint64_t end = clock_now_usec() + 30 * UINT64_C(1000000);

	ssh_vm_script(&bed.vm, "stream", "say OK\nfill 8388608\nwait\n");
	expect_ready(tube);
	loop_for(bed.event, 500000);
	while (got < 8388608) {
		ssize_t n = recv(tube->kernel_fd, chunk, sizeof(chunk), MSG_DONTWAIT);

		got += n > 0 ? (size_t)n : 0;
		ck_assert_uint_lt(clock_now_usec(), end);
		ck_assert_int_ge(sd_event_run(bed.event, 1000), 0);
	}
	ck_assert_uint_eq(got, 8388608);
	loop_for(bed.event, 50000);
	ck_assert_int_eq(recv(tube->kernel_fd, chunk, sizeof(chunk), MSG_DONTWAIT), -1);
}
END_TEST

/* libssh opens the window anew with each read: what a slow device leaves unread must not become more than that all the same. */
START_TEST(a_kernel_that_reads_slowly_keeps_the_vm_waiting_and_the_link_up)
{
	char data[65536];
	uint64_t before = bytes_in(), n = 0;

	ssh_vm_script(&bed.vm, "stream", "say OK\nflood\n");
	expect_ready(tube);
	while (n < (uint64_t)8 * 1024 * 1024) {
		ssize_t size = recv(tube->kernel_fd, data, sizeof(data), MSG_DONTWAIT);

		n += size > 0 ? (uint64_t)size : 0;
		ck_assert_uint_lt(bytes_in() - before - n, (uint64_t)4 * 1024 * 1024);
		loop_for(bed.event, 10000);
		ck_assert(!tube->has_ended);
	}
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
}
END_TEST

START_TEST(twelve_streams_move_side_by_side)
{
	for (size_t i = 0; i < N_STREAMS; i++)
		announce(&tubes[i]);
	for (size_t i = 0; i < N_STREAMS; i++)
		ck_assert(loop_until(bed.event, is_ready, &tubes[i]));
	for (size_t i = 0; i < N_STREAMS; i++)
		expect_echo(&tubes[i], 200000);
	ck_assert_uint_eq(bed.vm.n_connections, 1);
}
END_TEST

/* ---- the end ---- */

START_TEST(the_kernels_end_is_the_vms)
{
	expect_ready(tube);
	expect_echo(tube, 1000);
	tube->kernel_fd = close_fd(tube->kernel_fd);
	expect_end(tube, FAILURE_GONE);
	ck_assert(loop_until(bed.event, has_heard_end, NULL));
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
}
END_TEST

START_TEST(what_the_kernel_wrote_before_its_end_still_arrives)
{
	ssh_vm_script(&bed.vm, "stream", "say OK\nhear last\nwait\n");
	expect_ready(tube);
	ck_assert_int_eq(send(tube->kernel_fd, "{\"type\":\"last\"}\n", 16, 0), 16);
	tube->kernel_fd = close_fd(tube->kernel_fd);
	expect_end(tube, FAILURE_GONE);
	ck_assert(loop_until(bed.event, has_heard_end, NULL));
	ck_assert_ptr_nonnull(strstr(ssh_vm_heard(&bed.vm, "stream"), "{\"type\":\"last\"}"));
}
END_TEST

START_TEST(the_vms_end_is_the_kernels)
{
	ssh_vm_script(&bed.vm, "stream", "say OK\nend\n");
	expect_ready(tube);
	expect_end(tube, FAILURE_STREAM);
	ck_assert(is_kernel_at_end(tube));
}
END_TEST

START_TEST(what_the_vm_wrote_before_its_end_still_arrives)
{
	static char chunk[65536];
	size_t got = 0;
	ssize_t n;

	ssh_vm_script(&bed.vm, "stream", "say OK\nfill 150000\nend\n");
	expect_ready(tube);
	expect_end(tube, FAILURE_STREAM);
	while ((n = recv(tube->kernel_fd, chunk, sizeof(chunk), MSG_DONTWAIT)) > 0)
		got += (size_t)n;
	ck_assert_int_eq(n, 0);
	ck_assert_uint_eq(got, 150000);
}
END_TEST

START_TEST(our_end_is_everybodys)
{
	expect_ready(tube);
	tube->stream = stream_free(tube->stream);
	ck_assert(is_kernel_at_end(tube));
	ck_assert(loop_until(bed.event, has_heard_end, NULL));
	ck_assert(!tube->has_ended); /* who ends it needs not be told */
}
END_TEST

START_TEST(a_stream_may_be_ended_at_any_moment)
{
	announce(tube);
	for (int i = 0; i < _i && !is_ready(tube); i++)
		ck_assert_int_ge(sd_event_run(bed.event, 20000), 0);
	tube->stream = stream_free(tube->stream);
	announce(&tubes[1]);
	ck_assert(loop_until(bed.event, is_ready, &tubes[1]));
	expect_echo(&tubes[1], 1000);
}
END_TEST

START_TEST(an_sshd_that_gives_no_more_sessions_is_told)
{
	ssh_vm_limit_sessions(&bed.vm, 2); /* the control channel and one more */
	ssh_vm_kill(&bed.vm);
	link_bed_wait(&bed, LINK_DOWN);
	link_bed_wait(&bed, LINK_UP);
	expect_ready(&tubes[0]);
	announce(&tubes[1]);
	expect_end(&tubes[1], FAILURE_STREAM);
	ck_assert_ptr_nonnull(strstr(tubes[1].failure.text, "sshd"));
	expect_echo(&tubes[0], 1000);
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
}
END_TEST

START_TEST(fifteen_streams_one_after_the_other_leave_nothing_behind)
{
	unsigned fds = count_fds();

	for (unsigned i = 0; i < 15; i++) {
		tube->has_ended = false;
		expect_ready(tube);
		expect_echo(tube, 100);
		tube->kernel_fd = close_fd(tube->kernel_fd);
		expect_end(tube, FAILURE_GONE);
	}
	expect_fds(fds);
}
END_TEST

/* ---- channels beside each other ---- */

struct side {
	struct transport_channel *channel;
	int fd; /* of the connection */
	bool is_open, has_ended;
	char got[256];
	void (*on_got)(struct side *side);
};

static struct side first, second;

static void side_on_open(void *userdata)
{
	((struct side *)userdata)->is_open = true;
}

static size_t side_on_data(const char *data, size_t size, void *userdata)
{
	struct side *side = userdata;

	snprintf(side->got + strlen(side->got), sizeof(side->got) - strlen(side->got), "%.*s", (int)size, data);
	if (side->on_got)
		side->on_got(side);
	return size;
}

static void side_on_writable(void *userdata)
{
	(void)userdata;
}

static void side_on_closed(const struct failure *failure, void *userdata)
{
	struct side *side = userdata;

	(void)failure;
	side->has_ended = true;
	side->channel = transport_channel_close(side->channel);
}

static bool is_side_open(void *userdata)
{
	return ((const struct side *)userdata)->is_open;
}

static bool has_side_got(void *userdata)
{
	return ((const struct side *)userdata)->got[0];
}

static void expect_written(struct side *side, const char *line)
{
	ssize_t n;

	while ((n = transport_channel_write(side->channel, line, strlen(line))) == 0)
		ck_assert_int_ge(sd_event_run(bed.event, 1000), 0);
	ck_assert_int_eq(n, strlen(line));
}

static void open_side(struct side *side, const char *line)
{
	static const struct transport_channel_handlers handlers = { side_on_open, side_on_data, side_on_writable, side_on_closed };

	*side = (struct side){ 0 };
	ck_assert_int_eq(transport_open_channel(link_get_transport(bed.link), &handlers, side, &side->channel), 0);
	ck_assert(loop_until(bed.event, is_side_open, side));
	expect_written(side, line);
}

/* Ends the first channel at its other end, and waits until all that it is told of that is in the socket's buffer. */
static void end_the_first(struct side *side)
{
	struct pollfd pollfd = { .fd = side->fd, .events = POLLIN };
	int before = 0, now = 1;

	side->on_got = NULL;
	ssh_vm_end_players(&bed.vm, "stream");
	ck_assert_int_eq(poll(&pollfd, 1, 10000), 1);
	for (; now != before; poll(NULL, 0, 200)) {
		before = now;
		ck_assert_int_eq(ioctl(side->fd, FIONREAD, &now), 0);
	}
}

/* The first channel's turn is over when the second's reads the socket for both. (libssh 0.10 sends a window behind each read, which wakes the loop in any case: it takes a newer one to fail here.) */
START_TEST(what_is_read_behind_a_channels_turn_is_told_at_once)
{
	uint64_t begin;

	open_side(&first, "{\"type\":\"stream\",\"offer\":\"a-1\"}\n");
	ck_assert(loop_until(bed.event, has_side_got, &first));
	ssh_vm_script(&bed.vm, "control", "echo\n");
	open_side(&second, "{\"type\":\"hello\"}\n");
	second.fd = link_get_transport(bed.link)->fd;
	second.on_got = end_the_first;
	expect_written(&second, "there\n");
	ck_assert(loop_until(bed.event, has_side_got, &second));
	begin = clock_now_usec();
	while (!first.has_ended && clock_now_usec() - begin < 100000)
		ck_assert_int_ge(sd_event_run(bed.event, 1000), 0);
	ck_assert_msg(first.has_ended, "it waits for the next thing that comes");
	second.channel = transport_channel_close(second.channel);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *begin = tcase_create("from the announcement"), *moving = tcase_create("moving"), *end = tcase_create("the end");
	TCase *beside = tcase_create("beside each other");
	TCase *const all[] = { begin, moving, end, beside };

	ssh_vm_play(argc, argv);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		tcase_add_checked_fixture(all[i], setup, teardown);
		tcase_set_timeout(all[i], 60);
	}
	tcase_add_test(begin, a_stream_says_its_offer_and_nothing_more_before_ok);
	tcase_add_test(begin, a_stream_opened_ahead_waits_for_its_offer);
	tcase_add_test(begin, bytes_pass_both_ways_after_ok);
	tcase_add_test(begin, bytes_that_come_with_the_ok_are_the_kernels);
	tcase_add_test(begin, an_answer_in_pieces_is_put_together);
	tcase_add_test(begin, a_no_ends_the_stream_with_its_code_text_and_cure);
	tcase_add_loop_test(begin, another_answer_ends_the_stream, 0, ARRAY_SIZE(NONSENSE));
	tcase_add_test(begin, a_kernel_that_refuses_ends_the_stream_with_its_reason);
	tcase_add_test(begin, a_handler_that_ends_before_its_answer_is_told_with_its_words);
	tcase_add_test(moving, eight_mebibytes_pass_in_order_both_ways);
	tcase_add_test(moving, a_vm_that_does_not_read_stops_the_kernel_and_nobody_else);
	tcase_add_test(moving, a_kernel_that_does_not_read_stops_the_vm_and_nobody_else);
	tcase_add_test(moving, a_stopped_vm_goes_on_when_the_kernel_reads);
	tcase_add_test(moving, a_kernel_that_reads_slowly_keeps_the_vm_waiting_and_the_link_up);
	tcase_add_test(moving, twelve_streams_move_side_by_side);
	tcase_add_test(end, the_kernels_end_is_the_vms);
	tcase_add_test(end, what_the_kernel_wrote_before_its_end_still_arrives);
	tcase_add_test(end, the_vms_end_is_the_kernels);
	tcase_add_test(end, what_the_vm_wrote_before_its_end_still_arrives);
	tcase_add_test(end, our_end_is_everybodys);
	tcase_add_loop_test(end, a_stream_may_be_ended_at_any_moment, 0, 8);
	tcase_add_test(end, an_sshd_that_gives_no_more_sessions_is_told);
	tcase_add_test(end, fifteen_streams_one_after_the_other_leave_nothing_behind);
	tcase_add_loop_test(beside, what_is_read_behind_a_channels_turn_is_told_at_once, 0, 3);
	return check_program_run("pi_stream", begin, moving, end, beside, NULL);
}
