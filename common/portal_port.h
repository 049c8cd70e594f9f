#pragma once

#include <stdint.h>

/* The port of a Pi's portal. The portal takes it from portal.conf; so do those who say where the portal is: mDNS, setup-code, doctor. */

#define PORTAL_CONFIG_PATH  "/etc/usbpush/portal.conf"
#define PORTAL_PORT_DEFAULT 8080

/* The value of PORTAL_PORT. 0, or -EINVAL for what is no port from 1 to 65535. */
int portal_port_parse(const char *value, uint16_t *ret_port);

/* What the portal.conf at path says: as the portal reads it, so PORTAL_PORT_DEFAULT without the file, without the setting, or where it makes no sense. 0, or a negative errno where
 * the file can't be read. */
int portal_port_read(const char *path, uint16_t *ret_port);
