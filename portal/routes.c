#include "routes.h"

#include <stdbool.h>
#include <string.h>

#include "api_action.h"
#include "api_asset.h"
#include "api_knock.h"
#include "api_page.h"
#include "api_pairing.h"
#include "api_session.h"
#include "api_state.h"
#include "cleanup.h"

static const struct route ROUTES[] = {
	{ "GET", "/", ROUTE_OPEN, api_get_page },
	{ "GET", "/icon.svg", ROUTE_OPEN, api_get_asset },
	{ "GET", "/api/v1/openapi.json", ROUTE_OPEN, api_get_asset },
	{ "GET", "/api/v1/session", ROUTE_OPEN, api_get_session },
	{ "POST", "/api/v1/claim", ROUTE_OPEN, api_claim },
	{ "POST", "/api/v1/login", ROUTE_OPEN, api_login },
	{ "POST", "/api/v1/logout", ROUTE_OWNER, api_logout },
	{ "GET", "/api/v1/status", ROUTE_LOOK, api_get_status },
	{ "GET", "/api/v1/devices", ROUTE_LOOK, api_get_devices },
	{ "GET", "/api/v1/events", ROUTE_LOOK, api_get_events },
	{ "GET", "/api/v1/stream", ROUTE_LOOK, api_get_stream },
	{ "GET", "/metrics", ROUTE_METRICS, api_get_metrics },
	{ "GET", "/api/v1/vms", ROUTE_OWNER, api_get_vms },
	{ "GET", "/api/v1/key", ROUTE_OWNER, api_get_key },
	{ "POST", "/api/v1/devices/{busid}/attach", ROUTE_OWNER, api_attach },
	{ "POST", "/api/v1/devices/{busid}/detach", ROUTE_OWNER, api_detach },
	{ "POST", "/api/v1/devices/{busid}/share", ROUTE_OWNER, api_share },
	{ "POST", "/api/v1/devices/{busid}/ignore", ROUTE_OWNER, api_ignore },
	{ "POST", "/api/v1/devices/{busid}/name", ROUTE_OWNER, api_name },
	{ "POST", "/api/v1/devices/{busid}/answer", ROUTE_OWNER, api_answer_device },
	{ "POST", "/api/v1/devices/{busid}/reset", ROUTE_OWNER, api_reset },
	{ "POST", "/api/v1/attach-all", ROUTE_OWNER, api_attach_all },
	{ "POST", "/api/v1/test", ROUTE_OWNER, api_test },
	{ "POST", "/api/v1/pair", ROUTE_OWNER, api_pair },
	{ "POST", "/api/v1/pair/look", ROUTE_OWNER, api_login_look },
	{ "POST", "/api/v1/pair/login", ROUTE_OWNER, api_login_pair },
	{ "POST", "/api/v1/unpair", ROUTE_OWNER, api_unpair },
	{ "POST", "/api/v1/pairing/{step}", ROUTE_OPEN, api_pairing_step },
	{ "POST", "/api/v1/knock", ROUTE_OPEN, api_knock },
	{ "GET", "/api/v1/pairings", ROUTE_OWNER, api_get_pairings },
	{ "POST", "/api/v1/pairings/{session}/code", ROUTE_OWNER, api_pairing_code },
	{ "POST", "/api/v1/pairings/{session}/cancel", ROUTE_OWNER, api_pairing_cancel },
};

const struct route *routes_all(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(ROUTES);
	return ROUTES;
}

/* Whether path is one of pattern's; what stands for {...} goes to parameter. */
static bool route_fits(const char *pattern, const char *path, char *parameter)
{
	const char *brace = strchr(pattern, '{'), *rest;
	size_t head, length;

	if (!brace)
		return strcmp(pattern, path) == 0;
	head = (size_t)(brace - pattern);
	rest = strchr(brace, '}') + 1;
	if (strncmp(pattern, path, head) != 0)
		return false;
	length = strcspn(path + head, "/");
	if (length == 0 || length >= ROUTE_PARAMETER_SIZE || strcmp(path + head + length, rest) != 0)
		return false;
	memcpy(parameter, path + head, length);
	parameter[length] = '\0';
	return true;
}

const struct route *routes_find(const char *method, const char *path, char ret_parameter[ROUTE_PARAMETER_SIZE], const char **ret_allow)
{
	const char *asked = strcmp(method, "HEAD") == 0 ? "GET" : method;

	ret_parameter[0] = '\0';
	*ret_allow = "";
	for (size_t i = 0; i < ARRAY_SIZE(ROUTES); i++) {
		if (!route_fits(ROUTES[i].path, path, ret_parameter))
			continue;
		if (strcmp(ROUTES[i].method, asked) == 0)
			return &ROUTES[i];
		*ret_allow = strcmp(ROUTES[i].method, "GET") == 0 ? "GET, HEAD" : "POST";
	}
	return NULL;
}
