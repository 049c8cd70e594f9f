#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api_answer.h"
#include "api_knock.h"
#include "api_session.h"
#include "api_state.h"
#include "cleanup.h"
#include "link_test.h"
#include "log.h"
#include "machine.h"
#include "message.h"
#include "metrics_token.h"
#include "origin.h"
#include "portal_internal.h"
#include "routes.h"

#define PORTAL_CSRF_HEADER "X-Usbpush-Csrf"

static const struct http_limits LIMITS = {
	.max_connections = 128,
	.max_address_connections = 64,
	.patience_usec = UINT64_C(15) * 1000000,
	.max_head = (size_t)8 * 1024,
	.max_body = (size_t)16 * 1024,
};

static const struct api_error WRONG_HOST = {
	421, "wrong-host", "this portal does not go by that name",
	"Use its IP address or NAME.local; further names are PORTAL_HOST_NAMES in /etc/usbpush/portal.conf."
};
static const struct api_error NOT_FOUND = { 404, "not-found", "there is nothing at this path",
					    "GET /api/v1/openapi.json lists what there is." };
static const struct api_error WRONG_METHOD = { 405, "method-not-allowed", "this path does not take that method",
					       "The header Allow says which." };
static const struct api_error HEAD_TOO_LARGE = { 431, "too-large", "the request's line and headers are larger than 8 KiB", NULL };
static const struct api_error TOO_LARGE = { 413, "too-large", "the body is larger than 16 KiB", NULL };
static const struct api_error WRONG_TYPE = { 415, "unsupported-type", "a change takes a body of JSON",
					     "Send Content-Type: application/json." };
static const struct api_error NO_OBJECT = { 400, "bad-request", "the body is no JSON object", NULL };
static const struct api_error WRONG_ORIGIN = { 403, "wrong-origin", "this request comes from another web site", NULL };
static const struct api_error NO_LOGIN = { 401, "login-needed", "this takes a login", "POST /api/v1/login, or open the portal's page." };
static const struct api_error NO_CSRF = { 403, "csrf", "the header " PORTAL_CSRF_HEADER " is missing or wrong",
					  "GET /api/v1/session has its value for this session." };

/* "application/json", with whatever parameters. */
static bool portal_is_json(const struct http_request *request)
{
	const char *type = http_request_header(request, "Content-Type");

	return type && strncasecmp(type, "application/json", 16) == 0 && strchr("; \t", type[16]);
}

static bool portal_has_csrf(const struct http_request *request, const struct session *session)
{
	const char *given = http_request_header(request, PORTAL_CSRF_HEADER);

	return given && session_secret_equal(session->csrf, given);
}

/* Whether it takes no login. */
static bool portal_is_open(const struct portal *portal, const struct route *route, const struct http_request *request)
{
	switch (route->access) {
	case ROUTE_OPEN:
		return true;
	case ROUTE_LOOK:
		return portal->config.is_public;
	case ROUTE_METRICS:
		return portal->config.is_public ||
		       (portal->config.metrics_token[0] &&
			metrics_token_fits(portal->config.metrics_token, http_request_header(request, "Authorization")));
	case ROUTE_OWNER:
		return false;
	}
	return false;
}

/* Who may go there: NULL, or what keeps him out. */
static const struct api_error *portal_check_access(const struct portal *portal, const struct route *route,
						   const struct http_request *request, const struct session *session)
{
	bool is_change = strcmp(route->method, "POST") == 0;

	if (is_change && !origin_fits_host(http_request_header(request, "Origin"), http_request_header(request, "Host")))
		return &WRONG_ORIGIN;
	if (is_change && !portal_is_json(request))
		return &WRONG_TYPE;
	if (!session && !portal_is_open(portal, route, request))
		return &NO_LOGIN;
	if (is_change && session && route->access == ROUTE_OWNER && !portal_has_csrf(request, session))
		return &NO_CSRF;
	return NULL;
}

/* The body of a change as an object; NULL when there is none. */
static json_t *portal_read_body(const struct http_request *request)
{
	size_t size;
	const char *text = http_request_body(request, &size);
	json_t *object = size ? json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL) : json_object();

	if (json_is_object(object))
		return object;
	json_decref(object);
	return NULL;
}

static void portal_serve(struct portal *portal, struct http_request *request, const struct route *route, const char *parameter)
{
	struct api_call call = {
		.portal = portal, .request = request, .session = api_find_session(portal, request), .parameter = parameter
	};
	const struct api_error *error = portal_check_access(portal, route, request, call.session);
	_cleanup_json_ json_t *body = NULL;

	if (error) {
		api_reply_error(request, error);
		return;
	}
	if (strcmp(route->method, "POST") == 0) {
		body = portal_read_body(request);
		if (!body) {
			api_reply_error(request, &NO_OBJECT);
			return;
		}
	}
	call.body = body;
	route->handle(&call);
}

static void portal_on_request(struct http_request *request, void *userdata)
{
	struct portal *portal = userdata;
	char parameter[ROUTE_PARAMETER_SIZE];
	const struct route *route;
	const char *allow;

	portal->n_requests++;
	if (http_request_is_head_too_large(request)) {
		api_reply_error(request, &HEAD_TOO_LARGE);
		return;
	}
	if (!origin_host_is_ours(http_request_header(request, "Host"), portal->machine_name, portal->config.host_names)) {
		api_reply_error(request, &WRONG_HOST);
		return;
	}
	route = routes_find(http_request_method(request), http_request_path(request), parameter, &allow);
	if (!route && *allow) {
		http_request_add_header(request, "Allow", allow);
		api_reply_error(request, &WRONG_METHOD);
	} else if (!route) {
		api_reply_error(request, &NOT_FOUND);
	} else if (http_request_is_too_large(request)) {
		api_reply_error(request, &TOO_LARGE);
	} else {
		portal_serve(portal, request, route, parameter);
	}
}

static void portal_on_change(void *userdata)
{
	struct portal *portal = userdata;
	const json_t *status = model_status(portal->model);
	const char *state = json_string_value(json_object_get(json_object_get(status, "link"), "state"));

	api_publish(portal);
	link_test_look(portal->link_test);
	daemon_status("%s", !status                           ? "the exporter does not answer" :
			    state && strcmp(state, "UP") == 0 ? "the VM is connected" :
								"the VM is not connected");
}

static bool portal_may_watch(const char *token, void *userdata)
{
	struct portal *portal = userdata;
	uint64_t generation = owner_generation(portal->owner);

	return portal->config.is_public || (generation && session_find(portal->sessions, token, generation, clock_now_usec()));
}

static void portal_on_watchers(unsigned n, void *userdata)
{
	struct portal *portal = userdata;

	model_set_watched(portal->model, n > 0);
}

static struct session_table *portal_load_sessions(const char *state_dir)
{
	_cleanup_free_ char *path = NULL;
	char boot_id[MESSAGE_ID_SIZE] = "";

	if (machine_boot_id(boot_id, sizeof(boot_id)) < 0 || asprintf(&path, "%s/sessions", state_dir) < 0)
		path = NULL;
	return session_table_new(path, boot_id, clock_now_usec());
}

static int portal_init(struct portal *portal, const struct portal_options *options)
{
	portal->upstream = upstream_new(portal->event, options->control_path);
	portal->watchers = watcher_list_new(portal->event, portal_may_watch, portal_on_watchers, portal);
	portal->owner = owner_new(portal->event, options->state_dir, options->code_path);
	portal->sessions = portal_load_sessions(options->state_dir);
	portal->throttle = throttle_new();
	if (!portal->upstream || !portal->watchers || !portal->owner || !portal->sessions || !portal->throttle)
		return -ENOMEM;
	portal->model = model_new(portal->event, portal->upstream, portal_on_change, portal);
	if (!portal->model)
		return -ENOMEM;
	portal->link_test = link_test_new(portal->event, portal->upstream, portal->model);
	return portal->link_test ? 0 : -ENOMEM;
}

int portal_new(sd_event *event, const struct portal_options *options, struct portal **ret_portal)
{
	struct portal *portal = calloc(1, sizeof(*portal));
	int r;

	if (!portal) {
		close_fd(options->listen_fd);
		return -ENOMEM;
	}
	portal->event = event;
	portal->config = options->config;
	machine_name(portal->machine_name, sizeof(portal->machine_name));
	if (portal->config.metrics_token[0])
		(void)metrics_token_check(portal->config.metrics_token);
	r = portal_init(portal, options);
	if (r == 0)
		r = api_knock_init(portal);
	if (r == 0)
		r = http_server_new(event, options->listen_fd, &LIMITS, portal_on_request, portal, &portal->http);
	else
		close_fd(options->listen_fd);
	if (r < 0) {
		portal_free(portal);
		return r;
	}
	*ret_portal = portal;
	return 0;
}

struct portal *portal_free(struct portal *portal)
{
	if (!portal)
		return NULL;
	sd_event_source_disable_unref(portal->knock_timer);
	/* Those who would answer a request later first, then the requests. */
	upstream_free(portal->upstream);
	owner_free(portal->owner);
	http_server_free(portal->http);
	link_test_free(portal->link_test);
	model_free(portal->model);
	watcher_list_free(portal->watchers);
	session_table_free(portal->sessions, clock_now_usec());
	throttle_free(portal->throttle);
	free(portal);
	return NULL;
}
