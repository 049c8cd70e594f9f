/* Knocks at a link: what the VM's own is good for, and how little a stranger's can do. */

#include <netinet/in.h>
#include <sys/socket.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "link_bed.h"
#include "link_internal.h"

#define USEC_PER_SEC UINT64_C(1000000)

static struct link_bed bed;

static void setup(void)
{
	link_bed_setup(&bed);
}

static void teardown(void)
{
	link_bed_teardown(&bed);
}

/* The VM is not as it should be, and has not been for long: the last try was a while ago, and the next one is far away. */
static void wait_long(void)
{
	bed.vm.wire = WIRE_CLOSED;
	link_configure(bed.link, &bed.vm.config);
	bed.link->backoff.step_usec = bed.link->backoff.max_usec;
	link_bed_wait(&bed, LINK_DOWN);
	bed.link->attempt_since_usec -= USEC_PER_SEC;
	link_schedule_retry(bed.link, clock_now_usec() + 60 * USEC_PER_SEC);
}

/* The wait that begins is one of a backoff that has grown: 4 to 8 s. */
static void expect_long_wait(void)
{
	link_bed_wait(&bed, LINK_DOWN);
	ck_assert_uint_eq(bed.link->backoff.step_usec, bed.link->backoff.max_usec);
	ck_assert_uint_ge(bed.link->next_try_usec, bed.link->state_since_usec + bed.link->backoff.max_usec / 2);
}

START_TEST(a_knock_ends_a_long_wait)
{
	uint64_t announced;

	wait_long();
	announced = bed.link->next_try_usec;
	bed.vm.wire = WIRE_SSHD;
	link_knock(bed.link);
	link_bed_wait(&bed, LINK_UP);
	ck_assert_uint_lt(bed.link->attempt_since_usec, announced);
	ck_assert(!bed.link->is_knocked);
}
END_TEST

START_TEST(a_knock_that_was_in_vain_leaves_the_wait_as_long_as_it_was)
{
	uint64_t tries;

	wait_long();
	tries = bed.link->n_attempts;
	link_knock(bed.link);
	link_bed_wait(&bed, LINK_CONNECTING);
	expect_long_wait();
	ck_assert_uint_eq(bed.link->n_attempts, tries + 1);
}
END_TEST

START_TEST(a_knock_during_a_try_counts_when_that_has_failed)
{
	uint64_t began;

	wait_long();
	link_kick(bed.link, false);
	bed.link->backoff.step_usec = bed.link->backoff.max_usec;
	began = bed.link->attempt_since_usec;
	link_bed_wait(&bed, LINK_AUTHENTICATING);
	link_knock(bed.link);
	link_bed_wait(&bed, LINK_DOWN);
	ck_assert(bed.link->next_try_usec <= began + USEC_PER_SEC || bed.link->next_try_usec <= clock_now_usec());
	link_bed_wait(&bed, LINK_CONNECTING);
	ck_assert_uint_ge(bed.link->attempt_since_usec, began + USEC_PER_SEC);
	expect_long_wait(); /* it counted once */
}
END_TEST

struct stranger {
	uint64_t wanted, n_attempts;
	uint64_t began_usec, shortest_usec; /* the last try; the shortest time between two */
};

/* Knocks at each turn of the loop, whatever goes on, until there were so many tries. */
static bool has_knocked_enough(void *userdata)
{
	struct stranger *stranger = userdata;
	uint64_t gap;

	for (unsigned i = 0; i < 20; i++)
		link_knock(bed.link);
	if (bed.link->n_attempts != stranger->n_attempts) {
		gap = bed.link->attempt_since_usec - stranger->began_usec;
		stranger->shortest_usec = gap < stranger->shortest_usec ? gap : stranger->shortest_usec;
		stranger->began_usec = bed.link->attempt_since_usec;
		stranger->n_attempts = bed.link->n_attempts;
	}
	return stranger->n_attempts >= stranger->wanted && link_get_state(bed.link) == LINK_DOWN;
}

/* The shortest time between the beginnings of two tries. */
static uint64_t knock_without_end(unsigned n_tries)
{
	struct stranger stranger = { .wanted = bed.link->n_attempts + n_tries,
				     .n_attempts = bed.link->n_attempts,
				     .began_usec = bed.link->attempt_since_usec,
				     .shortest_usec = UINT64_MAX };

	ck_assert(loop_until(bed.event, has_knocked_enough, &stranger));
	return stranger.shortest_usec;
}

START_TEST(who_knocks_without_end_gets_a_try_a_second_and_is_not_told)
{
	struct failure told;

	wait_long();
	told = bed.link->told;
	ck_assert_uint_ge(knock_without_end(3), USEC_PER_SEC);
	ck_assert_uint_eq(bed.link->backoff.step_usec, bed.link->backoff.max_usec);
	ck_assert(link_is_repeating(bed.link));
	ck_assert_str_eq(bed.link->told.text, told.text);
}
END_TEST

START_TEST(the_backoff_grows_whoever_knocks)
{
	bed.vm.wire = WIRE_CLOSED;
	link_configure(bed.link, &bed.vm.config);
	link_bed_wait(&bed, LINK_DOWN);
	(void)knock_without_end(4);
	ck_assert_uint_ge(bed.link->backoff.step_usec, 4 * USEC_PER_SEC);
}
END_TEST

/* Bound but not listening: nobody else can have it, and it refuses. The socket is the caller's. */
static int closed_port(struct vm_config *config)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	config->port = ntohs(address.sin_port);
	return fd;
}

START_TEST(a_knock_does_not_begin_the_time_of_a_vm_that_boots_anew)
{
	struct vm_config config = bed.vm.config;
	_cleanup_close_ __attribute__((unused)) int fd = closed_port(&config);
	uint64_t refused_usec;

	link_configure(bed.link, &config);
	link_bed_wait(&bed, LINK_DOWN);
	ck_assert(bed.link->is_refused);
	/* longer ago than any boot takes */
	bed.link->refused_usec = refused_usec = clock_now_usec() - 181 * USEC_PER_SEC;
	bed.link->backoff.step_usec = bed.link->backoff.max_usec;
	link_knock(bed.link);
	link_bed_wait(&bed, LINK_CONNECTING);
	expect_long_wait();
	ck_assert_uint_eq(bed.link->refused_usec, refused_usec);
}
END_TEST

static void expect_unmoved(enum link_state state)
{
	uint64_t tries = bed.link->n_attempts;

	for (unsigned i = 0; i < 50; i++)
		link_knock(bed.link);
	loop_for(bed.event, 1200000);
	ck_assert_int_eq(link_get_state(bed.link), state);
	ck_assert_uint_eq(bed.link->n_attempts, tries);
	ck_assert(!bed.link->is_knocked);
}

START_TEST(a_link_that_is_not_paired_up_or_refused_is_not_moved_by_a_knock)
{
	expect_unmoved(LINK_UNPAIRED);
	link_bed_come_up(&bed);
	expect_unmoved(LINK_UP);
	ssh_vm_deauthorize(&bed.vm); /* tried again by itself, but rarely */
	ssh_vm_kill(&bed.vm);
	link_bed_wait(&bed, LINK_REFUSED);
	expect_unmoved(LINK_REFUSED);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *knock = tcase_create("knock");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(knock, setup, teardown);
	tcase_set_timeout(knock, 120);
	tcase_add_test(knock, a_knock_ends_a_long_wait);
	tcase_add_test(knock, a_knock_that_was_in_vain_leaves_the_wait_as_long_as_it_was);
	tcase_add_test(knock, a_knock_during_a_try_counts_when_that_has_failed);
	tcase_add_test(knock, who_knocks_without_end_gets_a_try_a_second_and_is_not_told);
	tcase_add_test(knock, the_backoff_grows_whoever_knocks);
	tcase_add_test(knock, a_knock_does_not_begin_the_time_of_a_vm_that_boots_anew);
	tcase_add_test(knock, a_link_that_is_not_paired_up_or_refused_is_not_moved_by_a_knock);
	return check_program_run("pi_knock", knock, NULL);
}
