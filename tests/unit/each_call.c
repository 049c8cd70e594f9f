#include "each_call.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"

#define N_PARALLEL      6   /* a telling mostly waits */
#define STORY_LIMIT_SEC 150 /* beyond every limit that the daemons have, in a row */

/* What the kernel may say at any time of a file that belongs to a device, and of any file. */
static const int ERRORS[] = { EIO, ENODEV, EBUSY, ENOENT, EMFILE };

struct telling {
	const struct each_call_story *story;
	enum inject_family family;
	unsigned nth;
	int error;
	pid_t pid;             /* 0: not under way */
	FILE *output;          /* owned: shown only if it fails */
	struct inject *inject; /* owned, shared */
};

struct results {
	unsigned n_calls, n_failed;
};

/* Of a family's calls those from first to last. */
struct range {
	unsigned first, last;
};

/* In the child. */
static _Noreturn void telling_run(const struct telling *telling)
{
	Suite *suite = suite_create(telling->story->name);
	TCase *test_case = tcase_create(telling->story->name);
	SRunner *runner;
	int n_failed;

	if (telling->output && (dup2(fileno(telling->output), STDOUT_FILENO) < 0 || dup2(fileno(telling->output), STDERR_FILENO) < 0))
		abort();
	alarm(STORY_LIMIT_SEC * (unsigned)test_slowness());
	tcase_set_timeout(test_case, 0);
	tcase_add_test(test_case, telling->story->tell);
	suite_add_tcase(suite, test_case);
	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	inject_arm(telling->family, telling->nth, 1, telling->error);
	srunner_run_all(runner, CK_NORMAL);
	inject_disarm();
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	exit(n_failed > 0); /* with the sanitizer's look for leaks */
}

static void telling_begin(struct telling *telling)
{
	telling->inject = inject_new_shared();
	telling->output = tmpfile();
	fflush(stdout);
	telling->pid = fork();
	if (telling->pid < 0 || !telling->output)
		abort();
	if (telling->pid > 0)
		return;
	inject_use(telling->inject);
	telling_run(telling);
}

static void telling_report(const struct telling *telling, int status)
{
	char line[512];

	printf("%s: with %s call %u (%s) failing (errno %d): ", telling->story->name, inject_family_to_string(telling->family),
	       telling->nth, inject_failed_call(), telling->error);
	if (WIFSIGNALED(status))
		printf("signal %d%s\n", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? ", it hangs" : "");
	else
		printf("failed\n");
	rewind(telling->output);
	while (fgets(line, sizeof(line), telling->output))
		printf("    %s", line);
	fflush(stdout);
}

static void telling_end(struct telling *telling, int status, struct results *results)
{
	inject_use(telling->inject);
	if (telling->nth == 0)
		results->n_calls = inject_count();
	if (status != 0)
		telling_report(telling, status);
	results->n_failed += status != 0;
	inject_free_shared(telling->inject);
	fclose(telling->output);
	telling->pid = 0;
}

/* Waits for one of those under way. Its place is free then; NULL if there was none. */
static struct telling *tellings_wait(struct telling *tellings, struct results *results)
{
	int status;
	pid_t pid = wait(&status);

	for (size_t i = 0; i < N_PARALLEL; i++)
		if (pid > 0 && tellings[i].pid == pid) {
			telling_end(&tellings[i], status, results);
			return &tellings[i];
		}
	return NULL;
}

static struct telling *tellings_find_place(struct telling *tellings, struct results *results)
{
	for (size_t i = 0; i < N_PARALLEL; i++)
		if (!tellings[i].pid)
			return &tellings[i];
	return tellings_wait(tellings, results);
}

static unsigned family_choose_step(unsigned n_calls, unsigned n_quick)
{
	const char *wanted = getenv("USBPUSH_INJECT_EACH");
	unsigned each = wanted ? (unsigned)strtoul(wanted, NULL, 10) : n_quick, step = n_calls / (each ? each : 1);

	return getenv("USBPUSH_THOROUGH") || step < 1 ? 1 : step;
}

/* How many tellings failed. range: of the calls only those, each of them; NULL for all, or a choice. */
static unsigned family_run(const struct each_call_story *story, enum inject_family family, const struct range *range)
{
	struct telling tellings[N_PARALLEL] = { { .story = story, .family = family } };
	struct results results = { 0 };
	unsigned step, first, last, n_told = 0;

	telling_begin(&tellings[0]);
	(void)tellings_wait(tellings, &results);
	step = range ? 1 : family_choose_step(results.n_calls, story->n_quick);
	first = range ? range->first : 1 + (unsigned)time(NULL) % step;
	last = range && range->last < results.n_calls ? range->last : results.n_calls;
	for (unsigned nth = first; nth <= last; nth += step, n_told++) {
		struct telling *telling = tellings_find_place(tellings, &results);

		*telling = (struct telling){
			.story = story, .family = family, .nth = nth, .error = ERRORS[(nth / step + nth) % ARRAY_SIZE(ERRORS)]
		};
		telling_begin(telling);
	}
	while (tellings_wait(tellings, &results))
		;
	printf("%s: %u %s calls, %u of them failed in turn; %u of these ended badly\n", story->name, results.n_calls,
	       inject_family_to_string(family), n_told, results.n_failed);
	return results.n_failed;
}

static enum inject_family family_find(const char *name)
{
	enum inject_family family = 0;

	while (family < INJECT_FAMILIES && strcmp(inject_family_to_string(family), name) != 0)
		family++;
	return family;
}

/* The one of that number, from 1; NULL if there are less. */
static const struct each_call_story *story_find(const struct each_call_story *stories, unsigned number)
{
	while (number > 1 && stories->name) {
		stories++;
		number--;
	}
	return stories->name ? stories : NULL;
}

/* "FAMILY N ERRNO [STORY]": that one telling, in sight. */
static int run_one(const struct each_call_story *stories, const char *which)
{
	struct telling telling = { .nth = 0 };
	char family[16] = "";
	unsigned number = 1;

	if (sscanf(which, "%15s %u %d %u", family, &telling.nth, &telling.error, &number) < 3)
		return 2;
	telling.family = family_find(family);
	telling.story = story_find(stories, number);
	if (!telling.story || telling.family == INJECT_FAMILIES)
		return 2;
	telling_run(&telling);
}

/* "FAMILY FIRST LAST [STORY]": each of those. */
static int run_range(const struct each_call_story *stories, const char *which)
{
	const struct each_call_story *story;
	struct range range;
	char name[16] = "";
	enum inject_family family;
	unsigned number = 1;

	if (sscanf(which, "%15s %u %u %u", name, &range.first, &range.last, &number) < 3 || range.first == 0)
		return 2;
	family = family_find(name);
	story = story_find(stories, number);
	return !story || family == INJECT_FAMILIES ? 2 : family_run(story, family, &range) > 0;
}

int each_call_run(const struct each_call_story *stories)
{
	const char *which = getenv("USBPUSH_INJECT"), *range = getenv("USBPUSH_INJECT_RANGE");
	unsigned n_failed = 0;

	if (which)
		return run_one(stories, which);
	if (range)
		return run_range(stories, range);
	for (; stories->name; stories++)
		for (enum inject_family family = 0; family < INJECT_FAMILIES; family++)
			n_failed += family_run(stories, family, NULL);
	return n_failed > 0;
}
