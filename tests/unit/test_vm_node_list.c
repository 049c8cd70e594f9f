/* The nodes of a device, as udev tells of them. */

#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "node_list.h"

static struct node_list list;

static void setup(void)
{
	list = (struct node_list){ 0 };
}

static void teardown(void)
{
	node_list_done(&list);
}

START_TEST(by_id_links_come_first)
{
	_cleanup_json_ json_t *links = NULL;

	ck_assert(node_list_add(&list, "/dev/ttyUSB0", "/dev/serial/by-path/p  /dev/serial/by-id/i"));
	links = node_list_links_to_json(&list);
	ck_assert_str_eq(json_string_value(json_array_get(links, 0)), "/dev/serial/by-id/i");
	ck_assert_str_eq(json_string_value(json_array_get(links, 1)), "/dev/serial/by-path/p");
	ck_assert(node_list_has(&list, "/dev/serial/by-path/p"));
	ck_assert(!node_list_has(&list, "/dev/serial/by-path"));
}
END_TEST

START_TEST(a_node_that_is_told_twice_is_there_once_with_its_new_links)
{
	ck_assert(node_list_add(&list, "/dev/ttyUSB0", ""));
	ck_assert(!node_list_add(&list, "/dev/ttyUSB0", ""));
	ck_assert(node_list_add(&list, "/dev/ttyUSB0", "/dev/a"));
	ck_assert_uint_eq(list.n, 1);
	ck_assert(node_list_remove(&list, "/dev/ttyUSB0"));
	ck_assert(!node_list_remove(&list, "/dev/ttyUSB0"));
}
END_TEST

/* Found by fuzz_uevent: JSON has no such text, and the lists of nodes and links lost an entry each. */
START_TEST(what_is_no_clean_text_is_left_out)
{
	_cleanup_json_ json_t *links = NULL;

	ck_assert(!node_list_add(&list, "/dev/\xaa", ""));
	ck_assert(!node_list_add(&list, "/dev/\x1b[2J", ""));
	ck_assert(!node_list_add(&list, "", ""));
	ck_assert_uint_eq(list.n, 0);
	ck_assert(node_list_add(&list, "/dev/ttyUSB0", "/dev/\xc3 /dev/\xc3\xa4"));
	links = node_list_links_to_json(&list);
	ck_assert_uint_eq(json_array_size(links), 1);
	ck_assert_str_eq(json_string_value(json_array_get(links, 0)), "/dev/\xc3\xa4");
}
END_TEST

START_TEST(what_is_too_long_or_too_many_is_left_out)
{
	char path[MESSAGE_NODE_SIZE + 1];

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	ck_assert(!node_list_add(&list, path, ""));
	path[sizeof(path) - 2] = '\0';
	ck_assert(node_list_add(&list, path, ""));
	for (unsigned i = 1; i < MESSAGE_MAX_NODES; i++) {
		snprintf(path, sizeof(path), "/dev/ttyUSB%u", i);
		ck_assert(node_list_add(&list, path, ""));
	}
	ck_assert(!node_list_add(&list, "/dev/ttyUSB99", ""));
	ck_assert_uint_eq(list.n, MESSAGE_MAX_NODES);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("node list");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, by_id_links_come_first);
	tcase_add_test(tests, a_node_that_is_told_twice_is_there_once_with_its_new_links);
	tcase_add_test(tests, what_is_no_clean_text_is_left_out);
	tcase_add_test(tests, what_is_too_long_or_too_many_is_left_out);
	return check_program_run("vm_node_list", tests, NULL);
}
