#include "virtual_jobs.h"

#include <stdlib.h>

#include "job.h"
#include "property.h"

#define MAX_JOBS 64

struct job {
	job_fn fn;
	void *arg;
	void (*free_arg)(void *);
	job_done_fn on_done; /* NULL: abandoned */
	void *userdata;
	bool has_run;
	int result;
};

static struct job *jobs[MAX_JOBS];
static unsigned n_jobs;

unsigned virtual_jobs_count(void)
{
	return n_jobs;
}

static void job_end(unsigned i)
{
	struct job *job = jobs[i];

	jobs[i] = jobs[--n_jobs];
	if (job->on_done)
		job->on_done(job->result, job->arg, job->userdata);
	if (job->free_arg)
		job->free_arg(job->arg);
	free(job);
}

bool virtual_jobs_step(uint32_t choice)
{
	unsigned i;

	if (n_jobs == 0)
		return false;
	i = choice % n_jobs;
	if (jobs[i]->has_run) {
		job_end(i);
		return true;
	}
	jobs[i]->result = jobs[i]->fn(jobs[i]->arg);
	jobs[i]->has_run = true;
	return true;
}

int job_start(struct job_runner *runner, const char *name, job_fn fn, void *arg, void (*free_arg)(void *), job_done_fn on_done,
	      void *userdata, struct job **ret_job)
{
	struct job *job = calloc(1, sizeof(*job));

	(void)runner;
	(void)name;
	PROPERTY(job && n_jobs < MAX_JOBS);
	*job = (struct job){ .fn = fn, .arg = arg, .free_arg = free_arg, .on_done = on_done, .userdata = userdata };
	jobs[n_jobs++] = job;
	*ret_job = job;
	return 0;
}

struct job *job_abandon(struct job *job)
{
	if (job)
		job->on_done = NULL;
	return NULL;
}

void job_set_step(const char *verb, const char *what)
{
	(void)verb;
	(void)what;
}

/* No virtual job hangs. */
bool job_is_long(struct job *job, struct job_step *ret_step)
{
	(void)job;
	(void)ret_step;
	return false;
}
