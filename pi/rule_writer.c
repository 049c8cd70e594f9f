#include "rule_writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "cleanup.h"
#include "file_job.h"

struct rule_edit {
	TAILQ_ENTRY(rule_edit) entry;
	char syspath[256];
	struct busid busid;
	struct identity identity;
	struct descriptors descriptors;
	struct rule_wish wish;
	rule_written_fn on_done; /* NULL: nobody waits */
	void *userdata;          /* borrowed */
};

TAILQ_HEAD(rule_edits, rule_edit);

struct rule_writer {
	struct job_runner *jobs; /* borrowed: outlives us */
	struct policy *policy;   /* borrowed: outlives us */
	char *path;              /* owned */
	struct rule_writer_handlers handlers;
	void *userdata;          /* borrowed: outlives us */
	sd_event_source *begin;  /* owned: acts from the loop, not from within a request */
	struct rule_edits edits; /* owned; the first one's turn has come */
	unsigned n_edits;
	struct job *job; /* the write that is under way */
};

static struct policy_device edit_device(const struct rule_edit *edit)
{
	return (struct policy_device){
		.syspath = edit->syspath, .busid = &edit->busid, .identity = &edit->identity, .descriptors = &edit->descriptors
	};
}

/* ---- one after the other ---- */

static void writer_go_on(struct rule_writer *writer)
{
	sd_event_source_set_enabled(writer->begin, TAILQ_EMPTY(&writer->edits) ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static void writer_finish(struct rule_writer *writer, const struct failure *failure)
{
	struct rule_edit *edit = TAILQ_FIRST(&writer->edits);
	const struct policy_device device = edit_device(edit);
	struct rule_result result = { .device = &device, .wish = &edit->wish };

	TAILQ_REMOVE(&writer->edits, edit, entry);
	writer->n_edits--;
	writer_go_on(writer);
	if (edit->on_done) {
		policy_decide(writer->policy, &device, &result.decision);
		edit->on_done(&result, failure, edit->userdata);
	}
	free(edit);
	if (writer->n_edits == 0)
		writer->handlers.on_idle(writer->userdata);
}

static void writer_on_written(int result, void *arg, void *userdata)
{
	struct rule_writer *writer = userdata;
	struct failure failure;

	(void)arg;
	writer->job = NULL;
	if (result < 0) {
		policy_fail_to_write(writer->policy, result, &failure);
		writer_finish(writer, &failure);
		return;
	}
	writer->handlers.on_file(writer->userdata);
	writer_finish(writer, NULL);
}

static int writer_draw_up(struct rule_writer *writer, const struct rule_edit *edit, struct file_draft *ret_draft, struct failure *failure)
{
	const struct policy_device device = edit_device(edit);
	const struct rule_wish *wish = &edit->wish;

	if (wish->name[0])
		return policy_draft_name(writer->policy, &device, wish->name, wish->also[0] ? wish->also : NULL, ret_draft, failure);
	return policy_draft_action(writer->policy, &device, wish->action, ret_draft, failure);
}

static int writer_on_begin(sd_event_source *source, void *userdata)
{
	struct rule_writer *writer = userdata;
	const struct rule_edit *edit = TAILQ_FIRST(&writer->edits);
	_cleanup_(file_draft_done) struct file_draft draft = { .content = NULL };
	struct failure failure;
	int r = writer_draw_up(writer, edit, &draft, &failure);

	(void)source;
	if (r == 0) {
		r = file_job_start(writer->jobs, "devices.conf", writer->path, &draft, writer_on_written, writer, &writer->job);
		if (r < 0)
			policy_fail_to_write(writer->policy, r, &failure);
	}
	if (r < 0)
		writer_finish(writer, &failure);
	return 0;
}

/* ---- asked ---- */

static int edit_new(const struct policy_device *device, const struct rule_wish *wish, struct rule_edit **ret_edit)
{
	struct rule_edit *edit = calloc(1, sizeof(*edit));

	if (!edit)
		return -ENOMEM;
	snprintf(edit->syspath, sizeof(edit->syspath), "%s", device->syspath);
	edit->busid = *device->busid;
	edit->identity = *device->identity;
	edit->descriptors = *device->descriptors;
	edit->wish = *wish;
	*ret_edit = edit;
	return 0;
}

int rule_writer_add(struct rule_writer *writer, const struct policy_device *device, const struct rule_wish *wish, rule_written_fn on_done,
		    void *userdata, struct failure *ret_failure)
{
	struct rule_edit *edit;

	if (writer->n_edits >= RULE_WRITER_MAX)
		return failure_set(ret_failure, FAILURE_BUSY, "Look at the disk: dmesg.", "%u changes of %s wait for the disk already",
				   writer->n_edits, writer->path);
	if (edit_new(device, wish, &edit) < 0)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	edit->on_done = on_done;
	edit->userdata = userdata;
	TAILQ_INSERT_TAIL(&writer->edits, edit, entry);
	writer->n_edits++;
	if (writer->n_edits == 1)
		writer_go_on(writer);
	return 0;
}

void rule_writer_forget(struct rule_writer *writer, const void *userdata)
{
	struct rule_edit *edit;

	TAILQ_FOREACH(edit, &writer->edits, entry)
		if (!userdata || edit->userdata == userdata)
			edit->on_done = NULL;
}

bool rule_writer_is_busy(const struct rule_writer *writer)
{
	return writer->n_edits > 0;
}

int rule_writer_new(sd_event *event, struct job_runner *jobs, struct policy *policy, const char *path,
		    const struct rule_writer_handlers *handlers, void *userdata, struct rule_writer **ret_writer)
{
	struct rule_writer *writer = calloc(1, sizeof(*writer));
	int r = -ENOMEM;

	if (!writer)
		return -ENOMEM;
	*writer = (struct rule_writer){ .jobs = jobs, .policy = policy, .path = strdup(path), .handlers = *handlers, .userdata = userdata };
	TAILQ_INIT(&writer->edits);
	if (writer->path)
		r = sd_event_add_defer(event, &writer->begin, writer_on_begin, writer);
	if (r >= 0)
		r = sd_event_source_set_enabled(writer->begin, SD_EVENT_OFF);
	if (r < 0) {
		rule_writer_free(writer);
		return r;
	}
	*ret_writer = writer;
	return 0;
}

struct rule_writer *rule_writer_free(struct rule_writer *writer)
{
	struct rule_edit *edit, *next;

	if (!writer)
		return NULL;
	job_abandon(writer->job);
	for (edit = TAILQ_FIRST(&writer->edits); edit; edit = next) {
		next = TAILQ_NEXT(edit, entry);
		free(edit);
	}
	sd_event_source_disable_unref(writer->begin);
	free(writer->path);
	free(writer);
	return NULL;
}
