#pragma once

#include <stdbool.h>

/* What lets Prometheus read /metrics without a login: a token in a file that root writes and the portal may read. It opens nothing else. */

#define METRICS_TOKEN_MIN 16 /* characters; shorter ones are guessed */

/* Whether the file at path can be used as it is now; says in the log why not. */
bool metrics_token_check(const char *path);

/* Whether a request's Authorization header (NULL: none) is `Bearer` and that token. The file is read each time: a new token counts at once. */
bool metrics_token_fits(const char *path, const char *authorization);
