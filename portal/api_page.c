#include "api_page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_answer.h"
#include "api_session.h"
#include "api_state.h"
#include "cleanup.h"
#include "daemon.h"
#include "gzip_join.h"
#include "json_text.h"

#define PAGE_TYPE "text/html; charset=utf-8"

/* What the page would ask for first: who is here, and what he may see. */
static json_t *page_state(const struct api_call *call)
{
	const struct portal *portal = call->portal;
	uint64_t asked = model_asked_usec(portal->model);
	bool is_shown = asked && (call->session || portal->config.is_public);
	json_int_t age_ms = asked ? (json_int_t)((clock_now_usec() - asked) / 1000) : 0;

	return json_pack("{s:o, s:o, s:I}", "session", api_session_to_json(portal, call->session), "snapshot",
			 is_shown ? api_snapshot(portal) : json_null(), "age_ms", age_ms);
}

/* JSON as it may stand in a page: nothing in it ends its element, whatever a device calls itself. The caller's; NULL without memory. */
static char *page_escape(const char *json)
{
	size_t n = 0;
	char *text, *end;

	for (const char *at = json; *at; at++)
		n += *at == '<';
	text = end = malloc(strlen(json) + 5 * n + 1);
	for (; text && *json; json++) {
		if (*json == '<')
			end = stpcpy(end, "\\u003c");
		else
			*end++ = *json;
	}
	if (text)
		*end = '\0';
	return text;
}

/* Head and state. The caller's; NULL without memory. */
static char *page_begin(const struct api_call *call)
{
	_cleanup_json_ json_t *state = page_state(call);
	_cleanup_free_ char *json = json_text(state, JSON_REAL_PRECISION(6)), *escaped = json ? page_escape(json) : NULL;
	char *text;

	if (!escaped || asprintf(&text, "%.*s%s", (int)PAGE.head_size, (const char *)PAGE.head, escaped) < 0)
		return NULL;
	return text;
}

static char *page_join(const char *begin, size_t *ret_size)
{
	size_t size = strlen(begin);
	char *text = malloc(size + PAGE.rest_size);

	if (!text)
		return NULL;
	memcpy(stpcpy(text, begin), PAGE.rest, PAGE.rest_size);
	*ret_size = size + PAGE.rest_size;
	return text;
}

void api_get_page(const struct api_call *call)
{
	struct http_request *request = call->request;
	bool is_packed = api_may_pack(request);
	_cleanup_free_ char *begin = page_begin(call), *text = NULL;
	size_t size;

	if (begin)
		text = is_packed ? gzip_join(begin, strlen(begin), PAGE.packed_rest, PAGE.packed_rest_size, PAGE.rest, &size) :
				   page_join(begin, &size);
	if (!text) {
		api_reply(request, 500, NULL);
		return;
	}
	api_add_security_headers(request, PAGE.policy);
	http_request_add_header(request, "Cache-Control", "no-store"); /* there is a session's secret in it */
	http_request_add_header(request, "Vary", "Accept-Encoding, Cookie");
	if (is_packed)
		http_request_add_header(request, "Content-Encoding", "gzip");
	http_reply(request, 200, PAGE_TYPE, text, size);
}
