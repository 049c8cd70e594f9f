#pragma once

#include "portal_internal.h"

/* Who may what. */

#define SESSION_COOKIE "usbpush"

/* GET /api/v1/session: whether there is an owner, whether the caller is logged in, and its CSRF token. */
void api_get_session(const struct api_call *call);

/* What that answers: session is the caller's, or NULL. A new reference, NULL without memory. */
json_t *api_session_to_json(const struct portal *portal, const struct session *session);

/* POST /api/v1/claim {"code","password"}: becomes the owner, and is logged in. */
void api_claim(const struct api_call *call);

/* POST /api/v1/login {"password"} */
void api_login(const struct api_call *call);

/* POST /api/v1/logout */
void api_logout(const struct api_call *call);

/* The session that the request's cookie opens, or NULL. */
const struct session *api_find_session(struct portal *portal, const struct http_request *request);
