/* usbpush-vm and usbpush-boot-attach, as people start them, beside a real handler. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "program.h"
#include "vm_bed.h"

#define DEVID(bus, device) ((uint32_t)(bus) << 16 | (device))
#define USBPUSH_VM         "usbpush-vm"

static struct vm_bed bed;
static struct vm_pi pi, other, stream;
static struct program program;
static char socket_path[128];

/* The machine, with a handler that is not started yet. */
static void setup(void)
{
	vm_bed_make(&bed);
	snprintf(socket_path, sizeof(socket_path), "%s/handler.sock", bed.tree.path);
	memset(&pi, 0, sizeof(pi));
	pi.fd = other.fd = stream.fd = -EBADF;
}

static void start_handler(void)
{
	ck_assert_int_eq(handler_new(bed.event, &bed.options, &bed.handler), 0);
	ck_assert_int_eq(handler_listen(bed.handler), 0);
}

static void setup_handler(void)
{
	setup();
	start_handler();
}

static void teardown(void)
{
	close_fd(pi.fd);
	close_fd(other.fd);
	close_fd(stream.fd);
	vm_bed_teardown(&bed);
}

/* Offers a device as "o-1" and brings it to its node. Returns the port. */
static uint32_t attach_device(void)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer_named(&pi, "o-1", "1-1.4", DEVID(1, 7), &ACM, "bench");
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	port = vm_bed_enumerate(&bed, &ACM);
	vm_bed_expect_state(&bed, "o-1", "settling");
	vm_bed_add_tty(&bed, port, "/dev/ttyACM0", "/dev/usbpush/bench");
	vm_bed_expect_state(&bed, "o-1", "attached");
	return port;
}

static void start(const char *name, const char *first, const char *second, const char *third)
{
	const char *arguments[8] = { NULL }, *given[] = { first, second, third };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(given) && given[i]; i++)
		arguments[n++] = given[i];
	arguments[n++] = "--socket";
	arguments[n] = socket_path;
	program_start(&program, bed.event, name, arguments);
}

/* What it says, and how it ends. */
static void expect_run(const char *command, const char *operand, int status, const char *text)
{
	start(USBPUSH_VM, command, operand, NULL);
	ck_assert_msg(program_finish(&program) == status, "%s", program.out);
	ck_assert_msg(strstr(program.out, text) != NULL, "not \"%s\" but: %s", text, program.out);
}

/* ---- status ---- */

START_TEST(status_says_what_is_attached_and_what_is_not)
{
	attach_device();
	expect_run("status", NULL, 0, "usbpush works in part: 1 of 2 Pis connected, 1 of 1 devices attached");
	ck_assert_ptr_nonnull(strstr(program.out, "ttyACM0"));
	ck_assert_ptr_nonnull(strstr(program.out, "pi2"));
}
END_TEST

START_TEST(scripts_read_one_object)
{
	_cleanup_json_ json_t *status = NULL;

	attach_device();
	expect_run("status", "--json", 0, "\"pis\"");
	status = json_loads(program.out, JSON_REJECT_DUPLICATES, NULL);
	ck_assert_ptr_nonnull(status);
	ck_assert_ptr_null(json_object_get(status, "ok")); /* the socket's, not the reader's */
	ck_assert_uint_eq(json_array_size(json_object_get(status, "pis")), 2);
}
END_TEST

START_TEST(who_watches_sees_each_change)
{
	start(USBPUSH_VM, "status", "--watch", NULL);
	program_wait_for(&program, "0 of 2 Pis connected");
	attach_device();
	program_wait_for(&program, "ttyACM0");
	bed.handler = handler_free(bed.handler);
	ck_assert_int_eq(program_finish(&program), 1);
}
END_TEST

START_TEST(scripts_that_watch_get_an_object_a_line)
{
	const char *line;

	start(USBPUSH_VM, "status", "--watch", "--json");
	program_wait_for(&program, "\"pis\"");
	attach_device();
	program_wait_for(&program, "\"event\":\"pi\"");
	line = program_wait_for(&program, "{\"event\":\"device\"");
	program_wait_for(&program, "\"state\":\"attached\"");
	ck_assert_ptr_nonnull(strchr(line, '\n'));
	bed.handler = handler_free(bed.handler);
	ck_assert_int_eq(program_finish(&program), 1);
	ck_assert_ptr_nonnull(strstr(program.out, "usbpush-handler ended"));
}
END_TEST

/* ---- detach, container ---- */

static bool is_told_to_detach(void *userdata)
{
	(void)userdata;
	return *vm_bed_take_write(&bed, "detach") != '\0';
}

START_TEST(detach_waits_until_the_port_is_free)
{
	uint32_t port = attach_device();

	start(USBPUSH_VM, "detach", "bench", NULL);
	ck_assert(loop_until(bed.event, is_told_to_detach, NULL));
	vm_bed_remove(&bed, port);
	ck_assert_msg(program_finish(&program) == 0, "%s", program.out);
	ck_assert_ptr_nonnull(strstr(program.out, "bench is detached."));
	ck_assert_uint_eq(vm_bed_count_used(&bed), 0);
}
END_TEST

START_TEST(what_is_not_there_can_not_be_detached_nor_handed_on)
{
	attach_device();
	expect_run("detach", "9-9", 1, "9-9: no such device");
	expect_run("container", "9-9", 1, "9-9: no such device");
	ck_assert_uint_eq(vm_bed_count_used(&bed), 1);
}
END_TEST

START_TEST(without_a_handler_each_command_says_how_to_start_it)
{
	expect_run("status", NULL, 1, "usbpush-handler is not running");
	expect_run("detach", "1-1", 1, "sudo systemctl start usbpush-handler");
	expect_run("container", "1-1", 1, "sudo systemctl start usbpush-handler");
	start(USBPUSH_VM, "status", "--watch", NULL);
	ck_assert_int_eq(program_finish(&program), 1);
}
END_TEST

/* ---- boot-attach ---- */

START_TEST(boot_attach_is_done_when_nobody_is_paired)
{
	temp_tree_put(&bed.tree, "pi.conf", "");
	start_handler();
	start("usbpush-boot-attach", NULL, NULL, NULL);
	ck_assert_int_eq(program_finish(&program), 0);
	ck_assert_ptr_nonnull(strstr(program.out, "No Pi is paired"));
}
END_TEST

START_TEST(boot_attach_asks_for_all_and_is_done_when_all_is_there)
{
	attach_device();
	vm_pi_come_up(&other, &bed, BED_OTHER);
	start("usbpush-boot-attach", "--timeout", "60", NULL);
	json_decref(vm_pi_expect(&pi, "resync"));
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":2,\"offers\":[{\"id\":\"o-1\",\"streaming\":true}]}");
	json_decref(vm_pi_expect(&other, "resync"));
	vm_pi_say(&other, "{\"type\":\"sync\",\"seq\":2,\"offers\":[]}");
	ck_assert_msg(program_finish(&program) == 0, "%s", program.out);
	ck_assert_msg(strstr(program.out, "All is attached: 2 Pis, 1 devices") != NULL, "%s", program.out);
}
END_TEST

START_TEST(boot_attach_names_who_is_missing)
{
	attach_device();
	start(USBPUSH_VM, "boot-attach", "--timeout", "1");
	ck_assert_int_eq(program_finish(&program), 1);
	ck_assert_ptr_nonnull(strstr(program.out, "not all is attached"));
	ck_assert_ptr_nonnull(strstr(program.out, "pi2"));
	ck_assert_ptr_nonnull(strstr(program.out, "goes on by itself"));
}
END_TEST

START_TEST(boot_attach_waits_for_a_handler_that_is_a_moment_behind)
{
	temp_tree_put(&bed.tree, "pi.conf", "");
	start("usbpush-boot-attach", NULL, NULL, NULL);
	loop_for(bed.event, 100000);
	ck_assert_str_eq(program.out, "");
	start_handler();
	ck_assert_int_eq(program_finish(&program), 0);
}
END_TEST

START_TEST(boot_attach_says_when_the_handler_ends_meanwhile)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	start("usbpush-boot-attach", NULL, NULL, NULL);
	json_decref(vm_pi_expect(&pi, "resync"));
	bed.handler = handler_free(bed.handler);
	ck_assert_int_eq(program_finish(&program), 1);
	ck_assert_msg(strstr(program.out, "usbpush-handler") != NULL, "%s", program.out);
}
END_TEST

/* ---- usage ---- */

static const char *const WRONG[][4] = {
	{ USBPUSH_VM, "dance" },
	{ USBPUSH_VM, "status", "now" },
	{ USBPUSH_VM, "status", "--fast" },
	{ USBPUSH_VM, "status", "--watch", "now" },
	{ USBPUSH_VM, "detach" },
	{ USBPUSH_VM, "detach", "1-1", "1-2" },
	{ USBPUSH_VM, "container" },
	{ USBPUSH_VM, "authorize" },
	{ USBPUSH_VM, "unpair" },
	{ USBPUSH_VM, "unpair", "--requested", "pi" },
	{ USBPUSH_VM, "boot-attach", "now" },
	{ USBPUSH_VM, "boot-attach", "--timeout", "soon" },
	{ USBPUSH_VM, "boot-attach", "--timeout", "86401" },
	{ "usbpush-boot-attach", "--fast" },
};

START_TEST(what_makes_no_sense_is_usage)
{
	start(WRONG[_i][0], WRONG[_i][1], WRONG[_i][2], WRONG[_i][3]);
	ck_assert_msg(program_finish(&program) == 2, "%s", program.out);
	ck_assert_str_ne(program.out, "");
}
END_TEST

static const char *const HELP[][2] = {
	{ USBPUSH_VM, "--help" },
	{ USBPUSH_VM, "--version" },
	{ USBPUSH_VM, "help" },
	{ "usbpush-boot-attach", "--help" },
	{ "usbpush-boot-attach", "--version" },
};

START_TEST(help_and_version_are_told)
{
	start(HELP[_i][0], HELP[_i][1], NULL, NULL);
	ck_assert_int_eq(program_finish(&program), 0);
	ck_assert_ptr_nonnull(strstr(program.out, HELP[_i][0]));
}
END_TEST

int main(void)
{
	TCase *with = tcase_create("beside a handler"), *without = tcase_create("without");

	tcase_add_checked_fixture(with, setup_handler, teardown);
	tcase_set_timeout(with, 120);
	tcase_add_test(with, status_says_what_is_attached_and_what_is_not);
	tcase_add_test(with, scripts_read_one_object);
	tcase_add_test(with, who_watches_sees_each_change);
	tcase_add_test(with, scripts_that_watch_get_an_object_a_line);
	tcase_add_test(with, detach_waits_until_the_port_is_free);
	tcase_add_test(with, what_is_not_there_can_not_be_detached_nor_handed_on);
	tcase_add_test(with, boot_attach_asks_for_all_and_is_done_when_all_is_there);
	tcase_add_test(with, boot_attach_names_who_is_missing);
	tcase_add_test(with, boot_attach_says_when_the_handler_ends_meanwhile);

	tcase_add_checked_fixture(without, setup, teardown);
	tcase_set_timeout(without, 120);
	tcase_add_test(without, without_a_handler_each_command_says_how_to_start_it);
	tcase_add_test(without, boot_attach_is_done_when_nobody_is_paired);
	tcase_add_test(without, boot_attach_waits_for_a_handler_that_is_a_moment_behind);
	tcase_add_loop_test(without, what_makes_no_sense_is_usage, 0, ARRAY_SIZE(WRONG));
	tcase_add_loop_test(without, help_and_version_are_told, 0, ARRAY_SIZE(HELP));
	return check_program_run("vm_cli", with, without, NULL);
}
