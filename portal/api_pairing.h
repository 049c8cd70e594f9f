#pragma once

#include "portal_internal.h"

/* Pairing by six digits (common/PROTOCOL.md): the portal passes on what the VM and the owner say, and knows no secret. */

/* POST /api/v1/pairing/{step}: from a VM, without login; what it may do, the digits decide. */
void api_pairing_step(const struct api_call *call);

/* GET /api/v1/pairings: who waits for its digits. */
void api_get_pairings(const struct api_call *call);

/* POST /api/v1/pairings/{session}/code {"code"}: the owner has typed them. Answers when the pairing is over. */
void api_pairing_code(const struct api_call *call);

/* POST /api/v1/pairings/{session}/cancel */
void api_pairing_cancel(const struct api_call *call);
