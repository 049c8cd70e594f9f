#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Property tests of state machines: a run is a sequence of choices, drawn from a seed, and what the choices mean is the test's. After each step, and at the end when
 * nobody disturbs any more, the test checks what must hold. A run that fails is made shorter, as long as it fails, and told step by step.
 *
 *   PROGRAM [--steps N] [--seed S] [--thorough]   a million steps unless N says otherwise; --thorough: thirty million
 *
 * The machine under test is the real one; what it stands on (the kernel, the peer, time) is a model in the test, in the place of the modules that reach the real one:
 * only so are a million steps a matter of seconds, and each run the same by its seed. */

#define PROPERTY_RUN_LENGTH 240

/* One run, from nothing to nothing. Called in a process that may die of it. */
typedef void (*property_run_fn)(const uint32_t *choices, size_t n);

int property_main(int argc, char **argv, const char *name, property_run_fn run);

/* What must hold; else the run has failed here. */
#define PROPERTY(condition) property_check((condition), #condition, __FILE__, __LINE__)
void property_check(bool is_true, const char *condition, const char *file, int line);

/* What the run does now: printed when the shortest failing run is told. */
void property_tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether it is being told. */
bool property_is_told(void);
