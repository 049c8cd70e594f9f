#include "property.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS_DEFAULT  1000000
#define STEPS_THOROUGH 30000000
#define SHRINK_TRIES   600

/* What the child that runs leaves for its parent. */
struct shared {
	uint64_t seed;
	uint64_t n_runs;
};

static bool is_told, is_quiet;

bool property_is_told(void)
{
	return is_told;
}

void property_tell(const char *format, ...)
{
	va_list arguments;

	if (!is_told)
		return;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

void property_check(bool is_true, const char *condition, const char *file, int line)
{
	if (is_true)
		return;
	if (!is_quiet)
		fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}

/* splitmix64: the next of a sequence that has each number once. */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static size_t make_run(uint64_t seed, uint32_t *choices)
{
	uint64_t state = seed;
	size_t n = 1 + draw(&state) % PROPERTY_RUN_LENGTH;

	for (size_t i = 0; i < n; i++)
		choices[i] = (uint32_t)draw(&state);
	return n;
}

/* Whether the run survives, tried in a process of its own. */
static bool survives(property_run_fn run, const uint32_t *choices, size_t n, bool tell)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		is_told = tell;
		is_quiet = !tell;
		if (!tell) {
			int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

			dup2(null, STDERR_FILENO);
		}
		run(choices, n);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Takes away pieces, large ones first, as long as it fails without them. */
static size_t shrink(property_run_fn run, uint32_t *choices, size_t n)
{
	unsigned tries = 0;

	for (size_t piece = n / 2; piece > 0; piece /= 2)
		for (size_t at = 0; at + piece <= n && tries < SHRINK_TRIES; tries++) {
			uint32_t shorter[PROPERTY_RUN_LENGTH];

			memcpy(shorter, choices, at * sizeof(*choices));
			memcpy(shorter + at, choices + at + piece, (n - at - piece) * sizeof(*choices));
			if (survives(run, shorter, n - piece, false)) {
				at += piece;
				continue;
			}
			n -= piece;
			memcpy(choices, shorter, n * sizeof(*choices));
		}
	return n;
}

static void explain(const char *name, property_run_fn run, uint64_t seed)
{
	uint32_t choices[PROPERTY_RUN_LENGTH];
	size_t n = make_run(seed, choices), length = n;

	if (survives(run, choices, n, false)) {
		fprintf(stderr, "%s: seed %llu failed after other runs and not alone: something is left of them\n", name,
			(unsigned long long)seed);
		return;
	}
	n = shrink(run, choices, n);
	fprintf(stderr, "%s: seed %llu fails; %zu of its %zu steps are enough:\n", name, (unsigned long long)seed, n, length);
	(void)survives(run, choices, n, true);
}

static void run_all(property_run_fn run, uint64_t first, uint64_t n_steps, struct shared *shared)
{
	uint32_t choices[PROPERTY_RUN_LENGTH];

	is_quiet = true;
	for (uint64_t done = 0; done < n_steps; shared->n_runs++) {
		size_t n;

		shared->seed = first + shared->n_runs;
		n = make_run(shared->seed, choices);
		run(choices, n);
		done += n;
	}
}

static int usage(const char *name)
{
	fprintf(stderr, "usage: %s [--steps N] [--seed S] [--thorough]\n", name);
	return 2;
}

int property_main(int argc, char **argv, const char *name, property_run_fn run)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t n_steps = STEPS_DEFAULT, first = 1;
	time_t start = time(NULL);
	int status;
	pid_t pid;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--thorough") == 0)
			n_steps = STEPS_THOROUGH;
		else if (strcmp(argv[i], "--steps") == 0 && i + 1 < argc)
			n_steps = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			first = strtoull(argv[++i], NULL, 10);
		else
			return usage(name);
	}
	if (shared == MAP_FAILED)
		return 1;
	pid = fork();
	if (pid == 0) {
		run_all(run, first, n_steps, shared);
		exit(0); /* and let the leak sanitizer look */
	}
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		printf("%s: %llu steps in %llu runs held, %ld s\n", name, (unsigned long long)n_steps, (unsigned long long)shared->n_runs,
		       (long)(time(NULL) - start));
		return 0;
	}
	explain(name, run, shared->seed);
	return 1;
}
