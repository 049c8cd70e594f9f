/* The status as people read it. */

#include <stdio.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "vm_status_view.h"

#define DEVICE(state, nodes, error)                                                                                                 \
	"{\"offer\":\"o\",\"busid\":\"1-1\",\"pi_busid\":\"1-1.4\",\"port\":0,\"vid\":\"0403\",\"pid\":\"6001\",\"serial\":\"A5\"," \
	"\"product\":\"FT232R\",\"name\":\"\",\"state\":\"" state "\",\"reason\":\"\",\"nodes\":" nodes                             \
	",\"links\":[\"/dev/serial/by-id/usb-FTDI\"],\"error\":" error "}"
#define ATTACHED DEVICE("attached", "[\"/dev/ttyUSB0\"]", "null")
#define FAILED   DEVICE("failed", "[]", "{\"code\":\"identity\",\"text\":\"not what was offered\",\"cure\":\"Plug it in again\"}")
#define PI(state, devices) \
	"{\"id\":\"0a\",\"name\":\"garage\",\"state\":\"" state "\",\"reason\":\"\",\"awaited\":0,\"devices\":[" devices "]}"
#define STATUS(pis) "{\"vhci\":{\"ports\":240,\"used\":0,\"error\":null},\"pis\":[" pis "]}"

static char text[4096];

static const char *print(const char *json)
{
	_cleanup_json_ json_t *status = json_loads(json, 0, NULL);
	FILE *stream = fmemopen(text, sizeof(text), "w");

	ck_assert_ptr_nonnull(status);
	ck_assert_ptr_nonnull(stream);
	vm_status_view_print(status, stream, false);
	fclose(stream);
	return text;
}

static void expect_first_line(const char *expected)
{
	size_t length = strcspn(text, "\n");

	ck_assert_msg(strlen(expected) == length && strncmp(text, expected, length) == 0, "%s", text);
}

START_TEST(the_first_line_answers_whether_it_works)
{
	print(STATUS(PI("up", ATTACHED)));
	expect_first_line("usbpush works: 1 of 1 Pis connected, 1 of 1 devices attached");
	print(STATUS(PI("up", ATTACHED "," FAILED)));
	expect_first_line("usbpush works in part: 1 of 1 Pis connected, 1 of 2 devices attached");
	print(STATUS(PI("away", "")));
	expect_first_line("usbpush does not work now: 0 of 1 Pis connected, 0 of 0 devices attached");
	print(STATUS(""));
	expect_first_line("No Pi is paired yet. Pair one: sudo usbpush-vm pair");
	print("{\"vhci\":{\"error\":{\"text\":\"vhci_hcd is not loaded\",\"cure\":\"Load it\"}},\"pis\":[]}");
	expect_first_line("usbpush does not work: vhci_hcd is not loaded. Load it");
}
END_TEST

START_TEST(a_device_stands_with_node_and_link)
{
	print(STATUS(PI("up", ATTACHED)));
	ck_assert_ptr_nonnull(strstr(text, "garage  1-1.4  FT232R  0403:6001  attached  /dev/ttyUSB0  usb-FTDI  0\n"));
	ck_assert_ptr_null(strstr(text, "\033"));
}
END_TEST

START_TEST(what_failed_is_listed_with_its_cure)
{
	print(STATUS(PI("up", FAILED)));
	ck_assert_ptr_nonnull(strstr(text, "garage: 1-1.4: not what was offered. Plug it in again\n"));
}
END_TEST

START_TEST(complete_means_every_pi_and_every_device)
{
	static const struct {
		const char *json;
		bool is_complete;
	} cases[] = {
		{ STATUS(PI("up", ATTACHED)), true },
		{ STATUS(PI("up", "")), true },
		{ STATUS(PI("syncing", ATTACHED)), false },
		{ STATUS(PI("away", "")), false },
		{ STATUS(PI("up", ATTACHED "," FAILED)), false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *status = json_loads(cases[i].json, 0, NULL);

		ck_assert_int_eq(vm_status_is_complete(status), cases[i].is_complete);
	}
}
END_TEST

START_TEST(an_event_is_one_line)
{
	_cleanup_json_ json_t *event = json_loads("{\"event\":\"device\",\"pi\":\"garage\",\"device\":" ATTACHED "}", 0, NULL);
	FILE *stream = fmemopen(text, sizeof(text), "w");

	vm_status_view_print_event(event, stream);
	fclose(stream);
	ck_assert_ptr_nonnull(strstr(text, " garage 1-1.4 FT232R attached /dev/ttyUSB0\n"));
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("status view");

	tcase_add_test(tests, the_first_line_answers_whether_it_works);
	tcase_add_test(tests, a_device_stands_with_node_and_link);
	tcase_add_test(tests, what_failed_is_listed_with_its_cure);
	tcase_add_test(tests, complete_means_every_pi_and_every_device);
	tcase_add_test(tests, an_event_is_one_line);
	return check_program_run("vm_status_view", tests, NULL);
}
