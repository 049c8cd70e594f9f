/* What a device says it is: read, compared, sent, and made safe to show. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "identity.h"
#include "temp_tree.h"

static const struct identity FTDI = {
	.vid = 0x0403,
	.pid = 0x6001,
	.bcd_device = 0x0600,
	.serial = "A50285BI",
	.manufacturer = "FTDI",
	.product = "FT232R USB UART",
};

/* ---- hostile strings ---- */

static const struct {
	const char *said, *shown;
} STRINGS[] = {
	{ "FT232R USB UART", "FT232R USB UART" },
	{ "", "" },
	{ "Gerät №5 – 変換 🔌", "Gerät №5 – 変換 🔌" },
	{ "a\nb\tc\rd", "a?b?c?d" },
	{ "\033[2Jboo", "?[2Jboo" },
	{ "del\x7f", "del?" },
	{ "c1 \xc2\x9b"
	  "2J",
	  "c1 ??2J" },              /* CSI as one C1 control */
	{ "\xc2\xa0", "\xc2\xa0" }, /* the first that is none */
	{ "\xff\xfe", "??" },       /* never in UTF-8 */
	{ "\xc3", "?" },            /* cut off */
	{ "\xc3(", "?(" },          /* the second byte is none */
	{ "\xe2\x82", "??" },
	{ "\xf0\x9f\x94", "???" },
	{ "\x80 alone", "? alone" },
	{ "\xc0\xaf", "??" }, /* overlong '/' */
	{ "\xe0\x80\xaf", "???" },
	{ "\xf0\x80\x80\xaf", "????" },
	{ "\xed\xa0\x80", "???" },                    /* a surrogate */
	{ "\xf4\x90\x80\x80", "????" },               /* above U+10FFFF */
	{ "\xf8\x88\x80\x80\x80", "?????" },          /* five bytes */
	{ "<script>'\";$(rm)", "<script>'\";$(rm)" }, /* plain text: who shows it escapes it */
};

START_TEST(a_string_is_shown_without_what_a_terminal_obeys)
{
	char shown[64];

	identity_clean_string(STRINGS[_i].said, shown, sizeof(shown));
	ck_assert_str_eq(shown, STRINGS[_i].shown);
}
END_TEST

START_TEST(cleaning_twice_changes_nothing_more)
{
	char once[64], twice[64];

	identity_clean_string(STRINGS[_i].said, once, sizeof(once));
	identity_clean_string(once, twice, sizeof(twice));
	ck_assert_str_eq(once, twice);
}
END_TEST

START_TEST(what_does_not_fit_is_cut_between_two_characters)
{
	for (size_t size = 1; size <= 8; size++) {
		_cleanup_free_ char *shown = malloc(size);

		ck_assert_ptr_nonnull(shown);
		identity_clean_string("aäb変", shown, size);
		ck_assert_uint_lt(strlen(shown), size);
		ck_assert_msg(strcmp(shown, "") == 0 || strcmp(shown, "a") == 0 || strcmp(shown, "aä") == 0 || strcmp(shown, "aäb") == 0 ||
				      strcmp(shown, "aäb変") == 0,
			      "\"%s\" in %zu bytes", shown, size);
	}
}
END_TEST

START_TEST(random_bytes_become_text_that_json_takes)
{
	unsigned seed = (unsigned)_i;

	for (unsigned round = 0; round < 500; round++) {
		char said[40], shown[40];
		json_t *text;

		for (size_t i = 0; i < sizeof(said) - 1; i++)
			said[i] = (char)(rand_r(&seed) % 255 + 1);
		said[sizeof(said) - 1] = '\0';
		identity_clean_string(said, shown, sizeof(shown));
		text = json_string(shown);
		ck_assert_ptr_nonnull(text);
		json_decref(text);
	}
}
END_TEST

/* ---- reading from sysfs ---- */

static struct temp_tree tree;

static void put_device(void)
{
	temp_tree_new(&tree);
	temp_tree_put(&tree, "idVendor", "0403\n");
	temp_tree_put(&tree, "idProduct", "6001\n");
	temp_tree_put(&tree, "bcdDevice", "0600\n");
	temp_tree_put(&tree, "serial", "A50285BI\n");
	temp_tree_put(&tree, "manufacturer", "FTDI\n");
	temp_tree_put(&tree, "product", "FT232R USB UART\n");
}

static void remove_device(void)
{
	temp_tree_free(&tree);
}

START_TEST(a_device_is_read_from_its_directory)
{
	struct identity identity;

	ck_assert_int_eq(identity_read(tree.fd, &identity), 0);
	ck_assert(identity_equal(&FTDI, &identity, NULL, 0));
}
END_TEST

START_TEST(a_device_without_strings_has_empty_ones)
{
	struct identity identity;

	temp_tree_remove(&tree, "serial");
	temp_tree_remove(&tree, "manufacturer");
	temp_tree_remove(&tree, "product");
	ck_assert_int_eq(identity_read(tree.fd, &identity), 0);
	ck_assert_str_eq(identity.serial, "");
	ck_assert_str_eq(identity.product, "");
}
END_TEST

START_TEST(a_device_that_went_away_is_told_and_nothing_written)
{
	struct identity identity = { .vid = 0x1234 };

	temp_tree_remove(&tree, "bcdDevice");
	ck_assert_int_eq(identity_read(tree.fd, &identity), -ENOENT);
	ck_assert_uint_eq(identity.vid, 0x1234);
}
END_TEST

START_TEST(ids_are_hexadecimal_of_sixteen_bits)
{
	static const char *const bad[] = { "", "\n", "xyz", "10000", "0403 6001" };
	struct identity identity;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		temp_tree_put(&tree, "idVendor", bad[i]);
		ck_assert_msg(identity_read(tree.fd, &identity) == -EINVAL, "\"%s\"", bad[i]);
	}
}
END_TEST

START_TEST(the_longest_string_that_usb_has_is_read_whole)
{
	struct identity identity;
	char longest[126 * 3 + 1] = ""; /* 126 UTF-16 units, three bytes each */

	for (size_t i = 0; i < 126; i++)
		memcpy(longest + i * 3, "変", 3);
	temp_tree_put(&tree, "product", longest);
	ck_assert_int_eq(identity_read(tree.fd, &identity), 0);
	ck_assert_str_eq(identity.product, longest);
}
END_TEST

/* ---- comparing ---- */

static void set_vid(struct identity *identity)
{
	identity->vid++;
}

static void set_pid(struct identity *identity)
{
	identity->pid++;
}

static void set_release(struct identity *identity)
{
	identity->bcd_device++;
}

static void set_serial(struct identity *identity)
{
	strcat(identity->serial, "X");
}

static void set_manufacturer(struct identity *identity)
{
	identity->manufacturer[0] = '\0';
}

static void set_product(struct identity *identity)
{
	identity->product[0] = 'f';
}

static const struct {
	void (*change)(struct identity *identity);
	const char *why;
} DIFFERENCES[] = {
	{ set_vid, "the vendor id is 0404, offered was 0403" },
	{ set_pid, "the product id is 6002, offered was 6001" },
	{ set_release, "the device release is 0601, offered was 0600" },
	{ set_serial, "the serial number is \"A50285BIX\", offered was \"A50285BI\"" },
	{ set_manufacturer, "the manufacturer is \"\", offered was \"FTDI\"" },
	{ set_product, "the product is \"fT232R USB UART\", offered was \"FT232R USB UART\"" },
};

START_TEST(another_device_differs_and_the_part_is_named)
{
	struct identity other = FTDI;
	char why[200] = "";

	DIFFERENCES[_i].change(&other);
	ck_assert(!identity_equal(&FTDI, &other, why, sizeof(why)));
	ck_assert_str_eq(why, DIFFERENCES[_i].why);
	ck_assert(!identity_equal(&FTDI, &other, NULL, 0));
}
END_TEST

/* ---- over the link ---- */

START_TEST(an_identity_survives_the_way_over_json)
{
	_cleanup_json_ json_t *object = json_object();
	struct identity arrived;

	ck_assert_int_eq(identity_to_json(&FTDI, object), 0);
	ck_assert_int_eq(identity_from_json(object, &arrived), 0);
	ck_assert(identity_equal(&FTDI, &arrived, NULL, 0));
}
END_TEST

static const struct {
	const char *key, *value; /* JSON; NULL takes the key out */
} BAD_FIELDS[] = {
	{ "vid", NULL },    { "vid", "-1" },          { "vid", "65536" },       { "vid", "\"0403\"" },       { "vid", "1.5" },
	{ "pid", NULL },    { "pid", "null" },        { "bcd", NULL },          { "bcd", "99999999999999" }, { "serial", NULL },
	{ "serial", "17" }, { "manufacturer", NULL }, { "manufacturer", "[]" }, { "product", NULL },         { "product", "{}" },
};

START_TEST(a_missing_or_wrong_field_is_refused)
{
	_cleanup_json_ json_t *object = json_object();
	struct identity arrived = { .vid = 0x1234 };

	ck_assert_int_eq(identity_to_json(&FTDI, object), 0);
	if (BAD_FIELDS[_i].value)
		json_object_set_new(object, BAD_FIELDS[_i].key, json_loads(BAD_FIELDS[_i].value, JSON_DECODE_ANY, NULL));
	else
		json_object_del(object, BAD_FIELDS[_i].key);
	ck_assert_int_eq(identity_from_json(object, &arrived), -EBADMSG);
	ck_assert_uint_eq(arrived.vid, 0x1234);
}
END_TEST

START_TEST(a_string_longer_than_usb_has_is_refused)
{
	_cleanup_json_ json_t *object = json_object();
	struct identity arrived;
	char text[IDENTITY_STRING_SIZE + 1];

	memset(text, 'x', sizeof(text));
	text[IDENTITY_STRING_SIZE - 1] = '\0';
	ck_assert_int_eq(identity_to_json(&FTDI, object), 0);
	json_object_set_new(object, "serial", json_string(text));
	ck_assert_int_eq(identity_from_json(object, &arrived), 0);
	text[IDENTITY_STRING_SIZE - 1] = 'x';
	text[IDENTITY_STRING_SIZE] = '\0';
	json_object_set_new(object, "serial", json_string(text));
	ck_assert_int_eq(identity_from_json(object, &arrived), -EBADMSG);
}
END_TEST

START_TEST(a_control_character_from_the_other_side_is_not_believed)
{
	_cleanup_json_ json_t *object = json_object();
	struct identity arrived;

	ck_assert_int_eq(identity_to_json(&FTDI, object), 0);
	json_object_set_new(object, "product", json_string("a\nb"));
	ck_assert_int_eq(identity_from_json(object, &arrived), 0);
	ck_assert_str_eq(arrived.product, "a?b");
}
END_TEST

int main(void)
{
	TCase *strings = tcase_create("strings"), *reading = tcase_create("reading"), *others = tcase_create("comparing and sending");

	tcase_add_loop_test(strings, a_string_is_shown_without_what_a_terminal_obeys, 0, ARRAY_SIZE(STRINGS));
	tcase_add_loop_test(strings, cleaning_twice_changes_nothing_more, 0, ARRAY_SIZE(STRINGS));
	tcase_add_test(strings, what_does_not_fit_is_cut_between_two_characters);
	tcase_add_loop_test(strings, random_bytes_become_text_that_json_takes, 1, 4);
	tcase_add_checked_fixture(reading, put_device, remove_device);
	tcase_add_test(reading, a_device_is_read_from_its_directory);
	tcase_add_test(reading, a_device_without_strings_has_empty_ones);
	tcase_add_test(reading, a_device_that_went_away_is_told_and_nothing_written);
	tcase_add_test(reading, ids_are_hexadecimal_of_sixteen_bits);
	tcase_add_test(reading, the_longest_string_that_usb_has_is_read_whole);
	tcase_add_loop_test(others, another_device_differs_and_the_part_is_named, 0, ARRAY_SIZE(DIFFERENCES));
	tcase_add_test(others, an_identity_survives_the_way_over_json);
	tcase_add_loop_test(others, a_missing_or_wrong_field_is_refused, 0, ARRAY_SIZE(BAD_FIELDS));
	tcase_add_test(others, a_string_longer_than_usb_has_is_refused);
	tcase_add_test(others, a_control_character_from_the_other_side_is_not_believed);
	return check_program_run("common_identity", strings, reading, others, NULL);
}
