/* What a device's descriptors name, also when they lie. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "descriptor.h"
#include "temp_tree.h"
#include "usb_sample.h"

/* As read from the devices' sysfs files. */
static const uint8_t FT232R_BYTES[] = {
	0x12, 0x01, 0x00, 0x02, 0x00, 0x00, 0x00, 0x08, 0x03, 0x04, 0x01, 0x60, 0x00, 0x06, 0x01, 0x02, 0x03,
	0x01, 0x09, 0x02, 0x20, 0x00, 0x01, 0x01, 0x00, 0xa0, 0x2d, 0x09, 0x04, 0x00, 0x00, 0x02, 0xff, 0xff,
	0xff, 0x02, 0x07, 0x05, 0x81, 0x02, 0x40, 0x00, 0x00, 0x07, 0x05, 0x02, 0x02, 0x40, 0x00, 0x00,
};

static const uint8_t ESP32_S3_BYTES[] = {
	0x12, 0x01, 0x00, 0x02, 0xef, 0x02, 0x01, 0x40, 0x3a, 0x30, 0x01, 0x10, 0x01, 0x01, 0x01, 0x02, 0x03, 0x01, 0x09, 0x02,
	0x62, 0x00, 0x03, 0x01, 0x00, 0xc0, 0xfa, 0x08, 0x0b, 0x00, 0x02, 0x02, 0x02, 0x00, 0x00, 0x09, 0x04, 0x00, 0x00, 0x01,
	0x02, 0x02, 0x00, 0x00, 0x05, 0x24, 0x00, 0x10, 0x01, 0x04, 0x24, 0x02, 0x02, 0x05, 0x24, 0x06, 0x00, 0x01, 0x05, 0x24,
	0x01, 0x00, 0x01, 0x07, 0x05, 0x82, 0x03, 0x40, 0x00, 0x01, 0x09, 0x04, 0x01, 0x00, 0x02, 0x0a, 0x02, 0x00, 0x00, 0x07,
	0x05, 0x01, 0x02, 0x40, 0x00, 0x01, 0x07, 0x05, 0x81, 0x02, 0x40, 0x00, 0x01, 0x09, 0x04, 0x02, 0x00, 0x02, 0xff, 0xff,
	0x01, 0x00, 0x07, 0x05, 0x02, 0x02, 0x40, 0x00, 0x01, 0x07, 0x05, 0x83, 0x02, 0x40, 0x00, 0x01,
};

static const uint8_t HUB_BYTES[] = {
	0x12, 0x01, 0x10, 0x02, 0x09, 0x00, 0x01, 0x40, 0x09, 0x21, 0x31, 0x34, 0x21, 0x04, 0x00, 0x01, 0x00, 0x01, 0x09, 0x02, 0x19, 0x00,
	0x01, 0x01, 0x00, 0xe0, 0x00, 0x09, 0x04, 0x00, 0x00, 0x01, 0x09, 0x00, 0x00, 0x00, 0x07, 0x05, 0x81, 0x03, 0x01, 0x00, 0x0c,
};

static struct descriptors found;

START_TEST(an_ft232r_is_one_vendor_specific_interface)
{
	ck_assert_int_eq(descriptors_parse(FT232R_BYTES, sizeof(FT232R_BYTES), &found), 0);
	ck_assert_uint_eq(found.vid, 0x0403);
	ck_assert_uint_eq(found.pid, 0x6001);
	ck_assert_uint_eq(found.bcd_device, 0x0600);
	ck_assert_uint_eq(found.class, 0);
	ck_assert_uint_eq(found.n_interfaces, 1);
	ck_assert_uint_eq(found.interfaces[0].class, 0xff);
	ck_assert_uint_eq(found.interfaces[0].protocol, 0xff);
}
END_TEST

START_TEST(a_cdc_acm_composite_has_its_interfaces_in_order)
{
	ck_assert_int_eq(descriptors_parse(ESP32_S3_BYTES, sizeof(ESP32_S3_BYTES), &found), 0);
	ck_assert_uint_eq(found.class, 0xef);
	ck_assert_uint_eq(found.n_interfaces, 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(found.interfaces[i].number, i);
	ck_assert_uint_eq(found.interfaces[0].class, 0x02);
	ck_assert_uint_eq(found.interfaces[0].subclass, 0x02);
	ck_assert_uint_eq(found.interfaces[1].class, 0x0a);
	ck_assert_uint_eq(found.interfaces[2].class, 0xff);
}
END_TEST

START_TEST(a_hub_says_so_in_its_device_class)
{
	ck_assert_int_eq(descriptors_parse(HUB_BYTES, sizeof(HUB_BYTES), &found), 0);
	ck_assert_uint_eq(found.class, 0x09);
}
END_TEST

START_TEST(a_composed_sample_reads_back_as_it_was_meant)
{
	usb_sample_parse(&ECM_MODEM, &found);
	ck_assert_uint_eq(found.vid, ECM_MODEM.vid);
	ck_assert_uint_eq(found.n_interfaces, ECM_MODEM.n_interfaces);
	ck_assert_mem_eq(found.interfaces, ECM_MODEM.interfaces, sizeof(ECM_MODEM.interfaces[0]) * ECM_MODEM.n_interfaces);
}
END_TEST

/* Whether a cut at size is between two descriptors, where what is left makes sense. */
static bool is_border(const uint8_t *bytes, size_t size)
{
	size_t at = 0;

	while (at < size)
		at += bytes[at];
	return at == size && at >= 18;
}

START_TEST(descriptors_cut_anywhere_else_than_at_a_border_are_refused)
{
	for (size_t size = 0; size < sizeof(ESP32_S3_BYTES); size++) {
		/* an allocation of exactly that size: ASan sees a read beyond it */
		_cleanup_free_ uint8_t *cut = malloc(size ? size : 1);
		int expected = is_border(ESP32_S3_BYTES, size) ? 0 : -EBADMSG;

		ck_assert_ptr_nonnull(cut);
		memcpy(cut, ESP32_S3_BYTES, size);
		ck_assert_msg(descriptors_parse(cut, size, &found) == expected, "%zu bytes", size);
	}
}
END_TEST

START_TEST(a_descriptor_of_no_length_ends_the_reading)
{
	uint8_t bytes[sizeof(FT232R_BYTES)];

	for (uint8_t length = 0; length < 2; length++) {
		memcpy(bytes, FT232R_BYTES, sizeof(bytes));
		bytes[27] = length;
		ck_assert_int_eq(descriptors_parse(bytes, sizeof(bytes), &found), -EBADMSG);
	}
}
END_TEST

START_TEST(an_interface_shorter_than_an_interface_is_refused)
{
	uint8_t bytes[18 + 8] = { 0 };

	memcpy(bytes, FT232R_BYTES, 18);
	bytes[18] = 8;
	bytes[19] = 4;
	ck_assert_int_eq(descriptors_parse(bytes, sizeof(bytes), &found), -EBADMSG);
}
END_TEST

START_TEST(what_does_not_begin_with_a_device_is_refused)
{
	uint8_t bytes[sizeof(FT232R_BYTES)];

	memcpy(bytes, FT232R_BYTES, sizeof(bytes));
	bytes[0] = 17;
	ck_assert_int_eq(descriptors_parse(bytes, sizeof(bytes), &found), -EBADMSG);
	bytes[0] = 18;
	bytes[1] = 2;
	ck_assert_int_eq(descriptors_parse(bytes, sizeof(bytes), &found), -EBADMSG);
}
END_TEST

/* A device with n interfaces, no two of them alike, in buffer; its size. */
static size_t compose_interfaces(uint8_t *buffer, size_t n)
{
	memcpy(buffer, FT232R_BYTES, 18);
	for (size_t i = 0; i < n; i++)
		memcpy(buffer + 18 + 9 * i, (const uint8_t[]){ 9, 4, (uint8_t)i, 0, 0, 0x0e, 1, (uint8_t)(i >> 8), 0 }, 9);
	return 18 + 9 * n;
}

#define SETTINGS      30
#define EXTRA         100 /* bytes of a descriptor of its class behind each setting */
#define SETTINGS_SIZE (18 + 9 + 2 * SETTINGS * (9 + EXTRA))

/* A configuration of two interfaces with 30 settings each, as a webcam with a microphone has it. */
static void compose_settings(uint8_t buffer[static SETTINGS_SIZE])
{
	uint8_t *at = buffer + 18 + 9;

	memset(buffer, 0, SETTINGS_SIZE);
	memcpy(buffer, FT232R_BYTES, 18);
	memcpy(buffer + 18, (const uint8_t[]){ 9, 2, (SETTINGS_SIZE - 18) & 0xff, (SETTINGS_SIZE - 18) >> 8, 2, 1, 0, 0x80, 50 }, 9);
	for (size_t i = 0; i < 2 * SETTINGS; i++, at += 9 + EXTRA) {
		const uint8_t number = i / SETTINGS, class = number ? 0x01 : 0x0e;

		memcpy(at, (const uint8_t[]){ 9, 4, number, (uint8_t)(i % SETTINGS), 1, class, 2, 0, 0 }, 9);
		memcpy(at + 9, (const uint8_t[]){ EXTRA, 0x24 }, 2);
	}
}

START_TEST(settings_of_one_interface_are_one)
{
	uint8_t bytes[SETTINGS_SIZE];
	struct temp_tree tree;

	compose_settings(bytes);
	temp_tree_new(&tree);
	temp_tree_put_bytes(&tree, "descriptors", bytes, sizeof(bytes));
	ck_assert_int_eq(descriptors_read(tree.fd, &found), 0);
	ck_assert_uint_eq(found.n_interfaces, 2);
	ck_assert_uint_eq(found.interfaces[0].class, 0x0e);
	ck_assert_uint_eq(found.interfaces[1].class, 0x01);
	ck_assert_uint_eq(found.interfaces[1].number, 1);
	temp_tree_free(&tree);
}
END_TEST

START_TEST(a_setting_of_another_kind_is_told_too)
{
	uint8_t bytes[SETTINGS_SIZE];

	compose_settings(bytes);
	bytes[sizeof(bytes) - EXTRA - 4] = 0x03; /* the last one's class: a keyboard's */
	ck_assert_int_eq(descriptors_parse(bytes, sizeof(bytes), &found), 0);
	ck_assert_uint_eq(found.n_interfaces, 3);
	ck_assert_uint_eq(found.interfaces[2].number, 1);
	ck_assert_uint_eq(found.interfaces[2].class, 0x03);
}
END_TEST

START_TEST(as_many_interfaces_as_fit_are_taken_and_one_more_is_refused)
{
	uint8_t bytes[18 + 9 * (DESCRIPTOR_MAX_INTERFACES + 1)];

	ck_assert_int_eq(descriptors_parse(bytes, compose_interfaces(bytes, DESCRIPTOR_MAX_INTERFACES), &found), 0);
	ck_assert_uint_eq(found.n_interfaces, DESCRIPTOR_MAX_INTERFACES);
	ck_assert_int_eq(descriptors_parse(bytes, compose_interfaces(bytes, DESCRIPTOR_MAX_INTERFACES + 1), &found), -E2BIG);
}
END_TEST

START_TEST(a_refusal_leaves_the_result_untouched)
{
	found.vid = 0x1234;
	ck_assert_int_eq(descriptors_parse(FT232R_BYTES, sizeof(FT232R_BYTES) - 1, &found), -EBADMSG);
	ck_assert_uint_eq(found.vid, 0x1234);
}
END_TEST

START_TEST(random_bytes_never_read_beyond_their_end)
{
	unsigned seed = (unsigned)_i;

	for (unsigned round = 0; round < 2000; round++) {
		size_t size = 18 + (size_t)rand_r(&seed) % 60;
		_cleanup_free_ uint8_t *bytes = malloc(size);

		ck_assert_ptr_nonnull(bytes);
		memcpy(bytes, FT232R_BYTES, 18);
		for (size_t i = 18; i < size; i++)
			bytes[i] = (uint8_t)(rand_r(&seed) % 12);
		if (descriptors_parse(bytes, size, &found) == 0)
			ck_assert_uint_le(found.n_interfaces, DESCRIPTOR_MAX_INTERFACES);
	}
}
END_TEST

START_TEST(the_modalias_is_the_kernels)
{
	char modalias[128];

	ck_assert_int_eq(descriptors_parse(FT232R_BYTES, sizeof(FT232R_BYTES), &found), 0);
	ck_assert_int_gt(descriptors_modalias(&found, &found.interfaces[0], modalias, sizeof(modalias)), 0);
	ck_assert_str_eq(modalias, "usb:v0403p6001d0600dc00dsc00dp00icFFiscFFipFFin00");
}
END_TEST

START_TEST(a_modalias_that_does_not_fit_is_told)
{
	char modalias[32];

	ck_assert_int_eq(descriptors_parse(FT232R_BYTES, sizeof(FT232R_BYTES), &found), 0);
	ck_assert_int_eq(descriptors_modalias(&found, &found.interfaces[0], modalias, sizeof(modalias)), -ENOSPC);
}
END_TEST

START_TEST(a_devices_directory_gives_its_descriptors)
{
	struct temp_tree tree;

	temp_tree_new(&tree);
	ck_assert_int_eq(descriptors_read(tree.fd, &found), -ENOENT);
	temp_tree_put_bytes(&tree, "descriptors", ESP32_S3_BYTES, sizeof(ESP32_S3_BYTES));
	ck_assert_int_eq(descriptors_read(tree.fd, &found), 0);
	ck_assert_uint_eq(found.pid, 0x1001);
	temp_tree_free(&tree);
}
END_TEST

START_TEST(descriptors_without_end_are_refused)
{
	_cleanup_free_ uint8_t *bytes = calloc(1, DESCRIPTOR_MAX_SIZE + 1);
	struct temp_tree tree;

	ck_assert_ptr_nonnull(bytes);
	temp_tree_new(&tree);
	memcpy(bytes, FT232R_BYTES, sizeof(FT232R_BYTES));
	temp_tree_put_bytes(&tree, "descriptors", bytes, DESCRIPTOR_MAX_SIZE + 1);
	ck_assert_int_eq(descriptors_read(tree.fd, &found), -E2BIG);
	temp_tree_free(&tree);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("descriptor");

	tcase_add_test(tests, an_ft232r_is_one_vendor_specific_interface);
	tcase_add_test(tests, a_cdc_acm_composite_has_its_interfaces_in_order);
	tcase_add_test(tests, a_hub_says_so_in_its_device_class);
	tcase_add_test(tests, a_composed_sample_reads_back_as_it_was_meant);
	tcase_add_test(tests, descriptors_cut_anywhere_else_than_at_a_border_are_refused);
	tcase_add_test(tests, a_descriptor_of_no_length_ends_the_reading);
	tcase_add_test(tests, an_interface_shorter_than_an_interface_is_refused);
	tcase_add_test(tests, what_does_not_begin_with_a_device_is_refused);
	tcase_add_test(tests, settings_of_one_interface_are_one);
	tcase_add_test(tests, a_setting_of_another_kind_is_told_too);
	tcase_add_test(tests, as_many_interfaces_as_fit_are_taken_and_one_more_is_refused);
	tcase_add_test(tests, a_refusal_leaves_the_result_untouched);
	tcase_add_loop_test(tests, random_bytes_never_read_beyond_their_end, 1, 6);
	tcase_add_test(tests, the_modalias_is_the_kernels);
	tcase_add_test(tests, a_modalias_that_does_not_fit_is_told);
	tcase_add_test(tests, a_devices_directory_gives_its_descriptors);
	tcase_add_test(tests, descriptors_without_end_are_refused);
	return check_program_run("common_descriptor", tests, NULL);
}
