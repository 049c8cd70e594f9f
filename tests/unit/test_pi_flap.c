/* Which devices count as coming and going. Times are given: nothing here waits. */

#include <string.h>

#include "check_program.h"
#include "flap.h"

#define SEC UINT64_C(1000000)

static const struct busid SOCKET = { .text = "1-1" }, OTHER_SOCKET = { .text = "1-2" };
static const struct identity BOARD = { .vid = 0x303a, .pid = 0x1001, .serial = "AA:BB" };
static const struct identity ITS_TWIN = { .vid = 0x303a, .pid = 0x1001, .serial = "CC:DD" };
static const struct identity UNREAD;

static struct flap_list *list;
static uint64_t now;
static unsigned n_lives;

static void setup(void)
{
	ck_assert_int_eq(flap_list_new(&list), 0);
	now = 1000 * SEC;
}

static void teardown(void)
{
	list = flap_list_free(list);
}

static void live(const struct identity *identity, uint64_t usec, bool was_attached)
{
	now += usec;
	flap_list_note(list, &SOCKET, identity, usec, was_attached, now);
}

static uint64_t hold_of(const struct identity *identity)
{
	return flap_list_get_hold(list, &SOCKET, identity, now, &n_lives);
}

START_TEST(a_reset_or_two_is_none)
{
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(hold_of(&BOARD), 0);
		live(&BOARD, SEC / 2, false);
	}
	ck_assert_uint_eq(hold_of(&BOARD), 0);
	ck_assert_uint_eq(n_lives, 3);
}
END_TEST

START_TEST(each_further_life_must_be_longer_up_to_four_seconds)
{
	static const uint64_t holds[] = { 0, 0, 0, 0, SEC, 2 * SEC, 4 * SEC, 4 * SEC, 4 * SEC };

	for (unsigned i = 0; i < sizeof(holds) / sizeof(holds[0]); i++) {
		ck_assert_uint_eq(hold_of(&BOARD), holds[i]);
		live(&BOARD, SEC / 10, false);
	}
}
END_TEST

START_TEST(use_or_a_long_life_ends_the_row)
{
	for (unsigned i = 0; i < 5; i++)
		live(&BOARD, SEC / 10, false);
	live(&BOARD, SEC / 10, true);
	ck_assert_uint_eq(hold_of(&BOARD), 0);
	for (unsigned i = 0; i < 5; i++)
		live(&BOARD, SEC / 10, false);
	live(&BOARD, 2 * SEC, false);
	ck_assert_uint_eq(hold_of(&BOARD), 0);
}
END_TEST

START_TEST(it_is_forgotten_in_time)
{
	for (unsigned i = 0; i < 5; i++)
		live(&BOARD, SEC / 10, false);
	ck_assert_uint_gt(hold_of(&BOARD), 0);
	now += 15 * SEC;
	ck_assert_uint_eq(hold_of(&BOARD), 0);
	live(&BOARD, SEC / 10, false);
	ck_assert_uint_eq(hold_of(&BOARD), 0);
	ck_assert_uint_eq(n_lives, 1);
}
END_TEST

/* By its identity, so in another socket too; and a twin pays nothing for it. */
START_TEST(the_device_flaps_and_not_its_socket)
{
	for (unsigned i = 0; i < 5; i++)
		live(&BOARD, SEC / 10, false);
	ck_assert_uint_eq(flap_list_get_hold(list, &OTHER_SOCKET, &BOARD, now, &n_lives), 2 * SEC);
	ck_assert_uint_eq(hold_of(&ITS_TWIN), 0);
}
END_TEST

START_TEST(one_that_could_not_be_read_in_time_is_known_by_its_socket)
{
	for (unsigned i = 0; i < 5; i++)
		live(&UNREAD, SEC / 100, false);
	ck_assert_uint_eq(hold_of(&BOARD), 2 * SEC);
	ck_assert_uint_eq(flap_list_get_hold(list, &OTHER_SOCKET, &BOARD, now, &n_lives), 0);
}
END_TEST

START_TEST(a_thousand_devices_need_no_more_memory_and_the_last_ones_are_known)
{
	struct identity many = BOARD;

	for (unsigned i = 0; i < 1000; i++) {
		many.pid = (uint16_t)i;
		for (unsigned j = 0; j < 5; j++)
			live(&many, 1000, false);
	}
	ck_assert_uint_gt(hold_of(&many), 0);
	many.pid = 1;
	ck_assert_uint_eq(hold_of(&many), 0);
}
END_TEST

START_TEST(one_that_was_not_read_yet_may_be_any_of_its_kind)
{
	for (unsigned i = 0; i < 4; i++) {
		ck_assert(!flap_list_may_hold(list, &SOCKET, BOARD.vid, BOARD.pid, now));
		live(&BOARD, SEC / 10, false);
	}
	ck_assert(flap_list_may_hold(list, &SOCKET, BOARD.vid, BOARD.pid, now));
	ck_assert(flap_list_may_hold(list, &OTHER_SOCKET, BOARD.vid, BOARD.pid, now)); /* it may have been moved */
	ck_assert(!flap_list_may_hold(list, &SOCKET, BOARD.vid, BOARD.pid + 1, now));
	ck_assert(!flap_list_may_hold(list, &SOCKET, BOARD.vid, BOARD.pid, now + 60 * SEC));
}
END_TEST

START_TEST(one_that_was_never_read_counts_for_what_comes_there)
{
	for (unsigned i = 0; i < 4; i++)
		live(i % 2 ? &UNREAD : &BOARD, SEC / 10, false);
	ck_assert(flap_list_may_hold(list, &SOCKET, BOARD.vid, BOARD.pid, now));
	ck_assert(!flap_list_may_hold(list, &OTHER_SOCKET, BOARD.vid, BOARD.pid, now));
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("flap");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_reset_or_two_is_none);
	tcase_add_test(tests, each_further_life_must_be_longer_up_to_four_seconds);
	tcase_add_test(tests, use_or_a_long_life_ends_the_row);
	tcase_add_test(tests, it_is_forgotten_in_time);
	tcase_add_test(tests, the_device_flaps_and_not_its_socket);
	tcase_add_test(tests, one_that_could_not_be_read_in_time_is_known_by_its_socket);
	tcase_add_test(tests, a_thousand_devices_need_no_more_memory_and_the_last_ones_are_known);
	tcase_add_test(tests, one_that_was_not_read_yet_may_be_any_of_its_kind);
	tcase_add_test(tests, one_that_was_never_read_counts_for_what_comes_there);
	return check_program_run("pi_flap", tests, NULL);
}
