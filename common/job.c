#include "job.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>

#include "cleanup.h"
#include "daemon.h"

#define JOB_STACK_SIZE ((size_t)256 * 1024)

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_DONE };

struct job {
	TAILQ_ENTRY(job) entry;
	LIST_ENTRY(job) running; /* the event loop's alone, as long as it is RUNNING */
	char name[64];
	char step[128];            /* under the runner's lock; "" between steps */
	uint64_t since_usec;       /* of the step */
	struct job_runner *runner; /* borrowed */
	enum job_state state;      /* the event loop's alone, but for JOB_DONE: under the runner's lock */
	bool is_abandoned;         /* the event loop's alone */
	int result;
	job_fn fn;
	void *arg; /* owned */
	void (*free_arg)(void *);
	job_done_fn on_done;
	void *userdata; /* borrowed */
};

TAILQ_HEAD(job_list, job);
LIST_HEAD(running_jobs, job);

static __thread struct job *this_thread;

/* Counted: the event loop holds one reference, each running thread another, so that a thread stuck in the kernel never outlives it. */
struct job_runner {
	sd_event_source *source; /* owned; the event loop's alone */
	unsigned max_jobs, n_running;
	void (*on_idle)(void *userdata); /* may be NULL */
	void *userdata;                  /* borrowed */
	struct job_list waiting;
	struct running_jobs running;
	pthread_mutex_t lock; /* guards what follows */
	struct job_list done;
	unsigned n_references;
	bool is_closed;
	int event_fd; /* owned */
};

static void job_destroy(struct job *job)
{
	if (job->free_arg)
		job->free_arg(job->arg);
	free(job);
}

static void job_runner_unref(struct job_runner *runner)
{
	unsigned left;

	pthread_mutex_lock(&runner->lock);
	left = --runner->n_references;
	pthread_mutex_unlock(&runner->lock);
	if (left > 0)
		return;
	close_fd(runner->event_fd);
	pthread_mutex_destroy(&runner->lock);
	free(runner);
}

static void *job_thread(void *userdata)
{
	struct job *job = userdata;
	struct job_runner *runner = job->runner;
	bool is_orphan;

	this_thread = job;
	job->result = job->fn(job->arg);
	pthread_mutex_lock(&runner->lock);
	is_orphan = runner->is_closed;
	if (!is_orphan) {
		TAILQ_INSERT_TAIL(&runner->done, job, entry);
		eventfd_write(runner->event_fd, 1);
	}
	pthread_mutex_unlock(&runner->lock);
	if (is_orphan)
		job_destroy(job);
	job_runner_unref(runner);
	return NULL;
}

static int job_spawn(struct job *job)
{
	struct job_runner *runner = job->runner;
	pthread_attr_t attributes;
	sigset_t all, old;
	pthread_t thread;
	int r;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, JOB_STACK_SIZE);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all); /* signals belong to the event loop */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_mutex_lock(&runner->lock);
	r = pthread_create(&thread, &attributes, job_thread, job);
	if (r == 0)
		runner->n_references++;
	pthread_mutex_unlock(&runner->lock);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return -r;
}

/* Starts waiting jobs as far as the bound permits. One that gets no thread ends with the error, in the event loop like any other. */
static void job_runner_start_waiting(struct job_runner *runner)
{
	struct job *job;

	while (runner->n_running < runner->max_jobs && (job = TAILQ_FIRST(&runner->waiting))) {
		int r;

		TAILQ_REMOVE(&runner->waiting, job, entry);
		job->state = JOB_RUNNING;
		LIST_INSERT_HEAD(&runner->running, job, running);
		runner->n_running++;
		r = job_spawn(job);
		if (r == 0)
			continue;
		job->result = r;
		pthread_mutex_lock(&runner->lock);
		TAILQ_INSERT_TAIL(&runner->done, job, entry);
		eventfd_write(runner->event_fd, 1);
		pthread_mutex_unlock(&runner->lock);
	}
}

static struct job *job_runner_take_done(struct job_runner *runner)
{
	struct job *job;

	pthread_mutex_lock(&runner->lock);
	job = TAILQ_FIRST(&runner->done);
	if (job)
		TAILQ_REMOVE(&runner->done, job, entry);
	pthread_mutex_unlock(&runner->lock);
	return job;
}

static int job_runner_on_done(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct job_runner *runner = userdata;
	struct job *job;
	eventfd_t count;

	(void)source;
	(void)events;
	eventfd_read(fd, &count);
	while ((job = job_runner_take_done(runner))) {
		runner->n_running--;
		LIST_REMOVE(job, running);
		job->state = JOB_DONE;
		if (!job->is_abandoned)
			job->on_done(job->result, job->arg, job->userdata);
		job_destroy(job);
	}
	job_runner_start_waiting(runner);
	if (runner->on_idle && job_runner_count(runner) == 0)
		runner->on_idle(runner->userdata);
	return 0;
}

void job_runner_set_idle(struct job_runner *runner, void (*fn)(void *userdata), void *userdata)
{
	runner->on_idle = fn;
	runner->userdata = userdata;
}

int job_runner_new(sd_event *event, unsigned max_jobs, struct job_runner **ret_runner)
{
	struct job_runner *runner = calloc(1, sizeof(*runner));
	int r;

	if (!runner)
		return -ENOMEM;
	runner->max_jobs = max_jobs;
	runner->n_references = 1;
	TAILQ_INIT(&runner->waiting);
	TAILQ_INIT(&runner->done);
	LIST_INIT(&runner->running);
	pthread_mutex_init(&runner->lock, NULL);
	runner->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = runner->event_fd < 0 ? -errno : sd_event_add_io(event, &runner->source, runner->event_fd, EPOLLIN, job_runner_on_done, runner);
	if (r < 0) {
		job_runner_unref(runner);
		return r;
	}
	*ret_runner = runner;
	return 0;
}

struct job_runner *job_runner_free(struct job_runner *runner)
{
	struct job *job;

	if (!runner)
		return NULL;
	runner->source = sd_event_source_disable_unref(runner->source);
	while ((job = TAILQ_FIRST(&runner->waiting))) {
		TAILQ_REMOVE(&runner->waiting, job, entry);
		job_destroy(job);
	}
	pthread_mutex_lock(&runner->lock);
	runner->is_closed = true;
	pthread_mutex_unlock(&runner->lock);
	while ((job = job_runner_take_done(runner)))
		job_destroy(job);
	job_runner_unref(runner);
	return NULL;
}

int job_start(struct job_runner *runner, const char *name, job_fn fn, void *arg, void (*free_arg)(void *), job_done_fn on_done,
	      void *userdata, struct job **ret_job)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	*job = (struct job){
		.runner = runner, .state = JOB_WAITING, .fn = fn, .arg = arg, .free_arg = free_arg, .on_done = on_done, .userdata = userdata
	};
	snprintf(job->name, sizeof(job->name), "%s", name);
	TAILQ_INSERT_TAIL(&runner->waiting, job, entry);
	if (ret_job)
		*ret_job = job;
	job_runner_start_waiting(runner);
	return 0;
}

struct job *job_abandon(struct job *job)
{
	if (!job)
		return NULL;
	job->is_abandoned = true;
	if (job->state == JOB_WAITING) {
		TAILQ_REMOVE(&job->runner->waiting, job, entry);
		job_destroy(job);
	}
	return NULL;
}

void job_set_step(const char *verb, const char *what)
{
	struct job *job = this_thread;

	if (!job)
		return;
	pthread_mutex_lock(&job->runner->lock);
	job->step[0] = '\0';
	if (verb)
		snprintf(job->step, sizeof(job->step), "%s %s", verb, what);
	job->since_usec = clock_now_usec();
	pthread_mutex_unlock(&job->runner->lock);
}

bool job_is_long(struct job *job, struct job_step *ret_step)
{
	if (!job || job->state != JOB_RUNNING)
		return false;
	pthread_mutex_lock(&job->runner->lock);
	memcpy(ret_step->name, job->name, sizeof(ret_step->name));
	memcpy(ret_step->step, job->step, sizeof(ret_step->step));
	ret_step->usec = job->step[0] ? clock_now_usec() - job->since_usec : 0;
	pthread_mutex_unlock(&job->runner->lock);
	return ret_step->usec >= JOB_STEP_LONG_USEC;
}

void job_runner_for_each_long(struct job_runner *runner, void (*fn)(const struct job_step *step, void *userdata), void *userdata)
{
	struct job_step step;
	struct job *job;

	LIST_FOREACH(job, &runner->running, running)
		if (job_is_long(job, &step))
			fn(&step, userdata);
}

unsigned job_runner_count(const struct job_runner *runner)
{
	const struct job *job;
	unsigned count = runner->n_running;

	TAILQ_FOREACH(job, &runner->waiting, entry)
		count++;
	return count;
}
