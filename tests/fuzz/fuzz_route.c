/* Paths, Host and Origin of a request: portal/routes, portal/origin. The input's lines: method, path, Host, Origin. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "fuzz.h"
#include "origin.h"
#include "routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	const char *fields[4] = { "", "", "", "" }, *allow;
	char parameter[ROUTE_PARAMETER_SIZE], *rest = text;
	const struct route *route;

	for (size_t i = 0; i < ARRAY_SIZE(fields) && rest; i++)
		fields[i] = strsep(&rest, "\n");
	route = routes_find(fields[0], fields[1], parameter, &allow);
	FUZZ_CHECK(allow && strlen(parameter) < sizeof(parameter) && !strchr(parameter, '/'));
	if (route)
		FUZZ_CHECK(strcmp(route->method, strcmp(fields[0], "HEAD") == 0 ? "GET" : fields[0]) == 0);
	(void)origin_host_is_ours(fields[2], "raspberrypi", "pi.example.org, usb.example.org");
	/* A page of another host never gets through. */
	if (origin_fits_host(fields[3], fields[2]) && origin_host_is_ours(fields[2], "raspberrypi", ""))
		FUZZ_CHECK(strcasecmp(strstr(fields[3], "://") + 3, fields[2]) == 0);
	FUZZ_CHECK(origin_fits_host(NULL, fields[2]));
	FUZZ_CHECK(!origin_fits_host("null", fields[2]) && !origin_fits_host("http://evil.example", "raspberrypi.local:8080"));
	return 0;
}
