/* A knock's whole way: usbpush-boot-attach, the portal, the exporter, the link. And what becomes of the knocks of anybody else. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "daemon.h"
#include "link_internal.h"
#include "pi_bed.h"
#include "portal_bed.h"
#include "program.h"

#define USEC_PER_SEC UINT64_C(1000000)
#define VM_REQUEST   "Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 0\r\n"
#define PI_ID        "0123456789abcdef0123456789abcdef"

static struct portal_bed bed;

/* Its status line, headers and body, without the date. */
static const char *answer_to_knock(void)
{
	static char text[2048];
	char *date;

	ck_assert_int_eq(portal_bed_ask(&bed, "POST", "/api/v1/knock", VM_REQUEST, NULL), 204);
	snprintf(text, sizeof(text), "%s", portal_bed_answer());
	date = strstr(text, "Date: ");
	if (date)
		memmove(date, strchr(date, '\n') + 1, strlen(strchr(date, '\n') + 1) + 1);
	return text;
}

/* ---- on a scripted exporter ---- */

static void setup(void)
{
	portal_bed_setup(&bed);
}

static void teardown(void)
{
	portal_bed_teardown(&bed);
}

static bool is_told(void *userdata)
{
	return bed.n_changes >= *(const unsigned *)userdata;
}

START_TEST(a_knock_takes_no_login_and_says_nothing)
{
	unsigned one = 1;

	ck_assert_ptr_null(strstr(answer_to_knock(), "Set-Cookie"));
	ck_assert_str_eq(portal_bed_body(), "");
	ck_assert(loop_until(bed.event, is_told, &one));
	ck_assert_str_eq(bed.last, "{\"request\":\"knock\"}");
}
END_TEST

/* Not whether there is an exporter, nor what it says; so not whether this Pi is paired either. */
START_TEST(whoever_knocks_hears_the_same_whatever_comes_of_it)
{
	char first[2048];

	snprintf(first, sizeof(first), "%s", answer_to_knock());
	bed.refusal = "not-paired";
	ck_assert_str_eq(answer_to_knock(), first);
	bed.is_silent = true;
	ck_assert_str_eq(answer_to_knock(), first);
	portal_bed_stop_exporter(&bed);
	ck_assert_str_eq(answer_to_knock(), first);
	ck_assert_int_eq(portal_bed_ask(&bed, "POST", "/api/v1/knock", "Host: 127.0.0.1\r\nContent-Type: application/json\r\n",
					"{\"pi\":\"" PI_ID "\"}"),
			 204); /* what is said with it is not heard */
}
END_TEST

START_TEST(a_flood_of_knocks_reaches_the_exporter_four_times_a_second)
{
	uint64_t began = clock_now_usec();

	for (unsigned i = 0; i < 100; i++)
		(void)answer_to_knock();
	ck_assert_uint_ge(bed.n_changes, 1);
	ck_assert_uint_le(bed.n_changes, (clock_now_usec() - began) / (USEC_PER_SEC / 4) + 1);
}
END_TEST

START_TEST(a_knock_in_a_flood_is_not_lost)
{
	unsigned wanted;

	for (unsigned i = 0; i < 20; i++)
		(void)answer_to_knock();
	wanted = bed.n_changes + 1;
	(void)answer_to_knock();
	ck_assert(loop_until(bed.event, is_told, &wanted)); /* without a further one */
}
END_TEST

START_TEST(a_web_site_can_not_have_a_browser_knock)
{
	ck_assert_int_eq(portal_bed_ask(&bed, "POST", "/api/v1/knock", VM_REQUEST "Origin: http://evil.example\r\n", NULL), 403);
	ck_assert_int_eq(portal_bed_ask(&bed, "POST", "/api/v1/knock", "Host: 127.0.0.1\r\nContent-Type: text/plain\r\n", ""), 415);
	ck_assert_int_eq(portal_bed_ask(&bed, "POST", "/api/v1/knock", "Host: evil.example\r\nContent-Type: application/json\r\n", ""),
			 421);
	ck_assert_int_eq(portal_bed_ask(&bed, "GET", "/api/v1/knock", "Host: 127.0.0.1\r\n", NULL), 405);
	loop_for(bed.event, 300000);
	ck_assert_uint_eq(bed.n_changes, 0);
}
END_TEST

/* ---- on the real one ---- */

static struct pi_bed pi;
static struct control *control;
static struct local_server *handler;
static struct temp_tree vm;
static struct program boot;
static char handler_path[128];

/* The VM's handler: one Pi, that is away. */
static void on_handler_request(struct local_client *client, const char *request, json_t *arguments, void *userdata)
{
	(void)request;
	(void)arguments;
	(void)userdata;
	local_client_reply(client, json_pack("{s:[{s:s, s:s, s:s, s:s, s:i, s:[]}]}", "pis", "id", PI_ID, "name", "pi", "state", "away",
					     "reason", "", "awaited", 0, "devices"));
}

static void setup_whole(void)
{
	char path[160];

	pi_bed_setup(&pi);
	pi_bed_start(&pi);
	snprintf(path, sizeof(path), "%s/control.sock", pi.run_dir);
	ck_assert_int_eq(control_new(pi.daemon.event, path, pi.exporter, &control), 0);
	portal_bed_setup_on(&bed, pi.daemon.event, path);
	temp_tree_new(&vm);
	snprintf(handler_path, sizeof(handler_path), "%s/handler.sock", vm.path);
	ck_assert_int_eq(local_server_new(pi.daemon.event, handler_path, 0600, 8, on_handler_request, NULL, NULL, &handler), 0);
}

static void teardown_whole(void)
{
	portal_bed_teardown(&bed);
	control = control_free(control);
	handler = local_server_free(handler);
	pi_bed_teardown(&pi);
	temp_tree_free(&vm);
}

/* The VM has been away for long: the last try was a while ago, and the next one is so far away. */
static struct link *wait_long(uint64_t away_usec)
{
	struct link *link = exporter_link(pi.exporter);

	pi.vm.wire = WIRE_CLOSED;
	pi_bed_pair(&pi);
	exporter_reload(pi.exporter);
	link->backoff.step_usec = link->backoff.max_usec;
	pi_bed_wait_link(&pi, "DOWN");
	link->attempt_since_usec -= USEC_PER_SEC;
	link_schedule_retry(link, clock_now_usec() + away_usec);
	return link;
}

static void start_boot_attach(const char *addresses)
{
	char port[8];
	const char *arguments[] = { "--timeout", "6",  "--socket", handler_path, "--addresses", temp_tree_path(&vm, "addresses"),
				    "--pi-port", port, NULL };

	snprintf(port, sizeof(port), "%u", bed.port);
	temp_tree_put(&vm, "addresses", addresses);
	program_start(&boot, pi.daemon.event, "usbpush-boot-attach", arguments);
}

START_TEST(a_vm_that_has_booted_has_its_pi_at_once)
{
	struct link *link = wait_long(60 * USEC_PER_SEC);
	uint64_t announced = link->next_try_usec;

	pi.vm.wire = WIRE_SSHD;
	start_boot_attach("{\"" PI_ID "\":\"127.0.0.1\"}\n");
	pi_bed_wait_link(&pi, "UP");
	ck_assert_uint_lt(link->attempt_since_usec, announced);
	ck_assert_int_eq(program_finish(&boot), 1); /* its handler has the Pi still away */
}
END_TEST

START_TEST(without_an_address_it_waits_for_its_pi_as_ever)
{
	struct link *link = wait_long(3 * USEC_PER_SEC);
	uint64_t announced = link->next_try_usec;

	pi.vm.wire = WIRE_SSHD;
	start_boot_attach("{\"" PI_ID "\":\"not an address\"}\n");
	pi_bed_wait_link(&pi, "UP");
	ck_assert_uint_ge(link->attempt_since_usec, announced);
	ck_assert_int_eq(program_finish(&boot), 1); /* its handler has the Pi still away */
}
END_TEST

static size_t count_events(void)
{
	_cleanup_json_ json_t *events = event_log_to_json(exporter_events(pi.exporter));

	return json_array_size(events);
}

START_TEST(strangers_who_knock_all_day_cause_a_try_a_second_and_are_not_told)
{
	struct link *link = wait_long(60 * USEC_PER_SEC);
	uint64_t n_tries = link->n_attempts, began = clock_now_usec();
	size_t n_events = count_events(), n_files = temp_tree_count(&pi.vm.tree, ".");

	while (link->n_attempts < n_tries + 4)
		(void)answer_to_knock();
	ck_assert_uint_ge(clock_now_usec() - began, 3 * USEC_PER_SEC);
	ck_assert_uint_eq(link->backoff.step_usec, link->backoff.max_usec);
	ck_assert_uint_eq(count_events(), n_events);
	ck_assert_uint_eq(temp_tree_count(&pi.vm.tree, "."), n_files);
}
END_TEST

int main(int argc, char **argv)
{
	TCase *scripted = tcase_create("the portal"), *whole = tcase_create("the whole way");

	ssh_vm_play(argc, argv);
	tcase_set_timeout(scripted, 120);
	tcase_add_checked_fixture(scripted, setup, teardown);
	tcase_add_test(scripted, a_knock_takes_no_login_and_says_nothing);
	tcase_add_test(scripted, whoever_knocks_hears_the_same_whatever_comes_of_it);
	tcase_add_test(scripted, a_flood_of_knocks_reaches_the_exporter_four_times_a_second);
	tcase_add_test(scripted, a_knock_in_a_flood_is_not_lost);
	tcase_add_test(scripted, a_web_site_can_not_have_a_browser_knock);
	tcase_set_timeout(whole, 120);
	tcase_add_checked_fixture(whole, setup_whole, teardown_whole);
	tcase_add_test(whole, a_vm_that_has_booted_has_its_pi_at_once);
	tcase_add_test(whole, without_an_address_it_waits_for_its_pi_as_ever);
	tcase_add_test(whole, strangers_who_knock_all_day_cause_a_try_a_second_and_are_not_told);
	return check_program_run("portal_knock", scripted, whole, NULL);
}
