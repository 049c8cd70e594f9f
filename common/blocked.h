#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct job_runner;

/* Work from which the kernel does not return, as status shows it: whose it is, which file, since when. */

/* [{"name","step","since_ms"}], mostly empty. A new reference, NULL without memory. */
json_t *blocked_to_json(struct job_runner *runner);

/* The same of a further runner, at the end of *list; without memory it becomes NULL. */
void blocked_append(json_t **list, struct job_runner *runner);

/* A line each. */
void blocked_print(const json_t *blocked, FILE *stream, bool is_coloured);
