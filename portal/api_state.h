#pragma once

#include "portal_internal.h"

/* What the portal shows. */

/* GET /api/v1/status: what `usbpush status --json` prints. */
void api_get_status(const struct api_call *call);

/* GET /api/v1/devices: a part of it. */
void api_get_devices(const struct api_call *call);

/* GET /api/v1/events: the last ones. */
void api_get_events(const struct api_call *call);

/* GET /api/v1/vms: a part of it. */
void api_get_vms(const struct api_call *call);

/* GET /api/v1/stream: all of it, again at each change, as server-sent events. */
void api_get_stream(const struct api_call *call);

/* GET /metrics, for Prometheus. */
void api_get_metrics(const struct api_call *call);

/* All that the portal shows, as the stream sends it. A new reference, NULL without memory. */
json_t *api_snapshot(const struct portal *portal);

/* Sends the model to the pages that are open. */
void api_publish(struct portal *portal);
