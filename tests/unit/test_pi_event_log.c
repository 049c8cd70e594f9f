/* The last events. */

#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "event_log.h"

static struct event_log *events;
static unsigned n_heard;

static void on_event(json_t *event, void *userdata)
{
	ck_assert_ptr_eq(userdata, &n_heard);
	ck_assert(json_is_object(event));
	n_heard++;
}

static json_int_t seq_at(const json_t *list, size_t i)
{
	return json_integer_value(json_object_get(json_array_get(list, i), "seq"));
}

START_TEST(the_last_events_are_kept_in_order_and_the_oldest_make_room)
{
	_cleanup_json_ json_t *list = NULL;

	ck_assert_int_eq(event_log_new(3, &events), 0);
	for (unsigned i = 0; i < 5; i++)
		event_log_add(events, "device", "1-1", "SEEN", "plugged in");
	list = event_log_to_json(events);
	ck_assert_uint_eq(json_array_size(list), 3);
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(seq_at(list, i), (json_int_t)i + 3);
	events = event_log_free(events);
}
END_TEST

START_TEST(an_event_tells_when_what_and_where)
{
	_cleanup_json_ json_t *list = NULL;
	const json_t *event;
	const char *time;

	ck_assert_int_eq(event_log_new(3, &events), 0);
	event_log_add(events, "device", "1-1", "SEEN", "Gerät \"eins\"");
	event_log_add(events, "link", NULL, "UP", "");
	list = event_log_to_json(events);
	event = json_array_get(list, 0);
	time = json_string_value(json_object_get(event, "time"));
	ck_assert_str_eq(json_string_value(json_object_get(event, "busid")), "1-1");
	ck_assert_str_eq(json_string_value(json_object_get(event, "text")), "Gerät \"eins\"");
	ck_assert_uint_eq(strlen(time), strlen("2026-11-21T17:03:00.123Z"));
	ck_assert_int_eq(time[10], 'T');
	ck_assert_int_eq(time[23], 'Z');
	ck_assert(json_is_null(json_object_get(json_array_get(list, 1), "busid")));
	events = event_log_free(events);
}
END_TEST

START_TEST(who_listens_hears_each_event_once)
{
	n_heard = 0;
	ck_assert_int_eq(event_log_new(2, &events), 0);
	event_log_add(events, "link", NULL, "DOWN", "");
	event_log_set_listener(events, on_event, &n_heard);
	for (unsigned i = 0; i < 4; i++)
		event_log_add(events, "link", NULL, "UP", "");
	ck_assert_uint_eq(n_heard, 4);
	event_log_set_listener(events, NULL, NULL);
	event_log_add(events, "link", NULL, "DOWN", "");
	ck_assert_uint_eq(n_heard, 4);
	events = event_log_free(events);
}
END_TEST

START_TEST(a_list_taken_before_stays_as_it_was)
{
	_cleanup_json_ json_t *before = NULL;

	ck_assert_int_eq(event_log_new(2, &events), 0);
	event_log_add(events, "link", NULL, "DOWN", "");
	before = event_log_to_json(events);
	event_log_add(events, "link", NULL, "UP", "");
	event_log_add(events, "link", NULL, "DOWN", "");
	events = event_log_free(events);
	ck_assert_uint_eq(json_array_size(before), 1);
	ck_assert_int_eq(seq_at(before, 0), 1);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("event log");

	tcase_add_test(tests, the_last_events_are_kept_in_order_and_the_oldest_make_room);
	tcase_add_test(tests, an_event_tells_when_what_and_where);
	tcase_add_test(tests, who_listens_hears_each_event_once);
	tcase_add_test(tests, a_list_taken_before_stays_as_it_was);
	return check_program_run("pi_event_log", tests, NULL);
}
