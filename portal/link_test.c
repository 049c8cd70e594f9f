#include "link_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "daemon.h"

#define TEST_MAX_WAITING 8
#define TEST_LIMIT_USEC  (UINT64_C(22) * 1000000)
#define TEST_STEP_USEC   100000
#define TEST_ANSWER_USEC 5000000

struct link_test_waiter {
	link_test_fn on_done;
	void *userdata; /* borrowed */
};

struct link_test {
	sd_event *event;           /* borrowed: outlives us */
	struct upstream *upstream; /* borrowed: outlives us */
	struct model *model;       /* borrowed: outlives us */
	sd_event_source *timer;    /* owned */
	struct link_test_waiter waiters[TEST_MAX_WAITING];
	size_t n_waiters;
	uint64_t asked_usec; /* when the exporter had begun: what it says from then on is of this test; 0 before */
	uint64_t started_usec;
};

static const struct {
	const char *name, *text;
} STEPS[] = {
	{ "address", "Address found" },
	{ "tcp", "Port open" },
	{ "host_key", "SSH answers, host key as pinned" },
	{ "login", "This Pi's key accepted" },
	{ "handler", "usbpush is installed on the VM" },
	{ "sync", "Handler ready, vhci_hcd loaded" },
};

struct link_test *link_test_new(sd_event *event, struct upstream *upstream, struct model *model)
{
	struct link_test *test = calloc(1, sizeof(*test));

	if (!test)
		return NULL;
	test->event = event;
	test->upstream = upstream;
	test->model = model;
	return test;
}

struct link_test *link_test_free(struct link_test *test)
{
	if (!test)
		return NULL;
	sd_event_source_disable_unref(test->timer);
	free(test);
	return NULL;
}

static bool link_is(const json_t *link, const char *state)
{
	const char *is = json_string_value(json_object_get(link, "state"));

	return is && strcmp(is, state) == 0;
}

/* In other states the error is that of an earlier try. */
static bool link_is_stopped(const json_t *link)
{
	return link_is(link, "DOWN") || link_is(link, "REFUSED");
}

/* The exporter has no time for the address: a try that stopped before the port names the address that it tried last, if there was one. */
static bool link_test_is_done(const json_t *link, const char *step)
{
	const json_t *times = json_object_get(link, "steps_ms");
	const char *address = json_string_value(json_object_get(link, "address"));

	if (strcmp(step, "address") != 0)
		return json_is_number(json_object_get(times, step));
	return json_is_number(json_object_get(times, "tcp")) || (link_is_stopped(link) && address && *address);
}

json_t *link_test_steps(const json_t *link)
{
	_cleanup_json_ json_t *steps = json_array();
	bool is_open = false;

	for (size_t i = 0; i < ARRAY_SIZE(STEPS); i++) {
		json_t *time = json_object_get(json_object_get(link, "steps_ms"), STEPS[i].name);
		bool is_done = link_test_is_done(link, STEPS[i].name);
		const char *state = is_done ? "done" : link_is_stopped(link) && !is_open ? "failed" : "open";

		is_open |= !is_done;
		if (json_array_append_new(steps, json_pack("{s:s, s:s, s:s, s:O}", "name", STEPS[i].name, "text", STEPS[i].text, "state",
							   state, "ms", json_is_number(time) ? time : json_null())) < 0)
			return NULL;
	}
	return TAKE_PTR(steps);
}

static json_t *link_test_result(const json_t *link)
{
	const json_t *rtt = json_object_get(link, "rtt_ms"), *error = json_object_get(link, "error");

	return json_pack("{s:b, s:o, s:O, s:O}", "ok", link_is(link, "UP"), "steps", link_test_steps(link), "rtt_ms",
			 rtt ? rtt : json_null(), "error", error ? error : json_null());
}

/* Whoever is told may start the next one. */
static void link_test_end(struct link_test *test, const json_t *result, const struct failure *failure)
{
	struct link_test_waiter waiters[TEST_MAX_WAITING];
	size_t n = test->n_waiters;

	memcpy(waiters, test->waiters, sizeof(waiters));
	test->n_waiters = 0;
	test->asked_usec = 0;
	timer_disarm(test->timer);
	for (size_t i = 0; i < n; i++)
		waiters[i].on_done(result, failure, waiters[i].userdata);
}

static bool link_test_is_over(const json_t *link)
{
	if (link_is(link, "UP"))
		return json_is_number(json_object_get(link, "rtt_ms"));
	return link_is(link, "UNPAIRED") || link_is(link, "DOWN") || link_is(link, "REFUSED");
}

void link_test_look(struct link_test *test)
{
	const json_t *status = model_status(test->model), *link = json_object_get(status, "link");
	_cleanup_json_ json_t *result = NULL;
	struct failure failure;

	if (!test->n_waiters || !test->asked_usec || model_asked_usec(test->model) < test->asked_usec)
		return;
	if (!status) {
		link_test_end(test, NULL, model_failure(test->model));
	} else if (link_is(link, "UNPAIRED")) {
		failure_set(&failure, FAILURE_NOT_PAIRED, "Pair it first.", "this Pi is not paired with a VM");
		link_test_end(test, NULL, &failure);
	} else if (link_test_is_over(link)) {
		result = link_test_result(link);
		link_test_end(test, result, NULL);
	}
}

static int link_test_on_step(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct link_test *test = userdata;
	struct failure failure;

	(void)source;
	(void)usec;
	if (clock_now_usec() - test->started_usec > TEST_LIMIT_USEC) {
		failure_set(&failure, FAILURE_TIMEOUT, "See on the Pi: journalctl -u usbpush-exporter.",
			    "the link did not come to an end of its try");
		link_test_end(test, NULL, &failure);
		return 0;
	}
	model_refresh(test->model);
	return timer_arm(test->event, &test->timer, TEST_STEP_USEC, link_test_on_step, test);
}

static void link_test_on_asked(const json_t *answer, const struct failure *failure, void *userdata)
{
	struct link_test *test = userdata;

	(void)answer;
	if (failure) {
		link_test_end(test, NULL, failure);
		return;
	}
	test->asked_usec = clock_now_usec();
	link_test_on_step(NULL, 0, test);
}

int link_test_start(struct link_test *test, link_test_fn on_done, void *userdata)
{
	bool is_first = test->n_waiters == 0;

	if (test->n_waiters == TEST_MAX_WAITING)
		return -EBUSY;
	if (is_first) {
		test->started_usec = clock_now_usec();
		test->asked_usec = 0;
		if (upstream_ask(test->upstream, json_pack("{s:s}", "request", "test"), TEST_ANSWER_USEC, link_test_on_asked, test) < 0)
			return -EBUSY;
	}
	test->waiters[test->n_waiters++] = (struct link_test_waiter){ on_done, userdata };
	return 0;
}
