/* Work in threads, its end told in the loop; a thread that is stuck holds nobody up. */

#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "job.h"

#define MAX_JOBS 2

/* One job's argument: the thread waits at its gate until the test opens it. */
struct work {
	sem_t gate;
	int result;
};

static sd_event *event;
static struct job_runner *runner;
static atomic_int n_started, n_running, n_most, n_freed;
static int order[64];
static unsigned n_done;

static void setup(void)
{
	ck_assert_int_ge(sd_event_new(&event), 0);
	ck_assert_int_eq(job_runner_new(event, MAX_JOBS, &runner), 0);
	n_started = n_running = n_most = n_freed = 0;
	n_done = 0;
}

static void teardown(void)
{
	runner = job_runner_free(runner);
	event = sd_event_unref(event);
}

static struct work *work_new(int result, bool is_open)
{
	struct work *work = calloc(1, sizeof(*work));

	ck_assert_ptr_nonnull(work);
	ck_assert_int_eq(sem_init(&work->gate, 0, is_open), 0);
	work->result = result;
	return work;
}

static void work_free(void *arg)
{
	struct work *work = arg;

	sem_destroy(&work->gate);
	free(work);
	n_freed++;
}

static int work_run(void *arg)
{
	struct work *work = arg;
	int running = ++n_running, most = n_most;

	n_started++;
	while (running > most && !atomic_compare_exchange_weak(&n_most, &most, running))
		;
	while (sem_wait(&work->gate) < 0)
		;
	n_running--;
	return work->result;
}

static void on_done(int result, void *arg, void *userdata)
{
	ck_assert_ptr_eq(userdata, &order);
	ck_assert_int_eq(result, ((struct work *)arg)->result);
	order[n_done++] = result;
}

static struct job *start(struct work *work)
{
	struct job *job = NULL;

	ck_assert_int_eq(job_start(runner, "work", work_run, work, work_free, on_done, &order, &job), 0);
	ck_assert_ptr_nonnull(job);
	return job;
}

static bool is_idle(void *userdata)
{
	(void)userdata;
	return job_runner_count(runner) == 0;
}

static void wait_idle(void)
{
	ck_assert(loop_until(event, is_idle, NULL));
}

/* Threads tell nobody when they begin. */
static void expect_reached(const atomic_int *counter, int value)
{
	uint64_t end = clock_now_usec() + 10 * UINT64_C(1000000);

	while (*counter < value) {
		ck_assert_uint_lt(clock_now_usec(), end);
		sched_yield();
	}
}

START_TEST(the_result_comes_in_the_loop_and_only_there)
{
	start(work_new(7, true));
	expect_reached(&n_started, 1);
	ck_assert_uint_eq(n_done, 0);
	wait_idle();
	ck_assert_uint_eq(n_done, 1);
	ck_assert_int_eq(order[0], 7);
	ck_assert_int_eq(n_freed, 1);
}
END_TEST

START_TEST(a_job_runs_in_a_thread_of_its_own)
{
	struct work *work = work_new(0, false);

	start(work);
	expect_reached(&n_running, 1); /* while this thread runs on */
	sem_post(&work->gate);
	wait_idle();
}
END_TEST

START_TEST(no_more_run_at_once_than_the_bound)
{
	struct work *works[6];

	for (int i = 0; i < 6; i++)
		start(works[i] = work_new(i, false));
	ck_assert_uint_eq(job_runner_count(runner), 6);
	expect_reached(&n_running, MAX_JOBS);
	for (int i = 0; i < 6; i++)
		sem_post(&works[i]->gate);
	wait_idle();
	ck_assert_uint_eq(n_done, 6);
	ck_assert_int_eq(n_most, MAX_JOBS);
}
END_TEST

START_TEST(those_that_wait_begin_in_the_order_they_came)
{
	struct work *works[12];

	for (int i = 0; i < 12; i++)
		works[i] = work_new(i, false);
	for (int i = 0; i < 12; i++)
		start(works[i]);
	/* one after the other: each is let go only when all before it are done */
	for (int i = 0; i < 12; i++) {
		expect_reached(&n_started, i + 1);
		sem_post(&works[i]->gate);
		while (n_done < (unsigned)i + 1)
			ck_assert_int_ge(sd_event_run(event, UINT64_C(10000000)), 0);
	}
	for (int i = 0; i < 12; i++)
		ck_assert_int_eq(order[i], i);
}
END_TEST

START_TEST(a_stuck_job_does_not_hold_up_another)
{
	struct work *stuck = work_new(1, false);

	start(stuck);
	start(work_new(2, true));
	while (n_done == 0)
		ck_assert_int_ge(sd_event_run(event, UINT64_C(10000000)), 0);
	ck_assert_int_eq(order[0], 2);
	ck_assert_uint_eq(job_runner_count(runner), 1);
	sem_post(&stuck->gate);
	wait_idle();
}
END_TEST

START_TEST(a_waiting_job_that_is_abandoned_never_runs)
{
	struct work *first = work_new(1, false), *second = work_new(2, false);
	struct job *waiting;

	start(first);
	start(second);
	waiting = start(work_new(3, true));
	ck_assert_ptr_null(job_abandon(waiting));
	ck_assert_int_eq(n_freed, 1);
	sem_post(&first->gate);
	sem_post(&second->gate);
	wait_idle();
	ck_assert_int_eq(n_started, 2);
	ck_assert_uint_eq(n_done, 2);
	ck_assert_int_eq(n_freed, 3);
}
END_TEST

START_TEST(a_running_job_that_is_abandoned_ends_unheard)
{
	struct work *work = work_new(1, false);
	struct job *job = start(work);

	expect_reached(&n_running, 1);
	job_abandon(job);
	ck_assert_int_eq(n_freed, 0); /* the thread still has it */
	sem_post(&work->gate);
	wait_idle();
	ck_assert_uint_eq(n_done, 0);
	ck_assert_int_eq(n_freed, 1);
}
END_TEST

START_TEST(a_finished_job_that_is_abandoned_before_its_turn_ends_unheard)
{
	struct job *job = start(work_new(1, true));

	expect_reached(&n_started, 1);
	while (n_running > 0)
		sched_yield();
	job_abandon(job);
	wait_idle();
	ck_assert_uint_eq(n_done, 0);
	ck_assert_int_eq(n_freed, 1);
}
END_TEST

START_TEST(an_abandoned_job_makes_room_for_those_that_wait)
{
	struct work *works[MAX_JOBS];
	struct job *jobs[MAX_JOBS];

	for (int i = 0; i < MAX_JOBS; i++)
		jobs[i] = start(works[i] = work_new(i, false));
	start(work_new(9, true));
	for (int i = 0; i < MAX_JOBS; i++) {
		job_abandon(jobs[i]);
		sem_post(&works[i]->gate);
	}
	wait_idle();
	ck_assert_uint_eq(n_done, 1);
	ck_assert_int_eq(order[0], 9);
}
END_TEST

START_TEST(a_runner_ends_at_once_though_a_thread_is_stuck)
{
	struct work *stuck = work_new(1, false);
	uint64_t begin = clock_now_usec();

	start(stuck);
	start(work_new(2, true));
	start(work_new(3, true));
	expect_reached(&n_started, 1);
	runner = job_runner_free(runner);
	ck_assert_uint_lt(clock_now_usec() - begin, 5000000 * test_slowness());
	sem_post(&stuck->gate); /* what the thread needs is there to its end: ASan looks */
	expect_reached(&n_freed, 3);
	ck_assert_uint_eq(n_done, 0);
}
END_TEST

static void start_next(int result, void *arg, void *userdata)
{
	(void)arg;
	order[n_done++] = result;
	if (result < 3)
		job_start(runner, "work", work_run, work_new(result + 1, true), work_free, start_next, userdata, NULL);
}

START_TEST(the_end_of_one_may_start_the_next)
{
	ck_assert_int_eq(job_start(runner, "work", work_run, work_new(1, true), work_free, start_next, &order, NULL), 0);
	wait_idle();
	ck_assert_uint_eq(n_done, 3);
	ck_assert_int_eq(order[2], 3);
}
END_TEST

static void on_idle(void *userdata)
{
	unsigned *n_idle = userdata;

	ck_assert_uint_eq(job_runner_count(runner), 0);
	(*n_idle)++;
}

START_TEST(when_the_last_of_them_has_ended_that_is_told_once)
{
	struct work *works[4];
	unsigned n_idle = 0;

	job_runner_set_idle(runner, on_idle, &n_idle);
	for (int i = 0; i < 4; i++)
		start(works[i] = work_new(i, false));
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(n_idle, 0);
		sem_post(&works[i]->gate);
		while (n_done < i + 1)
			ck_assert_int_ge(sd_event_run(event, UINT64_C(10000000)), 0);
	}
	ck_assert_uint_eq(n_idle, 1);
	start(work_new(1, true));
	wait_idle();
	ck_assert_uint_eq(n_idle, 2);
}
END_TEST

START_TEST(nothing_to_abandon_or_free_is_fine)
{
	ck_assert_ptr_null(job_abandon(NULL));
	ck_assert_ptr_null(job_runner_free(NULL));
}
END_TEST

START_TEST(no_file_descriptor_is_left_behind)
{
	unsigned before = count_fds();

	for (int i = 0; i < 20; i++) {
		struct job_runner *other = NULL;

		ck_assert_int_eq(job_runner_new(event, 1, &other), 0);
		job_runner_free(other);
	}
	ck_assert_uint_eq(count_fds(), before);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("job");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, the_result_comes_in_the_loop_and_only_there);
	tcase_add_test(tests, a_job_runs_in_a_thread_of_its_own);
	tcase_add_test(tests, no_more_run_at_once_than_the_bound);
	tcase_add_test(tests, those_that_wait_begin_in_the_order_they_came);
	tcase_add_test(tests, a_stuck_job_does_not_hold_up_another);
	tcase_add_test(tests, a_waiting_job_that_is_abandoned_never_runs);
	tcase_add_test(tests, a_running_job_that_is_abandoned_ends_unheard);
	tcase_add_test(tests, a_finished_job_that_is_abandoned_before_its_turn_ends_unheard);
	tcase_add_test(tests, an_abandoned_job_makes_room_for_those_that_wait);
	tcase_add_test(tests, a_runner_ends_at_once_though_a_thread_is_stuck);
	tcase_add_test(tests, the_end_of_one_may_start_the_next);
	tcase_add_test(tests, when_the_last_of_them_has_ended_that_is_told_once);
	tcase_add_test(tests, nothing_to_abandon_or_free_is_fine);
	tcase_add_test(tests, no_file_descriptor_is_left_behind);
	return check_program_run("common_job", tests, NULL);
}
