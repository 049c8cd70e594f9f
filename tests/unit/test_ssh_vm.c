/* The VM that other check programs stand on: it does what they ask of it at any moment, however busy the machine. */

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "pi_bed.h"

static struct pi_bed bed;

static void setup(void)
{
	pi_bed_setup(&bed);
}

static void teardown(void)
{
	pi_bed_teardown(&bed);
}

/* ---- what is played ---- */

static void play_stream(const char *text)
{
	ssh_vm_script(&bed.vm, "stream", text);
}

static void play_control(const char *text)
{
	ssh_vm_script(&bed.vm, "control", text);
}

static void answer_connect(const char *text)
{
	ssh_vm_answer_connect(&bed.vm, text);
}

static void answer_unpair(const char *text)
{
	ssh_vm_answer_unpair(&bed.vm, text);
}

static const struct {
	const char *file;
	void (*change)(const char *text);
} PLAYED[] = {
	{ "stream.script", play_stream },
	{ "control.script", play_control },
	{ "connect.answer", answer_connect },
	{ "unpair.answer", answer_unpair },
};

START_TEST(who_reads_what_is_to_be_played_while_it_is_changed_reads_all_of_what_was_there)
{
	_cleanup_close_ int fd = -EBADF;
	char text[64] = "";

	PLAYED[_i].change("the first words");
	fd = openat(bed.vm.tree.fd, PLAYED[_i].file, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, text, 3), 3);
	PLAYED[_i].change("others");
	ck_assert_int_ge(read(fd, text + 3, sizeof(text) - 4), 0);
	ck_assert_str_eq(text, "the first words");
	ck_assert_str_eq(temp_tree_get(&bed.vm.tree, PLAYED[_i].file), "others");
}
END_TEST

/* ---- who plays ---- */

static unsigned n_pings;

static bool has_heard_connect(struct pi_bed *own)
{
	return ssh_vm_count_heard(&own->vm, "\"type\":\"connect\"") > 0;
}

static bool has_heard_ping(struct pi_bed *own)
{
	return ssh_vm_count_heard(&own->vm, "\"type\":\"ping\"") > n_pings;
}

static bool has_second_control(struct pi_bed *own)
{
	return ssh_vm_count(&own->vm, "control") > 1;
}

/* A device is offered whose session never comes up: somebody on the VM waits for that, to say that it is attached. */
static void offer_in_vain(void)
{
	pi_bed_pair(&bed);
	pi_bed_start(&bed);
	pi_bed_wait_link(&bed, "UP");
	play_stream("wait\n");
	fake_kernel_plug(&bed.kernel, "1-1", &FT232R);
	pi_bed_until(&bed, has_heard_connect, "connect at the VM");
	n_pings = ssh_vm_count_heard(&bed.vm, "\"type\":\"ping\"");
	link_ping(exporter_link(bed.exporter));
	pi_bed_until(&bed, has_heard_ping, "ping behind it"); /* so who waits is there */
}

START_TEST(a_control_channel_ends_with_who_plays_on_it_though_somebody_waits_to_say_attached)
{
	offer_in_vain();
	kill((pid_t)atoi(temp_tree_get(&bed.vm.tree, "control.pid")), SIGKILL); /* the first one there */
	pi_bed_until(&bed, has_second_control, "new control channel");
	pi_bed_wait_link(&bed, "UP");
	ck_assert_uint_eq(bed.vm.n_connections, 1); /* else the Pi waited for the end of its patience, and began anew */
}
END_TEST

int main(int argc, char **argv)
{
	TCase *tests = tcase_create("a VM for tests");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_loop_test(tests, who_reads_what_is_to_be_played_while_it_is_changed_reads_all_of_what_was_there, 0, ARRAY_SIZE(PLAYED));
	tcase_add_test(tests, a_control_channel_ends_with_who_plays_on_it_though_somebody_waits_to_say_attached);
	return check_program_run("ssh_vm", tests, NULL);
}
