#include "vm_life.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "inject.h"

#define LIMIT_USEC UINT64_C(60000000) /* several of the handler's limits in a row */
#define AGAIN_USEC UINT64_C(20000)    /* between the Pi's tries */
#define BEAT_USEC  UINT64_C(1000000)
#define TURN_USEC  UINT64_C(5000)
#define FREE       4
#define ASSIGNED   5

/* ---- the kernel ---- */

static ssize_t kernel_attach(struct vm_life *life, const char *value)
{
	uint32_t port, devid, speed;
	int fd;

	ck_assert_int_eq(sscanf(value, "%u %d %u %u", &port, &fd, &devid, &speed), 4);
	if (life->bed.ports[port].state != FREE)
		return -EBUSY;
	life->ports[port].session = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	ck_assert_int_ge(life->ports[port].session, 0);
	life->ports[port].has_node = life->ports[port].is_detaching = false;
	vm_bed_assign(&life->bed, port, devid);
	return (ssize_t)strlen(value);
}

static ssize_t kernel_detach(struct vm_life *life, const char *value)
{
	unsigned long port = strtoul(value, NULL, 10);

	if (life->bed.ports[port].state == FREE)
		return -EINVAL;
	life->ports[port].is_detaching = true;
	return (ssize_t)strlen(value);
}

static bool kernel_answer_write(int fd, const void *data, size_t size, ssize_t *ret_result, void *userdata)
{
	struct vm_life *life = userdata;
	char link[64], path[512], value[64] = "";
	const char *name;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = size < sizeof(value) ? readlink(link, path, sizeof(path) - 1) : -1;
	if (n <= 0)
		return false;
	path[n] = '\0';
	memcpy(value, data, size);
	name = strstr(path, "/vhci_hcd.0/");
	if (!name || (strcmp(name, "/vhci_hcd.0/attach") != 0 && strcmp(name, "/vhci_hcd.0/detach") != 0))
		return false;
	pthread_mutex_lock(&life->lock);
	*ret_result = strcmp(name, "/vhci_hcd.0/attach") == 0 ? kernel_attach(life, value) : kernel_detach(life, value);
	pthread_mutex_unlock(&life->lock);
	return true;
}

static bool session_has_ended(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN);
}

static void kernel_turn_port(struct vm_life *life, uint32_t port)
{
	char node[32];

	if (life->bed.ports[port].state == FREE)
		return;
	if (life->ports[port].is_detaching || session_has_ended(life->ports[port].session)) {
		life->ports[port].session = close_fd(life->ports[port].session);
		vm_bed_remove(&life->bed, port);
	} else if (life->bed.ports[port].state == ASSIGNED) {
		vm_bed_show_device(&life->bed, port, &ACM);
	} else if (!life->ports[port].has_node && vm_bed_is_authorized(&life->bed, port)) {
		snprintf(node, sizeof(node), "/dev/ttyACM%u", port);
		life->ports[port].has_node = true;
		vm_bed_add_tty(&life->bed, port, node, "/dev/serial/by-id/usb-acm");
	}
}

/* Without a handler events are nobody's. */
static void kernel_turn(struct vm_life *life)
{
	pthread_mutex_lock(&life->lock);
	for (uint32_t port = 0; life->bed.handler && port < BED_PORTS; port++)
		kernel_turn_port(life, port);
	pthread_mutex_unlock(&life->lock);
}

/* ---- the Pi ---- */

static const char *pi_offer_id(const struct vm_life *life)
{
	static char id[16];

	snprintf(id, sizeof(id), "o-%u", life->n_offers);
	return id;
}

/* What is written to a handler that hung up goes nowhere: its end is seen by reading. */
static void pi_say(struct vm_pi *pi, const char *line)
{
	(void)send(pi->fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* 1 with a line, 0 without, -1 at the end. */
static int pi_read(struct vm_pi *pi, char *line, size_t size)
{
	ssize_t n = recv(pi->fd, pi->input + pi->used, sizeof(pi->input) - pi->used, MSG_DONTWAIT);
	char *end;
	size_t length;

	pi->used += n > 0 ? (size_t)n : 0;
	end = memchr(pi->input, '\n', pi->used);
	if (!end)
		return n == 0 || (n < 0 && errno != EAGAIN) ? -1 : 0;
	length = (size_t)(end - pi->input);
	ck_assert_uint_lt(length, size);
	memcpy(line, pi->input, length);
	line[length] = '\0';
	pi->used -= length + 1;
	memmove(pi->input, end + 1, pi->used);
	return 1;
}

static void pi_withdraw(struct vm_life *life)
{
	char line[128];

	if (!life->is_offered)
		return;
	snprintf(line, sizeof(line), "{\"type\":\"disconnect\",\"id\":\"%s\",\"reason\":\"unplugged\"}\n", pi_offer_id(life));
	if (life->is_synced)
		pi_say(&life->control, line);
	life->stream.fd = close_fd(life->stream.fd);
	life->is_offered = life->is_up = life->is_reported = false;
}

static void pi_hang_up(struct vm_life *life)
{
	life->control.fd = close_fd(life->control.fd);
	life->is_synced = life->is_reported = false;
	life->next_usec = clock_now_usec() + AGAIN_USEC;
}

static void pi_say_sync(struct vm_life *life)
{
	char line[128];

	if (!life->is_up)
		pi_withdraw(life); /* what did not come to a stream is offered anew */
	snprintf(line, sizeof(line), "{\"type\":\"sync\",\"seq\":1,\"offers\":[%s%s%s]}\n",
		 life->is_offered ? "{\"streaming\":true,\"id\":\"" : "", life->is_offered ? pi_offer_id(life) : "",
		 life->is_offered ? "\"}" : "");
	pi_say(&life->control, line);
}

/* A failure that reaches a person says what, and a script's code is there. */
static void pi_hear_complaint(struct vm_life *life, const json_t *message)
{
	const char *text = json_string_value(json_object_get(message, "text")), *code = json_string_value(json_object_get(message, "code"));

	ck_assert_msg(text && *text && code && *code, "a complaint without a word");
	life->n_complaints++;
}

static json_t *pi_parse(const char *line)
{
	json_t *message;

	inject_pause();
	message = json_loads(line, 0, NULL);
	inject_resume();
	return message;
}

static void pi_hear(struct vm_life *life, const char *line)
{
	_cleanup_json_ json_t *message = pi_parse(line);
	const char *type = json_string_value(json_object_get(message, "type")), *id = json_string_value(json_object_get(message, "id"));
	bool is_current = id && life->is_offered && strcmp(id, pi_offer_id(life)) == 0;

	ck_assert_msg(type != NULL, "no message: %s", line);
	if (strcmp(type, "hello") == 0)
		pi_say_sync(life);
	else if (strcmp(type, "synced") == 0)
		life->is_synced = true;
	else if (strcmp(type, "refused") == 0)
		pi_hear_complaint(life, message);
	else if (strcmp(type, "attached") == 0 && is_current)
		life->is_reported = true;
	if (strcmp(type, "failed") == 0)
		pi_hear_complaint(life, message);
	if (strcmp(type, "synced") == 0 && json_array_size(json_object_get(message, "keep")) == 0)
		pi_withdraw(life);
	if ((strcmp(type, "failed") == 0 || strcmp(type, "detached") == 0) && is_current) {
		pi_withdraw(life);
		life->next_usec = clock_now_usec() + AGAIN_USEC;
	}
}

static void pi_turn_control(struct vm_life *life)
{
	uint64_t now = clock_now_usec();
	char line[66000];
	int r;

	if (life->control.fd < 0) {
		vm_pi_connect(&life->control, &life->bed, BED_PI);
		pi_say(&life->control,
		       "{\"type\":\"hello\",\"protocol\":1,\"software\":\"test\",\"role\":\"pi\",\"id\":\"aa\",\"name\":\"pi\",\"boot_id\":\"bb\","
		       "\"patience_ms\":8000}\n");
	}
	while ((r = pi_read(&life->control, line, sizeof(line))) > 0)
		pi_hear(life, line);
	if (r < 0)
		pi_hang_up(life);
	else if (life->is_synced && now > life->beat_usec)
		pi_say(&life->control, "{\"type\":\"beat\"}\n");
	if (now > life->beat_usec)
		life->beat_usec = now + BEAT_USEC;
}

static void pi_turn_stream(struct vm_life *life)
{
	char line[4096];
	int r;

	if (life->is_up) {
		if (session_has_ended(life->stream.fd))
			r = -1;
		else
			return;
	} else {
		r = pi_read(&life->stream, line, sizeof(line));
	}
	if (r > 0 && strcmp(line, "OK") == 0)
		life->is_up = true;
	else if (r > 0) /* a first line that could not even be read is refused as any connection */
		ck_assert_msg(strncmp(line, "NO {", 4) == 0 || strstr(line, "\"refused\""), "%s", line);
	if (r < 0) {
		pi_withdraw(life);
		life->next_usec = clock_now_usec() + AGAIN_USEC;
	}
}

static void pi_offer(struct vm_life *life)
{
	life->n_offers++;
	life->is_offered = true;
	vm_pi_offer(&life->control, pi_offer_id(life), "1-1.4", (1 << 16) + 2, &ACM);
	vm_pi_open_stream(&life->stream, &life->bed, BED_PI, pi_offer_id(life));
}

static void pi_turn(struct vm_life *life)
{
	if (life->control.fd < 0 && (!life->bed.handler || life->is_stopping || clock_now_usec() < life->next_usec))
		return;
	pi_turn_control(life);
	if (life->is_offered && !life->is_plugged)
		pi_withdraw(life);
	if (life->is_offered)
		pi_turn_stream(life);
	else if (life->is_synced && life->is_plugged && clock_now_usec() >= life->next_usec)
		pi_offer(life);
}

/* ---- all of them ---- */

void vm_life_until(struct vm_life *life, bool (*is_done)(struct vm_life *life), const char *what)
{
	uint64_t deadline = clock_now_usec() + LIMIT_USEC * test_slowness();
	bool is_so = false;

	while (!is_so) {
		ck_assert_msg(clock_now_usec() < deadline, "no %s (the %s that failed: %s)", what,
			      inject_failed_call()[0] ? "call" : "none", inject_failed_call());
		kernel_turn(life);
		pi_turn(life);
		ck_assert_int_ge(sd_event_run(life->bed.event, TURN_USEC), 0);
		inject_pause();
		is_so = is_done(life);
		inject_resume();
	}
}

static bool is_attached(struct vm_life *life)
{
	return life->is_reported && life->is_up && vm_bed_count_used(&life->bed) == 1 &&
	       strcmp(vm_bed_device_state(&life->bed, pi_offer_id(life)), "attached") == 0;
}

void vm_life_wait_attached(struct vm_life *life)
{
	vm_life_until(life, is_attached, "attached device");
}

static bool is_free(struct vm_life *life)
{
	_cleanup_json_ json_t *status = handler_status_to_json(life->bed.handler);
	const json_t *pi = json_array_get(json_object_get(status, "pis"), 0);

	return vm_bed_count_used(&life->bed) == 0 && json_array_size(json_object_get(pi, "devices")) == 0;
}

void vm_life_wait_free(struct vm_life *life)
{
	vm_life_until(life, is_free, "end of all that was attached");
}

void vm_life_setup(struct vm_life *life)
{
	memset(life, 0, sizeof(*life));
	pthread_mutex_init(&life->lock, NULL);
	vm_bed_make(&life->bed);
	life->control.fd = life->stream.fd = -EBADF;
	for (size_t i = 0; i < BED_PORTS; i++)
		life->ports[i].session = -EBADF;
	inject_answer_writes(kernel_answer_write, life);
}

void vm_life_start(struct vm_life *life)
{
	int r = -EAGAIN;

	for (unsigned i = 0; i < 3 && r < 0; i++) {
		r = handler_new(life->bed.event, &life->bed.options, &life->bed.handler);
		if (r < 0)
			continue;
		r = handler_listen(life->bed.handler);
		if (r < 0)
			life->bed.handler = handler_free(life->bed.handler);
	}
	ck_assert_msg(r >= 0, "the handler does not start: %s", strerror(-r));
}

void vm_life_kill(struct vm_life *life)
{
	life->bed.handler = handler_free(life->bed.handler);
	for (size_t i = 0; i < BED_PORTS; i++)
		life->ports[i].has_node = false; /* its successor is told again: it looks for nodes by enumeration */
}

static void on_stopped(void *userdata)
{
	*(bool *)userdata = true;
}

static bool has_stopped;

static bool is_stopped(struct vm_life *life)
{
	(void)life;
	return has_stopped;
}

void vm_life_stop(struct vm_life *life)
{
	has_stopped = false;
	life->is_stopping = true; /* it listens no more */
	handler_stop(life->bed.handler, on_stopped, &has_stopped);
	vm_life_until(life, is_stopped, "end of the handler");
	ck_assert_uint_eq(vm_bed_count_used(&life->bed), 0);
	vm_life_kill(life);
	life->is_stopping = false;
}

void vm_life_teardown(struct vm_life *life)
{
	inject_answer_writes(NULL, NULL);
	life->control.fd = close_fd(life->control.fd);
	life->stream.fd = close_fd(life->stream.fd);
	for (size_t i = 0; i < BED_PORTS; i++)
		close_fd(life->ports[i].session);
	vm_bed_teardown(&life->bed);
}
