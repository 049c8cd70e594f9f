#include "api_action.h"

#include <stdlib.h>

#include "api_answer.h"
#include "link_test.h"

#define ACTION_TIMEOUT_USEC 5000000
#define WRITE_TIMEOUT_USEC  (UINT64_C(30) * 1000000) /* it is answered when it is on the disk */
#define UNPAIR_TIMEOUT_USEC (8000000 + WRITE_TIMEOUT_USEC)
#define LOOK_TIMEOUT_USEC   (UINT64_C(40) * 1000000)
#define LOGIN_TIMEOUT_USEC  (UINT64_C(120) * 1000000)       /* connecting, logging in, usbpush-vm there, the link */
#define PAIR_TIMEOUT_USEC   (21000000 + WRITE_TIMEOUT_USEC) /* the link is tried for 20 s */

/* A request that waits for the exporter. */
struct api_action {
	struct portal *portal;        /* borrowed: outlives us */
	struct http_request *request; /* ours until it is answered */
};

static const struct api_error BUSY = { 503, "busy", "too much is asked at once", "Try again in a moment." };

static void action_on_answer(const json_t *answer, const struct failure *failure, void *userdata)
{
	struct api_action action = *(struct api_action *)userdata;
	json_t *copy;

	free(userdata);
	model_refresh(action.portal->model);
	if (failure) {
		api_reply_failure(action.request, answer, failure);
		return;
	}
	copy = json_copy((json_t *)(uintptr_t)answer);
	json_object_del(copy, "ok");
	api_reply(action.request, 200, copy);
}

void api_pass_on(const struct api_call *call, json_t *request, uint64_t timeout_usec)
{
	struct api_action *action = calloc(1, sizeof(*action));

	if (!action) {
		json_decref(request);
		api_reply(call->request, 500, NULL);
		return;
	}
	*action = (struct api_action){ call->portal, call->request };
	if (upstream_ask(call->portal->upstream, request, timeout_usec, action_on_answer, action) < 0) {
		free(action);
		api_reply_error(call->request, &BUSY);
	}
}

void api_attach_all(const struct api_call *call)
{
	api_pass_on(call, json_pack("{s:s, s:b}", "request", "attach", "all", 1), ACTION_TIMEOUT_USEC);
}

void api_get_key(const struct api_call *call)
{
	api_pass_on(call, json_pack("{s:s}", "request", "key"), ACTION_TIMEOUT_USEC);
}

void api_unpair(const struct api_call *call)
{
	api_pass_on(call, json_pack("{s:s}", "request", "unpair"), UNPAIR_TIMEOUT_USEC);
}

/* Only what the request takes is passed on, all of it or nothing, and the exporter checks each value. request's reference is taken. */
static void action_pass_on(const struct api_call *call, json_t *request, const char *const *keys, uint64_t timeout_usec)
{
	for (size_t i = 0; keys[i]; i++) {
		json_t *value = json_object_get(call->body, keys[i]);

		if (!value || json_object_set(request, keys[i], value) == 0)
			continue;
		json_decref(request);
		request = NULL;
		break;
	}
	api_pass_on(call, request, timeout_usec);
}

/* The same about one device. */
static void action_about_device(const struct api_call *call, const char *name, const char *key, uint64_t timeout_usec)
{
	const char *const keys[] = { key, NULL };

	action_pass_on(call, json_pack("{s:s, s:s}", "request", name, "device", call->parameter), keys, timeout_usec);
}

void api_attach(const struct api_call *call)
{
	action_about_device(call, "attach", NULL, ACTION_TIMEOUT_USEC);
}

void api_detach(const struct api_call *call)
{
	action_about_device(call, "detach", NULL, ACTION_TIMEOUT_USEC);
}

void api_share(const struct api_call *call)
{
	action_about_device(call, "share", NULL, WRITE_TIMEOUT_USEC);
}

void api_ignore(const struct api_call *call)
{
	action_about_device(call, "ignore", NULL, WRITE_TIMEOUT_USEC);
}

void api_name(const struct api_call *call)
{
	action_about_device(call, "name", "name", WRITE_TIMEOUT_USEC);
}

void api_answer_device(const struct api_call *call)
{
	action_about_device(call, "answer", "yes", ACTION_TIMEOUT_USEC);
}

void api_reset(const struct api_call *call)
{
	action_about_device(call, "reset", "hard", ACTION_TIMEOUT_USEC);
}

void api_pair(const struct api_call *call)
{
	static const char *const keys[] = { "host", "host_key", "user", "port", NULL };

	action_pass_on(call, json_pack("{s:s}", "request", "pair"), keys, PAIR_TIMEOUT_USEC);
}

void api_login_look(const struct api_call *call)
{
	static const char *const keys[] = { "host", "port", NULL };

	action_pass_on(call, json_pack("{s:s}", "request", "login-look"), keys, LOOK_TIMEOUT_USEC);
}

void api_login_pair(const struct api_call *call)
{
	static const char *const keys[] = { "host", "port", "user", "password", "host_key", NULL };

	action_pass_on(call, json_pack("{s:s}", "request", "login-pair"), keys, LOGIN_TIMEOUT_USEC);
}

static void action_on_tested(const json_t *result, const struct failure *failure, void *userdata)
{
	struct http_request *request = userdata;

	if (result)
		api_reply(request, 200, json_copy((json_t *)(uintptr_t)result));
	else
		api_reply_failure(request, NULL, failure);
}

void api_test(const struct api_call *call)
{
	if (link_test_start(call->portal->link_test, action_on_tested, call->request) < 0)
		api_reply_error(call->request, &BUSY);
}
