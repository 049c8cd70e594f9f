#include "vm_config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "message.h"
#include "transport.h"

static const struct vm_config DEFAULTS = { .port = 22, .user = "usbpush", .patience_ms = DEFAULT_PATIENCE_MS };

static bool config_is_host(const char *text)
{
	size_t length = strlen(text);

	return length > 0 && length < 254 && text[0] != '-' &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%") == length;
}

static bool config_is_user(const char *text)
{
	size_t length = strlen(text);

	return length > 0 && length < 33 && (isalpha((unsigned char)text[0]) || text[0] == '_') &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

bool vm_config_is_id(const char *text)
{
	return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

static int config_parse_number(const char *text, unsigned long min, unsigned long max, unsigned long *ret_value)
{
	char *end;
	unsigned long value;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value < min || value > max)
		return -EINVAL;
	*ret_value = value;
	return 0;
}

static int config_expect(char *ret_expected, size_t size, const char *expected)
{
	snprintf(ret_expected, size, "%s", expected);
	return -EINVAL;
}

struct load {
	struct vm_config *config;
	config_problem_fn on_problem;
	void *userdata;
};

static void config_on_problem(const struct config_problem *problem, void *userdata)
{
	const struct load *load = userdata;

	load->on_problem(problem, load->userdata);
}

static int config_on_setting(const char *key, const char *value, unsigned line, char *expected, size_t size, void *userdata)
{
	struct vm_config *config = ((struct load *)userdata)->config;
	unsigned long number;

	(void)line;
	if (strcmp(key, "VM_HOST") == 0) {
		if (*value && !config_is_host(value))
			return config_expect(expected, size, "a host name or address");
		snprintf(config->host, sizeof(config->host), "%s", value);
	} else if (strcmp(key, "VM_USER") == 0) {
		if (!config_is_user(value))
			return config_expect(expected, size, "the name of the VM's login, normally usbpush");
		snprintf(config->user, sizeof(config->user), "%s", value);
	} else if (strcmp(key, "VM_PORT") == 0) {
		if (config_parse_number(value, 1, 65535, &number) < 0)
			return config_expect(expected, size, "a port from 1 to 65535");
		config->port = (uint16_t)number;
	} else if (strcmp(key, "VM_HOST_KEY") == 0) {
		if (*value && transport_key_parse(value, config->host_key, sizeof(config->host_key), NULL, NULL) < 0)
			return config_expect(expected, size, "the VM's public host key, \"ssh-ed25519 AAAA...\"");
	} else if (strcmp(key, "VM_ID") == 0) {
		if (*value && !vm_config_is_id(value))
			return config_expect(expected, size, "the VM's id, 32 hex digits, as pairing writes it");
		snprintf(config->id, sizeof(config->id), "%s", value);
	} else if (strcmp(key, "PATIENCE_MS") == 0) {
		if (config_parse_number(value, 1000, 600000, &number) < 0)
			return config_expect(expected, size, "milliseconds from 1000 to 600000");
		config->patience_ms = (uint32_t)number;
	} else if (strcmp(key, "TRANSPORT") == 0) {
		if (strcmp(value, "tunnel") != 0 && strcmp(value, "direct") != 0)
			return config_expect(expected, size, "tunnel or direct");
		config->is_direct = strcmp(value, "direct") == 0;
	} else if (strcmp(key, "ALLOW") == 0) {
		if (allow_list_parse(value, &config->allow) < 0)
			return config_expect(expected, size, "addresses and prefixes, at most 32: 192.168.1.7, 10.0.0.0/8, 2001:db8::/32");
	} else {
		return -ENOENT;
	}
	return 0;
}

bool vm_config_is_paired(const struct vm_config *config)
{
	return config->host[0] && config->host_key[0];
}

bool vm_config_equal(const struct vm_config *a, const struct vm_config *b)
{
	return strcmp(a->host, b->host) == 0 && a->port == b->port && strcmp(a->user, b->user) == 0 &&
	       strcmp(a->host_key, b->host_key) == 0 && a->patience_ms == b->patience_ms;
}

bool vm_config_is_same_vm(const struct vm_config *a, const struct vm_config *b)
{
	return vm_config_is_paired(a) && vm_config_is_paired(b) && strcmp(a->host_key, b->host_key) == 0;
}

int vm_config_load(const char *path, config_problem_fn on_problem, void *userdata, struct vm_config *ret_config)
{
	struct vm_config config = DEFAULTS;
	struct load load = { &config, on_problem, userdata };
	int r = config_read(path, config_on_setting, config_on_problem, &load);

	if (r == -ENOENT)
		r = 0;
	if (r < 0)
		return r;
	if (config.host[0] && !config.host_key[0]) {
		struct config_problem problem;
		snprintf(problem.text, sizeof(problem.text),
			 "%s: VM_HOST without a usable VM_HOST_KEY; expected both (usbpush pair sets them)", path);
		on_problem(&problem, userdata);
		r++;
	}
	*ret_config = config;
	return r;
}

int vm_config_check_login(const struct vm_config *config, struct failure *ret_failure)
{
	if (!config_is_host(config->host))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Give the VM's name or address with --host.",
				   "\"%.60s\" is no host name or address", config->host);
	if (!config_is_user(config->user))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Leave --user out: it is usbpush.", "\"%.40s\" is no login name",
				   config->user);
	if (config->port == 0)
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Leave --port out: it is 22.", "the port must be from 1 to 65535");
	return 0;
}

int vm_config_check(const struct vm_config *config, struct failure *ret_failure)
{
	char normal[4096];
	int r = vm_config_check_login(config, ret_failure);

	return r < 0 ? r : transport_key_parse(config->host_key, normal, sizeof(normal), NULL, ret_failure);
}

int vm_config_save(const char *path, const struct vm_config *config)
{
	bool is_paired = vm_config_is_paired(config);
	char port[8];
	const struct config_setting settings[] = {
		{ "VM_HOST", is_paired ? config->host : NULL },
		{ "VM_USER", is_paired ? config->user : NULL },
		{ "VM_PORT", is_paired ? port : NULL },
		{ "VM_HOST_KEY", is_paired ? config->host_key : NULL },
		{ "VM_ID", is_paired && config->id[0] ? config->id : NULL },
	};

	snprintf(port, sizeof(port), "%u", config->port);
	return config_set(path, settings, ARRAY_SIZE(settings), 0644);
}
