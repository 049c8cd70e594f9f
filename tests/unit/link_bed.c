#include "link_bed.h"

#include <stdio.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"

static void bed_on_state(enum link_state state, void *userdata)
{
	struct link_bed *bed = userdata;
	size_t used = strlen(bed->states);

	snprintf(bed->states + used, sizeof(bed->states) - used, "%s ", link_state_to_string(state));
}

static void bed_on_sync_wanted(void *userdata)
{
	struct link_bed *bed = userdata;
	struct sync_entry entries[] = { { "a-1", true }, { "a-2", false } };
	struct message sync = { .type = MESSAGE_SYNC, .seq = ++bed->n_syncs, .entries = entries, .n_entries = 2 };

	link_send(bed->link, &sync);
}

static void bed_on_message(const struct message *message, void *userdata)
{
	struct link_bed *bed = userdata;
	size_t used = strlen(bed->messages);

	snprintf(bed->messages + used, sizeof(bed->messages) - used, "%d ", (int)message->type);
}

static void bed_on_lost(void *userdata)
{
	struct link_bed *bed = userdata;

	ck_assert_ptr_nonnull(link_get_transport(bed->link)); /* what streams stand on is still there */
	bed->n_lost++;
	if (bed->end_streams)
		bed->end_streams();
}

void link_bed_setup(struct link_bed *bed)
{
	static const struct link_handlers handlers = { bed_on_state, bed_on_sync_wanted, bed_on_message, bed_on_lost };

	*bed = (struct link_bed){ .n_fds = count_fds() };
	ck_assert_int_ge(sd_event_new(&bed->event), 0);
	ck_assert_int_eq(job_runner_new(bed->event, 4, &bed->jobs), 0);
	ssh_vm_new(&bed->vm, bed->event);
	ck_assert_int_eq(link_new(bed->event, bed->jobs, bed->vm.key_path, &handlers, bed, &bed->link), 0);
}

static bool has_no_job(void *userdata)
{
	const struct link_bed *bed = userdata;

	return job_runner_count(bed->jobs) == 0;
}

void link_bed_teardown(struct link_bed *bed)
{
	bed->link = link_free(bed->link);
	ck_assert(loop_until(bed->event, has_no_job, bed));
	bed->jobs = job_runner_free(bed->jobs);
	ssh_vm_free(&bed->vm);
	bed->event = sd_event_unref(bed->event);
	expect_fds(bed->n_fds);
}

struct wanted {
	struct link_bed *bed;
	enum link_state state;
	const char *text;
};

static bool is_in_state(void *userdata)
{
	const struct wanted *wanted = userdata;

	return link_get_state(wanted->bed->link) == wanted->state;
}

void link_bed_wait(struct link_bed *bed, enum link_state state)
{
	struct wanted wanted = { bed, state, NULL };

	ck_assert_msg(loop_until(bed->event, is_in_state, &wanted), "not %s but: %s; %s", link_state_to_string(state), bed->states,
		      ssh_vm_describe(&bed->vm));
}

void link_bed_come_up(struct link_bed *bed)
{
	link_configure(bed->link, &bed->vm.config);
	link_bed_wait(bed, LINK_UP);
}

static bool has_heard(void *userdata)
{
	const struct wanted *wanted = userdata;

	return strstr(ssh_vm_heard(&wanted->bed->vm, "control"), wanted->text) != NULL;
}

void link_bed_wait_heard(struct link_bed *bed, const char *text)
{
	struct wanted wanted = { bed, LINK_UP, text };

	ck_assert_msg(loop_until(bed->event, has_heard, &wanted), "\"%s\" not in: %s", text, ssh_vm_heard(&bed->vm, "control"));
}

struct failure link_bed_failure(const struct link_bed *bed)
{
	_cleanup_json_ json_t *object = link_to_json(bed->link);
	const json_t *error = json_object_get(object, "error");
	struct failure failure = { .code = FAILURE_NONE };

	if (json_is_object(error))
		failure_from_json(error, &failure);
	return failure;
}

void link_bed_expect_failure(const struct link_bed *bed, enum failure_code code)
{
	struct failure failure = link_bed_failure(bed);

	ck_assert_msg(failure.code == code, "%s: %s", failure_code_to_string(failure.code), failure.text);
	ck_assert_str_ne(failure.text, "");
}
