#include "own_key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport.h"

struct own_key {
	struct job_runner *jobs; /* borrowed: outlives us */
	char *path;              /* owned */
	struct job *job;         /* it is being made */
	struct failure failure;  /* why it could not be, the last time */
};

/* For the job's thread. */
struct key_making {
	char *path; /* owned */
	struct failure failure;
};

static void making_free(void *arg)
{
	struct key_making *making = arg;

	free(making->path);
	free(making);
}

static int making_run(void *arg)
{
	struct key_making *making = arg;
	int r;

	job_set_step("write", making->path);
	r = transport_key_ensure(making->path, &making->failure);
	job_set_step(NULL, NULL);
	return r;
}

static void key_on_made(int result, void *arg, void *userdata)
{
	const struct key_making *making = arg;
	struct own_key *key = userdata;

	key->job = NULL;
	key->failure = making->failure;
	if (result < 0 && key->failure.code == FAILURE_NONE)
		failure_set(&key->failure, FAILURE_INTERNAL, NULL, "no thread could be started");
}

static void key_make(struct own_key *key)
{
	struct key_making *making = calloc(1, sizeof(*making));

	if (!making)
		return; /* whoever comes again has it made */
	making->path = strdup(key->path);
	if (!making->path || job_start(key->jobs, "SSH key", making_run, making, making_free, key_on_made, key, &key->job) < 0)
		making_free(making);
}

int own_key_ensure(struct own_key *key, struct failure *ret_failure)
{
	struct failure former = key->failure;

	if (access(key->path, F_OK) == 0) {
		key->failure = (struct failure){ 0 };
		return 0;
	}
	if (errno != ENOENT)
		return failure_set(ret_failure, FAILURE_NO_PERMISSION, "Look at the file and its directory.", "%s: %s", key->path,
				   strerror(errno));
	if (!key->job)
		key_make(key);
	if (former.code == FAILURE_NONE)
		return failure_set(ret_failure, FAILURE_BUSY, "Try again in a moment.", "this Pi's SSH key is being made");
	return failure_set(ret_failure, former.code, former.cure, "%s", former.text);
}

int own_key_new(struct job_runner *jobs, const char *path, struct own_key **ret_key)
{
	struct own_key *key = calloc(1, sizeof(*key));

	if (!key)
		return -ENOMEM;
	key->jobs = jobs;
	key->path = strdup(path);
	if (!key->path) {
		free(key);
		return -ENOMEM;
	}
	*ret_key = key;
	return 0;
}

struct own_key *own_key_free(struct own_key *key)
{
	if (!key)
		return NULL;
	job_abandon(key->job);
	free(key->path);
	free(key);
	return NULL;
}
