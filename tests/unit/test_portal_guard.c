/* Who gets in: names, origins, sessions, and how guessing is slowed. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check_program.h"
#include "cleanup.h"
#include "origin.h"
#include "session.h"
#include "temp_tree.h"
#include "throttle.h"

#define SECOND UINT64_C(1000000)
#define HOUR   (3600 * SECOND)
#define START  (100 * HOUR) /* the machine has been up for some time */

/* ---- Host and Origin ---- */

START_TEST(the_portal_goes_by_addresses_and_its_own_names)
{
	static const char *const hosts[] = {
		"127.0.0.1",          "192.168.1.7:8080", "[::1]",       "[fe80::1]:8080",
		"localhost",          "localhost:8080",   "LOCALHOST",   "kitchen",
		"kitchen.local:8080", "Kitchen.Local.",   "kitchen.lan", "kitchen.fritz.box",
		"kitchen.home.arpa",  "other.local",      "usb.example", "Devices.Example:80",
	};

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		ck_assert_msg(origin_host_is_ours(hosts[i], "kitchen", "usb.example, devices.example"), "%s", hosts[i]);
}
END_TEST

START_TEST(it_does_not_go_by_any_other_name)
{
	static const char *const hosts[] = {
		"",
		":8080",
		".",
		"evil.example",
		"evil.example:8080",
		"kitchen.evil.example",
		"kitchen.local.evil.example",
		"local",
		".local",
		"xlocalhost",
		"localhost.evil.example",
		"127.0.0.1.evil.example",
		"1.2.3",
		"1.2.3.4.5",
		"0x7f000001",
		"[::1",
		"[::1]x",
		"[evil]",
		"usb.example.evil",
		"xusb.example",
		"usb",
		"kitche",
		"kitchen2",
		"a b",
		"evil.example/.local:",
	};

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		ck_assert_msg(!origin_host_is_ours(hosts[i], "kitchen", "usb.example"), "%s", hosts[i]);
	ck_assert(!origin_host_is_ours(NULL, "kitchen", ""));
	ck_assert(!origin_host_is_ours("", "", ""));
	ck_assert(!origin_host_is_ours(".lan", "", ""));
}
END_TEST

START_TEST(a_name_without_end_is_refused)
{
	char host[2000];

	memset(host, 'a', sizeof(host));
	snprintf(host + sizeof(host) - 7, 7, ".local");
	ck_assert(!origin_host_is_ours(host, "kitchen", ""));
}
END_TEST

START_TEST(a_change_comes_from_a_page_of_ours_or_from_no_page)
{
	ck_assert(origin_fits_host(NULL, "kitchen.local:8080"));
	ck_assert(origin_fits_host("http://kitchen.local:8080", "kitchen.local:8080"));
	ck_assert(origin_fits_host("https://Kitchen.local", "kitchen.local"));
	ck_assert(!origin_fits_host("http://kitchen.local", "kitchen.local:8080"));
	ck_assert(!origin_fits_host("http://kitchen.local:8081", "kitchen.local:8080"));
	ck_assert(!origin_fits_host("http://kitchen.local:8080.evil.example", "kitchen.local:8080"));
	ck_assert(!origin_fits_host("http://evil.example", "kitchen.local"));
	ck_assert(!origin_fits_host("null", "null"));
	ck_assert(!origin_fits_host("", ""));
	ck_assert(!origin_fits_host("file://", ""));
	ck_assert(!origin_fits_host("ftp://kitchen.local", "kitchen.local"));
	ck_assert(!origin_fits_host("http://kitchen.local", NULL));
}
END_TEST

/* ---- sessions ---- */

static struct session_table *sessions;

static void setup_sessions(void)
{
	sessions = session_table_new(NULL, "", START);
	ck_assert_ptr_nonnull(sessions);
}

static void teardown_sessions(void)
{
	sessions = session_table_free(sessions, START);
}

static void open_session(uint64_t generation, uint64_t now, char *ret_token)
{
	const struct session *session = session_open(sessions, generation, now);

	ck_assert_ptr_nonnull(session);
	ck_assert_uint_eq(strlen(session->token), SESSION_TOKEN_SIZE - 1);
	ck_assert_str_ne(session->token, session->csrf);
	memcpy(ret_token, session->token, SESSION_TOKEN_SIZE);
}

START_TEST(a_session_is_found_by_its_token_alone)
{
	char token[SESSION_TOKEN_SIZE], other[SESSION_TOKEN_SIZE];

	open_session(7, START, token);
	ck_assert_ptr_nonnull(session_find(sessions, token, 7, START + SECOND));
	memcpy(other, token, sizeof(other));
	other[63] = other[63] == 'a' ? 'b' : 'a';
	ck_assert_ptr_null(session_find(sessions, other, 7, START + SECOND));
	token[63] = '\0';
	ck_assert_ptr_null(session_find(sessions, token, 7, START + SECOND));
	ck_assert_ptr_null(session_find(sessions, "", 7, START + SECOND));
}
END_TEST

START_TEST(a_free_place_is_nobodys_session)
{
	char zeros[SESSION_TOKEN_SIZE] = { 0 };

	ck_assert_ptr_null(session_find(sessions, zeros, 0, START));
	memset(zeros, '0', sizeof(zeros) - 1);
	ck_assert_ptr_null(session_find(sessions, zeros, 0, START));
}
END_TEST

START_TEST(a_session_ends_when_it_is_not_used_and_after_a_week)
{
	char token[SESSION_TOKEN_SIZE];

	open_session(7, START, token);
	ck_assert_ptr_nonnull(session_find(sessions, token, 7, START + 11 * HOUR));
	ck_assert_ptr_nonnull(session_find(sessions, token, 7, START + 22 * HOUR));
	ck_assert_ptr_null(session_find(sessions, token, 7, START + 35 * HOUR));
	ck_assert_ptr_null(session_find(sessions, token, 7, START + 22 * HOUR));
	open_session(7, START, token);
	for (uint64_t hours = 1; hours < 7 * 24; hours++)
		ck_assert_ptr_nonnull(session_find(sessions, token, 7, START + hours * HOUR));
	ck_assert_ptr_null(session_find(sessions, token, 7, START + (7 * 24 + 1) * HOUR));
}
END_TEST

START_TEST(another_password_ends_every_session)
{
	char token[SESSION_TOKEN_SIZE];

	open_session(7, START, token);
	ck_assert_ptr_null(session_find(sessions, token, 8, START + SECOND));
	ck_assert_ptr_null(session_find(sessions, token, 7, START + SECOND));
}
END_TEST

START_TEST(a_logout_ends_that_session_and_no_other)
{
	char one[SESSION_TOKEN_SIZE], two[SESSION_TOKEN_SIZE];

	open_session(7, START, one);
	open_session(7, START, two);
	session_close(sessions, one, START);
	session_close(sessions, "no token", START);
	ck_assert_ptr_null(session_find(sessions, one, 7, START + SECOND));
	ck_assert_ptr_nonnull(session_find(sessions, two, 7, START + SECOND));
}
END_TEST

START_TEST(sessions_are_bounded_and_the_idlest_goes)
{
	char first[SESSION_TOKEN_SIZE], second[SESSION_TOKEN_SIZE], token[SESSION_TOKEN_SIZE];

	open_session(7, START, first);
	open_session(7, START + SECOND, second);
	ck_assert_ptr_nonnull(session_find(sessions, first, 7, START + HOUR));
	for (unsigned i = 0; i < 15; i++)
		open_session(7, START + 2 * HOUR, token);
	ck_assert_ptr_nonnull(session_find(sessions, first, 7, START + 3 * HOUR));
	ck_assert_ptr_null(session_find(sessions, second, 7, START + 3 * HOUR));
}
END_TEST

/* ---- sessions and restarts ---- */

static struct temp_tree tree;

static struct session_table *load_sessions(const char *boot_id, uint64_t now)
{
	struct session_table *table = session_table_new(temp_tree_path(&tree, "sessions"), boot_id, now);

	ck_assert_ptr_nonnull(table);
	return table;
}

static void setup_kept(void)
{
	temp_tree_new(&tree);
	sessions = load_sessions("boot1", START);
}

static void teardown_kept(void)
{
	sessions = session_table_free(sessions, START);
	temp_tree_free(&tree);
}

static void restart(const char *boot_id, uint64_t now)
{
	session_table_free(sessions, now);
	sessions = load_sessions(boot_id, now);
}

START_TEST(a_session_outlasts_a_restart_with_the_same_csrf_value)
{
	char token[SESSION_TOKEN_SIZE], csrf[SESSION_TOKEN_SIZE];
	const struct session *found;

	open_session(7, START, token);
	memcpy(csrf, session_find(sessions, token, 7, START)->csrf, sizeof(csrf));
	restart("boot1", START + HOUR);
	found = session_find(sessions, token, 7, START + HOUR);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found->token, token);
	ck_assert_str_eq(found->csrf, csrf);
	ck_assert_ptr_null(session_find(sessions, token, 8, START + HOUR)); /* another password meanwhile */
	restart("boot1", START + HOUR);
	ck_assert_ptr_null(session_find(sessions, token, 7, START + HOUR));
}
END_TEST

START_TEST(a_portal_that_is_killed_has_its_sessions_written_down)
{
	char token[SESSION_TOKEN_SIZE];
	struct session_table *successor;

	open_session(7, START, token);
	ck_assert_ptr_nonnull(session_find(sessions, token, 7, START + 11 * HOUR));
	successor = load_sessions("boot1", START + 20 * HOUR);
	ck_assert_ptr_nonnull(session_find(successor, token, 7, START + 20 * HOUR));
	session_table_free(successor, START + 20 * HOUR);
}
END_TEST

START_TEST(the_file_has_no_token_and_is_nobody_elses)
{
	char token[SESSION_TOKEN_SIZE], csrf[SESSION_TOKEN_SIZE], hash[SESSION_TOKEN_SIZE];
	struct stat status;

	open_session(7, START, token);
	memcpy(csrf, session_find(sessions, token, 7, START)->csrf, sizeof(csrf));
	restart("boot1", START);
	ck_assert_ptr_null(strstr(temp_tree_get(&tree, "sessions"), token));
	ck_assert_ptr_null(strstr(temp_tree_get(&tree, "sessions"), csrf));
	ck_assert_int_eq(sscanf(temp_tree_get(&tree, "sessions"), "boot boot1\n%64[0-9a-f]", hash), 1);
	ck_assert_ptr_null(session_find(sessions, hash, 7, START)); /* what stands there opens nothing */
	ck_assert_int_eq(stat(temp_tree_path(&tree, "sessions"), &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0600);
}
END_TEST

START_TEST(sessions_end_as_promised_across_restarts)
{
	char idle[SESSION_TOKEN_SIZE], old[SESSION_TOKEN_SIZE], out[SESSION_TOKEN_SIZE];

	open_session(7, START, idle);
	open_session(7, START, old);
	open_session(7, START, out);
	session_close(sessions, out, START);
	restart("boot1", START + HOUR);
	ck_assert_ptr_null(session_find(sessions, out, 7, START + HOUR));
	for (unsigned hours = 11; hours < 7 * 24; hours += 11) {
		ck_assert_ptr_nonnull(session_find(sessions, old, 7, START + hours * HOUR));
		restart("boot1", START + hours * HOUR);
	}
	ck_assert_ptr_null(session_find(sessions, idle, 7, START + 165 * HOUR));
	ck_assert_ptr_null(session_find(sessions, old, 7, START + 169 * HOUR));
}
END_TEST

START_TEST(another_boot_takes_over_no_session)
{
	char token[SESSION_TOKEN_SIZE];

	open_session(7, START, token);
	restart("boot2", START + HOUR);
	ck_assert_ptr_null(session_find(sessions, token, 7, START + HOUR));
}
END_TEST

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const BAD_FILES[] = {
	"",
	"boot",
	"boot boot2\n" HASH " 7 0 0\n",
	HASH " 7 0 0\n",
	"boot boot1\nnonsense\n" HASH "\n" HASH " 7\n" HASH " 7 0\n",
	"boot boot1\n" HASH " 7 0 0 0\n" HASH "0 7 0 0\n0123 7 0 0\n",
	"boot boot1\n" HASH " 7 99999999999999999 99999999999999999\n", /* of the future */
	"boot boot1\n" HASH " 7 360000000001 360000000000\n",           /* used before it was opened */
	"boot boot1\n" HASH " 99999999999999999999999999999 0 0\n" HASH " -7 -1 -1\n",
};

START_TEST(a_file_that_makes_no_sense_opens_nothing)
{
	char token[SESSION_TOKEN_SIZE];

	sessions = session_table_free(sessions, START);
	temp_tree_put(&tree, "sessions", BAD_FILES[_i]);
	sessions = load_sessions("boot1", START);
	ck_assert_ptr_null(session_find(sessions, HASH, 7, START));
	open_session(7, START, token);
	ck_assert_ptr_nonnull(session_find(sessions, token, 7, START));
}
END_TEST

START_TEST(sessions_work_where_their_file_can_not_be_written)
{
	char token[SESSION_TOKEN_SIZE];

	sessions = session_table_free(sessions, START);
	sessions = session_table_new("/proc/no/such/file", "boot1", START);
	ck_assert_ptr_nonnull(sessions);
	open_session(7, START, token);
	ck_assert_ptr_nonnull(session_find(sessions, token, 7, START));
}
END_TEST

START_TEST(secrets_are_the_same_or_not)
{
	ck_assert(session_secret_equal("abc", "abc"));
	ck_assert(!session_secret_equal("abc", "abd"));
	ck_assert(!session_secret_equal("abc", "ab"));
	ck_assert(!session_secret_equal("", "a"));
}
END_TEST

/* ---- guessing ---- */

static struct throttle *throttle;

static void setup_throttle(void)
{
	throttle = throttle_new();
	ck_assert_ptr_nonnull(throttle);
}

static void teardown_throttle(void)
{
	throttle = throttle_free(throttle);
}

static void guess(const char *address, unsigned n, uint64_t now)
{
	for (unsigned i = 0; i < n; i++)
		throttle_count(throttle, address, now);
}

START_TEST(five_wrong_tries_are_free_and_each_further_one_waits_twice_as_long)
{
	guess("192.0.2.1", 4, START);
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.1", START), 0);
	guess("192.0.2.1", 1, START);
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.1", START), 1 * SECOND);
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.1", START + SECOND), 0);
	guess("192.0.2.1", 1, START + SECOND);
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.1", START + SECOND), 2 * SECOND);
	guess("192.0.2.1", 1, START + 3 * SECOND);
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.1", START + 3 * SECOND), 4 * SECOND);
	guess("192.0.2.1", 100, START + 7 * SECOND);
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.1", START + 7 * SECOND), 300 * SECOND);
}
END_TEST

START_TEST(an_address_does_not_lock_another_one_out)
{
	guess("192.0.2.1", 20, START);
	ck_assert_uint_gt(throttle_wait_usec(throttle, "192.0.2.1", START), 0);
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.2", START), 0);
}
END_TEST

START_TEST(a_right_try_begins_anew)
{
	guess("192.0.2.1", 9, START);
	throttle_forgive(throttle, "192.0.2.1");
	throttle_forgive(throttle, "192.0.2.9");
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.1", START), 0);
	guess("192.0.2.1", 5, START);
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.1", START), SECOND);
}
END_TEST

START_TEST(a_quarter_of_an_hour_of_peace_is_forgotten)
{
	guess("192.0.2.1", 30, START);
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.1", START + HOUR), 0);
	guess("192.0.2.1", 1, START + HOUR);
	ck_assert_uint_eq(throttle_wait_usec(throttle, "192.0.2.1", START + HOUR), 0);
}
END_TEST

START_TEST(many_addresses_together_are_slowed_too)
{
	char address[16];

	for (unsigned i = 0; i < 200; i++) {
		snprintf(address, sizeof(address), "198.51.100.%u", i);
		throttle_count(throttle, address, START);
	}
	ck_assert_uint_gt(throttle_wait_usec(throttle, "203.0.113.1", START), 0);
}
END_TEST

int main(void)
{
	TCase *origin = tcase_create("names and origins"), *session = tcase_create("sessions"), *guessing = tcase_create("guessing"),
	      *kept = tcase_create("sessions and restarts");

	tcase_add_test(origin, the_portal_goes_by_addresses_and_its_own_names);
	tcase_add_test(origin, it_does_not_go_by_any_other_name);
	tcase_add_test(origin, a_name_without_end_is_refused);
	tcase_add_test(origin, a_change_comes_from_a_page_of_ours_or_from_no_page);
	tcase_add_checked_fixture(session, setup_sessions, teardown_sessions);
	tcase_add_test(session, a_session_is_found_by_its_token_alone);
	tcase_add_test(session, a_free_place_is_nobodys_session);
	tcase_add_test(session, a_session_ends_when_it_is_not_used_and_after_a_week);
	tcase_add_test(session, another_password_ends_every_session);
	tcase_add_test(session, a_logout_ends_that_session_and_no_other);
	tcase_add_test(session, sessions_are_bounded_and_the_idlest_goes);
	tcase_add_test(session, secrets_are_the_same_or_not);
	tcase_add_checked_fixture(kept, setup_kept, teardown_kept);
	tcase_add_test(kept, a_session_outlasts_a_restart_with_the_same_csrf_value);
	tcase_add_test(kept, a_portal_that_is_killed_has_its_sessions_written_down);
	tcase_add_test(kept, the_file_has_no_token_and_is_nobody_elses);
	tcase_add_test(kept, sessions_end_as_promised_across_restarts);
	tcase_add_test(kept, another_boot_takes_over_no_session);
	tcase_add_loop_test(kept, a_file_that_makes_no_sense_opens_nothing, 0, ARRAY_SIZE(BAD_FILES));
	tcase_add_test(kept, sessions_work_where_their_file_can_not_be_written);
	tcase_add_checked_fixture(guessing, setup_throttle, teardown_throttle);
	tcase_add_test(guessing, five_wrong_tries_are_free_and_each_further_one_waits_twice_as_long);
	tcase_add_test(guessing, an_address_does_not_lock_another_one_out);
	tcase_add_test(guessing, a_right_try_begins_anew);
	tcase_add_test(guessing, a_quarter_of_an_hour_of_peace_is_forgotten);
	tcase_add_test(guessing, many_addresses_together_are_slowed_too);
	return check_program_run("portal guard", origin, session, kept, guessing, NULL);
}
