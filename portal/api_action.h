#pragma once

#include "portal_internal.h"

/* What the portal changes: each is a request of the exporter's, and its answer is passed on. */

/* Passes a request (its reference is taken) on to the exporter, and its answer to the client. */
void api_pass_on(const struct api_call *call, json_t *request, uint64_t timeout_usec);

/* POST /api/v1/devices/{busid}/attach */
void api_attach(const struct api_call *call);

/* POST .../detach */
void api_detach(const struct api_call *call);

/* POST /api/v1/attach-all */
void api_attach_all(const struct api_call *call);

/* POST .../share: from now on, by a rule. */
void api_share(const struct api_call *call);

/* POST .../ignore: from now on, by a rule. */
void api_ignore(const struct api_call *call);

/* POST .../name {"name"} */
void api_name(const struct api_call *call);

/* POST .../answer {"yes"}: to one that asks. */
void api_answer_device(const struct api_call *call);

/* POST .../reset [{"hard"}] */
void api_reset(const struct api_call *call);

/* POST /api/v1/test: answers when the test is over. */
void api_test(const struct api_call *call);

/* GET /api/v1/key: the public key that the VM has to know. */
void api_get_key(const struct api_call *call);

/* POST /api/v1/pair {"host","host_key"[,"user","port"]}: without a code, for who knows the host key. */
void api_pair(const struct api_call *call);

/* POST /api/v1/pair/look {"host"[,"port"]}: the host key of a VM whose login is known. */
void api_login_look(const struct api_call *call);

/* POST /api/v1/pair/login {"host","user","password","host_key"[,"port"]}: by that login, given once. */
void api_login_pair(const struct api_call *call);

/* POST /api/v1/unpair */
void api_unpair(const struct api_call *call);
