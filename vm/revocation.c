#include "revocation.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "directory.h"

#define REVOKED "revoked" /* these are shut out */
#define REQUEST "unpair"  /* these are to be taken out of the files; systemd/usbpush-unpair.path looks here */

/* RUNTIME_DIR/KIND/ID; an id that could lead elsewhere is none. */
static int revocation_path(const char *runtime_dir, const char *kind, const char *pi_id, char buffer[PATH_MAX])
{
	if (!piconf_is_id(pi_id))
		return -EINVAL;
	return snprintf(buffer, PATH_MAX, "%s/%s/%s", runtime_dir, kind, pi_id) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int note(const char *runtime_dir, const char *kind, const char *pi_id)
{
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX];
	int err = revocation_path(runtime_dir, kind, pi_id, path);

	if (err == 0)
		err = directory_make_parents(path);
	if (err < 0)
		return err;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : 0;
}

static void forget(const char *runtime_dir, const char *kind, const char *pi_id)
{
	char path[PATH_MAX];

	if (revocation_path(runtime_dir, kind, pi_id, path) == 0)
		(void)unlink(path);
}

/* Each entry that is an id; fn may remove it. How many, or negative errno. */
static int for_each(const char *runtime_dir, const char *kind, revocation_fn fn, void *userdata)
{
	_cleanup_closedir_ DIR *directory = NULL;
	const struct dirent *entry;
	char path[PATH_MAX];
	int n = 0;

	if (snprintf(path, sizeof(path), "%s/%s", runtime_dir, kind) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	directory = opendir(path);
	if (!directory)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(directory))) {
		if (!piconf_is_id(entry->d_name))
			continue;
		fn(entry->d_name, userdata);
		n++;
	}
	return n;
}

int revocation_add(const char *runtime_dir, const char *pi_id)
{
	int err = note(runtime_dir, REVOKED, pi_id); /* first: it counts even if nobody hears the request */

	return err < 0 ? err : note(runtime_dir, REQUEST, pi_id);
}

bool revocation_has(const char *runtime_dir, const char *pi_id)
{
	char path[PATH_MAX];

	return revocation_path(runtime_dir, REVOKED, pi_id, path) == 0 && access(path, F_OK) == 0;
}

void revocation_lift(const char *runtime_dir, const char *pi_id)
{
	forget(runtime_dir, REQUEST, pi_id);
	forget(runtime_dir, REVOKED, pi_id);
}

struct prune {
	const char *runtime_dir;
	const struct piconf *piconf;
};

static void prune_one(const char *pi_id, void *userdata)
{
	const struct prune *prune = userdata;

	if (!piconf_find(prune->piconf, pi_id))
		forget(prune->runtime_dir, REVOKED, pi_id);
}

void revocation_prune(const char *runtime_dir, const struct piconf *piconf)
{
	struct prune prune = { runtime_dir, piconf };

	(void)for_each(runtime_dir, REVOKED, prune_one, &prune);
}

struct take {
	const char *runtime_dir;
	revocation_fn fn;
	void *userdata;
};

static void take_one(const char *pi_id, void *userdata)
{
	const struct take *take = userdata;

	take->fn(pi_id, take->userdata);
	forget(take->runtime_dir, REQUEST, pi_id);
}

int revocation_take_requests(const char *runtime_dir, revocation_fn fn, void *userdata)
{
	struct take take = { runtime_dir, fn, userdata };

	return for_each(runtime_dir, REQUEST, take_one, &take);
}
