/* What crosses on the way between a Pi, the VM's kernel and who sits at the VM: the real handler on a fake sysfs. */

#include <stdio.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "message.h"
#include "vm_bed.h"

#define DEVID(bus, device) ((bus) << 16 | (device))
#define N_SPARES           128

static struct vm_bed bed;
static struct vm_pi pi, stream, other_stream, spares[N_SPARES];

static void setup(void)
{
	vm_bed_setup(&bed);
	pi.fd = stream.fd = other_stream.fd = -EBADF;
	for (size_t i = 0; i < ARRAY_SIZE(spares); i++)
		spares[i].fd = -EBADF;
}

static void teardown(void)
{
	close_fd(pi.fd);
	close_fd(stream.fd);
	close_fd(other_stream.fd);
	for (size_t i = 0; i < ARRAY_SIZE(spares); i++)
		close_fd(spares[i].fd);
	vm_bed_teardown(&bed);
}

/* Brings the device to the state before its nodes. Returns the port. */
static uint32_t attach(struct vm_pi *on, const char *offer, const char *busid, uint32_t devid, const char *name)
{
	uint32_t port;

	vm_pi_offer_named(&pi, offer, busid, devid, &ACM, name);
	vm_pi_open_stream(on, &bed, BED_PI, offer);
	vm_pi_expect_text(on, "OK");
	port = vm_bed_enumerate(&bed, &ACM);
	vm_bed_expect_state(&bed, offer, "settling");
	return port;
}

static void detach_by_hand(const char *selector)
{
	_cleanup_json_ json_t *offers = NULL;
	struct failure failure;

	ck_assert_int_eq(handler_detach(bed.handler, selector, &offers, &failure), 0);
}

static void expect_detached_by_hand(struct vm_pi *from, const char *offer)
{
	_cleanup_json_ json_t *detached = vm_pi_expect(from, "detached");

	ck_assert_str_eq(json_string_value(json_object_get(detached, "id")), offer);
	ck_assert_str_eq(json_string_value(json_object_get(detached, "reason")), DETACHED_BY_HAND);
}

static const char *device_name(const char *offer_id)
{
	_cleanup_json_ json_t *status = handler_status_to_json(bed.handler);
	const json_t *devices = json_object_get(json_array_get(json_object_get(status, "pis"), 0), "devices"), *device;
	static char name[64];
	size_t i;

	name[0] = '\0';
	json_array_foreach(devices, i, device)
		if (strcmp(json_string_value(json_object_get(device, "offer")), offer_id) == 0)
			snprintf(name, sizeof(name), "%s", json_string_value(json_object_get(device, "name")));
	return name;
}

/* ---- detached by hand ---- */

START_TEST(a_detach_by_hand_while_the_pi_is_away_is_told_when_it_is_back)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach(&stream, "o-1", "1-1.4", DEVID(1, 7), "");
	vm_pi_close(&pi);
	ck_assert_str_eq(vm_bed_pi_state(&bed, BED_PI), "lost");
	detach_by_hand("1-1.4");
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "0");
	vm_bed_remove(&bed, port);
	vm_bed_expect_state(&bed, "o-1", "");

	vm_pi_connect(&pi, &bed, BED_PI);
	vm_pi_say_hello(&pi, 8000);
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":1,\"offers\":[]}");
	expect_detached_by_hand(&pi, "o-1");
	json_decref(vm_pi_expect(&pi, "synced")); /* before it the Pi does not offer the device anew */
}
END_TEST

START_TEST(a_detach_by_hand_that_a_sync_crosses_is_told_before_that_is_answered)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	attach(&stream, "o-1", "1-1.4", DEVID(1, 7), "");
	detach_by_hand("1-1.4");
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":2,\"offers\":[{\"id\":\"o-1\",\"streaming\":true}]}");
	expect_detached_by_hand(&pi, "o-1");
	json_decref(vm_pi_expect(&pi, "synced"));
}
END_TEST

START_TEST(a_detach_by_hand_is_not_told_again_to_a_pi_that_has_withdrawn_the_offer)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach(&stream, "o-1", "1-1.4", DEVID(1, 7), "");
	detach_by_hand("1-1.4");
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "0");
	vm_bed_remove(&bed, port);
	expect_detached_by_hand(&pi, "o-1");
	vm_pi_say(&pi, "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"detached on the VM by hand\"}");
	json_decref(vm_pi_expect(&pi, "detached"));
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":2,\"offers\":[]}");
	vm_pi_expect_text(&pi, "{\"seq\"");
}
END_TEST

/* ---- names ---- */

START_TEST(a_device_that_comes_again_has_its_name_although_the_kernel_is_slow_to_let_it_go)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	ck_assert_uint_eq(attach(&stream, "o-1", "1-1.4", DEVID(1, 7), "meter"), 0);
	vm_pi_say(&pi, "{\"type\":\"disconnect\",\"id\":\"o-1\",\"reason\":\"unplugged\"}");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "detaching");
	ck_assert_uint_eq(attach(&other_stream, "o-2", "1-1.4", DEVID(1, 8), "meter"), 1);
	ck_assert_str_eq(temp_tree_get(&bed.tree, "names/1-2:00"), "USBPUSH_LINK=meter\n");
	ck_assert_str_eq(device_name("o-2"), "meter");
}
END_TEST

START_TEST(what_failed_is_not_called_like_the_device_that_is_at_its_port_now)
{
	uint32_t port;
	char id[16];

	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer_named(&pi, "o-1", "1-1.4", DEVID(1, 7), &KEYBOARD, "keys");
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	port = vm_bed_enumerate(&bed, &KEYBOARD);
	vm_bed_expect_state(&bed, "o-1", "detaching");
	(void)vm_bed_take_write(&bed, "detach");
	vm_bed_remove(&bed, port);
	vm_bed_expect_state(&bed, "o-1", "failed");
	for (unsigned i = 2; i < 2 + BED_HS; i++) { /* until its port has its turn again */
		snprintf(id, sizeof(id), "o-%u", i);
		if (attach(&other_stream, id, "1-1.2", DEVID(1, 8), "meter") == port)
			break;
		vm_pi_say(&pi, "{\"type\":\"disconnect\",\"id\":\"%s\",\"reason\":\"unplugged\"}", id);
		(void)vm_bed_take_write(&bed, "detach");
		for (uint32_t used = 0; used < BED_HS; used++)
			if (bed.ports[used].state != 4)
				vm_bed_remove(&bed, used);
		vm_bed_expect_state(&bed, id, "");
		vm_pi_close(&other_stream);
	}
	ck_assert_str_eq(device_name(id), "meter");
	ck_assert_str_eq(device_name("o-1"), "keys");
}
END_TEST

START_TEST(a_new_name_is_recorded_for_a_successor_whenever_it_comes)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer_named(&pi, "o-1", "1-1.4", DEVID(1, 7), &ACM, "former");
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1");
	vm_pi_expect_text(&stream, "OK");
	(void)vm_bed_take_attach(&bed);
	vm_bed_expect_state(&bed, "o-1", "enumerating");
	vm_pi_offer_named(&pi, "o-1", "1-1.4", DEVID(1, 7), &ACM, "latter");
	ck_assert_ptr_nonnull(strstr(temp_tree_get(&bed.tree, "ports.json"), "\"latter\""));
}
END_TEST

/* ---- records ---- */

START_TEST(a_port_is_recorded_before_the_kernel_gets_the_device_and_told_to_the_stock_tools_behind_it)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_offer(&pi, "o-1", "1-1.4", DEVID(1, 7), &ACM);
	vm_pi_open_stream(&stream, &bed, BED_PI, "o-1"); /* it ends with the job under way, or done and not yet heard of */
	ck_assert_ptr_nonnull(strstr(temp_tree_get(&bed.tree, "ports.json"), "\"o-1\""));
	(void)vm_bed_take_attach(&bed);
	vm_bed_expect_state(&bed, "o-1", "enumerating");
	ck_assert_str_eq(temp_tree_get(&bed.tree, "port0"), "pi1 ssh 1-1.4 usbpush\n");
}
END_TEST

/* ---- connections ---- */

START_TEST(streams_opened_ahead_do_not_keep_the_control_channel_out)
{
	for (size_t i = 0; i < ARRAY_SIZE(spares); i++) {
		vm_pi_connect(&spares[i], &bed, BED_PI);
		vm_pi_say(&spares[i], "{\"type\":\"spare\"}");
	}
	vm_pi_come_up(&pi, &bed, BED_PI);
	vm_pi_connect(&stream, &bed, BED_PI);
	vm_pi_say(&stream, "{\"type\":\"spare\"}"); /* one too many */
	vm_pi_expect_end(&stream);
}
END_TEST

int main(void)
{
	TCase *by_hand = tcase_create("by hand"), *names = tcase_create("names"), *connections = tcase_create("connections");

	tcase_add_checked_fixture(by_hand, setup, teardown);
	tcase_set_timeout(by_hand, 30);
	tcase_add_test(by_hand, a_detach_by_hand_while_the_pi_is_away_is_told_when_it_is_back);
	tcase_add_test(by_hand, a_detach_by_hand_that_a_sync_crosses_is_told_before_that_is_answered);
	tcase_add_test(by_hand, a_detach_by_hand_is_not_told_again_to_a_pi_that_has_withdrawn_the_offer);

	tcase_add_checked_fixture(names, setup, teardown);
	tcase_set_timeout(names, 30);
	tcase_add_test(names, a_device_that_comes_again_has_its_name_although_the_kernel_is_slow_to_let_it_go);
	tcase_add_test(names, what_failed_is_not_called_like_the_device_that_is_at_its_port_now);
	tcase_add_test(names, a_new_name_is_recorded_for_a_successor_whenever_it_comes);
	tcase_add_test(names, a_port_is_recorded_before_the_kernel_gets_the_device_and_told_to_the_stock_tools_behind_it);

	tcase_add_checked_fixture(connections, setup, teardown);
	tcase_set_timeout(connections, 30);
	tcase_add_test(connections, streams_opened_ahead_do_not_keep_the_control_channel_out);

	return check_program_run("vm_crossings", by_hand, names, connections, NULL);
}
