#include "api_asset.h"

#include <string.h>

#include "api_answer.h"

static const struct asset *asset_find(const char *path)
{
	for (size_t i = 0; i < ASSETS_COUNT; i++)
		if (strcmp(ASSETS[i].path, path) == 0)
			return &ASSETS[i];
	return NULL;
}

void api_get_asset(const struct api_call *call)
{
	static const struct api_error missing = { 404, "not-found", "this build has no such file", NULL };
	struct http_request *request = call->request;
	const struct asset *asset = asset_find(http_request_path(request));
	const char *known = http_request_header(request, "If-None-Match");

	if (!asset) {
		api_reply_error(request, &missing);
		return;
	}
	api_add_security_headers(request, NULL);
	/* Asked for anew each time, and mostly answered with 304: after an upgrade nobody has half of the old page. */
	http_request_add_header(request, "Cache-Control", "no-cache");
	http_request_add_header(request, "ETag", asset->tag);
	http_request_add_header(request, "Vary", "Accept-Encoding");
	if (known && strstr(known, asset->tag)) {
		http_reply_static(request, 304, NULL, "", 0);
	} else if (api_may_pack(request)) {
		http_request_add_header(request, "Content-Encoding", "gzip");
		http_reply_static(request, 200, asset->type, asset->packed, asset->packed_size);
	} else {
		http_reply_static(request, 200, asset->type, asset->plain, asset->plain_size);
	}
}
