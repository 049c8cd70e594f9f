/* What is in a device by its descriptors: foreign bytes, and what they say. */

#include <errno.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "fake_usbfs.h"
#include "usb_sample.h"
#include "usbfs_layout.h"

static struct usbfs_layout *make(const uint8_t *bytes, size_t size)
{
	struct usbfs_layout *layout = NULL;

	ck_assert_int_eq(usbfs_layout_new(bytes, size, &layout), 0);
	return layout;
}

START_TEST(an_endpoint_is_there_in_its_own_direction)
{
	struct usbfs_layout *layout = make(FAKE_USBFS_DESCRIPTORS, FAKE_USBFS_DESCRIPTORS_SIZE);

	ck_assert(usbfs_layout_has_endpoint(layout, 1, 0x81));
	ck_assert(usbfs_layout_has_endpoint(layout, 1, 0x01));
	ck_assert(usbfs_layout_has_endpoint(layout, 1, 0x83)); /* in a setting that is not the first */
	ck_assert(!usbfs_layout_has_endpoint(layout, 1, 0x03));
	ck_assert(!usbfs_layout_has_endpoint(layout, 1, 0x91)); /* no number of an endpoint */
	ck_assert(usbfs_layout_has_endpoint(layout, 1, 0x00));
	ck_assert(usbfs_layout_has_endpoint(layout, 1, 0x80));
	usbfs_layout_free(layout);
}
END_TEST

START_TEST(each_configuration_has_its_own)
{
	uint8_t bytes[512];
	struct usbfs_layout *layout;

	memcpy(bytes, FAKE_USBFS_DESCRIPTORS, FAKE_USBFS_DESCRIPTORS_SIZE);
	memcpy(bytes + FAKE_USBFS_DESCRIPTORS_SIZE,
	       "\x09\x02\x19\x00\x01\x02\x00\x80\x32\x09\x04\x05\x01\x01\xff\x00\x00\x00\x07\x05\x04\x02\x40\x00\x00", 25);
	layout = make(bytes, FAKE_USBFS_DESCRIPTORS_SIZE + 25);
	ck_assert(usbfs_layout_has_endpoint(layout, 2, 0x04));
	ck_assert(!usbfs_layout_has_endpoint(layout, 1, 0x04));
	ck_assert(!usbfs_layout_has_endpoint(layout, 2, 0x81));
	ck_assert(!usbfs_layout_has_endpoint(layout, 0, 0x81)); /* none is chosen */
	ck_assert(usbfs_layout_has_endpoint(layout, -1, 0x81)); /* which one is not known */
	ck_assert(usbfs_layout_has_setting(layout, 2, 5, 1));
	ck_assert(!usbfs_layout_has_setting(layout, 2, 5, 0));
	ck_assert(!usbfs_layout_has_setting(layout, 1, 5, 1));
	ck_assert(usbfs_layout_has_setting(layout, 1, 1, 2));
	ck_assert_int_eq(usbfs_layout_get_class(layout, 1, 1, 2), 7);
	ck_assert_int_eq(usbfs_layout_get_class(layout, 2, 5, 1), 255);
	ck_assert_int_eq(usbfs_layout_get_class(layout, 2, 1, 2), -ENOENT);
	usbfs_layout_free(layout);
}
END_TEST

START_TEST(a_packet_is_as_long_as_an_endpoint_takes_at_once)
{
	static const uint8_t more[] = {
		9, 2, 53,   0, 1,    2,    0, 0x80, 50,   9,    4,    0,    0,    4, 255,  0, 0, 0, /* configuration 2 */
		7, 5, 0x81, 1, 0x00, 0x14, 1,                                                       /* of high speed: 3 * 1024 */
		7, 5, 0x02, 1, 0x00, 0x04, 1, 6,    0x30, 2,    1,    0,    0,                      /* of SuperSpeed: 3 * 2 * 1024 */
		7, 5, 0x83, 1, 0x00, 0x04, 1, 6,    0x30, 0,    0x80, 0,    0,    8, 0x31, 0, 0, 1, 2, 3, 0, /* as many as that says */
		7, 5, 0x04, 1, 0x08, 0x00, 1, 7,    5,    0x04, 1,    0x20, 0x00, 1,                         /* the larger one */
	};
	uint8_t bytes[512];
	struct usbfs_layout *layout;

	memcpy(bytes, FAKE_USBFS_DESCRIPTORS, FAKE_USBFS_DESCRIPTORS_SIZE);
	memcpy(bytes + FAKE_USBFS_DESCRIPTORS_SIZE, more, sizeof(more));
	layout = make(bytes, FAKE_USBFS_DESCRIPTORS_SIZE + sizeof(more));
	ck_assert_uint_eq(usbfs_layout_get_packet_size(layout, 1, 0x81), 64);
	ck_assert_uint_eq(usbfs_layout_get_packet_size(layout, 2, 0x81), 3072);
	ck_assert_uint_eq(usbfs_layout_get_packet_size(layout, -1, 0x81), 3072);
	ck_assert_uint_eq(usbfs_layout_get_packet_size(layout, 2, 0x02), 6144);
	ck_assert_uint_eq(usbfs_layout_get_packet_size(layout, 2, 0x83), 0x30201);
	ck_assert_uint_eq(usbfs_layout_get_packet_size(layout, 2, 0x04), 32);
	ck_assert_uint_eq(usbfs_layout_get_packet_size(layout, 2, 0x84), 0);
	usbfs_layout_free(layout);
}
END_TEST

START_TEST(what_is_cut_or_contradicts_itself_is_no_layout)
{
	uint8_t bytes[512];
	struct usbfs_layout *layout = NULL;

	memcpy(bytes, FAKE_USBFS_DESCRIPTORS, FAKE_USBFS_DESCRIPTORS_SIZE);
	ck_assert_int_eq(usbfs_layout_new(bytes, 0, &layout), -EBADMSG);
	ck_assert_int_eq(usbfs_layout_new(bytes, 17, &layout), -EBADMSG);
	ck_assert_int_eq(usbfs_layout_new(bytes, FAKE_USBFS_DESCRIPTORS_SIZE - 1, &layout), -EBADMSG);
	bytes[18] = 0; /* a walk would not end */
	ck_assert_int_eq(usbfs_layout_new(bytes, FAKE_USBFS_DESCRIPTORS_SIZE, &layout), -EBADMSG);
	bytes[18] = 1;
	ck_assert_int_eq(usbfs_layout_new(bytes, FAKE_USBFS_DESCRIPTORS_SIZE, &layout), -EBADMSG);
	ck_assert_ptr_null(layout);
}
END_TEST

START_TEST(descriptors_that_are_shorter_than_their_kind_say_nothing)
{
	uint8_t bytes[512];
	struct usbfs_layout *layout;

	memcpy(bytes, FAKE_USBFS_DESCRIPTORS, 18 + 9);
	memcpy(bytes + 27, "\x03\x05\x81\x03\x04\x07\x02\x02", 8);
	layout = make(bytes, 27 + 8);
	ck_assert(!usbfs_layout_has_endpoint(layout, 1, 0x81));
	ck_assert(!usbfs_layout_has_setting(layout, 1, 7, 0));
	usbfs_layout_free(layout);
}
END_TEST

START_TEST(a_boards_layout_is_what_its_descriptors_say)
{
	uint8_t bytes[512];
	struct usbfs_layout *layout = make(bytes, usb_sample_compose(&FT232R, bytes, sizeof(bytes)));

	ck_assert(usbfs_layout_has_setting(layout, 1, 0, 0));
	ck_assert(!usbfs_layout_has_setting(layout, 1, 0, 1));
	usbfs_layout_free(layout);
}
END_TEST

int main(void)
{
	TCase *layout = tcase_create("layout");

	tcase_add_test(layout, an_endpoint_is_there_in_its_own_direction);
	tcase_add_test(layout, each_configuration_has_its_own);
	tcase_add_test(layout, a_packet_is_as_long_as_an_endpoint_takes_at_once);
	tcase_add_test(layout, what_is_cut_or_contradicts_itself_is_no_layout);
	tcase_add_test(layout, descriptors_that_are_shorter_than_their_kind_say_nothing);
	tcase_add_test(layout, a_boards_layout_is_what_its_descriptors_say);
	return check_program_run("pi_usbfs_layout", layout, NULL);
}
