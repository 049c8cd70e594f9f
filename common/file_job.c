#include "file_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct file_job {
	char *path; /* owned */
	struct file_draft draft;
};

static void file_job_free(void *arg)
{
	struct file_job *job = arg;

	file_draft_done(&job->draft);
	free(job->path);
	free(job);
}

static int file_job_run(void *arg)
{
	const struct file_job *job = arg;
	int r;

	job_set_step("write", job->path);
	r = file_write_atomic(job->path, job->draft.content, job->draft.size, job->draft.mode);
	job_set_step(NULL, NULL);
	return r;
}

int file_job_start(struct job_runner *runner, const char *name, const char *path, struct file_draft *draft, job_done_fn on_done,
		   void *userdata, struct job **ret_job)
{
	struct file_job *job = calloc(1, sizeof(*job));
	int r = -ENOMEM;

	if (!job)
		return -ENOMEM;
	job->path = strdup(path);
	job->draft = *draft;
	if (job->path)
		r = job_start(runner, name, file_job_run, job, file_job_free, on_done, userdata, ret_job);
	if (r < 0) {
		job->draft = (struct file_draft){ .content = NULL };
		file_job_free(job);
		return r;
	}
	*draft = (struct file_draft){ .content = NULL };
	return 0;
}
