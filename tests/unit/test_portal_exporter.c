/* The portal on the real exporter, a fake kernel, and a VM behind a real sshd: what is scripted elsewhere is so. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "control.h"
#include "pi_bed.h"
#include "portal_bed.h"

static struct pi_bed pi;
static struct control *control;
static struct portal_bed bed;

static void setup(void)
{
	char path[160];

	pi_bed_setup(&pi);
	pi_bed_start(&pi);
	snprintf(path, sizeof(path), "%s/control.sock", pi.run_dir);
	ck_assert_int_eq(control_new(pi.daemon.event, path, pi.exporter, &control), 0);
	portal_bed_setup_on(&bed, pi.daemon.event, path);
	portal_bed_claim(&bed);
}

static void teardown(void)
{
	portal_bed_teardown(&bed);
	control = control_free(control);
	pi_bed_teardown(&pi);
}

static void pair(void)
{
	pi_bed_pair(&pi);
	exporter_reload(pi.exporter);
	pi_bed_wait_link(&pi, "UP");
}

static void plug(const char *busid, const struct usb_sample *sample, const char *state)
{
	fake_kernel_plug(&pi.kernel, busid, sample);
	pi_bed_wait(&pi, busid, state);
}

static void expect_body(const char *part)
{
	ck_assert_msg(strstr(portal_bed_body(), part) != NULL, "\"%s\" is not in: %s", part, portal_bed_body());
}

START_TEST(the_page_sees_a_device_from_plug_to_unplug)
{
	char request[512];
	_cleanup_close_ int fd = portal_bed_connect(&bed);
	int n = snprintf(request, sizeof(request), "GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: %s\r\n\r\n", bed.cookie);

	ck_assert_int_eq(write(fd, request, (size_t)n), n);
	portal_bed_hear(&bed, fd, "\"state\":\"UNPAIRED\"");
	pair();
	portal_bed_hear(&bed, fd, "\"vm\":\"bench-vm\"");
	fake_kernel_plug(&pi.kernel, "1-1", &FT232R);
	portal_bed_hear(&bed, fd, "attached as /dev/ttyUSB0");
	fake_kernel_unplug(&pi.kernel, "1-1");
	portal_bed_hear(&bed, fd, "\"devices\":[]");
}
END_TEST

START_TEST(a_device_is_detached_and_attached_by_its_bus_id)
{
	pair();
	plug("1-1", &FT232R, "ATTACHED");
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/devices/1-1/detach", "{}"), 200);
	ck_assert_str_eq(portal_bed_body(), "{\"busid\":\"1-1\"}");
	pi_bed_wait(&pi, "1-1", "IGNORED");
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/devices"), 200);
	/* the page offers to attach it again by these words */
	expect_body("detached by hand");
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/devices/0403:6001/attach", "{}"), 200);
	pi_bed_wait(&pi, "1-1", "ATTACHED");
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/devices/1-9/detach", "{}"), 404);
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/attach-all", "{}"), 200);
}
END_TEST

START_TEST(a_test_goes_all_the_way)
{
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/test", "{}"), 409);
	ck_assert_str_eq(portal_bed_code(), "not-paired");
	pair();
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/test", "{}"), 200);
	expect_body("\"ok\":true");
	expect_body("\"name\":\"sync\"");
	ck_assert_ptr_null(strstr(portal_bed_body(), "\"state\":\"open\""));
	ck_assert_ptr_null(strstr(portal_bed_body(), "\"state\":\"failed\""));
}
END_TEST

static void expect_test_stops(const char *step, const char *code)
{
	_cleanup_json_ json_t *result = NULL;
	const json_t *each, *stopped = NULL;
	size_t i;

	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/test", "{}"), 200);
	result = json_loads(portal_bed_body(), 0, NULL);
	ck_assert(json_is_false(json_object_get(result, "ok")));
	json_array_foreach(json_object_get(result, "steps"), i, each)
		if (!stopped && strcmp(json_string_value(json_object_get(each, "state")), "done") != 0)
			stopped = each;
	ck_assert_msg(strcmp(json_string_value(json_object_get(stopped, "name")), step) == 0 &&
			      strcmp(json_string_value(json_object_get(stopped, "state")), "failed") == 0,
		      "not at %s: %s", step, portal_bed_body());
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(result, "error"), "code")), code);
	ck_assert_str_ne(json_string_value(json_object_get(json_object_get(result, "error"), "cure")), "");
}

START_TEST(a_test_stops_where_the_way_ends)
{
	struct vm_config right = pi.vm.config;

	snprintf(pi.vm.config.host, sizeof(pi.vm.config.host), "no-such-host.invalid");
	pi_bed_pair(&pi);
	exporter_reload(pi.exporter);
	pi_bed_wait_link(&pi, "DOWN");
	expect_test_stops("address", "unreachable");
	pi.vm.config = right;
	pi.vm.config.port = 1; /* nobody is there */
	pi_bed_pair(&pi);
	exporter_reload(pi.exporter);
	pi_bed_wait_link(&pi, "CONNECTING");
	pi_bed_wait_link(&pi, "DOWN");
	expect_test_stops("tcp", "unreachable");
	pi.vm.config = right;
	ssh_vm_change_host_key(&pi.vm, "ed25519");
	pi_bed_pair(&pi);
	exporter_reload(pi.exporter);
	pi_bed_wait_link(&pi, "REFUSED");
	expect_test_stops("host_key", "host-key");
}
END_TEST

START_TEST(a_pi_without_a_vm_is_paired_by_host_key_and_unpaired)
{
	_cleanup_free_ char *body = NULL;
	_cleanup_json_ json_t *request = json_pack("{s:s, s:s, s:s, s:i}", "host", pi.vm.config.host, "host_key", pi.vm.config.host_key,
						   "user", pi.vm.config.user, "port", pi.vm.config.port);

	plug("1-1", &FT232R, "IGNORED");
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/devices"), 200);
	/* the page shows it among the devices by these words */
	expect_body("not paired");
	body = json_dumps(request, JSON_COMPACT);
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/pair", body), 200);
	pi_bed_wait(&pi, "1-1", "ATTACHED");
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/unpair", "{}"), 200);
	pi_bed_wait_link(&pi, "UNPAIRED");
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/pair", "{\"host\":\"vm\",\"host_key\":\"nonsense\"}"), 400);
	ck_assert_int_eq(portal_bed_post(&bed, "/api/v1/pair", "{\"host\":[],\"host_key\":7}"), 400);
}
END_TEST

START_TEST(the_key_and_the_metrics_are_there)
{
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/key"), 200);
	expect_body("\"key\":\"ssh-ed25519 ");
	pair();
	plug("1-1", &FT232R, "ATTACHED");
	loop_for(bed.event, 1100000);
	ck_assert_int_eq(portal_bed_get(&bed, "/metrics"), 200);
	expect_body("usbpush_link_state{state=\"UP\"} 1\n");
	expect_body("usbpush_device_attached{busid=\"1-1\",vid=\"0403\",pid=\"6001\",serial=\"A50285BI\"} 1\n");
}
END_TEST

START_TEST(a_portal_that_dies_takes_no_device_with_it)
{
	_cleanup_json_ json_t *device = NULL;

	pair();
	plug("1-1", &FT232R, "ATTACHED");
	bed.portal = portal_free(bed.portal);
	loop_for(bed.event, 500000);
	ck_assert_str_eq(pi_bed_field(&pi, "1-1", "state"), "ATTACHED");
	device = device_to_json(pi_bed_device(&pi, "1-1"));
	ck_assert_int_eq(json_integer_value(json_object_get(device, "attached_count")), 1);
}
END_TEST

/* Each key of object stands in the schema of that name. */
static void expect_described(const json_t *schemas, const char *name, json_t *object)
{
	const json_t *properties = json_object_get(json_object_get(schemas, name), "properties");
	const char *key;
	json_t *value;

	ck_assert_uint_gt(json_object_size(object), 0);
	json_object_foreach(object, key, value)
		ck_assert_msg(json_object_get(properties, key) != NULL, "openapi.json: %s lacks %s", name, key);
}

static bool is_blocked(struct pi_bed *any)
{
	_cleanup_json_ json_t *status = pi_bed_status(any);

	return json_array_size(json_object_get(status, "blocked")) > 0;
}

START_TEST(what_the_exporter_says_is_described_in_whole)
{
	_cleanup_json_ json_t *document = NULL, *status = NULL;
	const json_t *schemas;
	json_t *device;

	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/openapi.json"), 200);
	document = json_loads(portal_bed_body(), 0, NULL);
	schemas = json_object_get(json_object_get(document, "components"), "schemas");
	pair();
	plug("1-1", &FT232R, "ATTACHED");
	fake_kernel_hold(&pi.kernel, "usb/unbind 1-2");
	fake_kernel_plug(&pi.kernel, "1-2", &CP2102);
	pi_bed_until(&pi, is_blocked, "word of the write that does not return");
	loop_for(bed.event, 1100000);
	ck_assert_int_eq(portal_bed_get(&bed, "/api/v1/status"), 200);
	status = json_loads(portal_bed_body(), 0, NULL);
	device = json_array_get(json_object_get(status, "devices"), 0);
	expect_described(schemas, "Status", status);
	expect_described(schemas, "Link", json_object_get(status, "link"));
	expect_described(schemas, "Device", device);
	expect_described(schemas, "DeviceOnVm", json_object_get(device, "vm"));
	expect_described(schemas, "Blocked", json_array_get(json_object_get(status, "blocked"), 0));
	fake_kernel_release(&pi.kernel);
	pi_bed_wait(&pi, "1-2", "ATTACHED");
}
END_TEST

int main(int argc, char **argv)
{
	TCase *test_case = tcase_create("the portal on a real exporter");

	ssh_vm_play(argc, argv);
	tcase_set_timeout(test_case, 120);
	tcase_add_checked_fixture(test_case, setup, teardown);
	tcase_add_test(test_case, the_page_sees_a_device_from_plug_to_unplug);
	tcase_add_test(test_case, a_device_is_detached_and_attached_by_its_bus_id);
	tcase_add_test(test_case, a_test_goes_all_the_way);
	tcase_add_test(test_case, a_test_stops_where_the_way_ends);
	tcase_add_test(test_case, a_pi_without_a_vm_is_paired_by_host_key_and_unpaired);
	tcase_add_test(test_case, the_key_and_the_metrics_are_there);
	tcase_add_test(test_case, a_portal_that_dies_takes_no_device_with_it);
	tcase_add_test(test_case, what_the_exporter_says_is_described_in_whole);
	return check_program_run("portal_exporter", test_case, NULL);
}
