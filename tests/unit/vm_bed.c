#include "vm_bed.h"

#include <check.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "uevent.h"

#define VHCI             "devices/platform/vhci_hcd.0"
#define LIMIT_USEC       UINT64_C(10000000)
#define WRITE_LIMIT_USEC UINT64_C(1000000)
#define TURN_USEC        UINT64_C(20000)
#define STATE_FREE       4
#define STATE_ASSIGNED   5
#define STATE_USED       6

const struct vm_device ACM = { 0x303a, 0x1001, "F4:12", 0x02, 0x02, 0x01 };
const struct vm_device KEYBOARD = { 0x046d, 0xc31c, "", 0x03, 0x01, 0x01 };

/* ---- the tree ---- */

__attribute__((format(printf, 3, 4))) static void tree_print(struct vm_bed *bed, const char *path, const char *format, ...)
{
	char full[160], text[2048];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	snprintf(full, sizeof(full), "sys/%s", path);
	temp_tree_put(&bed->tree, full, text);
}

static const char *tree_read(struct vm_bed *bed, const char *path)
{
	char full[160];

	snprintf(full, sizeof(full), "sys/%s", path);
	return temp_tree_get(&bed->tree, full);
}

static void device_busid(uint32_t port, char *buffer, size_t size)
{
	snprintf(buffer, size, "%u-%u", port < BED_HS ? 1U : 2U, port % BED_HS + 1);
}

static void device_path(uint32_t port, const char *attribute, char *buffer, size_t size)
{
	char busid[16];

	device_busid(port, busid, sizeof(busid));
	snprintf(buffer, size, VHCI "/usb%u/%s%s%s", port < BED_HS ? 1U : 2U, busid, *attribute ? "/" : "", attribute);
}

static void write_status(struct vm_bed *bed)
{
	char text[2048] = "hub port sta spd dev      sockfd local_busid\n";

	for (uint32_t i = 0; i < BED_PORTS; i++) {
		char busid[16] = "0-0";
		size_t used = strlen(text);

		if (bed->ports[i].state == STATE_USED)
			device_busid(i, busid, sizeof(busid));
		snprintf(text + used, sizeof(text) - used, "%s  %04u %03u %03u %08x %06u %s\n", i < BED_HS ? "hs" : "ss", i,
			 bed->ports[i].state, bed->ports[i].state == STATE_USED ? 3U : 0U,
			 bed->ports[i].state == STATE_USED ? bed->ports[i].devid : 0U, 0U, busid);
	}
	tree_print(bed, VHCI "/status", "%s", text);
}

static void write_tree(struct vm_bed *bed)
{
	for (uint32_t i = 0; i < BED_PORTS; i++)
		bed->ports[i].state = STATE_FREE;
	tree_print(bed, VHCI "/attach", "%s", "");
	tree_print(bed, VHCI "/detach", "%s", "");
	tree_print(bed, VHCI "/nports", "%d\n", BED_PORTS);
	tree_print(bed, VHCI "/usb1/authorized_default", "1\n");
	tree_print(bed, VHCI "/usb2/authorized_default", "1\n");
	write_status(bed);
}

/* ---- life ---- */

static void bed_start_handler(struct vm_bed *bed)
{
	ck_assert_int_eq(handler_new(bed->event, &bed->options, &bed->handler), 0);
	handler_start(bed->handler);
}

static void bed_make(struct vm_bed *bed, bool has_module)
{
	memset(bed, 0, sizeof(*bed));
	temp_tree_new(&bed->tree);
	snprintf(bed->sysfs, sizeof(bed->sysfs), "%s/sys", bed->tree.path);
	snprintf(bed->conf, sizeof(bed->conf), "%s/pi.conf", bed->tree.path);
	temp_tree_put(&bed->tree, "pi.conf", "PI=" BED_PI " pi1\nPI=" BED_OTHER " pi2\n");
	if (has_module)
		write_tree(bed);
	else
		tree_print(bed, "bus/usb/uevent", "%s", "");
	snprintf(bed->accept, sizeof(bed->accept), "%s/accept.conf", bed->tree.path);
	snprintf(bed->addresses, sizeof(bed->addresses), "%s/addresses", bed->tree.path);
	bed->options = (struct handler_options){ .sysfs_root = bed->sysfs,
						 .modules_dir = bed->tree.path,
						 .piconf_path = bed->conf,
						 .accept_path = bed->accept,
						 .runtime_dir = bed->tree.path,
						 .usbip_dir = bed->tree.path,
						 .addresses_path = bed->addresses };
	ck_assert_int_ge(sd_event_new(&bed->event), 0);
}

void vm_bed_make(struct vm_bed *bed)
{
	bed_make(bed, true);
}

void vm_bed_setup(struct vm_bed *bed)
{
	bed_make(bed, true);
	bed_start_handler(bed);
}

void vm_bed_setup_without_module(struct vm_bed *bed)
{
	bed_make(bed, false);
	bed_start_handler(bed);
}

void vm_bed_teardown(struct vm_bed *bed)
{
	handler_free(bed->handler);
	sd_event_unref(bed->event);
	temp_tree_free(&bed->tree);
}

void vm_bed_restart_handler(struct vm_bed *bed)
{
	bed->handler = handler_free(bed->handler);
	bed_start_handler(bed);
}

void vm_bed_settle(struct vm_bed *bed)
{
	while (sd_event_run(bed->event, 0) > 0)
		;
}

/* ---- the kernel ---- */

const char *vm_bed_take_write(struct vm_bed *bed, const char *name)
{
	uint64_t deadline = clock_now_usec() + WRITE_LIMIT_USEC * test_slowness();
	static char text[64];
	char path[64];

	snprintf(path, sizeof(path), VHCI "/%s", name);
	do {
		bool is_idle = handler_count_jobs(bed->handler) == 0;

		vm_bed_settle(bed);
		snprintf(text, sizeof(text), "%s", tree_read(bed, path));
		if (*text || (is_idle && handler_count_jobs(bed->handler) == 0))
			break;
		ck_assert_int_ge(sd_event_run(bed->event, TURN_USEC), 0);
	} while (clock_now_usec() < deadline); /* not for ever: some tests hold work up */
	tree_print(bed, path, "%s", "");
	return text;
}

static void tell(struct vm_bed *bed, enum uevent_action action, uint32_t port)
{
	char path[128], syspath[160], busid[16];
	struct uevent uevent = { .action = action,
				 .subsystem = "usb",
				 .devtype = "usb_device",
				 .syspath = syspath,
				 .sysname = busid,
				 .driver = "",
				 .devnode = "",
				 .devlinks = "" };

	device_path(port, "", path, sizeof(path));
	device_busid(port, busid, sizeof(busid));
	snprintf(syspath, sizeof(syspath), "/sys/%s", path);
	handler_on_uevent(&uevent, bed->handler);
}

void vm_bed_assign(struct vm_bed *bed, uint32_t port, uint32_t devid)
{
	ck_assert_uint_lt(port, BED_PORTS);
	ck_assert_uint_eq(bed->ports[port].state, STATE_FREE);
	bed->ports[port].state = STATE_ASSIGNED;
	bed->ports[port].devid = devid;
	write_status(bed);
}

uint32_t vm_bed_take_attach(struct vm_bed *bed)
{
	uint32_t port, devid, speed;
	int fd;

	ck_assert_int_eq(sscanf(vm_bed_take_write(bed, "attach"), "%u %d %u %u", &port, &fd, &devid, &speed), 4);
	vm_bed_assign(bed, port, devid);
	return port;
}

static void write_descriptors(struct vm_bed *bed, uint32_t port, const struct vm_device *device)
{
	const uint8_t data[] = {
		18,
		1,
		0,
		2,
		0,
		0,
		0,
		64,
		(uint8_t)device->vid,
		(uint8_t)(device->vid >> 8),
		(uint8_t)device->pid,
		(uint8_t)(device->pid >> 8),
		0,
		1,
		1,
		2,
		3,
		1,
		9,
		2,
		18,
		0,
		1,
		1,
		0,
		0x80,
		50,
		9,
		4,
		0,
		0,
		0,
		device->class,
		device->subclass,
		device->protocol,
		0,
	};
	char path[128], full[160];

	device_path(port, "descriptors", path, sizeof(path));
	snprintf(full, sizeof(full), "sys/%s", path);
	temp_tree_put_bytes(&bed->tree, full, data, sizeof(data));
}

static void write_attribute(struct vm_bed *bed, uint32_t port, const char *name, const char *value)
{
	char path[128];

	device_path(port, name, path, sizeof(path));
	tree_print(bed, path, "%s\n", value);
}

uint32_t vm_bed_enumerate(struct vm_bed *bed, const struct vm_device *device)
{
	uint32_t port = vm_bed_take_attach(bed);

	vm_bed_show_device(bed, port, device);
	return port;
}

void vm_bed_show_device(struct vm_bed *bed, uint32_t port, const struct vm_device *device)
{
	char number[8];

	bed->ports[port].state = STATE_USED;
	write_status(bed);
	snprintf(number, sizeof(number), "%04x", device->vid);
	write_attribute(bed, port, "idVendor", number);
	snprintf(number, sizeof(number), "%04x", device->pid);
	write_attribute(bed, port, "idProduct", number);
	write_attribute(bed, port, "bcdDevice", "0100");
	if (*device->serial)
		write_attribute(bed, port, "serial", device->serial);
	write_attribute(bed, port, "authorized", "0");
	write_attribute(bed, port, "driver", ""); /* the generic driver has bound */
	write_descriptors(bed, port, device);
	tell(bed, UEVENT_ADD, port);
	tell(bed, UEVENT_BIND, port);
	vm_bed_settle(bed);
}

void vm_bed_add_tty(struct vm_bed *bed, uint32_t port, const char *node, const char *links)
{
	char path[128], syspath[256];
	struct uevent uevent = { .action = UEVENT_ADD,
				 .subsystem = "tty",
				 .devtype = "",
				 .syspath = syspath,
				 .sysname = strrchr(node, '/') + 1,
				 .driver = "",
				 .devnode = node,
				 .devlinks = links };

	device_path(port, "", path, sizeof(path));
	snprintf(syspath, sizeof(syspath), "/sys/%s/1-1:1.0/tty/%s", path, strrchr(node, '/') + 1);
	handler_on_uevent(&uevent, bed->handler);
	vm_bed_settle(bed);
}

void vm_bed_remove(struct vm_bed *bed, uint32_t port)
{
	char path[128], full[160];

	device_path(port, "", path, sizeof(path));
	snprintf(full, sizeof(full), "sys/%s", path);
	temp_tree_remove(&bed->tree, full);
	bed->ports[port].state = STATE_FREE;
	write_status(bed);
	tell(bed, UEVENT_REMOVE, port);
	vm_bed_settle(bed);
}

void vm_bed_give_port_to_stranger(struct vm_bed *bed, uint32_t port)
{
	bed->ports[port].devid++;
	write_status(bed);
}

bool vm_bed_is_authorized(struct vm_bed *bed, uint32_t port)
{
	char path[128];

	device_path(port, "authorized", path, sizeof(path));
	return tree_read(bed, path)[0] == '1';
}

unsigned vm_bed_count_used(const struct vm_bed *bed)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < BED_PORTS; i++)
		n += bed->ports[i].state != STATE_FREE;
	return n;
}

/* ---- Pis ---- */

void vm_pi_connect(struct vm_pi *pi, struct vm_bed *bed, const char *id)
{
	int ends[2];

	memset(pi, 0, sizeof(*pi));
	pi->bed = bed;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
	pi->fd = ends[0];
	handler_accept_relay(bed->handler, id, "127.0.0.1", ends[1]);
}

void vm_pi_close(struct vm_pi *pi)
{
	pi->fd = close_fd(pi->fd);
	vm_bed_settle(pi->bed);
}

void vm_pi_write(struct vm_pi *pi, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = send(pi->fd, data, size, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return; /* the handler hung up: what comes of it is the test's question */
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
		vm_bed_settle(pi->bed);
	}
}

void vm_pi_say(struct vm_pi *pi, const char *format, ...)
{
	char line[4096];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	strcat(line, "\n");
	vm_pi_write(pi, line, strlen(line));
}

/* 1 with the line, 0 at the end of the connection. */
static int pi_read_line(struct vm_pi *pi, char *line, size_t size)
{
	uint64_t deadline = clock_now_usec() + LIMIT_USEC * test_slowness();

	for (;;) {
		char *end = memchr(pi->input, '\n', pi->used);
		ssize_t n;

		if (end) {
			ck_assert_uint_lt((size_t)(end - pi->input), size);
			*end++ = '\0';
			memcpy(line, pi->input, (size_t)(end - pi->input));
			pi->used -= (size_t)(end - pi->input);
			memmove(pi->input, end, pi->used);
			return 1;
		}
		n = recv(pi->fd, pi->input + pi->used, sizeof(pi->input) - pi->used, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return 0;
		if (n > 0)
			pi->used += (size_t)n;
		ck_assert_msg(clock_now_usec() < deadline, "nothing came within the limit");
		ck_assert_int_ge(sd_event_run(pi->bed->event, n > 0 ? 0 : TURN_USEC), 0);
	}
}

json_t *vm_pi_expect(struct vm_pi *pi, const char *type)
{
	char line[66000];

	for (;;) {
		json_t *object;
		const char *got;

		ck_assert_msg(pi_read_line(pi, line, sizeof(line)) == 1, "the connection ended before %s came", type);
		object = json_loads(line, 0, NULL);
		ck_assert_msg(object != NULL, "no JSON: %s", line);
		got = json_string_value(json_object_get(object, "type"));
		if (got && strcmp(got, type) == 0)
			return object;
		json_decref(object);
	}
}

void vm_pi_expect_text(struct vm_pi *pi, const char *start)
{
	char line[66000];

	ck_assert_int_eq(pi_read_line(pi, line, sizeof(line)), 1);
	ck_assert_msg(strncmp(line, start, strlen(start)) == 0, "%s came, not %s", line, start);
}

void vm_pi_expect_end(struct vm_pi *pi)
{
	char line[66000];

	while (pi_read_line(pi, line, sizeof(line)) > 0)
		;
}

void vm_pi_say_hello(struct vm_pi *pi, unsigned patience_ms)
{
	vm_pi_say(
		pi,
		"{\"type\":\"hello\",\"protocol\":1,\"software\":\"test\",\"role\":\"pi\",\"id\":\"aa\",\"name\":\"pi\",\"boot_id\":\"bb\",\"patience_ms\":%u}",
		(unsigned)(patience_ms * test_slowness()));
}

void vm_pi_come_up(struct vm_pi *pi, struct vm_bed *bed, const char *id)
{
	vm_pi_connect(pi, bed, id);
	vm_pi_say_hello(pi, 8000);
	json_decref(vm_pi_expect(pi, "hello"));
	vm_pi_say(pi, "{\"type\":\"sync\",\"seq\":1,\"offers\":[]}");
	json_decref(vm_pi_expect(pi, "synced"));
}

void vm_pi_offer(struct vm_pi *pi, const char *id, const char *busid, uint32_t devid, const struct vm_device *device)
{
	vm_pi_offer_named(pi, id, busid, devid, device, "");
}

void vm_pi_offer_named(struct vm_pi *pi, const char *id, const char *busid, uint32_t devid, const struct vm_device *device,
		       const char *name)
{
	vm_pi_say(
		pi,
		"{\"type\":\"connect\",\"offer\":{\"id\":\"%s\",\"busid\":\"%s\",\"devid\":%u,\"speed\":12,\"vid\":%u,\"pid\":%u,\"bcd\":256,"
		"\"serial\":\"%s\",\"manufacturer\":\"\",\"product\":\"\",\"name\":\"%s\"}}",
		id, busid, devid, device->vid, device->pid, device->serial, name);
}

void vm_pi_open_stream(struct vm_pi *stream, struct vm_bed *bed, const char *pi_id, const char *offer_id)
{
	vm_pi_connect(stream, bed, pi_id);
	vm_pi_say(stream, "{\"type\":\"stream\",\"offer\":\"%s\"}", offer_id);
}

/* ---- what the handler says ---- */

static const json_t *find_by(const json_t *list, const char *key, const char *value)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (strcmp(json_string_value(json_object_get(item, key)), value) == 0)
			return item;
	return NULL;
}

const char *vm_bed_device_state(struct vm_bed *bed, const char *offer_id)
{
	_cleanup_json_ json_t *status = handler_status_to_json(bed->handler);
	static char state[32];
	const json_t *pi;
	size_t i;

	state[0] = '\0';
	json_array_foreach(json_object_get(status, "pis"), i, pi) {
		const json_t *device = find_by(json_object_get(pi, "devices"), "offer", offer_id);

		if (device)
			snprintf(state, sizeof(state), "%s", json_string_value(json_object_get(device, "state")));
	}
	return state;
}

const char *vm_bed_pi_state(struct vm_bed *bed, const char *pi_id)
{
	_cleanup_json_ json_t *status = handler_status_to_json(bed->handler);
	const json_t *pi = find_by(json_object_get(status, "pis"), "id", pi_id);
	static char state[32];

	snprintf(state, sizeof(state), "%s", pi ? json_string_value(json_object_get(pi, "state")) : "");
	return state;
}

void vm_bed_expect_state(struct vm_bed *bed, const char *offer_id, const char *state)
{
	uint64_t deadline = clock_now_usec() + LIMIT_USEC * test_slowness();

	while (strcmp(vm_bed_device_state(bed, offer_id), state) != 0) {
		ck_assert_msg(clock_now_usec() < deadline, "offer %s is \"%s\", not \"%s\"", offer_id, vm_bed_device_state(bed, offer_id),
			      state);
		ck_assert_int_ge(sd_event_run(bed->event, TURN_USEC), 0);
	}
}
