#include "api_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json_text.h"

#define JSON_TYPE "application/json"

void api_add_security_headers(struct http_request *request, const char *policy)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'%s%s",
		 policy ? "; " : "", policy ? policy : "");
	http_request_add_header(request, "Content-Security-Policy", text);
	http_request_add_header(request, "X-Content-Type-Options", "nosniff");
	http_request_add_header(request, "X-Frame-Options", "DENY");
	http_request_add_header(request, "Referrer-Policy", "no-referrer");
	http_request_add_header(request, "Cross-Origin-Resource-Policy", "same-origin");
}

bool api_may_pack(const struct http_request *request)
{
	const char *accept = http_request_header(request, "Accept-Encoding"), *found = accept ? strstr(accept, "gzip") : NULL;

	return found && strncmp(found + 4, ";q=0", 4) != 0;
}

void api_reply(struct http_request *request, unsigned status, json_t *object)
{
	static const char no_memory[] = "{\"error\":{\"code\":\"internal\",\"text\":\"out of memory\",\"cure\":\"\"}}\n";
	_cleanup_json_ json_t *owned = object;
	_cleanup_free_ char *text = json_text(owned, JSON_REAL_PRECISION(6));

	api_add_security_headers(request, NULL);
	http_request_add_header(request, "Cache-Control", "no-store");
	if (text)
		http_reply(request, status, JSON_TYPE, text, strlen(text));
	else
		http_reply_static(request, 500, JSON_TYPE, no_memory, sizeof(no_memory) - 1);
}

void api_reply_error(struct http_request *request, const struct api_error *error)
{
	api_reply(request, error->status,
		  json_pack("{s:{s:s, s:s, s:s}}", "error", "code", error->code, "text", error->text, "cure",
			    error->cure ? error->cure : ""));
}

unsigned api_status_of_code(const char *code)
{
	static const struct {
		const char *code;
		unsigned status;
	} statuses[] = {
		{ "bad-request", 400 },  { "wrong-code", 403 },     { "not-allowed", 403 },
		{ "not-found", 404 },    { "gone", 404 },           { "ambiguous", 409 },
		{ "busy", 409 },         { "not-paired", 409 },     { "cancelled", 409 },
		{ "host-key", 422 },     { "login", 422 },          { "version", 422 },
		{ "not-accepted", 422 }, { "no-module", 422 },      { "no-usb", 422 },
		{ "identity", 422 },     { "locked", 429 },         { "unreachable", 503 },
		{ "timeout", 504 },      { "wrong-password", 422 }, { "no-password-login", 422 },
		{ "no-sudo", 422 },      { "not-installed", 422 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		if (strcmp(statuses[i].code, code) == 0)
			return statuses[i].status;
	return 500;
}

void api_reply_failure(struct http_request *request, const json_t *answer, const struct failure *failure)
{
	json_t *said = json_object_get(answer, "error");
	json_t *error = json_is_object(said) ? json_incref(said) : failure_to_json(failure);
	const char *code = json_string_value(json_object_get(error, "code"));

	api_reply(request, api_status_of_code(code ? code : "internal"), json_pack("{s:o}", "error", error));
}
