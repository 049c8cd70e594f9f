/* Bus ids, and what a person may call a device. */

#include <errno.h>
#include <string.h>

#include "busid.h"
#include "check_program.h"
#include "cleanup.h"
#include "selection.h"

static const char *const GOOD[] = {
	"1-1", "1-1.2", "2-1.4.3", "10-12", "255-255", "1-1.255", "3-1.2.3.4.5.6", "100-100.100.100.100.100.100.100",
};

static const char *const BAD[] = {
	"",
	"1",
	"-",
	"1-",
	"-1",
	"1-1.",
	"1-.1",
	"1-1..2",
	"1.1",
	"1-1-2",
	"1.1-2",
	"usb1",
	"1-1:1.0",
	"1-0:1.0",
	"1-0",
	"0-1",
	"1-01",
	"01-1",
	"1-1.02",
	"256-1",
	"1-256",
	"1-1.4294967297",
	"99999999999999999999-1",
	"../1-1",
	"1-1/",
	"1-1/..",
	"/1-1",
	"1-1 ",
	" 1-1",
	"1-1\n",
	"+1-1",
	"1-+1",
	"1-1.a",
	"0x1-1",
	"1--1",
	"1-1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.",
	"1-1.1.1.1.1.1.1.1.1.1.1.1.1.1.10", /* 32 bytes and no room for the NUL */
};

START_TEST(a_bus_id_is_a_bus_and_its_ports)
{
	struct busid busid;

	ck_assert_int_eq(busid_parse(GOOD[_i], &busid), 0);
	ck_assert_str_eq(busid.text, GOOD[_i]);
}
END_TEST

START_TEST(what_is_no_bus_id_is_refused_and_nothing_written)
{
	struct busid busid = { "5-5" };

	ck_assert_msg(busid_parse(BAD[_i], &busid) == -EINVAL, "\"%s\" passed", BAD[_i]);
	ck_assert_str_eq(busid.text, "5-5");
}
END_TEST

START_TEST(the_longest_bus_id_fills_the_kernels_field)
{
	struct busid busid;

	ck_assert_uint_eq(strlen("1-1.1.1.1.1.1.1.1.1.1.1.1.1.1.1"), BUSID_SIZE - 1);
	ck_assert_int_eq(busid_parse("1-1.1.1.1.1.1.1.1.1.1.1.1.1.1.1", &busid), 0);
}
END_TEST

START_TEST(the_rest_of_the_kernels_field_is_zero)
{
	struct busid busid;

	memset(&busid, 0xff, sizeof(busid));
	ck_assert_int_eq(busid_parse("1-1", &busid), 0);
	for (size_t i = strlen("1-1"); i < BUSID_SIZE; i++)
		ck_assert_int_eq(busid.text[i], 0);
}
END_TEST

START_TEST(a_socket_is_not_the_hub_that_it_is_on)
{
	struct busid hub, socket, same;

	ck_assert_int_eq(busid_parse("1-1", &hub), 0);
	ck_assert_int_eq(busid_parse("1-1.2", &socket), 0);
	ck_assert_int_eq(busid_parse("1-1.2", &same), 0);
	ck_assert(!busid_equal(&hub, &socket));
	ck_assert(busid_equal(&socket, &same));
}
END_TEST

static const struct busid SOCKET = { "1-1.2" };
static const struct identity FTDI = { .vid = 0x0403, .pid = 0x6001, .serial = "A50285BI" };

START_TEST(a_device_is_called_by_socket_kind_serial_or_name)
{
	ck_assert_int_eq(selection_fit("1-1.2", &SOCKET, &FTDI, "printer"), SELECTION_PLACE);
	ck_assert_int_eq(selection_fit("0403:6001", &SOCKET, &FTDI, "printer"), SELECTION_IDENTITY);
	ck_assert_int_eq(selection_fit("A50285BI", &SOCKET, &FTDI, "printer"), SELECTION_IDENTITY);
	ck_assert_int_eq(selection_fit("printer", &SOCKET, &FTDI, "printer"), SELECTION_NAME);
}
END_TEST

START_TEST(only_a_whole_field_fits)
{
	static const char *const others[] = { "1-1",    "1-1.2.1",   "-1.2",     "0403",  "0403:600", "403:6001",
					      "A50285", "A50285BIX", "a50285bi", "print", "" };

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		ck_assert_msg(!selection_fit(others[i], &SOCKET, &FTDI, "printer"), "\"%s\" fits", others[i]);
}
END_TEST

START_TEST(the_letters_of_a_vid_and_pid_may_be_large)
{
	const struct identity esp = { .vid = 0x303a, .pid = 0x10af };

	ck_assert(selection_fit("303A:10AF", &SOCKET, &esp, ""));
}
END_TEST

START_TEST(an_empty_selection_fits_no_device_without_a_serial_or_name)
{
	const struct identity nameless = { .vid = 1, .pid = 2 };

	ck_assert(!selection_fit("", &SOCKET, &nameless, ""));
}
END_TEST

int main(void)
{
	TCase *busid = tcase_create("busid"), *selection = tcase_create("selection");

	tcase_add_loop_test(busid, a_bus_id_is_a_bus_and_its_ports, 0, ARRAY_SIZE(GOOD));
	tcase_add_loop_test(busid, what_is_no_bus_id_is_refused_and_nothing_written, 0, ARRAY_SIZE(BAD));
	tcase_add_test(busid, the_longest_bus_id_fills_the_kernels_field);
	tcase_add_test(busid, the_rest_of_the_kernels_field_is_zero);
	tcase_add_test(busid, a_socket_is_not_the_hub_that_it_is_on);
	tcase_add_test(selection, a_device_is_called_by_socket_kind_serial_or_name);
	tcase_add_test(selection, only_a_whole_field_fits);
	tcase_add_test(selection, the_letters_of_a_vid_and_pid_may_be_large);
	tcase_add_test(selection, an_empty_selection_fits_no_device_without_a_serial_or_name);
	return check_program_run("common_busid", busid, selection, NULL);
}
