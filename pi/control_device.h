#pragma once

#include <jansson.h>

#include "device.h"
#include "exporter.h"
#include "local_server.h"

/* The control socket's requests about one device, which was selected. Each answers the client; those that write a rule do so when it is on the disk and in force, and
 * whoever goes away before tells rulebook_forget(). */

/* {"name","also"?}: gives it a name. The answer has "busid", "name", and "loader": the VID:PID under which such a board comes back, or null. */
void control_device_name(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments);

/* Shares it by a rule. */
void control_device_share(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments);

/* Keeps it here by a rule. */
void control_device_ignore(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments);

/* {"yes": true|false}: to a device that waits for it. */
void control_device_answer(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments);

/* {"hard"?: true}: gets a stuck device going again; the answer comes at once. */
void control_device_reset(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments);

/* Shares it now: a yes where it waits for one; refused with the reason where it is not shared. */
void control_device_attach(struct exporter *exporter, struct device *device, struct local_client *client, const json_t *arguments);
