/* Waiting longer after each failure, and not all at once. */

#include "backoff.h"
#include "check_program.h"

#define MIN 250000
#define MAX 8000000

START_TEST(each_delay_lies_between_half_and_the_whole_of_a_step_that_doubles)
{
	static const uint64_t steps[] = { 250000, 500000, 1000000, 2000000, 4000000, 8000000, 8000000, 8000000 };

	for (unsigned round = 0; round < 200; round++) {
		struct backoff backoff = { .min_usec = MIN, .max_usec = MAX };

		for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			uint64_t delay = backoff_next(&backoff);

			ck_assert_uint_ge(delay, steps[i] / 2);
			ck_assert_uint_le(delay, steps[i]);
		}
	}
}
END_TEST

START_TEST(the_longest_is_not_passed_where_doubling_would)
{
	struct backoff backoff = { .min_usec = 3, .max_usec = 10 };

	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_le(backoff_next(&backoff), 10);
	ck_assert_uint_eq(backoff.step_usec, 10);
}
END_TEST

START_TEST(delays_differ_from_each_other)
{
	uint64_t first = 0;
	unsigned n_different = 0;

	for (unsigned i = 0; i < 50; i++) {
		struct backoff backoff = { .min_usec = MIN, .max_usec = MAX };
		uint64_t delay = backoff_next(&backoff);

		first = i ? first : delay;
		n_different += delay != first;
	}
	ck_assert_uint_gt(n_different, 0);
}
END_TEST

START_TEST(both_ends_of_the_span_are_drawn)
{
	bool is_drawn[3] = { false };

	/* a step of 4: 2, 3 or 4 */
	for (unsigned i = 0; i < 1000; i++) {
		struct backoff backoff = { .min_usec = 4, .max_usec = 4 };
		is_drawn[backoff_next(&backoff) - 2] = true;
	}
	ck_assert(is_drawn[0] && is_drawn[1] && is_drawn[2]);
}
END_TEST

START_TEST(after_a_success_it_begins_anew)
{
	struct backoff backoff = { .min_usec = MIN, .max_usec = MAX };

	for (unsigned i = 0; i < 10; i++)
		backoff_next(&backoff);
	backoff_reset(&backoff);
	ck_assert_uint_le(backoff_next(&backoff), MIN);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("backoff");

	tcase_add_test(tests, each_delay_lies_between_half_and_the_whole_of_a_step_that_doubles);
	tcase_add_test(tests, the_longest_is_not_passed_where_doubling_would);
	tcase_add_test(tests, delays_differ_from_each_other);
	tcase_add_test(tests, both_ends_of_the_span_are_drawn);
	tcase_add_test(tests, after_a_success_it_begins_anew);
	return check_program_run("common_backoff", tests, NULL);
}
