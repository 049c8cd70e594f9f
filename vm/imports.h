#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "attachment_set.h"

/* The imports of one Pi that are under way on the direct road: for attachments that WAIT, as the lobby is for streams of the tunnel. */
struct imports;

/* set is borrowed: it outlives it. NULL without memory. */
struct imports *imports_new(sd_event *event, struct attachment_set *set);

/* Gives all up. Takes NULL, returns NULL. */
struct imports *imports_free(struct imports *imports);

/* Fetches what this attachment was offered, from the Pi at address ("" if nobody knows it); it then gets its stream, or fails. patience_ms: how long the Pi may be
 * silent. */
void imports_start(struct imports *imports, struct attachment *attachment, const char *address, uint32_t patience_ms);

/* Gives up that of an offer which does not wait any more, if there is one. */
void imports_cancel(struct imports *imports, const char *offer_id);

/* Whether this process may open TCP connections at all: its unit may forbid it. */
bool imports_are_possible(void);
