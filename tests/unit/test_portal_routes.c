/* Which path leads where, and whether openapi.json says the same. */

#include <jansson.h>
#include <sodium.h>
#include <string.h>

#include "api_asset.h"
#include "api_page.h"
#include "check_program.h"
#include "cleanup.h"
#include "routes.h"

static char parameter[ROUTE_PARAMETER_SIZE];
static const char *allow;

static const struct route *find(const char *method, const char *path)
{
	return routes_find(method, path, parameter, &allow);
}

static const struct asset *find_asset(const char *path)
{
	for (size_t i = 0; i < ASSETS_COUNT; i++)
		if (strcmp(ASSETS[i].path, path) == 0)
			return &ASSETS[i];
	return NULL;
}

static json_t *load_openapi(void)
{
	const struct asset *asset = find_asset("/api/v1/openapi.json");
	json_error_t error;
	json_t *document;

	ck_assert_ptr_nonnull(asset);
	document = json_loadb((const char *)asset->plain, asset->plain_size, JSON_REJECT_DUPLICATES, &error);
	ck_assert_msg(document != NULL, "openapi.json:%d: %s", error.line, error.text);
	return document;
}

static const char *lower(const char *method)
{
	return strcmp(method, "GET") == 0 ? "get" : "post";
}

START_TEST(a_path_leads_to_its_handler)
{
	ck_assert_str_eq(find("GET", "/api/v1/status")->path, "/api/v1/status");
	ck_assert_str_eq(find("HEAD", "/api/v1/status")->path, "/api/v1/status");
	ck_assert_str_eq(find("POST", "/api/v1/devices/1-1.4/detach")->path, "/api/v1/devices/{busid}/detach");
	ck_assert_str_eq(parameter, "1-1.4");
}
END_TEST

START_TEST(a_path_that_only_resembles_one_leads_nowhere)
{
	static const char *const paths[] = {
		"",
		"/api/v1/statu",
		"/api/v1/status/",
		"/api/v1//status",
		"/api/v1/devices//detach",
		"/api/v1/devices/1-1/detach/x",
		"/api/v1/devices/1-1/2/detach",
		"/api/v1/devices/1-1",
		"/api/v1/devices/1-1/",
		"/icon.svg/",
		"/../etc/passwd",
		"/ICON.SVG",
	};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		ck_assert_msg(!find("GET", paths[i]) && !find("POST", paths[i]), "%s", paths[i]);
		ck_assert_str_eq(allow, "");
	}
}
END_TEST

START_TEST(a_parameter_has_a_bound)
{
	char path[200];

	snprintf(path, sizeof(path), "/api/v1/devices/%0*d/attach", ROUTE_PARAMETER_SIZE - 1, 1);
	ck_assert_ptr_nonnull(find("POST", path));
	snprintf(path, sizeof(path), "/api/v1/devices/%0*d/attach", ROUTE_PARAMETER_SIZE, 1);
	ck_assert_ptr_null(find("POST", path));
}
END_TEST

START_TEST(a_wrong_method_is_told_the_right_one)
{
	static const char *const methods[] = { "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "" };

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		ck_assert_ptr_null(find(methods[i], "/api/v1/status"));
		ck_assert_str_eq(allow, "GET, HEAD");
	}
	ck_assert_ptr_null(find("GET", "/api/v1/unpair"));
	ck_assert_str_eq(allow, "POST");
}
END_TEST

START_TEST(nothing_but_claim_login_and_what_a_vm_says_changes_anything_without_login)
{
	size_t n;
	const struct route *routes = routes_all(&n);

	for (size_t i = 0; i < n; i++) {
		bool is_known = strcmp(routes[i].path, "/api/v1/claim") == 0 || strcmp(routes[i].path, "/api/v1/login") == 0 ||
				strcmp(routes[i].path, "/api/v1/pairing/{step}") == 0 || strcmp(routes[i].path, "/api/v1/knock") == 0;

		if (strcmp(routes[i].method, "POST") == 0)
			ck_assert_msg(is_known || routes[i].access == ROUTE_OWNER, "%s", routes[i].path);
	}
}
END_TEST

START_TEST(every_route_of_the_api_is_described)
{
	_cleanup_json_ json_t *document = load_openapi();
	const json_t *paths = json_object_get(document, "paths");
	size_t n;
	const struct route *routes = routes_all(&n);

	for (size_t i = 0; i < n; i++) {
		const json_t *operation = json_object_get(json_object_get(paths, routes[i].path), lower(routes[i].method));

		if (strcmp(routes[i].path, "/") == 0 || strcmp(routes[i].path, "/icon.svg") == 0)
			continue; /* the page */
		ck_assert_msg(json_is_object(operation), "openapi.json lacks %s %s", routes[i].method, routes[i].path);
		ck_assert_msg(json_is_string(json_object_get(operation, "summary")), "%s", routes[i].path);
	}
}
END_TEST

static bool has_csrf(const json_t *operation)
{
	return json_object_get(json_array_get(json_object_get(operation, "security"), 0), "csrf") != NULL;
}

START_TEST(everything_that_is_described_is_there_and_takes_what_it_says)
{
	_cleanup_json_ json_t *document = load_openapi();
	const char *path, *method;
	json_t *operations, *operation;

	json_object_foreach(json_object_get(document, "paths"), path, operations) {
		json_object_foreach(operations, method, operation) {
			const struct route *route = find(strcmp(method, "get") == 0 ? "GET" : "POST", path);
			size_t n_ways = json_array_size(json_object_get(operation, "security"));

			ck_assert_msg(route && strcmp(route->path, path) == 0, "openapi.json invents %s %s", method, path);
			ck_assert_msg((route->access == ROUTE_OPEN) == (n_ways == 0), "%s %s: who may?", method, path);
			ck_assert_msg((route->access == ROUTE_METRICS) == (n_ways == 3), "%s %s: who may?", method, path);
			ck_assert_msg((route->access == ROUTE_LOOK) == (n_ways == 2), "%s %s: who may?", method, path);
			ck_assert_msg((route->access == ROUTE_OWNER && strcmp(method, "post") == 0) == has_csrf(operation), "%s %s: CSRF?",
				      method, path);
			ck_assert_msg(!strchr(path, '{') == !json_object_get(operation, "parameters"), "%s: its parameter?", path);
		}
	}
}
END_TEST

/* Every "$ref" below value leads somewhere. */
static void assert_references(const json_t *schemas, json_t *value)
{
	const char *key, *reference = json_string_value(json_object_get(value, "$ref"));
	json_t *part;
	size_t i;

	if (reference)
		ck_assert_msg(json_object_get(schemas, strrchr(reference, '/') + 1) != NULL, "%s leads nowhere", reference);
	json_object_foreach(value, key, part)
		assert_references(schemas, part);
	json_array_foreach(value, i, part)
		assert_references(schemas, part);
}

START_TEST(every_reference_of_the_description_leads_somewhere)
{
	_cleanup_json_ json_t *document = load_openapi();

	assert_references(json_object_get(json_object_get(document, "components"), "schemas"), document);
}
END_TEST

START_TEST(every_file_that_is_built_in_is_served)
{
	for (size_t i = 0; i < ASSETS_COUNT; i++) {
		ck_assert_msg(find("GET", ASSETS[i].path) != NULL, "%s is built in and not served", ASSETS[i].path);
		ck_assert_uint_gt(ASSETS[i].plain_size, 0);
	}
}
END_TEST

static char *page_text(void)
{
	return strndup((const char *)PAGE.rest, PAGE.rest_size);
}

START_TEST(the_page_is_small_and_asks_for_files_that_are_there)
{
	_cleanup_free_ char *text = page_text();

	ck_assert_uint_lt(PAGE.packed_rest_size, 30000);
	for (const char *at = text; (at = strstr(at, "=\"/")); at++) {
		char path[64];

		snprintf(path, sizeof(path), "%.*s", (int)strcspn(at + 2, "\""), at + 2);
		ck_assert_msg(find("GET", path) != NULL, "the page asks for %s", path);
	}
	ck_assert_ptr_null(strstr(text, "https://"));
	ck_assert_ptr_null(strstr(text, " style="));
}
END_TEST

/* What stands between start and end is what the policy names. */
static void expect_named(const char *text, const char *start, const char *end)
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	char base64[64];
	const char *from = strstr(text, start), *to;

	ck_assert_ptr_nonnull(from);
	from += strlen(start);
	to = strstr(from, end);
	ck_assert_ptr_nonnull(to);
	ck_assert_ptr_null(strstr(to, start)); /* there is no second one */
	crypto_hash_sha256(hash, (const unsigned char *)from, (size_t)(to - from));
	sodium_bin2base64(base64, sizeof(base64), hash, sizeof(hash), sodium_base64_VARIANT_ORIGINAL);
	ck_assert_msg(strstr(PAGE.policy, base64) != NULL, "%s is not in %s", base64, PAGE.policy);
}

START_TEST(the_policy_names_the_pages_own_style_and_script_and_no_other)
{
	_cleanup_free_ char *text = page_text();

	expect_named(text, "<style>", "</style>");
	expect_named(text, "<script type=\"module\" blocking=\"render\">", "</script>");
	ck_assert_ptr_null(strstr(PAGE.policy, "unsafe"));
	ck_assert_ptr_null(strstr(PAGE.policy, "'self'"));
}
END_TEST

int main(void)
{
	TCase *routes = tcase_create("routes"), *openapi = tcase_create("openapi"), *assets = tcase_create("assets");

	tcase_add_test(routes, a_path_leads_to_its_handler);
	tcase_add_test(routes, a_path_that_only_resembles_one_leads_nowhere);
	tcase_add_test(routes, a_parameter_has_a_bound);
	tcase_add_test(routes, a_wrong_method_is_told_the_right_one);
	tcase_add_test(routes, nothing_but_claim_login_and_what_a_vm_says_changes_anything_without_login);
	tcase_add_test(openapi, every_route_of_the_api_is_described);
	tcase_add_test(openapi, everything_that_is_described_is_there_and_takes_what_it_says);
	tcase_add_test(openapi, every_reference_of_the_description_leads_somewhere);
	tcase_add_test(assets, every_file_that_is_built_in_is_served);
	tcase_add_test(assets, the_page_is_small_and_asks_for_files_that_are_there);
	tcase_add_test(assets, the_policy_names_the_pages_own_style_and_script_and_no_other);
	return check_program_run("portal routes", routes, openapi, assets, NULL);
}
