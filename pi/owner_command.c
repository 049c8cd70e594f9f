#include "owner_command.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine.h"
#include "portal_port.h"
#include "setup_code.h"

enum { DONE = 0, FAILED = 1, USAGE = 2 };

/* Other places for tests. */
static const char *path_of(const char *variable, const char *path)
{
	const char *other = getenv(variable);

	return other ? other : path;
}

static int take_no_argument(int argc, char **argv)
{
	if (argc == 1)
		return DONE;
	fprintf(stderr, "usbpush: %s takes no argument \"%s\"; see usbpush --help\n", argv[0], argv[1]);
	return USAGE;
}

static int fail_at(const char *path)
{
	if (errno == EACCES || errno == EPERM)
		fprintf(stderr, "usbpush: only root may do that. Run it with sudo.\n");
	else
		fprintf(stderr, "usbpush: %s: %s. Is usbpush-portal installed and has it run? systemctl status usbpush-portal\n", path,
			strerror(errno));
	return FAILED;
}

/* The group that may read the code: the portal's. */
static int find_group(gid_t *ret_group)
{
	const struct group *group = getgrnam(path_of("USBPUSH_PORTAL_GROUP", PORTAL_USER));

	if (!group) {
		fprintf(stderr, "usbpush: there is no group " PORTAL_USER ". The package makes it: systemd-sysusers usbpush-pi.conf\n");
		return FAILED;
	}
	*ret_group = group->gr_gid;
	return DONE;
}

static int print_code(void)
{
	const char *path = path_of("USBPUSH_SETUP_CODE", SETUP_CODE_PATH);
	char code[SETUP_CODE_SIZE], name[64];
	uint16_t port = PORTAL_PORT_DEFAULT;
	gid_t group;
	int r = find_group(&group);

	if (r != DONE)
		return r;
	r = setup_code_make(path, group, code, sizeof(code));
	if (r < 0) {
		errno = -r;
		return fail_at(path);
	}
	machine_name(name, sizeof(name));
	(void)portal_port_read(path_of("USBPUSH_PORTAL_CONFIG", PORTAL_CONFIG_PATH),
			       &port); /* the portal can't read it either, and is at that port */
	printf("%s\n", code);
	fflush(stdout);
	fprintf(stderr,
		"Type it at http://%s.local:%u and set a password there: the portal is yours then. Valid until the next boot or code.\n",
		name, port);
	return DONE;
}

static int owner_path(char *buffer, size_t size)
{
	int n = snprintf(buffer, size, "%s/" PORTAL_OWNER, path_of("USBPUSH_PORTAL_STATE", PORTAL_STATE_DIR));

	return n > 0 && (size_t)n < size ? DONE : FAILED;
}

int command_setup_code(int argc, char **argv)
{
	struct stat status;
	char path[256];
	int r = take_no_argument(argc, argv);

	if (r != DONE || owner_path(path, sizeof(path)) != DONE)
		return r != DONE ? r : FAILED;
	if (stat(path, &status) == 0) {
		fprintf(stderr, "usbpush: the portal has an owner already. If the password is lost: sudo usbpush reset-password\n");
		return FAILED;
	}
	return errno == ENOENT ? print_code() : fail_at(path);
}

int command_reset_password(int argc, char **argv)
{
	char path[256];
	int r = take_no_argument(argc, argv);

	if (r != DONE || owner_path(path, sizeof(path)) != DONE)
		return r != DONE ? r : FAILED;
	if (unlink(path) < 0 && errno != ENOENT)
		return fail_at(path);
	fprintf(stderr, "The portal has no owner now, and everybody is logged out. This code makes you its owner:\n");
	return print_code();
}
