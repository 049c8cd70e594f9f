#include "portal_config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"

static int config_set_port(struct portal_config *config, const char *value, char *ret_expected, size_t size)
{
	if (portal_port_parse(value, &config->port) == 0)
		return 0;
	snprintf(ret_expected, size, "a port from 1 to 65535");
	return -EINVAL;
}

static int config_set_address(struct portal_config *config, const char *value, char *ret_expected, size_t size)
{
	struct in6_addr address;
	char bare[sizeof(config->address)];

	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(value, "%"), value); /* fe80::1%eth0 */
	if (strlen(value) >= sizeof(config->address) ||
	    (*value && inet_pton(AF_INET, value, &address) != 1 && inet_pton(AF_INET6, bare, &address) != 1)) {
		snprintf(ret_expected, size, "an IPv4 or IPv6 address of this machine, or nothing for all");
		return -EINVAL;
	}
	snprintf(config->address, sizeof(config->address), "%s", value);
	return 0;
}

static int config_set_public(struct portal_config *config, const char *value, char *ret_expected, size_t size)
{
	if (strcasecmp(value, "yes") == 0) {
		config->is_public = true;
	} else if (strcasecmp(value, "no") == 0) {
		config->is_public = false;
	} else {
		snprintf(ret_expected, size, "yes or no");
		return -EINVAL;
	}
	return 0;
}

static int config_set_host_names(struct portal_config *config, const char *value, char *ret_expected, size_t size)
{
	if (strlen(value) >= sizeof(config->host_names) || strpbrk(value, "*/:")) {
		snprintf(ret_expected, size, "host names with commas between them, no wildcards and no ports");
		return -EINVAL;
	}
	snprintf(config->host_names, sizeof(config->host_names), "%s", value);
	return 0;
}

static int config_set_metrics_token(struct portal_config *config, const char *value, char *ret_expected, size_t size)
{
	if (strlen(value) >= sizeof(config->metrics_token) || (*value && *value != '/')) {
		snprintf(ret_expected, size, "the whole path of a file that has the token, or nothing");
		return -EINVAL;
	}
	snprintf(config->metrics_token, sizeof(config->metrics_token), "%s", value);
	return 0;
}

static int portal_config_on_setting(const char *key, const char *value, unsigned line, char *ret_expected, size_t size, void *userdata)
{
	static const struct {
		const char *key;
		int (*set)(struct portal_config *config, const char *value, char *ret_expected, size_t size);
	} settings[] = {
		{ "PORTAL_PORT", config_set_port },
		{ "PORTAL_ADDRESS", config_set_address },
		{ "PORTAL_PUBLIC_STATUS", config_set_public },
		{ "PORTAL_HOST_NAMES", config_set_host_names },
		{ "PORTAL_METRICS_TOKEN", config_set_metrics_token },
	};

	(void)line;
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (strcmp(settings[i].key, key) == 0)
			return settings[i].set(userdata, value, ret_expected, size);
	return -ENOENT;
}

int portal_config_load(const char *path, config_problem_fn on_problem, struct portal_config *ret_config)
{
	struct portal_config config = { .port = PORTAL_PORT_DEFAULT };
	int r = config_read(path, portal_config_on_setting, on_problem, &config);

	if (r < 0 && r != -ENOENT)
		return r;
	*ret_config = config;
	return r < 0 ? 0 : r;
}
