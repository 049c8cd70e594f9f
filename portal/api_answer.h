#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "failure.h"
#include "http_request.h"

/* The portal's answers: JSON with the headers that every answer of the API has. */

struct api_error {
	unsigned status;
	const char *code; /* an interface: see openapi.json */
	const char *text;
	const char *cure; /* may be NULL */
};

/* Adds the headers that keep a browser from guessing, framing and telling. policy: what else the Content-Security-Policy says; NULL for nothing. */
void api_add_security_headers(struct http_request *request, const char *policy);

/* Whether the client takes gzip: it is one of its codings, and not refused with q=0. */
bool api_may_pack(const struct http_request *request);

/* Answers with object (the reference is taken; NULL is told as an internal error). */
void api_reply(struct http_request *request, unsigned status, json_t *object);

/* Answers {"error":{"code","text","cure"}}. */
void api_reply_error(struct http_request *request, const struct api_error *error);

/* The same for what the exporter said, with the status that fits its code; answer, if there is one, has the error in the exporter's own words. */
void api_reply_failure(struct http_request *request, const json_t *answer, const struct failure *failure);

/* The HTTP status that fits the code of an exporter's error ("not-found"); 500 for one that is not known here. */
unsigned api_status_of_code(const char *code);
