#pragma once

#include <stdbool.h>

/* Whether a request comes to us by a name of ours, and from a page of ours. It keeps other web sites from speaking to the portal through its owner's browser. */

/* The Host header: an IP address, localhost, this machine's name (bare or below .local, .lan, .home, .home.arpa, .internal, .fritz.box), any name in .local, or one of names (comma-separated; may be empty). */
bool origin_host_is_ours(const char *host, const char *machine_name, const char *names);

/* The Origin header of a change: it names the very host that the request went to. NULL (no browser) is as good. */
bool origin_fits_host(const char *origin, const char *host);
