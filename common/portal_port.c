#include "portal_port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

int portal_port_parse(const char *value, uint16_t *ret_port)
{
	char *end;
	unsigned long port;

	if (*value < '0' || *value > '9')
		return -EINVAL;
	port = strtoul(value, &end, 10);
	if (*end || port == 0 || port > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

static int on_setting(const char *key, const char *value, unsigned line, char *expected, size_t size, void *userdata)
{
	(void)line;
	(void)expected;
	(void)size;
	if (strcmp(key, "PORTAL_PORT") == 0)
		(void)portal_port_parse(value, userdata);
	return 0;
}

/* The portal tells them. */
static void pass_over(const struct config_problem *problem, void *userdata)
{
	(void)problem;
	(void)userdata;
}

int portal_port_read(const char *path, uint16_t *ret_port)
{
	uint16_t port = PORTAL_PORT_DEFAULT;
	int r = config_read(path, on_setting, pass_over, &port);

	if (r < 0 && r != -ENOENT)
		return r;
	*ret_port = port;
	return 0;
}
