/* An sshd in foreign hands (rogue_sshd.py) does to the link what no sshd does: each row is one thing. What it must not: end the exporter, make it run anything, or take its
 * memory. What its handler may say on the channels is tests/unit/test_pi_hijacked.c's. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon_watch.h"
#include "link_bed.h"
#include "stream.h"

#define MEMORY_MAX ((size_t)8 * 1024 * 1024) /* more than before, at any moment */

static struct link_bed bed;
static size_t memory_before;

static void setup(void)
{
	link_bed_setup(&bed);
	bed.vm.wire = WIRE_ROGUE;
	daemon_watch_begin();
	memory_before = daemon_watch_memory();
}

static void teardown(void)
{
	daemon_watch_end();
	link_bed_teardown(&bed);
}

static void expect_memory(void)
{
	size_t now = daemon_watch_memory();

	ck_assert_msg(now < memory_before + MEMORY_MAX, "%s: %zu bytes more than before", bed.vm.rogue_acts, now - memory_before);
}

static const char *done(void)
{
	return access(temp_tree_path(&bed.vm.tree, "rogue.log"), F_OK) == 0 ? temp_tree_get(&bed.vm.tree, "rogue.log") : "";
}

/* ---- what is endured: the link stays up, and the next act follows on it ---- */

static const char ENDURED[] =
	/* channels that a client should open */
	"open-session,open-x11,open-agent,open-forwarded,open-direct,open-socket,open-tunnel,open-nonsense,open-thousands,"
	/* wishes of the whole connection */
	"ask-hostkeys,ask-forward,ask-nonsense,"
	/* wishes on the Pi's own channel, which are a server's to be asked */
	"exec,shell,pty,env,subsystem,signal,exit-status,exit-signal,request-nonsense,request-to-nobody,"
	/* data and windows of nobody, of nothing, and beyond 32 bits */
	"data-to-nobody,adjust-to-nobody,adjust-beyond,adjust-nothing,stderr-flood,stderr-unknown,empty-data,"
	/* answers that nobody waits for */
	"success-unasked,failure-unasked,refuse-open,confirm-nobody,unimplemented,"
	/* what means nothing, and what can't be read */
	"ignore-flood,debug-flood,number-255,number-0,half-a-message,length-beyond,"
	/* keys anew */
	"rekey";

static size_t n_done;

/* One more of them, or the end: each has its own time. */
static bool is_more_done(void *userdata)
{
	(void)userdata;
	expect_memory();
	return strlen(done()) > n_done || link_bed_failure(&bed).code != FAILURE_NONE;
}

START_TEST(what_an_sshd_may_not_ask_for_is_refused_and_the_link_goes_on)
{
	bed.vm.rogue_acts = ENDURED;
	link_configure(bed.link, &bed.vm.config);
	for (n_done = 0; !strstr(done(), "rekey\n") && link_bed_failure(&bed).code == FAILURE_NONE; n_done = strlen(done()))
		ck_assert_msg(loop_until(bed.event, is_more_done, NULL), "nothing came after: %s", done());
	ck_assert_msg(strstr(done(), "rekey\n"), "%s: after: %s", link_bed_failure(&bed).text, done());
	ck_assert_int_eq(link_get_state(bed.link), LINK_UP);
	ck_assert_uint_eq(bed.vm.n_connections, 1);
	ck_assert_ptr_null(strchr(daemon_watch_log(), '\033'));
	ck_assert_int_ne(access("/tmp/mark", F_OK), 0);
}
END_TEST

/* ---- what ends the link, or its control channel: the Pi says why, and is back when the VM is itself ---- */

static const struct {
	const char *act;
	enum failure_code code;
} ENDS[] = {
	{ "confirm-twice", FAILURE_UNREACHABLE },
	{ "eof-and-data", FAILURE_STREAM },
	{ "eof-twice", FAILURE_STREAM },
	{ "close-twice", FAILURE_STREAM },
	{ "close-and-data", FAILURE_STREAM },
	{ "userauth-later", FAILURE_STREAM },
	{ "banner-later", FAILURE_STREAM },
	{ "kexinit-nonsense", FAILURE_STREAM },
	{ "newkeys-unasked", FAILURE_STREAM },
	{ "service-accept", FAILURE_STREAM },
	{ "disconnect", FAILURE_UNREACHABLE },
	{ "beyond-the-window", FAILURE_STREAM },
	{ "garbage", FAILURE_STREAM },
	{ "length-of-a-packet", FAILURE_STREAM },
	{ "refuse-channels", FAILURE_STREAM },
	{ "refuse-exec", FAILURE_STREAM },
	{ "early-version-1", FAILURE_UNREACHABLE },
	{ "early-endless-line", FAILURE_UNREACHABLE },
	{ "early-packet", FAILURE_UNREACHABLE },
	{ "early-empty-packet", FAILURE_UNREACHABLE },
	{ "early-kex", FAILURE_UNREACHABLE },
	{ "early-end", FAILURE_UNREACHABLE },
};

static bool has_failed(void *userdata)
{
	(void)userdata;
	expect_memory();
	return link_bed_failure(&bed).code != FAILURE_NONE;
}

START_TEST(an_sshd_that_makes_no_sense_is_left_with_the_reason)
{
	bool is_end_of_all = ENDS[_i].code == FAILURE_UNREACHABLE;
	struct failure failure;

	bed.vm.rogue_acts = ENDS[_i].act;
	link_configure(bed.link, &bed.vm.config);
	ck_assert_msg(loop_until(bed.event, has_failed, NULL), "%s", ENDS[_i].act);
	failure = link_bed_failure(&bed);
	/* which of the two ends sees it first, the channel's or the connection's, is a matter of packets */
	ck_assert_msg(failure.code == ENDS[_i].code || (!is_end_of_all && failure.code == FAILURE_UNREACHABLE), "%s: %s: %s", ENDS[_i].act,
		      failure_code_to_string(failure.code), failure.text);
	ck_assert_int_ne(link_get_state(bed.link), LINK_REFUSED); /* a person is not needed */
	ck_assert_ptr_null(strchr(daemon_watch_log(), '\033'));
	bed.vm.wire = WIRE_SSHD;
	ssh_vm_kill(&bed.vm);
	link_bed_wait(&bed, LINK_UP);
}
END_TEST

START_TEST(greetings_without_end_take_no_memory)
{
	bed.vm.rogue_acts = "early-endless-lines";
	link_configure(bed.link, &bed.vm.config);
	for (unsigned i = 0; i < 40; i++) {
		loop_for(bed.event, 50000);
		expect_memory();
	}
	ck_assert_int_ne(link_get_state(bed.link), LINK_UP);
}
END_TEST

/* ---- windows ---- */

static int kernel_fd = -EBADF;
static struct stream *stream;

/* A kernel that does not read. */
static int on_ready(int fd, struct failure *ret_failure, void *userdata)
{
	(void)ret_failure;
	(void)userdata;
	kernel_fd = dup(fd);
	return 0;
}

static void on_ended(const struct failure *failure, void *userdata)
{
	(void)failure;
	(void)userdata;
	stream = stream_free(stream);
}

static void end_stream(void)
{
	stream = stream_free(stream);
}

static bool is_flood_over(void *userdata)
{
	(void)userdata;
	expect_memory();
	return strstr(done(), "flooded\n") || link_bed_failure(&bed).code != FAILURE_NONE;
}

static bool is_begun(void *userdata)
{
	(void)userdata;
	return kernel_fd >= 0;
}

/* libssh takes what comes beyond the window that it gave. 0: a kernel that does not read; 1: a stream that is closed on this side. */
START_TEST(bytes_beyond_a_window_do_not_gather)
{
	static const struct stream_handlers handlers = { on_ready, on_ended };

	bed.end_streams = end_stream;
	bed.vm.rogue_acts = "flood";
	link_bed_come_up(&bed);
	ck_assert_int_eq(stream_new(bed.event, link_get_transport(bed.link), &handlers, NULL, &stream), 0);
	stream_announce(stream, "a-1");
	ck_assert(loop_until(bed.event, is_begun, NULL));
	if (_i == 1)
		end_stream();
	ck_assert(loop_until(bed.event, is_flood_over, NULL));
	loop_for(bed.event, 200000);
	expect_memory();
	end_stream();
	kernel_fd = close_fd(kernel_fd);
	if (_i == 0)
		link_bed_expect_failure(&bed, FAILURE_BAD_REQUEST);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *all = tcase_create("all");

	tcase_set_timeout(all, 300); /* thirty acts in one */
	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(all, setup, teardown);
	tcase_add_test(all, what_an_sshd_may_not_ask_for_is_refused_and_the_link_goes_on);
	tcase_add_loop_test(all, an_sshd_that_makes_no_sense_is_left_with_the_reason, 0, ARRAY_SIZE(ENDS));
	tcase_add_test(all, greetings_without_end_take_no_memory);
	tcase_add_loop_test(all, bytes_beyond_a_window_do_not_gather, 0, 2);
	return check_program_run("pi_rogue_sshd", all, NULL);
}
