/* ports.json: what a handler leaves to its successor, and what may have become of it. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "port_record.h"
#include "temp_tree.h"

#define BOOT_ID "00112233445566778899aabbccddeeff"
#define PI_ID   "0123456789abcdef0123456789abcdef"
#define OFFER                                                                                                           \
	"{\"id\":\"a-1\",\"busid\":\"1-1\",\"devid\":65538,\"speed\":12,\"vid\":1,\"pid\":2,\"bcd\":3,\"serial\":\"\"," \
	"\"manufacturer\":\"\",\"product\":\"\"}"

static struct temp_tree tree;
static struct port_record *records;
static size_t n;

static void setup(void)
{
	temp_tree_new(&tree);
	records = NULL;
}

static void teardown(void)
{
	free(records);
	temp_tree_free(&tree);
}

static int read_text(const char *text)
{
	temp_tree_put(&tree, "ports.json", text);
	return port_records_read(temp_tree_path(&tree, "ports.json"), BOOT_ID, &records, &n);
}

START_TEST(what_was_written_is_read)
{
	const struct port_record record = { .port = 3, .pi_id = PI_ID, .offer = { .id = "a-1", .busid = { "1-1" }, .devid = 65538 } };

	ck_assert_int_eq(port_records_write(temp_tree_path(&tree, "ports.json"), BOOT_ID, &record, 1), 0);
	ck_assert_int_eq(port_records_read(temp_tree_path(&tree, "ports.json"), BOOT_ID, &records, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(records[0].port, 3);
	ck_assert_str_eq(records[0].pi_id, PI_ID);
	ck_assert_str_eq(records[0].offer.id, "a-1");
}
END_TEST

START_TEST(another_boots_ports_are_nobodys)
{
	ck_assert_int_eq(read_text("{\"boot_id\":\"ffff\",\"ports\":[{\"port\":3}]}"), 0);
	ck_assert_uint_eq(n, 0);
}
END_TEST

static const char *const FOUL[] = {
	"",
	"[]",
	"{\"boot_id\":\"" BOOT_ID "\"}",
	"{\"boot_id\":\"" BOOT_ID "\",\"ports\":[{}]}",
	"{\"boot_id\":\"" BOOT_ID "\",\"ports\":[{\"port\":-1,\"pi\":\"" PI_ID "\",\"offer\":" OFFER "}]}",
	"{\"boot_id\":\"" BOOT_ID "\",\"ports\":[{\"port\":3,\"pi\":\"" PI_ID "0\",\"offer\":" OFFER "}]}",
	/* Found by fuzz_state_file: an id that is none. */
	"{\"boot_id\":\"" BOOT_ID "\",\"ports\":[{\"port\":3,\"pi\":\"012\\u0001\",\"offer\":" OFFER "}]}",
	"{\"boot_id\":\"" BOOT_ID "\",\"ports\":[{\"port\":3,\"pi\":\"" PI_ID "\",\"offer\":{}}]}",
};

START_TEST(a_file_that_makes_no_sense_is_told)
{
	ck_assert_int_eq(read_text(FOUL[_i]), -EBADMSG);
	ck_assert_uint_eq(n, 0);
	ck_assert_ptr_null(records);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("port record");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, what_was_written_is_read);
	tcase_add_test(tests, another_boots_ports_are_nobodys);
	tcase_add_loop_test(tests, a_file_that_makes_no_sense_is_told, 0, ARRAY_SIZE(FOUL));
	return check_program_run("vm_port_record", tests, NULL);
}
