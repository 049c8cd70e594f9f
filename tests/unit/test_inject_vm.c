/* The handler's whole life, with each of its calls failing in turn: whatever fails, nothing is lost for good and nothing is left over. */

#include "check_program.h"
#include "control_ask.h"
#include "each_call.h"
#include "log.h"
#include "vm_life.h"

static struct vm_life life;

/* The daemon's own answer; a failing call may cost this one, not the next. */
static void ask_status(void)
{
	char path[128];

	for (unsigned i = 0; i < 2; i++) {
		struct control_ask ask;

		snprintf(path, sizeof(path), "%s/handler.sock", life.bed.tree.path);
		inject_pause();
		control_ask_start(&ask, path, json_pack("{s:s}", "request", "status"));
		inject_resume();
		vm_bed_settle(&life.bed);
		loop_for(life.bed.event, 20000);
		control_ask_drop(&ask);
	}
}

START_TEST(a_device_comes_and_goes)
{
	unsigned n_fds = count_fds();

	vm_life_setup(&life);
	vm_life_start(&life);
	life.is_plugged = true;
	vm_life_wait_attached(&life);
	ask_status();
	handler_reload(life.bed.handler);
	vm_life_kill(&life);
	vm_life_start(&life);
	vm_life_wait_attached(&life);
	life.is_plugged = false;
	vm_life_wait_free(&life);
	life.is_plugged = true;
	vm_life_wait_attached(&life);
	vm_life_stop(&life);
	vm_life_teardown(&life);
	expect_fds(n_fds);
}
END_TEST

int main(void)
{
	const struct each_call_story stories[] = { { "a device on the VM comes and goes", a_device_comes_and_goes, 12 }, { 0 } };

	log_init("test_inject_vm", false);
	return each_call_run(stories);
}
