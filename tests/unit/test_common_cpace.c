/* CPace against the draft's own numbers (draft-irtf-cfrg-cpace-21, appendices A and B.3), and against what an attacker sends. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "cpace.h"

#define SESSION   "7e4b4791d6a8ef019b936c79fb7f2c57"
#define GENERATOR "222b6b195fe84b1652badb6f6a3ae3d24341e7306967f0b8115b40d5698c7e56"
#define SCALAR_A  "da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08"
#define SCALAR_B  "d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d"
#define SHARE_A   "d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157"
#define SHARE_B   "3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258"
#define SECRET    "80b69a8a76457ab6a4d7f887a4bf6b55a2f80ac19c333f917a05fc9887c8b40f"
#define KEY                                                                \
	"b69effbf61b51d56401c0f65601abe428de8206feaaf0e32198896dcae7b35cd" \
	"2b38950a39dfd5d4a79164614c2984f7daa460b588c1e80c3fa2068af7900447"

static void setup(void)
{
	ck_assert_int_eq(cpace_init(), 0);
}

static const uint8_t *bytes_of(const char *hex)
{
	static uint8_t buffers[8][CPACE_HASH_SIZE];
	static unsigned next;
	uint8_t *buffer = buffers[next++ % ARRAY_SIZE(buffers)];

	ck_assert_int_eq(cpace_from_hex(hex, buffer, strlen(hex) / 2), 0);
	return buffer;
}

static void expect(const uint8_t *bytes, size_t size, const char *hex)
{
	char text[2 * CPACE_HASH_SIZE + 1];

	cpace_to_hex(bytes, size, text);
	ck_assert_str_eq(text, hex);
}

static void add_channel(struct cpace_text *text)
{
	cpace_text_add_string(text, "A_initiator");
	cpace_text_add_string(text, "B_responder");
}

START_TEST(the_generator_is_the_drafts)
{
	struct cpace_text channel = { .size = 0 };
	uint8_t generator[CPACE_POINT_SIZE];

	add_channel(&channel);
	ck_assert_int_eq(cpace_generator("Password", &channel, bytes_of(SESSION), 16, generator), 0);
	expect(generator, sizeof(generator), GENERATOR);
}
END_TEST

START_TEST(the_shares_are_the_drafts)
{
	uint8_t share[CPACE_POINT_SIZE];

	ck_assert_int_eq(cpace_share(bytes_of(SCALAR_A), bytes_of(GENERATOR), share), 0);
	expect(share, sizeof(share), SHARE_A);
	ck_assert_int_eq(cpace_share(bytes_of(SCALAR_B), bytes_of(GENERATOR), share), 0);
	expect(share, sizeof(share), SHARE_B);
}
END_TEST

START_TEST(both_sides_get_the_drafts_secret)
{
	uint8_t secret[CPACE_POINT_SIZE];

	ck_assert_int_eq(cpace_secret(bytes_of(SCALAR_A), bytes_of(SHARE_B), secret), 0);
	expect(secret, sizeof(secret), SECRET);
	ck_assert_int_eq(cpace_secret(bytes_of(SCALAR_B), bytes_of(SHARE_A), secret), 0);
	expect(secret, sizeof(secret), SECRET);
}
END_TEST

START_TEST(the_key_is_the_drafts)
{
	struct cpace_text transcript = { .size = 0 };
	uint8_t key[CPACE_HASH_SIZE];

	cpace_text_add(&transcript, bytes_of(SHARE_A), CPACE_POINT_SIZE);
	cpace_text_add_string(&transcript, "ADa");
	cpace_text_add(&transcript, bytes_of(SHARE_B), CPACE_POINT_SIZE);
	cpace_text_add_string(&transcript, "ADb");
	ck_assert_int_eq(cpace_key(bytes_of(SESSION), 16, bytes_of(SECRET), &transcript, key), 0);
	expect(key, sizeof(key), KEY);
}
END_TEST

START_TEST(multiplying_a_valid_point_is_as_in_the_draft)
{
	uint8_t product[CPACE_POINT_SIZE];

	ck_assert_int_eq(cpace_secret(bytes_of("7cd0e075fa7955ba52c02759a6c90dbbfc10e6d40aea8d283e407d88cf538a05"),
				      bytes_of("2c3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c"), product),
			 0);
	expect(product, sizeof(product), "7c13645fe790a468f62c39beb7388e541d8405d1ade69d1778c5fe3e7f6b600e");
}
END_TEST

static const char *const BAD_POINTS[] = {
	"2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c", /* the draft's Y_i1 */
	"0000000000000000000000000000000000000000000000000000000000000000", /* the neutral element */
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* p: zero, not canonical */
	"0100000000000000000000000000000000000000000000000000000000000000", /* negative field element */
};

START_TEST(what_is_no_point_ends_the_exchange_and_writes_nothing)
{
	uint8_t secret[CPACE_POINT_SIZE] = { 0x55 };

	ck_assert_int_eq(cpace_secret(bytes_of(SCALAR_A), bytes_of(BAD_POINTS[_i]), secret), -EBADMSG);
	ck_assert_uint_eq(secret[0], 0x55);
}
END_TEST

static const struct {
	size_t size;
	const char *length; /* what stands before it */
	size_t n;
} LENGTHS[] = { { 0, "\x00", 1 },       { 1, "\x01", 1 },       { 127, "\x7f", 1 },
		{ 128, "\x80\x01", 2 }, { 255, "\xff\x01", 2 }, { 1234, "\xd2\x09", 2 } };

START_TEST(a_values_length_stands_before_it)
{
	struct cpace_text text = { .size = 0 };
	char value[2000];

	memset(value, 'x', sizeof(value));
	cpace_text_add(&text, value, LENGTHS[_i].size);
	ck_assert_uint_eq(text.size, LENGTHS[_i].n + LENGTHS[_i].size);
	ck_assert_mem_eq(text.bytes, LENGTHS[_i].length, LENGTHS[_i].n);
}
END_TEST

/* "1", "234" is not "12", "34". */
START_TEST(borders_between_values_count)
{
	struct cpace_text a = { .size = 0 }, b = { .size = 0 };
	uint8_t hash_a[CPACE_HASH_SIZE], hash_b[CPACE_HASH_SIZE];

	cpace_text_add_string(&a, "1");
	cpace_text_add_string(&a, "234");
	cpace_text_add_string(&b, "12");
	cpace_text_add_string(&b, "34");
	ck_assert_int_eq(cpace_hash(&a, hash_a), 0);
	ck_assert_int_eq(cpace_hash(&b, hash_b), 0);
	ck_assert(!cpace_equal(hash_a, hash_b, sizeof(hash_a)));
}
END_TEST

START_TEST(nothing_is_computed_from_a_text_that_was_cut)
{
	struct cpace_text text = { .size = 0 };
	uint8_t out[CPACE_HASH_SIZE], generator[CPACE_POINT_SIZE];
	static const char half[CPACE_TEXT_SIZE / 2];

	cpace_text_add(&text, half, sizeof(half));
	cpace_text_add(&text, half, sizeof(half));
	ck_assert(text.is_overrun);
	ck_assert_int_eq(cpace_hash(&text, out), -EMSGSIZE);
	ck_assert_int_eq(cpace_mac(bytes_of(KEY), &text, out), -EMSGSIZE);
	ck_assert_int_eq(cpace_key(bytes_of(SESSION), 16, bytes_of(SECRET), &text, out), -EMSGSIZE);
	ck_assert_int_eq(cpace_generator("1", &text, bytes_of(SESSION), 16, generator), -EMSGSIZE);
}
END_TEST

START_TEST(another_digit_another_session_or_another_channel_gives_another_generator)
{
	struct cpace_text channel = { .size = 0 }, other = { .size = 0 };
	uint8_t base[CPACE_POINT_SIZE], changed[CPACE_POINT_SIZE];

	add_channel(&channel);
	cpace_text_add_string(&other, "elsewhere");
	ck_assert_int_eq(cpace_generator("123456", &channel, bytes_of(SESSION), 16, base), 0);
	ck_assert_int_eq(cpace_generator("123457", &channel, bytes_of(SESSION), 16, changed), 0);
	ck_assert(!cpace_equal(base, changed, sizeof(base)));
	ck_assert_int_eq(cpace_generator("123456", &other, bytes_of(SESSION), 16, changed), 0);
	ck_assert(!cpace_equal(base, changed, sizeof(base)));
	ck_assert_int_eq(cpace_generator("123456", &channel, bytes_of(SECRET), 16, changed), 0);
	ck_assert(!cpace_equal(base, changed, sizeof(base)));
}
END_TEST

static const char *const BAD_HEX[] = { "", "0", "00", "0001020", "000102030", "0001020G", "0001020A", " 0001020", "00 01 02", "0x000102" };

START_TEST(hex_is_exact_or_refused)
{
	uint8_t bytes[4];

	ck_assert_int_eq(cpace_from_hex(BAD_HEX[_i], bytes, sizeof(bytes)), -EBADMSG);
	ck_assert_int_eq(cpace_from_hex(NULL, bytes, sizeof(bytes)), -EBADMSG);
}
END_TEST

int main(void)
{
	TCase *draft = tcase_create("draft"), *rest = tcase_create("rest");

	tcase_add_checked_fixture(draft, setup, NULL);
	tcase_add_checked_fixture(rest, setup, NULL);
	tcase_add_test(draft, the_generator_is_the_drafts);
	tcase_add_test(draft, the_shares_are_the_drafts);
	tcase_add_test(draft, both_sides_get_the_drafts_secret);
	tcase_add_test(draft, the_key_is_the_drafts);
	tcase_add_test(draft, multiplying_a_valid_point_is_as_in_the_draft);
	tcase_add_loop_test(draft, what_is_no_point_ends_the_exchange_and_writes_nothing, 0, ARRAY_SIZE(BAD_POINTS));
	tcase_add_loop_test(rest, a_values_length_stands_before_it, 0, ARRAY_SIZE(LENGTHS));
	tcase_add_test(rest, borders_between_values_count);
	tcase_add_test(rest, nothing_is_computed_from_a_text_that_was_cut);
	tcase_add_test(rest, another_digit_another_session_or_another_channel_gives_another_generator);
	tcase_add_loop_test(rest, hex_is_exact_or_refused, 0, ARRAY_SIZE(BAD_HEX));
	return check_program_run("common_cpace", draft, rest, NULL);
}
