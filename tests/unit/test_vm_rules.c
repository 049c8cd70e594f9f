/* What the VM's owner decides about devices: which it takes, and how they are called. */

#include <stdio.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "container.h"
#include "name_book.h"
#include "vm_bed.h"

#define DEVID(bus, dev) ((uint32_t)(bus) << 16 | (dev))

static struct vm_bed bed;
static struct vm_pi pi, other, stream;

static void setup(void)
{
	vm_bed_setup(&bed);
}

/* A handler that watches its files, too. */
static void setup_listening(void)
{
	vm_bed_make(&bed);
	ck_assert_int_eq(handler_new(bed.event, &bed.options, &bed.handler), 0);
	ck_assert_int_eq(handler_listen(bed.handler), 0);
}

static void teardown(void)
{
	vm_bed_teardown(&bed);
}

static void rules(const char *content)
{
	temp_tree_put(&bed.tree, "accept.conf", content);
	handler_reload(bed.handler);
}

/* Offers a device and has the kernel read it. */
static uint32_t enumerate(struct vm_pi *from, const char *pi_id, const char *id, const char *busid, const struct vm_device *device,
			  const char *name)
{
	vm_pi_offer_named(from, id, busid, DEVID(1, id[2] - '0'), device, name);
	vm_pi_open_stream(&stream, &bed, pi_id, id);
	vm_pi_expect_text(&stream, "OK");
	return vm_bed_enumerate(&bed, device);
}

static uint32_t attach(const char *id, const char *busid, const char *serial, const char *name, const char *node)
{
	const struct vm_device device = { 0x303a, 0x1001, serial, 0x02, 0x02, 0x00 };
	uint32_t port = enumerate(&pi, BED_PI, id, busid, &device, name);

	vm_bed_expect_state(&bed, id, "settling");
	vm_bed_add_tty(&bed, port, node, "/dev/serial/by-id/x");
	vm_bed_expect_state(&bed, id, "attached");
	return port;
}

/* ---- what is taken ---- */

START_TEST(a_keyboard_is_taken_only_by_a_rule)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = enumerate(&pi, BED_PI, "o-1", "1-1", &KEYBOARD, "");
	json_decref(vm_pi_expect(&pi, "failed"));
	ck_assert(!vm_bed_is_authorized(&bed, port));
	vm_bed_remove(&bed, port);
	rules("accept class=keyboard pi=pi1\n");
	json_decref(vm_pi_expect(&pi, "resync")); /* so that the Pi offers it again */
	vm_pi_say(&pi, "{\"type\":\"sync\",\"seq\":9,\"offers\":[]}");
	port = enumerate(&pi, BED_PI, "o-2", "1-1", &KEYBOARD, "");
	vm_bed_expect_state(&bed, "o-2", "settling");
	ck_assert(vm_bed_is_authorized(&bed, port));
}
END_TEST

START_TEST(a_rule_for_one_pi_is_none_for_another)
{
	uint32_t port;

	rules("accept class=keyboard pi=pi1\n");
	vm_pi_come_up(&other, &bed, BED_OTHER);
	port = enumerate(&other, BED_OTHER, "o-1", "1-1", &KEYBOARD, "");
	json_decref(vm_pi_expect(&other, "failed"));
	ck_assert(!vm_bed_is_authorized(&bed, port));
}
END_TEST

START_TEST(what_the_rules_do_not_take_any_more_is_detached)
{
	_cleanup_json_ json_t *failed = NULL;

	vm_pi_come_up(&pi, &bed, BED_PI);
	attach("o-1", "1-1", "A1", "", "/dev/ttyACM0");
	rules("refuse serial=A2\n");
	vm_bed_settle(&bed);
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "attached");
	rules("refuse serial=A1\n");
	vm_bed_expect_state(&bed, "o-1", "detaching");
	ck_assert_str_ne(vm_bed_take_write(&bed, "detach"), "");
	failed = vm_pi_expect(&pi, "failed");
	ck_assert_str_eq(json_string_value(json_object_get(failed, "code")), "not-accepted");
}
END_TEST

START_TEST(a_broken_file_changes_nothing)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	attach("o-1", "1-1", "A1", "", "/dev/ttyACM0");
	rules("refsue serial=A1\nrefuse *:*\n");
	vm_bed_settle(&bed);
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "attached");
}
END_TEST

/* As vim does it, whose new file may be some time coming. */
START_TEST(an_editor_that_renames_the_rules_away_while_it_saves_takes_no_device)
{
	_cleanup_json_ json_t *failed = NULL;
	char old[128], backup[128];
	uint32_t port;

	snprintf(old, sizeof(old), "%s", temp_tree_path(&bed.tree, "accept.conf"));
	snprintf(backup, sizeof(backup), "%s", temp_tree_path(&bed.tree, "accept.conf~"));
	rules("accept class=keyboard pi=pi1\n");
	vm_pi_come_up(&pi, &bed, BED_PI);
	port = enumerate(&pi, BED_PI, "o-1", "1-1", &KEYBOARD, "");
	vm_bed_expect_state(&bed, "o-1", "settling");
	vm_bed_add_tty(&bed, port, "/dev/ttyACM0", "");
	vm_bed_expect_state(&bed, "o-1", "attached");
	loop_for(bed.event, 100000); /* what the watch has still to say of the file as it is now */
	ck_assert_int_eq(rename(old, backup), 0);
	loop_for(bed.event, 200000);
	temp_tree_put(&bed.tree, "accept.conf", "accept class=keyboard\n");
	loop_for(bed.event, 1200000);
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "attached");
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "");
	ck_assert_int_eq(rename(old, backup), 0); /* this time for good */
	vm_bed_expect_state(&bed, "o-1", "detaching");
	failed = vm_pi_expect(&pi, "failed");
	ck_assert_str_eq(json_string_value(json_object_get(failed, "code")), "not-accepted");
}
END_TEST

/* ---- names ---- */

static void expect_link(const char *file, const char *name)
{
	char path[64], expected[128];

	snprintf(path, sizeof(path), "names/%s", file);
	snprintf(expected, sizeof(expected), "USBPUSH_LINK=%s\n", name);
	ck_assert_str_eq(temp_tree_get(&bed.tree, path), expected);
}

START_TEST(a_name_is_there_before_a_driver_sees_the_device)
{
	uint32_t port;

	vm_pi_come_up(&pi, &bed, BED_PI);
	ck_assert_uint_eq(temp_tree_count(&bed.tree, "names"), 0);
	port = attach("o-1", "1-1.4", "A1", "bench", "/dev/ttyACM0");
	expect_link("1-1:00", "bench");
	vm_bed_remove(&bed, port);
	vm_bed_expect_state(&bed, "o-1", "");
	ck_assert_uint_eq(temp_tree_count(&bed.tree, "names"), 0);
}
END_TEST

START_TEST(nothing_is_named_that_is_not_taken)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	enumerate(&pi, BED_PI, "o-1", "1-1", &KEYBOARD, "bench");
	json_decref(vm_pi_expect(&pi, "failed"));
	ck_assert_uint_eq(temp_tree_count(&bed.tree, "names"), 0);
}
END_TEST

START_TEST(without_a_name_one_is_made_and_a_wrong_one_counts_as_none)
{
	static const char *const names[] = { "", "../../etc/cron.d/x", "a b", ".hidden" };

	vm_pi_come_up(&pi, &bed, BED_PI);
	attach("o-1", "1-1", "A1", names[_i], "/dev/ttyACM0");
	expect_link("1-1:00", "usb-303a-1001-A1");
}
END_TEST

START_TEST(two_devices_never_share_a_name)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	attach("o-1", "1-1", "A1", "bench", "/dev/ttyACM0");
	attach("o-2", "1-2", "A2", "bench", "/dev/ttyACM1");
	attach("o-3", "1-3", "0001", "", "/dev/ttyACM2");
	attach("o-4", "1-4", "0001", "", "/dev/ttyACM3");
	expect_link("1-1:00", "bench");
	expect_link("1-2:00", "bench-at-1-2");
	expect_link("1-3:00", "usb-303a-1001-0001");
	expect_link("1-4:00", "usb-303a-1001-0001-at-1-4");
}
END_TEST

START_TEST(a_new_name_is_taken_without_detaching)
{
	_cleanup_json_ json_t *attached = NULL;
	const struct vm_device device = { 0x303a, 0x1001, "A1", 0x02, 0x02, 0x00 };

	temp_tree_put(&bed.tree, "sys/class/tty/ttyACM0/uevent", "");
	vm_pi_come_up(&pi, &bed, BED_PI);
	attach("o-1", "1-1", "A1", "bench", "/dev/ttyACM0");
	json_decref(vm_pi_expect(&pi, "attached"));
	vm_pi_offer_named(&pi, "o-1", "1-1", DEVID(1, 1), &device, "desk");
	attached = vm_pi_expect(&pi, "attached");
	expect_link("1-1:00", "desk");
	ck_assert_str_eq(temp_tree_get(&bed.tree, "sys/class/tty/ttyACM0/uevent"), "change");
	ck_assert_str_eq(vm_bed_device_state(&bed, "o-1"), "attached");
	ck_assert_str_eq(vm_bed_take_write(&bed, "detach"), "");
}
END_TEST

START_TEST(a_successor_keeps_the_names)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	attach("o-1", "1-1", "A1", "bench", "/dev/ttyACM0");
	attach("o-2", "1-2", "A2", "bench", "/dev/ttyACM1");
	temp_tree_put(&bed.tree, "names/7-1:00", "USBPUSH_LINK=stale\n");
	temp_tree_put(&bed.tree, "names/7-2:00", "");
	vm_bed_restart_handler(&bed);
	vm_bed_expect_state(&bed, "o-2", "settling");
	expect_link("1-1:00", "bench");
	expect_link("1-2:00", "bench-at-1-2");
	ck_assert_uint_eq(temp_tree_count(&bed.tree, "names"), 2);
}
END_TEST

/* ---- selection ---- */

static const char *find(const char *selector)
{
	static char found[64];
	_cleanup_json_ json_t *device = NULL;
	struct failure failure;

	if (handler_find(bed.handler, selector, &device, &failure) < 0)
		return failure_code_to_string(failure.code);
	snprintf(found, sizeof(found), "%s", json_string_value(json_object_get(device, "offer")));
	return found;
}

START_TEST(a_device_is_found_by_place_name_and_identity)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	attach("o-1", "1-1.4", "A1", "bench", "/dev/ttyACM0");
	attach("o-2", "1-1.3", "A2", "", "/dev/ttyACM1");
	ck_assert_str_eq(find("/dev/ttyACM0"), "o-1");
	ck_assert_str_eq(find("1-1.4"), "o-1");
	ck_assert_str_eq(find("bench"), "o-1");
	ck_assert_str_eq(find("A1"), "o-1");
	ck_assert_str_eq(find("usb-303a-1001-A2"), "o-2");
	ck_assert_str_eq(find("303A:1001"), "ambiguous");
	ck_assert_str_eq(find("1-1"), "o-1"); /* the bus id here, of the first port */
	ck_assert_str_eq(find("A"), "not-found");
	ck_assert_str_eq(find(""), "not-found");
}
END_TEST

START_TEST(what_a_device_says_of_itself_hides_no_other)
{
	vm_pi_come_up(&pi, &bed, BED_PI);
	attach("o-1", "1-1.4", "A1", "bench", "/dev/ttyACM0");
	attach("o-2", "1-1.3", "bench", "", "/dev/ttyACM1");
	attach("o-3", "1-1.2", "1-1.4", "", "/dev/ttyACM2");
	ck_assert_str_eq(find("bench"), "o-1");
	ck_assert_str_eq(find("1-1.4"), "o-1");
}
END_TEST

START_TEST(a_container_gets_the_link_that_stays)
{
	_cleanup_json_ json_t *device = NULL;
	_cleanup_free_ char *text = NULL;
	_cleanup_fclose_ FILE *lines = NULL;
	struct failure failure;
	uint32_t port;
	size_t size;

	vm_pi_come_up(&pi, &bed, BED_PI);
	port = attach("o-1", "1-1.4", "A1", "bench", "/dev/ttyACM99");
	vm_bed_add_tty(&bed, port, "/dev/ttyACM99", "/dev/serial/by-id/x /dev/usbpush/bench");
	ck_assert_int_eq(handler_find(bed.handler, "bench", &device, &failure), 0);
	lines = open_memstream(&text, &size);
	ck_assert_int_eq(container_print(device, lines), 0);
	fflush(lines);
	ck_assert_str_eq(text, "# Proxmox LXC, usbpush-vm on the host: in /etc/pve/lxc/CTID.conf\n"
			       "dev0: /dev/usbpush/bench\n"
			       "\n# the same before Proxmox VE 8.2; the board may come and go\n"
			       "lxc.cgroup2.devices.allow: c 166:* rwm\n"
			       "lxc.mount.entry: /dev/usbpush/bench dev/usbpush/bench none bind,optional,create=file\n"
			       "\n# Docker, for as long as the board stays\n"
			       "docker run --device /dev/usbpush/bench ...\n"
			       "\n# Docker; the board may come and go\n"
			       "docker run -v /dev:/dev --device-cgroup-rule 'c 166:* rmw' ...\n"
			       "\n# devcontainer.json; the board may come and go\n"
			       "\"runArgs\": [\"-v\", \"/dev:/dev\", \"--device-cgroup-rule=c 166:* rmw\"]\n");
	json_object_set_new(device, "nodes", json_array());
	ck_assert_int_lt(container_print(device, lines), 0);
}
END_TEST

/* ---- the book itself ---- */

static struct name_book *book;
static struct descriptors composite = { .vid = 0x0d28,
					.pid = 0x0204,
					.n_interfaces = 5,
					.interfaces = {
						{ 0, 8, 6, 0x50 }, { 1, 2, 2, 1 }, { 2, 10, 0, 0 }, { 3, 3, 0, 0 }, { 4, 255, 3, 0 } } };

static bool enter(const char *busid, const char *pi_name, const char *pi_busid, const char *name)
{
	struct busid here;
	struct offer offer = { .identity = { .vid = 0x0d28, .pid = 0x0204, .serial = "S" } };
	const struct name_claim claim = { &here, pi_name, &offer, &composite, 1 };

	ck_assert_int_eq(busid_parse(busid, &here), 0);
	ck_assert_int_eq(busid_parse(pi_busid, &offer.busid), 0);
	snprintf(offer.name, sizeof(offer.name), "%s", name);
	return name_book_enter(book, &claim);
}

START_TEST(each_interface_has_its_own_link_and_the_main_one_the_name)
{
	ck_assert_int_eq(name_book_new(bed.tree.path, &book), 0);
	ck_assert(enter("3-1", "pi1", "1-1", "bit"));
	expect_link("3-1:00", "bit-if0");
	expect_link("3-1:01", "bit");
	expect_link("3-1:04", "bit-if4");
	ck_assert(!enter("3-1", "pi1", "1-1", "bit"));
	book = name_book_free(book);
	ck_assert_int_eq(name_book_new(bed.tree.path, &book), 0);
	ck_assert_uint_eq(temp_tree_count(&bed.tree, "names"), 0); /* taken out */
	ck_assert(enter("3-1", "pi1", "1-1", "bit"));
	expect_link("3-1:01", "bit");
	book = name_book_free(book);
}
END_TEST

START_TEST(a_name_that_is_taken_everywhere_gives_no_link)
{
	ck_assert_int_eq(name_book_new(bed.tree.path, &book), 0);
	ck_assert(enter("3-1", "my pi/", "1-1", "x"));
	ck_assert(enter("3-2", "my pi/", "1-1", "x"));
	ck_assert(enter("3-3", "my pi/", "1-1", "x"));
	expect_link("3-3:01", "x-at-my-pi--1-1");
	ck_assert(!enter("3-4", "my pi/", "1-1", "x"));
	ck_assert_uint_eq(temp_tree_count(&bed.tree, "names"), 15);
	book = name_book_free(book);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("rules"), *listening = tcase_create("listening");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_checked_fixture(listening, setup_listening, teardown);
	tcase_set_timeout(listening, 60);
	tcase_add_test(tests, a_keyboard_is_taken_only_by_a_rule);
	tcase_add_test(tests, a_rule_for_one_pi_is_none_for_another);
	tcase_add_test(tests, what_the_rules_do_not_take_any_more_is_detached);
	tcase_add_test(tests, a_broken_file_changes_nothing);
	tcase_add_test(listening, an_editor_that_renames_the_rules_away_while_it_saves_takes_no_device);
	tcase_add_test(tests, a_name_is_there_before_a_driver_sees_the_device);
	tcase_add_test(tests, nothing_is_named_that_is_not_taken);
	tcase_add_loop_test(tests, without_a_name_one_is_made_and_a_wrong_one_counts_as_none, 0, 4);
	tcase_add_test(tests, two_devices_never_share_a_name);
	tcase_add_test(tests, a_new_name_is_taken_without_detaching);
	tcase_add_test(tests, a_successor_keeps_the_names);
	tcase_add_test(tests, a_device_is_found_by_place_name_and_identity);
	tcase_add_test(tests, what_a_device_says_of_itself_hides_no_other);
	tcase_add_test(tests, a_container_gets_the_link_that_stays);
	tcase_add_test(tests, each_interface_has_its_own_link_and_the_main_one_the_name);
	tcase_add_test(tests, a_name_that_is_taken_everywhere_gives_no_link);
	return check_program_run("vm_rules", tests, listening, NULL);
}
