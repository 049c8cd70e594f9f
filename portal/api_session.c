#include "api_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_answer.h"

static const struct api_error WRONG_PASSWORD = { 401, "wrong-password", "that is not the password",
						 "Forgotten? On the Pi: sudo usbpush reset-password" };
static const struct api_error WRONG_CODE = { 401, "wrong-code", "that is not the setup code",
					     "On the Pi, sudo usbpush setup-code prints one." };
static const struct api_error CLAIMED = { 409, "already-claimed", "this portal has an owner",
					  "Log in; or, on the Pi: sudo usbpush reset-password" };
static const struct api_error UNCLAIMED = { 409, "not-claimed", "this portal has no owner yet",
					    "On the Pi, sudo usbpush setup-code prints the code that makes you its owner." };
static const struct api_error BUSY = { 503, "busy", "too many log in at once", "Try again in a moment." };
static const struct api_error BROKEN = { 500, "internal", "the password could not be kept or checked",
					 "Look on the Pi: journalctl -u usbpush-portal" };

/* A request that waits for its password to be hashed. */
struct api_login {
	struct portal *portal;        /* borrowed: outlives us */
	struct http_request *request; /* ours until it is answered */
	const struct api_error *wrong;
};

const struct session *api_find_session(struct portal *portal, const struct http_request *request)
{
	const char *token = http_request_cookie(request, SESSION_COOKIE);
	uint64_t generation = owner_generation(portal->owner);

	return token && generation ? session_find(portal->sessions, token, generation, clock_now_usec()) : NULL;
}

json_t *api_session_to_json(const struct portal *portal, const struct session *session)
{
	return json_pack("{s:b, s:b, s:b, s:s?, s:s, s:s}", "claimed", owner_generation(portal->owner) != 0, "authenticated",
			 session != NULL, "public_status", portal->config.is_public, "csrf", session ? session->csrf : NULL, "name",
			 portal->machine_name, "software", USBPUSH_VERSION);
}

void api_get_session(const struct api_call *call)
{
	api_reply(call->request, 200, api_session_to_json(call->portal, call->session));
}

static void api_open_session(struct portal *portal, struct http_request *request)
{
	const struct session *session = session_open(portal->sessions, owner_generation(portal->owner), clock_now_usec());
	char cookie[SESSION_TOKEN_SIZE + 80];

	if (!session) {
		api_reply_error(request, &BROKEN);
		return;
	}
	snprintf(cookie, sizeof(cookie), SESSION_COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict", session->token);
	http_request_add_header(request, "Set-Cookie", cookie);
	throttle_forgive(portal->throttle, http_request_address(request));
	api_reply(request, 200, json_pack("{s:b, s:s}", "authenticated", 1, "csrf", session->csrf));
}

static void api_on_owner(enum owner_result result, void *userdata)
{
	struct api_login login = *(struct api_login *)userdata;

	free(userdata);
	switch (result) {
	case OWNER_RIGHT:
		api_open_session(login.portal, login.request);
		return;
	case OWNER_WRONG:
		api_reply_error(login.request, login.wrong);
		return;
	case OWNER_BUSY:
		api_reply_error(login.request, &BUSY);
		return;
	case OWNER_CLAIMED:
		api_reply_error(login.request, &CLAIMED);
		return;
	case OWNER_BROKEN:
		api_reply_error(login.request, &BROKEN);
		return;
	}
}

/* False when this address guessed too often; it was told. */
static bool api_may_try(const struct api_call *call)
{
	const char *address = http_request_address(call->request);
	uint64_t now = clock_now_usec(), wait = throttle_wait_usec(call->portal->throttle, address, now);
	struct api_error slow = { .status = 429, .code = "too-many-tries", .text = "too many wrong tries" };
	char seconds[24], cure[64];

	if (wait == 0) {
		throttle_count(call->portal->throttle, address, now);
		return true;
	}
	snprintf(seconds, sizeof(seconds), "%" PRIu64, wait / 1000000 + 1);
	snprintf(cure, sizeof(cure), "Wait %s s and try again.", seconds);
	slow.cure = cure;
	http_request_add_header(call->request, "Retry-After", seconds);
	api_reply_error(call->request, &slow);
	return false;
}

/* A string of the body, or NULL; then the client was told. */
static const char *api_take_string(const struct api_call *call, const char *key)
{
	const char *text = json_string_value(json_object_get(call->body, key));
	struct api_error missing = { 400, "bad-request", "", NULL };
	char why[80];

	if (text && strlen(text) <= OWNER_PASSWORD_MAX)
		return text;
	snprintf(why, sizeof(why), text ? "\"%s\" is too long" : "the body has no string \"%s\"", key);
	missing.text = why;
	api_reply_error(call->request, &missing);
	return NULL;
}

static struct api_login *api_login_new(const struct api_call *call, const struct api_error *wrong)
{
	struct api_login *login = calloc(1, sizeof(*login));

	if (login)
		*login = (struct api_login){ call->portal, call->request, wrong };
	else
		api_reply(call->request, 500, NULL);
	return login;
}

void api_claim(const struct api_call *call)
{
	static const struct api_error short_password = { 400, "bad-request", "the password is too short", "Take at least 8 characters." };
	const char *code = api_take_string(call, "code");
	const char *password = code ? api_take_string(call, "password") : NULL;
	struct api_login *login;

	if (!password)
		return;
	if (strlen(password) < OWNER_PASSWORD_MIN) {
		api_reply_error(call->request, &short_password);
		return;
	}
	login = api_may_try(call) ? api_login_new(call, &WRONG_CODE) : NULL;
	if (login)
		owner_claim(call->portal->owner, code, password, api_on_owner, login);
}

void api_login(const struct api_call *call)
{
	const char *password = api_take_string(call, "password");
	struct api_login *login;

	if (!password)
		return;
	if (!owner_generation(call->portal->owner)) {
		api_reply_error(call->request, &UNCLAIMED);
		return;
	}
	login = api_may_try(call) ? api_login_new(call, &WRONG_PASSWORD) : NULL;
	if (login)
		owner_check(call->portal->owner, password, api_on_owner, login);
}

void api_logout(const struct api_call *call)
{
	session_close(call->portal->sessions, call->session->token, clock_now_usec());
	http_request_add_header(call->request, "Set-Cookie", SESSION_COOKIE "=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
	api_reply(call->request, 200, json_pack("{s:b}", "authenticated", 0));
	watcher_list_check(call->portal->watchers);
}
