/* USB/IP on TCP, byte by byte, as the kernel's own tools have it. */

#include <errno.h>
#include <string.h>

#include "check_program.h"
#include "usbip_wire.h"

static const struct usbip_device DEVICE = {
	.path = "/sys/devices/platform/soc/usb1/1-1/1-1.4",
	.busid = { "1-1.4" },
	.busnum = 1,
	.devnum = 0x0107,
	.speed = 2,
	.vid = 0x0403,
	.pid = 0x6001,
	.bcd = 0x0600,
	.class = 0xef,
	.subclass = 0x02,
	.protocol = 0x01,
	.configuration = 1,
	.n_configurations = 2,
	.n_interfaces = 2,
	.interfaces = { { 0, 0xff, 0x42, 0x01 }, { 1, 0x0a, 0x00, 0x00 } },
};

START_TEST(a_header_is_version_code_status)
{
	static const uint8_t expected[] = { 0x01, 0x11, 0x80, 0x05, 0x00, 0x00, 0x00, 0x04 };
	const struct usbip_header header = { USBIP_VERSION, USBIP_REQUEST | USBIP_DEVLIST, USBIP_NO_DEVICE };
	struct usbip_header back;
	uint8_t bytes[USBIP_HEADER_SIZE];

	usbip_header_encode(&header, bytes);
	ck_assert_mem_eq(bytes, expected, sizeof(expected));
	usbip_header_decode(bytes, &back);
	ck_assert_uint_eq(back.version, 0x0111);
	ck_assert_uint_eq(back.code, 0x8005);
	ck_assert_uint_eq(back.status, 4);
}
END_TEST

START_TEST(a_request_is_forty_bytes)
{
	uint8_t bytes[USBIP_REQUEST_SIZE], expected[40] = { 0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0, '1', '-', '1', '.', '4' };
	struct busid busid;

	ck_assert_uint_eq(sizeof(bytes), sizeof(expected));
	memset(bytes, 0xaa, sizeof(bytes));
	usbip_request_encode(&DEVICE.busid, bytes);
	ck_assert_mem_eq(bytes, expected, sizeof(expected));
	ck_assert_int_eq(usbip_busid_decode(bytes + USBIP_HEADER_SIZE, &busid), 0);
	ck_assert_str_eq(busid.text, "1-1.4");
}
END_TEST

static const char BAD_BUSIDS[][32] = {
	"", "usb1", "1-1:1.0", "../1-1", "1-1/..", "1-1\n", "1", "0-1", { [0 ... 31] = '1' },
};

START_TEST(what_is_no_bus_id_is_refused)
{
	struct busid busid = { "untouched" };

	ck_assert_int_eq(usbip_busid_decode((const uint8_t *)BAD_BUSIDS[_i], &busid), -EINVAL);
	ck_assert_str_eq(busid.text, "untouched");
}
END_TEST

START_TEST(a_device_is_three_hundred_and_twelve_bytes)
{
	static const uint8_t numbers[] = {
		0, 0, 0, 1, 0, 0, 0x01, 0x07, 0, 0, 0, 2, 0x04, 0x03, 0x60, 0x01, 0x06, 0x00, 0xef, 2, 1, 1, 2, 2
	};
	uint8_t bytes[USBIP_DEVICE_SIZE];

	memset(bytes, 0xaa, sizeof(bytes));
	usbip_device_encode(&DEVICE, bytes);
	ck_assert_uint_eq(sizeof(bytes), 312);
	ck_assert_str_eq((char *)bytes, DEVICE.path);
	for (size_t i = strlen(DEVICE.path); i < 256; i++)
		ck_assert_uint_eq(bytes[i], 0);
	ck_assert_str_eq((char *)bytes + 256, "1-1.4");
	for (size_t i = 256 + 5; i < 288; i++)
		ck_assert_uint_eq(bytes[i], 0);
	ck_assert_mem_eq(bytes + 288, numbers, sizeof(numbers));
}
END_TEST

START_TEST(a_device_comes_back_as_it_went)
{
	uint8_t bytes[USBIP_DEVICE_SIZE];
	struct usbip_device back;

	usbip_device_encode(&DEVICE, bytes);
	ck_assert_int_eq(usbip_device_decode(bytes, &back), 0);
	ck_assert_str_eq(back.path, DEVICE.path);
	ck_assert(busid_equal(&back.busid, &DEVICE.busid));
	ck_assert_uint_eq(back.busnum << 16 | back.devnum, 1 << 16 | 0x107);
	ck_assert_uint_eq(back.speed, 2);
	ck_assert_uint_eq(back.vid, 0x0403);
	ck_assert_uint_eq(back.pid, 0x6001);
	ck_assert_uint_eq(back.bcd, 0x0600);
	ck_assert_uint_eq(back.class, 0xef);
	ck_assert_uint_eq(back.n_configurations, 2);
	ck_assert_uint_eq(back.n_interfaces, 2);
}
END_TEST

START_TEST(a_device_with_a_path_without_end_or_no_bus_id_is_none)
{
	uint8_t bytes[USBIP_DEVICE_SIZE];
	struct usbip_device back = { .vid = 7 };

	usbip_device_encode(&DEVICE, bytes);
	memset(bytes, 'a', 256);
	ck_assert_int_eq(usbip_device_decode(bytes, &back), -EBADMSG);
	usbip_device_encode(&DEVICE, bytes);
	memset(bytes + 256, '1', 32);
	ck_assert_int_eq(usbip_device_decode(bytes, &back), -EBADMSG);
	memset(bytes + 256, 0, 32);
	ck_assert_int_eq(usbip_device_decode(bytes, &back), -EBADMSG);
	ck_assert_uint_eq(back.vid, 7);
}
END_TEST

START_TEST(a_path_that_is_too_long_is_cut_and_ended)
{
	struct usbip_device device = DEVICE;
	uint8_t bytes[USBIP_DEVICE_SIZE];

	memset(device.path, 'x', sizeof(device.path));
	usbip_device_encode(&device, bytes);
	ck_assert_uint_eq(bytes[254], 'x');
	ck_assert_uint_eq(bytes[255], 0);
}
END_TEST

START_TEST(interfaces_are_four_bytes_each)
{
	static const uint8_t expected[] = { 0xff, 0x42, 0x01, 0, 0x0a, 0, 0, 0 };
	uint8_t bytes[8], count[USBIP_COUNT_SIZE];
	static const uint8_t three_hundred[] = { 0, 0, 1, 0x2c };

	usbip_interfaces_encode(&DEVICE, bytes);
	ck_assert_mem_eq(bytes, expected, sizeof(expected));
	usbip_count_encode(300, count);
	ck_assert_mem_eq(count, three_hundred, sizeof(count));
}
END_TEST

START_TEST(speeds_are_the_kernels_numbers)
{
	static const uint32_t pairs[][2] = {
		{ 1, 1 }, { 12, 2 }, { 480, 3 }, { 5000, 5 }, { 10000, 5 }, { 20000, 5 }, { 0, 0 }, { 53, 0 }
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		ck_assert_uint_eq(usbip_speed_from_mbit(pairs[i][0]), pairs[i][1]);
}
END_TEST

START_TEST(every_status_has_words)
{
	for (uint32_t i = 0; i < 10; i++)
		ck_assert_str_ne(usbip_status_to_string(i), "");
	ck_assert_str_ne(usbip_status_to_string(UINT32_MAX), "");
}
END_TEST

int main(void)
{
	TCase *wire = tcase_create("wire");

	tcase_add_test(wire, a_header_is_version_code_status);
	tcase_add_test(wire, a_request_is_forty_bytes);
	tcase_add_loop_test(wire, what_is_no_bus_id_is_refused, 0, sizeof(BAD_BUSIDS) / sizeof(BAD_BUSIDS[0]));
	tcase_add_test(wire, a_device_is_three_hundred_and_twelve_bytes);
	tcase_add_test(wire, a_device_comes_back_as_it_went);
	tcase_add_test(wire, a_device_with_a_path_without_end_or_no_bus_id_is_none);
	tcase_add_test(wire, a_path_that_is_too_long_is_cut_and_ended);
	tcase_add_test(wire, interfaces_are_four_bytes_each);
	tcase_add_test(wire, speeds_are_the_kernels_numbers);
	tcase_add_test(wire, every_status_has_words);
	return check_program_run("usbip_wire", wire, NULL);
}
