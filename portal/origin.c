#include "origin.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX     256
#define HOST_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_:"

/* The name or address of "name:port", "[address]:port", without a dot at the end. False for what is neither. */
static bool origin_split_host(const char *host, char *buffer)
{
	const char *end;
	size_t length;

	if (host[0] == '[') {
		end = strchr(++host, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return false;
	} else {
		end = host + strcspn(host, ":");
	}
	length = (size_t)(end - host);
	if (length > 0 && host[length - 1] == '.')
		length--;
	if (length == 0 || length >= HOST_MAX)
		return false;
	memcpy(buffer, host, length);
	buffer[length] = '\0';
	return strspn(buffer, HOST_LETTERS) == length;
}

static bool origin_is_address(const char *name)
{
	struct in6_addr address;

	return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

static bool origin_ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcasecmp(name + n - m, end) == 0;
}

/* The machine's own name, bare or with one of the suffixes that home routers give and nobody can register. */
static bool origin_is_machine(const char *name, const char *machine_name)
{
	static const char *const suffixes[] = { "", ".local", ".lan", ".home", ".home.arpa", ".internal", ".localdomain", ".fritz.box" };
	size_t length = strlen(machine_name);

	if (length == 0 || strncasecmp(name, machine_name, length) != 0)
		return false;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (strcasecmp(name + length, suffixes[i]) == 0)
			return true;
	return false;
}

static bool origin_is_listed(const char *name, const char *names)
{
	size_t length = strlen(name);

	while (*names) {
		size_t n;

		names += strspn(names, ", ");
		n = strcspn(names, ", ");
		if (n == length && strncasecmp(names, name, n) == 0)
			return true;
		names += n;
	}
	return false;
}

bool origin_host_is_ours(const char *host, const char *machine_name, const char *names)
{
	char name[HOST_MAX];

	if (!host || !origin_split_host(host, name))
		return false;
	return origin_is_address(name) || strcasecmp(name, "localhost") == 0 || origin_ends_with(name, ".local") ||
	       origin_is_machine(name, machine_name) || origin_is_listed(name, names);
}

bool origin_fits_host(const char *origin, const char *host)
{
	if (!origin)
		return true;
	if (strncmp(origin, "http://", 7) == 0)
		origin += 7;
	else if (strncmp(origin, "https://", 8) == 0) /* a proxy of the owner's in front of us */
		origin += 8;
	else
		return false;
	return host && strcasecmp(origin, host) == 0;
}
