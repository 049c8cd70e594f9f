#include "in_use.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "identity.h"
#include "sysfs.h"

#define MOUNTS_MAX_SIZE ((size_t)4 * 1024 * 1024)

struct search {
	const char *sysfs_root, *proc_root;
	const char *place; /* the device's path from "/devices/" on */
	char *use;         /* of size */
	size_t size;
};

/* From "/devices/" on: links in sysfs are relative, paths of uevents absolute. */
static const char *find_place(const char *path)
{
	return strstr(path, "/devices/");
}

static bool is_below(const char *link, const char *place)
{
	const char *at = find_place(link);
	size_t length = strlen(place);

	return at && strncmp(at, place, length) == 0 && at[length] == '/';
}

/* Calls fn for each device of a class that is below the place, until one returns 1. */
static int search_class(const struct search *search, const char *class,
			int (*fn)(const struct search *search, int dir_fd, const char *name))
{
	_cleanup_closedir_ DIR *directory = NULL;
	const struct dirent *entry;
	char path[PATH_MAX];
	int r = 0;

	snprintf(path, sizeof(path), "%s/class/%s", search->sysfs_root, class);
	directory = opendir(path);
	while (directory && r == 0 && (entry = readdir(directory))) {
		char link[PATH_MAX];
		ssize_t n = readlinkat(dirfd(directory), entry->d_name, link, sizeof(link) - 1);

		if (n < 0)
			continue; /* ".", or just unplugged */
		link[n] = '\0';
		if (is_below(link, search->place))
			r = fn(search, dirfd(directory), entry->d_name);
	}
	return r;
}

static int search_on_net(const struct search *search, int dir_fd, const char *name)
{
	char shown[33];

	(void)dir_fd;
	identity_clean_string(name, shown, sizeof(shown)); /* the kernel lets it have any bytes */
	snprintf(search->use, search->size, "it has the network interface %s", shown);
	return 1;
}

/* The fields of a line of mountinfo (proc(5)) up to the source: ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS...] - TYPE SOURCE. */
static bool mount_is_of(char *line, const char *numbers, const char *name, const char **ret_point)
{
	char *fields[6], *source = strstr(line, " - ");

	if (!source)
		return false;
	*source = '\0';
	source = strchr(source + 3, ' ');
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!(fields[i] = strsep(&line, " ")))
			return false;
	*ret_point = fields[4];
	if (strcmp(fields[2], numbers) == 0)
		return true;
	/* btrfs and the like show numbers of their own. */
	return source && strncmp(source + 1, "/dev/", 5) == 0 && strcspn(source + 6, " ") == strlen(name) &&
	       strncmp(source + 6, name, strlen(name)) == 0;
}

/* 1: mounted there. 0: not. Negative errno: it can't be read. */
static int search_mounts(const struct search *search, const char *file, const char *numbers, const char *name)
{
	_cleanup_free_ char *content = NULL;
	char path[PATH_MAX], *rest, *line;
	ssize_t size;

	snprintf(path, sizeof(path), "%s/%s", search->proc_root, file);
	size = file_read(path, MOUNTS_MAX_SIZE, &content);
	if (size < 0)
		return (int)size;
	rest = content;
	while ((line = strsep(&rest, "\n"))) {
		const char *point;
		char shown[81];

		if (!mount_is_of(line, numbers, name, &point))
			continue;
		identity_clean_string(point, shown, sizeof(shown));
		snprintf(search->use, search->size, "it holds %.32s, mounted at %s", name, shown);
		return 1;
	}
	return 0;
}

static int search_swap(const struct search *search, const char *name)
{
	_cleanup_free_ char *content = NULL;
	char path[PATH_MAX], *rest, *line;

	snprintf(path, sizeof(path), "%s/swaps", search->proc_root);
	if (file_read(path, MOUNTS_MAX_SIZE, &content) < 0)
		return 0; /* a kernel without swap has no such file */
	rest = content;
	while ((line = strsep(&rest, "\n"))) {
		size_t length = strcspn(line, " \t");

		if (strncmp(line, "/dev/", 5) != 0 || length - 5 != strlen(name) || strncmp(line + 5, name, length - 5) != 0)
			continue;
		snprintf(search->use, search->size, "it holds %.32s, this Pi's swap", name);
		return 1;
	}
	return 0;
}

static int search_holders(const struct search *search, int dir_fd, const char *name)
{
	_cleanup_closedir_ DIR *directory = NULL;
	const struct dirent *entry;
	char path[NAME_MAX + 16];
	int fd;

	snprintf(path, sizeof(path), "%s/holders", name);
	fd = sysfs_open_dir(dir_fd, path);
	directory = fd < 0 ? NULL : fdopendir(fd);
	if (!directory) {
		close_fd(fd);
		return 0;
	}
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(search->use, search->size, "it holds %.32s, which %.32s is made of", name, entry->d_name);
		return 1;
	}
	return 0;
}

/* The exporter's own mounts are those of its sandbox; those of init are the Pi's. */
static int search_on_block(const struct search *search, int dir_fd, const char *name)
{
	char path[NAME_MAX + 8], numbers[32];
	int own, init;

	snprintf(path, sizeof(path), "%s/dev", name);
	if (sysfs_read(dir_fd, path, numbers, sizeof(numbers)) < 0)
		return 0; /* just unplugged */
	init = search_mounts(search, "1/mountinfo", numbers, name);
	own = init == 1 ? 1 : search_mounts(search, "self/mountinfo", numbers, name);
	if (own == 1)
		return 1;
	if (init < 0 && own < 0) {
		snprintf(search->use, search->size, "it holds the disk %.32s, and what is mounted can't be read: %s", name,
			 strerror(-init));
		return 1;
	}
	return search_swap(search, name) == 1 ? 1 : search_holders(search, dir_fd, name);
}

int in_use_find(const char *sysfs_root, const char *proc_root, const char *syspath, char *ret_use, size_t size)
{
	struct search search = { sysfs_root, proc_root, find_place(syspath), ret_use, size };

	if (!search.place)
		return 0;
	return search_class(&search, "net", search_on_net) == 1 ? 1 : search_class(&search, "block", search_on_block);
}
