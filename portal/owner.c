#include "owner.h"

#include <crypt.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "log.h"
#include "session.h"
#include "setup_code.h"

#define OWNER_HASH        "$y$"
#define OWNER_HASH_COST   4 /* 8 MiB of memory: a Pi has them, and a guesser's graphics card has few such places */
#define OWNER_MAX_WAITING 4
#define OWNER_FILE_MAX    1024

struct owner {
	struct job_runner *jobs; /* owned */
	char *path;              /* owned */
	char *code_path;         /* owned */
};

struct owner_job {
	struct owner *owner; /* borrowed: not used in the thread */
	owner_fn on_done;
	void *userdata; /* borrowed */
	char password[OWNER_PASSWORD_MAX + 1];
	char setting[OWNER_FILE_MAX]; /* the hash to compare with; empty: make one */
	char hash[CRYPT_OUTPUT_SIZE]; /* what came out */
	struct job *job;
};

struct owner *owner_new(sd_event *event, const char *state_dir, const char *code_path)
{
	struct owner *owner = calloc(1, sizeof(*owner));

	if (!owner)
		return NULL;
	owner->code_path = strdup(code_path);
	if (asprintf(&owner->path, "%s/" PORTAL_OWNER, state_dir) < 0)
		owner->path = NULL;
	if (!owner->path || !owner->code_path || job_runner_new(event, 1, &owner->jobs) < 0)
		return owner_free(owner);
	return owner;
}

struct owner *owner_free(struct owner *owner)
{
	if (!owner)
		return NULL;
	job_runner_free(owner->jobs);
	free(owner->path);
	free(owner->code_path);
	free(owner);
	return NULL;
}

uint64_t owner_generation(const struct owner *owner)
{
	struct stat status;

	if (stat(owner->path, &status) < 0)
		return 0;
	/* A file that was replaced has another inode or another time; which of them does not matter. */
	return ((uint64_t)status.st_ino << 32) ^ ((uint64_t)status.st_mtim.tv_sec << 20) ^ (uint64_t)status.st_mtim.tv_nsec ^ 1;
}

/* ---- in the thread ---- */

static int owner_job_run(void *arg)
{
	struct owner_job *job = arg;
	_cleanup_free_ struct crypt_data *data = calloc(1, sizeof(*data));
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];
	const char *hash = NULL;

	if (!data)
		return -ENOMEM;
	if (job->setting[0])
		hash = crypt_r(job->password, job->setting, data);
	else if (crypt_gensalt_rn(OWNER_HASH, OWNER_HASH_COST, NULL, 0, setting, sizeof(setting)))
		hash = crypt_r(job->password, setting, data);
	if (hash && *hash != '*')
		snprintf(job->hash, sizeof(job->hash), "%s", hash);
	explicit_bzero(data, sizeof(*data));
	return job->hash[0] ? 0 : -EIO;
}

static void owner_job_free(void *arg)
{
	explicit_bzero(arg, sizeof(struct owner_job));
	free(arg);
}

/* ---- in the event loop ---- */

static enum owner_result owner_save(const struct owner *owner, const char *hash)
{
	_cleanup_free_ char *line = NULL;
	int size = asprintf(&line, "%s\n", hash), r;

	if (size < 0)
		return OWNER_BROKEN;
	if (owner_generation(owner))
		return OWNER_CLAIMED;
	r = file_write_atomic(owner->path, line, (size_t)size, 0600);
	if (r < 0) {
		log_error("%s can't be written: %s. Is there space, and is its directory the portal's?", owner->path, strerror(-r));
		return OWNER_BROKEN;
	}
	log_notice("the portal has an owner now");
	return OWNER_RIGHT;
}

static void owner_on_hashed(int result, void *arg, void *userdata)
{
	struct owner_job *job = arg;
	enum owner_result answer = OWNER_BROKEN;

	(void)userdata;
	if (result < 0)
		log_error("a password could not be hashed: %s", strerror(-result));
	else if (job->setting[0])
		answer = session_secret_equal(job->setting, job->hash) ? OWNER_RIGHT : OWNER_WRONG;
	else
		answer = owner_save(job->owner, job->hash);
	job->on_done(answer, job->userdata);
}

static void owner_start(struct owner *owner, const char *setting, const char *password, owner_fn on_done, void *userdata)
{
	struct owner_job *job;

	if (job_runner_count(owner->jobs) >= OWNER_MAX_WAITING) {
		on_done(OWNER_BUSY, userdata);
		return;
	}
	job = calloc(1, sizeof(*job));
	if (!job) {
		on_done(OWNER_BROKEN, userdata);
		return;
	}
	*job = (struct owner_job){ .owner = owner, .on_done = on_done, .userdata = userdata };
	snprintf(job->password, sizeof(job->password), "%s", password);
	snprintf(job->setting, sizeof(job->setting), "%s", setting);
	if (job_start(owner->jobs, "password", owner_job_run, job, owner_job_free, owner_on_hashed, NULL, &job->job) < 0) {
		owner_job_free(job);
		on_done(OWNER_BROKEN, userdata);
	}
}

void owner_claim(struct owner *owner, const char *code, const char *password, owner_fn on_done, void *userdata)
{
	if (owner_generation(owner))
		on_done(OWNER_CLAIMED, userdata);
	else if (!setup_code_fits(owner->code_path, code))
		on_done(OWNER_WRONG, userdata);
	else
		owner_start(owner, "", password, on_done, userdata);
}

void owner_check(struct owner *owner, const char *password, owner_fn on_done, void *userdata)
{
	_cleanup_free_ char *content = NULL;
	ssize_t size = file_read(owner->path, OWNER_FILE_MAX - 1, &content);

	if (size < 0) {
		on_done(OWNER_WRONG, userdata);
		return;
	}
	content[strcspn(content, "\n")] = '\0';
	/* An empty file would set a password instead of asking for it. */
	if (!*content)
		on_done(OWNER_WRONG, userdata);
	else
		owner_start(owner, content, password, on_done, userdata);
}
