#include "machine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "identity.h"

/* usbpush's application id for sd_id128_get_machine_app_specific(3). */
#define USBPUSH_APP_ID SD_ID128_MAKE(6f, 1b, 0c, 52, 9a, 3e, 4d, 77, 8e, 21, c4, 5d, 0b, 96, f3, 1a)

static int machine_format_id(sd_id128_t id, char *buffer, size_t size)
{
	if (size < SD_ID128_STRING_MAX)
		return -ENOSPC;
	sd_id128_to_string(id, buffer);
	return 0;
}

int machine_id(char *buffer, size_t size)
{
	sd_id128_t id;
	int r = sd_id128_get_machine_app_specific(USBPUSH_APP_ID, &id);

	return r < 0 ? r : machine_format_id(id, buffer, size);
}

int machine_boot_id(char *buffer, size_t size)
{
	sd_id128_t id;
	int r = sd_id128_get_boot(&id);

	return r < 0 ? r : machine_format_id(id, buffer, size);
}

void machine_name(char *buffer, size_t size)
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1) < 0)
		name[0] = '\0';
	identity_clean_string(name[0] ? name : "localhost", buffer, size);
}

const char *machine_kernel_arch(const char *release)
{
	const char *tail = strrchr(release, '-');

	return tail && strcmp(tail, "-arm64") == 0 ? "arm64" : "amd64";
}
