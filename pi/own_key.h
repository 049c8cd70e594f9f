#pragma once

#include "failure.h"
#include "job.h"

/* The Pi's SSH key, while the exporter runs. It was made at the start; where that could not be (no space, no memory), or somebody took it away, it is made in a job: whoever
 * needs it comes again. */
struct own_key;

/* path is copied; jobs is borrowed and outlives it. The object is the caller's. 0 or -ENOMEM. */
int own_key_new(struct job_runner *jobs, const char *path, struct own_key **ret_key);

/* What is being made is made whole or not at all. Takes NULL, returns NULL. */
struct own_key *own_key_free(struct own_key *key);

/* 0 where there is a key. Else one is being made from now on, and ret_failure says so (FAILURE_BUSY), or why the last time it could not be. */
int own_key_ensure(struct own_key *key, struct failure *ret_failure);
