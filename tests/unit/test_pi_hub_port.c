/* Whether a hub says that it switches its ports' power: descriptors as real hubs send them. */

#include "check_program.h"
#include "hub_port.h"

static bool switches(const char *bytes, size_t length)
{
	return hub_descriptor_switches_power((const uint8_t *)bytes, length);
}

START_TEST(each_port_alone_or_all_at_once_is_switching)
{
	ck_assert_msg(switches("\x09\x29\x04\xe9\x00\x32\x64\x00\xff", 9), "a Raspberry Pi 4's hub: each port (LPSM 01)");
	ck_assert_msg(switches("\x09\x29\x04\xe0\x00\x32\x64\x00\xff", 9), "all at once (LPSM 00)");
	ck_assert_msg(switches("\x0c\x2a\x04\x09\x00\x32\x64\x00\x00\x00\x00\x00", 12), "a SuperSpeed hub");
}
END_TEST

START_TEST(a_hub_without_power_switching_says_so)
{
	ck_assert(!switches("\x09\x29\x08\x0a\x00\x01\x00\x00\xff", 9)); /* LPSM 10 */
	ck_assert(!switches("\x09\x29\x04\x0b\x00\x0a\x00\x00\xff", 9)); /* LPSM 11: the same (USB 2.0 table 11-13) */
	ck_assert(!switches("\x0c\x2a\x04\x0a\x00\x32\x64\x00\x00\x00\x00\x00", 12));
}
END_TEST

START_TEST(what_is_no_hub_descriptor_promises_nothing)
{
	ck_assert(!switches("", 0));
	ck_assert(!switches("\x09\x29\x04", 3));
	ck_assert(!switches("\x12\x01\x00\x02\x09\x00\x00\x40", 8)); /* a device descriptor */
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("hub_port");

	tcase_add_test(tests, each_port_alone_or_all_at_once_is_switching);
	tcase_add_test(tests, a_hub_without_power_switching_says_so);
	tcase_add_test(tests, what_is_no_hub_descriptor_promises_nothing);
	return check_program_run("pi_hub_port", tests, NULL);
}
