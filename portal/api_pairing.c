#include "api_pairing.h"

#include <stdlib.h>
#include <string.h>

#include "api_action.h"
#include "api_answer.h"

#define PAIRING_BODY_MAX  8192
#define PAIRING_MAX_STEPS 8
#define PAIRING_STEP_USEC (UINT64_C(12) * 1000000) /* the exporter answers within 10 s */
#define PAIRING_CODE_USEC (UINT64_C(65) * 1000000)
#define PAIRING_LOOK_USEC 5000000

/* PROTOCOL.md, "Requests of the VM": another table than that of the page's requests, and the exporter's answer goes out as it is. */
static unsigned pairing_status_of_code(const char *code)
{
	static const struct {
		const char *code;
		unsigned status;
	} statuses[] = {
		{ "bad-request", 400 }, { "not-allowed", 403 }, { "wrong-code", 403 }, { "not-found", 404 },
		{ "busy", 409 },        { "version", 409 },     { "timeout", 410 },    { "locked", 429 },
	};

	for (size_t i = 0; code && i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (strcmp(statuses[i].code, code) == 0)
			return statuses[i].status;
	return 502;
}

/* A VM's request that waits for the exporter. */
struct pairing_step {
	struct portal *portal;        /* borrowed: outlives us */
	struct http_request *request; /* ours until it is answered */
};

static void pairing_on_answer(const json_t *answer, const struct failure *failure, void *userdata)
{
	struct pairing_step step = *(struct pairing_step *)userdata;
	struct http_request *request = step.request;
	const char *code = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));

	free(userdata);
	step.portal->n_pairing_steps--;
	if (answer)
		api_reply(request, failure ? pairing_status_of_code(code) : 200, json_copy((json_t *)(uintptr_t)answer));
	else
		api_reply(request, 503,
			  json_pack("{s:b, s:{s:s, s:s, s:s}}", "ok", 0, "error", "code", "unreachable", "text", failure->text, "cure",
				    failure->cure));
}

/* The exporter sees the VM's end in the end of our connection; the pairing goes on until its own limit. */
static void pairing_on_gone(void *userdata)
{
	struct pairing_step *step = userdata;

	upstream_cancel(step->portal->upstream, step);
}

/* Why this step is not passed on; NULL: it is. */
static const struct api_error *pairing_check_step(const struct api_call *call)
{
	static const struct api_error from_browser = { 403, "not-allowed", "this is for a VM's usbpush-vm pair, not for a browser", NULL };
	static const struct api_error too_large = { 413, "too-large", "a step of a pairing has at most 8192 bytes", NULL };
	static const struct api_error busy = { 409, "busy", "too many VMs want to be paired at once", "Try again in a moment." };
	size_t size;

	http_request_body(call->request, &size);
	if (http_request_header(call->request, "Origin"))
		return &from_browser;
	if (size > PAIRING_BODY_MAX)
		return &too_large;
	return call->portal->n_pairing_steps < PAIRING_MAX_STEPS ? NULL : &busy;
}

void api_pairing_step(const struct api_call *call)
{
	const struct api_error *error = pairing_check_step(call);
	struct pairing_step *step;

	if (error) {
		api_reply_error(call->request, error);
		return;
	}
	step = calloc(1, sizeof(*step));
	if (step)
		*step = (struct pairing_step){ call->portal, call->request };
	if (!step || upstream_ask(call->portal->upstream,
				  json_pack("{s:s, s:s, s:s, s:O}", "request", "pairing", "step", call->parameter, "from",
					    http_request_peer(call->request), "message", call->body),
				  PAIRING_STEP_USEC, pairing_on_answer, step) < 0) {
		free(step);
		api_reply(call->request, 500, NULL);
		return;
	}
	call->portal->n_pairing_steps++;
	http_request_watch_client(call->request, pairing_on_gone, step);
}

void api_get_pairings(const struct api_call *call)
{
	api_pass_on(call, json_pack("{s:s}", "request", "pairings"), PAIRING_LOOK_USEC);
}

void api_pairing_code(const struct api_call *call)
{
	static const struct api_error missing = { 400, "bad-request", "the body has no string \"code\"",
						  "Type the six digits that the VM shows." };
	const char *code = json_string_value(json_object_get(call->body, "code"));

	if (!code || strlen(code) > 32) {
		api_reply_error(call->request, &missing);
		return;
	}
	api_pass_on(call, json_pack("{s:s, s:s, s:s}", "request", "pairing-code", "session", call->parameter, "code", code),
		    PAIRING_CODE_USEC);
}

void api_pairing_cancel(const struct api_call *call)
{
	api_pass_on(call, json_pack("{s:s, s:s}", "request", "pairing-cancel", "session", call->parameter), PAIRING_LOOK_USEC);
}
