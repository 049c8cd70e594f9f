#pragma once

#include <jansson.h>
#include <stdint.h>

/* What the portal counts of itself. */
struct portal_numbers {
	unsigned n_connections, n_watchers;
	uint64_t n_requests;
};

/* The exporter's status (NULL: it is not there) in Prometheus' text format 0.0.4. The caller's; NULL without memory. */
char *metrics_format(const json_t *status, const struct portal_numbers *numbers);
