#include "api_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api_answer.h"
#include "cleanup.h"
#include "json_text.h"
#include "link_test.h"
#include "metrics.h"

/* A request that waits until the model is fresh. */
struct api_wait {
	struct portal *portal;        /* borrowed: outlives us */
	struct http_request *request; /* ours until it is answered */
	void (*answer)(struct portal *portal, struct http_request *request);
};

static void api_on_fresh(void *userdata)
{
	struct api_wait wait = *(struct api_wait *)userdata;

	free(userdata);
	wait.answer(wait.portal, wait.request);
}

static void api_answer_when_fresh(const struct api_call *call, void (*answer)(struct portal *portal, struct http_request *request))
{
	static const struct api_error busy = { 503, "busy", "too many wait for the exporter at once", "Try again in a moment." };
	struct api_wait *wait = calloc(1, sizeof(*wait));

	if (wait) {
		*wait = (struct api_wait){ call->portal, call->request, answer };
		if (model_when_fresh(call->portal->model, api_on_fresh, wait) == 0)
			return;
		free(wait);
	}
	api_reply_error(call->request, &busy);
}

/* False when the client was told that there is no status. */
static bool api_has_status(struct portal *portal, struct http_request *request)
{
	if (model_status(portal->model))
		return true;
	api_reply_failure(request, NULL, model_failure(portal->model));
	return false;
}

static void answer_status(struct portal *portal, struct http_request *request)
{
	if (api_has_status(portal, request))
		api_reply(request, 200, json_copy((json_t *)(uintptr_t)model_status(portal->model)));
}

void api_get_status(const struct api_call *call)
{
	api_answer_when_fresh(call, answer_status);
}

static void answer_devices(struct portal *portal, struct http_request *request)
{
	if (api_has_status(portal, request))
		api_reply(request, 200, json_pack("{s:O}", "devices", json_object_get(model_status(portal->model), "devices")));
}

void api_get_devices(const struct api_call *call)
{
	api_answer_when_fresh(call, answer_devices);
}

void api_get_events(const struct api_call *call)
{
	api_reply(call->request, 200, json_pack("{s:O}", "events", model_events(call->portal->model)));
}

void api_get_vms(const struct api_call *call)
{
	json_t *vms = json_object_get(model_status(call->portal->model), "vms");

	api_reply(call->request, 200, json_pack("{s:o}", "vms", vms ? json_incref(vms) : json_array()));
}

static void answer_metrics(struct portal *portal, struct http_request *request)
{
	struct portal_numbers numbers = { .n_connections = http_server_connections(portal->http),
					  .n_watchers = watcher_list_count(portal->watchers),
					  .n_requests = portal->n_requests };
	_cleanup_free_ char *text = metrics_format(model_status(portal->model), &numbers);

	api_add_security_headers(request, NULL);
	http_request_add_header(request, "Cache-Control", "no-store");
	if (text)
		http_reply(request, 200, "text/plain; version=0.0.4; charset=utf-8", text, strlen(text));
	else
		api_reply(request, 500, NULL);
}

void api_get_metrics(const struct api_call *call)
{
	api_answer_when_fresh(call, answer_metrics);
}

/* ---- the stream ---- */

json_t *api_snapshot(const struct portal *portal)
{
	_cleanup_json_ json_t *snapshot = model_snapshot(portal->model);
	const json_t *link = json_object_get(model_status(portal->model), "link");

	return json_object_set_new(snapshot, "steps", link_test_steps(link)) < 0 ? NULL : TAKE_PTR(snapshot);
}

void api_publish(struct portal *portal)
{
	_cleanup_json_ json_t *snapshot = api_snapshot(portal);
	_cleanup_free_ char *text = json_text(snapshot, JSON_REAL_PRECISION(6));

	if (text)
		watcher_list_publish(portal->watchers, text);
}

void api_get_stream(const struct api_call *call)
{
	static const struct api_error full = { 503, "busy", "too many pages are open", "Close some of them." };

	api_add_security_headers(call->request, NULL);
	http_request_add_header(call->request, "Cache-Control", "no-store");
	if (!watcher_start(call->portal->watchers, call->request, call->session ? call->session->token : ""))
		api_reply_error(call->request, &full);
}
