#include "authorize.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "atomic_file.h"
#include "authorized_keys.h"
#include "cleanup.h"
#include "directory.h"
#include "files_lock.h"
#include "machine.h"
#include "pi_key.h"
#include "revocation.h"

#define KEY_FILE_MAX_SIZE ((size_t)16384)
#define HOST_KEY_PATH     "/etc/ssh/ssh_host_ed25519_key.pub"

static int fail_file(struct failure *failure, const char *path, int err)
{
	if (err == -EACCES || err == -EPERM)
		return failure_set(failure, FAILURE_NOT_ALLOWED, "Run it as root: sudo usbpush-vm ...", "%s: %s", path, strerror(-err));
	return failure_set(failure, err == -ENOENT ? FAILURE_NOT_FOUND : FAILURE_INTERNAL, NULL, "%s: %s", path, strerror(-err));
}

static int root_path(const char *root, const char *path, char buffer[PATH_MAX], struct failure *ret_failure)
{
	if (snprintf(buffer, PATH_MAX, "%s%s", root, path) < PATH_MAX)
		return 0;
	return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "%s: the path is too long", root);
}

/* Not by opening /dev/stdin: that fails for a socket. */
static ssize_t stdin_read(char **ret_content)
{
	_cleanup_free_ char *content = calloc(1, KEY_FILE_MAX_SIZE + 1);
	size_t size;

	if (!content)
		return -ENOMEM;
	size = fread(content, 1, KEY_FILE_MAX_SIZE, stdin);
	if (ferror(stdin))
		return -EIO;
	*ret_content = TAKE_PTR(content);
	return (ssize_t)size;
}

static int key_file_read(const char *path, struct pi_key *ret_key, struct failure *ret_failure)
{
	_cleanup_free_ char *content = NULL;
	bool is_stdin = strcmp(path, "-") == 0;
	ssize_t size = is_stdin ? stdin_read(&content) : file_read(path, KEY_FILE_MAX_SIZE, &content);

	if (size < 0)
		return fail_file(ret_failure, is_stdin ? "standard input" : path, (int)size);
	return pi_key_parse(content, is_stdin ? "standard input" : path, ret_key, ret_failure);
}

int authorize_pi_key(const char *root, const char *name, const char *address, const struct pi_key *key, struct piconf_entry *ret_entry,
		     struct failure *ret_failure)
{
	char conf_path[PATH_MAX], keys_path[PATH_MAX], runtime_dir[PATH_MAX];
	struct piconf_entry entry = { 0 };
	_cleanup_close_ int lock = -EBADF;
	int err;

	if (!piconf_is_name(name))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Use at most 63 letters, digits, '.', '_' and '-'",
				   "\"%s\" can't be a Pi's name", name);
	if (address && !piconf_is_address(address))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Give a host name or an IP address", "\"%s\" can't be an address",
				   address);
	if ((err = root_path(root, PICONF_PATH, conf_path, ret_failure)) < 0 ||
	    (err = root_path(root, AUTHORIZED_KEYS_PATH, keys_path, ret_failure)) < 0 ||
	    (err = root_path(root, REVOCATION_RUNTIME_DIR, runtime_dir, ret_failure)) < 0)
		return err;
	lock = files_lock_take(root, ret_failure);
	if (lock < 0)
		return lock;
	revocation_lift(runtime_dir, key->pi_id); /* what the Pi said before is over */
	snprintf(entry.id, sizeof(entry.id), "%s", key->pi_id);
	snprintf(entry.name, sizeof(entry.name), "%s", name);
	snprintf(entry.address, sizeof(entry.address), "%s", address ? address : "");

	/* The handler's file first: a Pi that can log in is then known. */
	err = directory_make_parents(conf_path);
	if (err >= 0)
		err = piconf_write_entry(conf_path, &entry);
	if (err < 0)
		return fail_file(ret_failure, conf_path, err);
	err = authorized_keys_write(keys_path, key, name);
	if (err < 0)
		return fail_file(ret_failure, keys_path, err);
	*ret_entry = entry;
	return 0;
}

int authorize_pi(const char *root, const char *name, const char *address, const char *key_file, struct piconf_entry *ret_entry,
		 struct failure *ret_failure)
{
	struct pi_key key;
	int err = key_file_read(key_file, &key, ret_failure);

	return err < 0 ? err : authorize_pi_key(root, name, address, &key, ret_entry, ret_failure);
}

int authorize_read_host_key(const char *root, struct pi_key *ret_key, struct failure *ret_failure)
{
	_cleanup_free_ char *content = NULL;
	char path[PATH_MAX];
	int err = root_path(root, HOST_KEY_PATH, path, ret_failure);

	if (err < 0)
		return err;
	if (file_read(path, KEY_FILE_MAX_SIZE, &content) < 0)
		return failure_set(ret_failure, FAILURE_NOT_FOUND, "Make it: sudo ssh-keygen -A",
				   "this machine has no ed25519 host key (%s)", path);
	return pi_key_parse(content, path, ret_key, ret_failure);
}

static void problem_pass_over(const struct config_problem *problem, void *userdata)
{
	(void)problem;
	(void)userdata;
}

/* Under the lock. */
static int files_remove(const char *root, const char *id_or_name, struct piconf_entry *ret_entry, struct failure *ret_failure)
{
	_cleanup_free_ struct piconf *piconf = calloc(1, sizeof(*piconf));
	char conf_path[PATH_MAX], keys_path[PATH_MAX];
	const struct piconf_entry *entry;
	int err;

	if (!piconf)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	if ((err = root_path(root, PICONF_PATH, conf_path, ret_failure)) < 0 ||
	    (err = root_path(root, AUTHORIZED_KEYS_PATH, keys_path, ret_failure)) < 0)
		return err;
	err = piconf_read(conf_path, problem_pass_over, piconf);
	if (err < 0)
		return fail_file(ret_failure, conf_path, err);
	entry = piconf_find(piconf, id_or_name);
	if (!entry)
		return failure_set(ret_failure, FAILURE_NOT_FOUND, "List the paired Pis: usbpush-vm status", "%s: no such Pi is paired",
				   id_or_name);
	/* The key first: a Pi that is not known must not be able to log in. */
	err = authorized_keys_remove(keys_path, entry->id);
	if (err < 0)
		return fail_file(ret_failure, keys_path, err);
	err = piconf_remove_entry(conf_path, entry->id);
	if (err < 0)
		return fail_file(ret_failure, conf_path, err);
	*ret_entry = *entry;
	return 0;
}

int authorize_remove(const char *root, const char *id_or_name, struct piconf_entry *ret_entry, struct failure *ret_failure)
{
	_cleanup_close_ int lock = files_lock_take(root, ret_failure);

	return lock < 0 ? lock : files_remove(root, id_or_name, ret_entry, ret_failure);
}

int authorize_remove_revoked(const char *root, const char *pi_id, struct piconf_entry *ret_entry, struct failure *ret_failure)
{
	_cleanup_close_ int lock = files_lock_take(root, ret_failure);
	char runtime_dir[PATH_MAX];
	int err = lock < 0 ? lock : root_path(root, REVOCATION_RUNTIME_DIR, runtime_dir, ret_failure);

	if (err < 0)
		return err;
	if (!revocation_has(runtime_dir, pi_id))
		return failure_set(ret_failure, FAILURE_NOT_FOUND, NULL, "%s was let in again meanwhile", pi_id);
	return files_remove(root, pi_id, ret_entry, ret_failure);
}

/* The first address that another machine may reach; the host's name if there is none. */
static void machine_address(char *buffer, size_t size)
{
	struct ifaddrs *all = NULL;

	machine_name(buffer, size);
	if (getifaddrs(&all) < 0)
		return;
	for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
		const struct sockaddr_in *address = (const struct sockaddr_in *)(const void *)one->ifa_addr;

		if (!address || address->sin_family != AF_INET || (one->ifa_flags & IFF_LOOPBACK) || !(one->ifa_flags & IFF_UP))
			continue;
		if (inet_ntop(AF_INET, &address->sin_addr, buffer, (socklen_t)size))
			break;
	}
	freeifaddrs(all);
}

void authorize_print_next_step(const char *root, FILE *stream)
{
	char address[256];
	struct pi_key key;
	struct failure failure;

	machine_address(address, sizeof(address));
	if (authorize_read_host_key(root, &key, &failure) < 0) {
		fprintf(stream,
			"%s. %s\n"
			"Then, on the Pi: sudo usbpush pair --host %s --host-key 'ssh-ed25519 ...'\n",
			failure.text, failure.cure, address);
		return;
	}
	fprintf(stream, "Now, on the Pi:\n  sudo usbpush pair --host %s --host-key 'ssh-ed25519 %s'\n", address, key.text);
}
