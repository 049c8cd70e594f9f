/* A TCP connection whose wire is cut: a filter on the peer's socket drops every segment before TCP sees it. */

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "daemon.h"
#include "tcp_watch.h"

struct wire {
	int near, far;
	struct tcp_watch *watch; /* of near; NULL where TCP is left alone */
};

static sd_event *event;
static struct wire watched, plain;
static unsigned n_dead;
static uint64_t silence_told;

static void on_dead(uint64_t silence_msec, void *userdata)
{
	(void)userdata;
	n_dead++;
	silence_told = silence_msec;
}

static void wire_new(struct wire *wire, uint32_t limit_msec)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	_cleanup_close_ int listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(address);
	const int one = 1;

	ck_assert_int_eq(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listen_fd, 1), 0);
	ck_assert_int_eq(getsockname(listen_fd, (struct sockaddr *)&address, &size), 0);
	wire->near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(wire->near, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(setsockopt(wire->near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	wire->far = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	ck_assert_int_ge(wire->far, 0);
	if (limit_msec)
		ck_assert_int_eq(tcp_watch_new(event, wire->near, limit_msec, on_dead, NULL, &wire->watch), 0);
}

static void wire_free(struct wire *wire)
{
	wire->watch = tcp_watch_free(wire->watch);
	wire->near = close_fd(wire->near);
	wire->far = close_fd(wire->far);
}

static void wire_filter(const struct wire *wire, struct sock_filter *code, unsigned short n)
{
	const struct sock_fprog program = { .len = n, .filter = code };

	ck_assert_int_eq(setsockopt(wire->far, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)), 0);
}

static void wire_cut(const struct wire *wire)
{
	struct sock_filter drop[] = { BPF_STMT(BPF_RET | BPF_K, 0) };

	wire_filter(wire, drop, ARRAY_SIZE(drop));
}

/* Three segments of four are lost. */
static void wire_make_lossy(const struct wire *wire)
{
	struct sock_filter lossy[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_AD_OFF + SKF_AD_RANDOM),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 3),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	wire_filter(wire, lossy, ARRAY_SIZE(lossy));
}

static void wire_heal(const struct wire *wire)
{
	const int none = 0;

	ck_assert_int_eq(setsockopt(wire->far, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none)), 0);
}

static void wire_write(struct wire *wire)
{
	if (wire->watch)
		tcp_watch_look(wire->watch);
	ck_assert_int_eq(send(wire->near, "x", 1, MSG_NOSIGNAL), 1);
}

static bool wire_has_come(const struct wire *wire)
{
	char byte;

	return recv(wire->far, &byte, 1, MSG_PEEK) == 1;
}

static bool has_any_come(void *userdata)
{
	(void)userdata;
	return wire_has_come(&watched) || wire_has_come(&plain);
}

static bool has_watched_come(void *userdata)
{
	(void)userdata;
	return wire_has_come(&watched);
}

static bool is_dead(void *userdata)
{
	(void)userdata;
	return n_dead > 0;
}

static void setup(void)
{
	ck_assert_int_ge(sd_event_new(&event), 0);
	watched = plain = (struct wire){ .near = -EBADF, .far = -EBADF };
	n_dead = 0;
}

static void teardown(void)
{
	wire_free(&watched);
	wire_free(&plain);
	event = sd_event_unref(event);
}

static void cut_both_and_write(void)
{
	wire_cut(&watched);
	wire_cut(&plain);
	wire_write(&watched);
	wire_write(&plain);
}

static void heal_both_and_expect_watched_first(void)
{
	wire_heal(&watched);
	wire_heal(&plain);
	ck_assert(loop_until(event, has_any_come, NULL));
	ck_assert(wire_has_come(&watched));
	ck_assert(!wire_has_come(&plain));
	ck_assert_uint_eq(n_dead, 0);
}

/* Left alone, TCP tries 3.0 s and 6.2 s after the write: the heal in between finds it asleep. */
START_TEST(after_a_cut_it_is_there_before_tcp_by_itself)
{
	wire_new(&watched, 8000);
	wire_new(&plain, 0);
	wire_write(&watched);
	wire_write(&plain);
	ck_assert(loop_until(event, has_watched_come, NULL));
	ck_assert_int_eq(recv(watched.far, &(char){ 0 }, 1, 0), 1);
	ck_assert_int_eq(recv(plain.far, &(char){ 0 }, 1, 0), 1);
	cut_both_and_write();
	for (unsigned i = 0; i < 4; i++) { /* the heartbeat */
		loop_for(event, 1000000);
		tcp_watch_look(watched.watch);
	}
	heal_both_and_expect_watched_first();
}
END_TEST

/* The way back is whole before the way there: what the peer sends acknowledges nothing, and must not make the pauses long again. */
START_TEST(what_comes_over_a_wire_that_is_cut_one_way_does_not_lengthen_the_pauses)
{
	wire_new(&watched, 8000);
	wire_new(&plain, 0);
	cut_both_and_write();
	for (unsigned i = 0; i < 4; i++) { /* the heartbeat */
		loop_for(event, 1000000);
		tcp_watch_look(watched.watch);
		ck_assert_int_eq(send(watched.far, "x", 1, MSG_NOSIGNAL), 1);
	}
	loop_for(event, 200000);
	heal_both_and_expect_watched_first();
}
END_TEST

START_TEST(a_cut_for_good_is_told_once_and_not_before_the_limit)
{
	wire_new(&watched, 1500);
	wire_cut(&watched);
	wire_write(&watched);
	loop_for(event, 600000);
	tcp_watch_look(watched.watch);
	ck_assert(loop_until(event, is_dead, NULL));
	ck_assert_uint_ge(silence_told, 1500);
	loop_for(event, 500000);
	ck_assert_uint_eq(n_dead, 1);
}
END_TEST

START_TEST(a_peer_that_has_nothing_to_say_lives)
{
	wire_new(&watched, 300);
	for (unsigned i = 0; i < 4; i++) {
		loop_for(event, 200000);
		wire_write(&watched);
	}
	loop_for(event, 1000000); /* nothing is written, nothing comes */
	tcp_watch_look(watched.watch);
	loop_for(event, 200000);
	ck_assert_uint_eq(n_dead, 0);
}
END_TEST

/* A loss that TCP works on for long is no cut, and must not look like one to the kernel either: the user timeout would end the connection. */
START_TEST(a_wire_that_loses_most_does_not_end_it)
{
	int error = 0;
	socklen_t size = sizeof(error);

	wire_new(&watched, 8000);
	wire_make_lossy(&watched);
	for (unsigned i = 0; i < 60; i++) {
		wire_write(&watched);
		loop_for(event, 100000);
	}
	wire_heal(&watched);
	ck_assert(loop_until(event, has_watched_come, NULL));
	ck_assert_int_eq(getsockopt(watched.near, SOL_SOCKET, SO_ERROR, &error, &size), 0);
	ck_assert_int_eq(error, 0);
	wire_write(&watched);
	ck_assert_uint_eq(n_dead, 0);
}
END_TEST

int main(void)
{
	TCase *cut = tcase_create("cut");

	tcase_set_timeout(cut, 60);
	tcase_add_checked_fixture(cut, setup, teardown);
	tcase_add_test(cut, after_a_cut_it_is_there_before_tcp_by_itself);
	tcase_add_test(cut, what_comes_over_a_wire_that_is_cut_one_way_does_not_lengthen_the_pauses);
	tcase_add_test(cut, a_cut_for_good_is_told_once_and_not_before_the_limit);
	tcase_add_test(cut, a_peer_that_has_nothing_to_say_lives);
	tcase_add_test(cut, a_wire_that_loses_most_does_not_end_it);
	return check_program_run("pi_tcp_watch", cut, NULL);
}
