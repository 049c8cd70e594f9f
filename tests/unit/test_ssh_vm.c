/* The VM that other check programs stand on: it does what they ask of it at any moment, however busy the machine. */

#include <fcntl.h>
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

int main(int argc, char **argv)
{
	TCase *tests = tcase_create("a VM for tests");

	ssh_vm_play(argc, argv);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_loop_test(tests, who_reads_what_is_to_be_played_while_it_is_changed_reads_all_of_what_was_there, 0, ARRAY_SIZE(PLAYED));
	return check_program_run("ssh_vm", tests, NULL);
}
