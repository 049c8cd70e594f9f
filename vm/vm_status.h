#pragma once

#include <jansson.h>

#include "attachment.h"
#include "peer.h"

/* The state of things as JSON: the fields of `usbpush-vm status --json`, which scripts build on. New references. */

/* {"offer","busid","pi_busid","port","vid","pid","serial","manufacturer","product","name","state","nodes","links","steps_ms","reason","err
 * or"} */
json_t *vm_status_device(const struct attachment *attachment);

/* {"id","name","state","awaited","devices":[...]} */
json_t *vm_status_pi(const struct peer *peer);

/* {"ports","used","error"} */
json_t *vm_status_vhci(struct vhci *vhci);
