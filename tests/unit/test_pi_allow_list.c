/* Who may import devices on the direct road. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "allow_list.h"
#include "check_program.h"

static struct sockaddr_storage address(const char *text, uint32_t scope)
{
	struct sockaddr_storage storage = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		storage.ss_family = AF_INET;
		return storage;
	}
	memset(&storage, 0, sizeof(storage));
	ck_assert_int_eq(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
	v6->sin6_family = AF_INET6;
	v6->sin6_scope_id = scope;
	return storage;
}

static const struct {
	const char *entry, *address;
	bool has;
} CASES[] = {
	{ "192.168.1.7", "192.168.1.7", true },
	{ "192.168.1.7", "::ffff:192.168.1.7", true }, /* as a dual-stack listener sees it */
	{ "192.168.1.7", "192.168.1.8", false },
	{ "192.168.1.7", "192.168.1.6", false },
	{ "192.168.1.7/32", "192.168.1.7", true },
	{ "10.0.0.0/8", "10.255.255.255", true },
	{ "10.0.0.0/8", "11.0.0.0", false },
	{ "10.0.0.0/8", "::ffff:10.1.2.3", true },
	{ "192.168.4.0/22", "192.168.7.255", true },
	{ "192.168.4.0/22", "192.168.8.0", false },
	{ "192.168.4.0/22", "192.168.3.255", false },
	{ "0.0.0.0/0", "8.8.8.8", true },
	{ "0.0.0.0/0", "2001:db8::1", false },
	{ "::/0", "2001:db8::1", true },
	{ "::/0", "8.8.8.8", false },
	{ "::/0", "::ffff:8.8.8.8", false },
	{ "2001:db8::/32", "2001:db8:ffff::1", true },
	{ "2001:db8::/32", "2001:db9::1", false },
	{ "2001:db8::1", "2001:db8::1", true },
	{ "2001:db8::1", "2001:db8::2", false },
	{ "2001:db8:8000::/33", "2001:db8:8001::", true },
	{ "2001:db8:8000::/33", "2001:db8:7fff::", false },
	{ "fe80::1", "fe80::1", true },
	{ "::ffff:10.0.0.1", "10.0.0.1", true },
};

START_TEST(a_prefix_has_its_addresses_and_no_other)
{
	struct sockaddr_storage peer = address(CASES[_i].address, 0);
	struct allow_entry entry;

	ck_assert_int_eq(allow_entry_parse(CASES[_i].entry, &entry), 0);
	ck_assert_msg(allow_entry_has(&entry, &peer) == CASES[_i].has, "%s, %s", CASES[_i].entry, CASES[_i].address);
}
END_TEST

static const char *const BAD[] = {
	"",
	"/8",
	"vm.local",
	"192.168.1",
	"192.168.1.256",
	"192.168.1.7/33",
	"192.168.1.7/-1",
	"192.168.1.7/",
	"192.168.1.7/8x",
	"192.168.1.7/ 8",
	"192.168.1.7/255.0.0.0",
	"10.0.0.1/8", /* bits behind the prefix */
	"2001:db8::1/32",
	"2001:db8::/129",
	"2001:db8",
	"::1::",
	"fe80::1%nosuchinterface",
	"fe80::1%",
	"192.168.1.7%lo",
	"10.0.0.0/0000008",
	"1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111",
};

START_TEST(what_is_no_address_is_refused)
{
	struct allow_entry entry = { .n_bits = 7 };

	ck_assert_msg(allow_entry_parse(BAD[_i], &entry) == -EINVAL, "%s", BAD[_i]);
	ck_assert_uint_eq(entry.n_bits, 7);
}
END_TEST

START_TEST(a_scope_is_part_of_an_address)
{
	struct sockaddr_storage here = address("fe80::1", 1), there = address("fe80::1", 2);
	struct allow_entry entry;

	ck_assert_int_eq(allow_entry_parse("fe80::1%lo", &entry), 0);
	ck_assert_uint_eq(entry.scope, 1);
	ck_assert(allow_entry_has(&entry, &here));
	ck_assert(!allow_entry_has(&entry, &there));
	ck_assert_int_eq(allow_entry_parse("fe80::1%2", &entry), 0);
	ck_assert(allow_entry_has(&entry, &there));
}
END_TEST

START_TEST(a_list_may_have_commas_and_blanks)
{
	struct sockaddr_storage a = address("10.1.1.1", 0), b = address("192.168.1.7", 0), c = address("192.168.1.8", 0);
	struct allow_list list;

	ck_assert_int_eq(allow_list_parse(" 10.0.0.0/8,192.168.1.7 ,\t2001:db8::/32, ", &list), 0);
	ck_assert_uint_eq(list.n, 3);
	ck_assert(allow_list_has(&list, &a));
	ck_assert(allow_list_has(&list, &b));
	ck_assert(!allow_list_has(&list, &c));
	ck_assert_int_eq(allow_list_parse("", &list), 0);
	ck_assert_uint_eq(list.n, 0);
	ck_assert(!allow_list_has(&list, &a));
}
END_TEST

START_TEST(a_list_with_a_mistake_or_too_many_is_none)
{
	struct allow_list list = { .n = 1 };
	char many[33 * 9 + 1] = "";

	ck_assert_int_eq(allow_list_parse("10.0.0.0/8, vm", &list), -EINVAL);
	for (int i = 0; i < 33; i++)
		strcat(many, "10.0.0.1,");
	ck_assert_int_eq(allow_list_parse(many, &list), -E2BIG);
	many[32 * 9] = '\0';
	ck_assert_uint_eq(list.n, 1);
	ck_assert_int_eq(allow_list_parse(many, &list), 0);
	ck_assert_uint_eq(list.n, 32);
}
END_TEST

START_TEST(nobody_without_an_internet_address_is_in_it)
{
	struct sockaddr_storage local = { .ss_family = AF_UNIX };
	struct allow_entry all;

	ck_assert_int_eq(allow_entry_parse("0.0.0.0/0", &all), 0);
	ck_assert(!allow_entry_has(&all, &local));
	ck_assert_int_eq(allow_entry_parse("::/0", &all), 0);
	ck_assert(!allow_entry_has(&all, &local));
}
END_TEST

int main(void)
{
	TCase *list = tcase_create("allow list");

	tcase_add_loop_test(list, a_prefix_has_its_addresses_and_no_other, 0, sizeof(CASES) / sizeof(CASES[0]));
	tcase_add_loop_test(list, what_is_no_address_is_refused, 0, sizeof(BAD) / sizeof(BAD[0]));
	tcase_add_test(list, a_scope_is_part_of_an_address);
	tcase_add_test(list, a_list_may_have_commas_and_blanks);
	tcase_add_test(list, a_list_with_a_mistake_or_too_many_is_none);
	tcase_add_test(list, nobody_without_an_internet_address_is_in_it);
	return check_program_run("allow_list", list, NULL);
}
