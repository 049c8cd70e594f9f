#include "temp_tree.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

const char *temp_tree_path(const struct temp_tree *tree, const char *path)
{
	static char buffers[4][512];
	static unsigned next;
	char *buffer = buffers[next++ % 4];

	ck_assert_int_lt(snprintf(buffer, sizeof(buffers[0]), "%s/%s", tree->path, path), (int)sizeof(buffers[0]));
	return buffer;
}

void temp_tree_new(struct temp_tree *tree)
{
	snprintf(tree->path, sizeof(tree->path), "/tmp/usbpush-unit.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(tree->path));
	tree->fd = open(tree->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(tree->fd, 0);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

void temp_tree_free(struct temp_tree *tree)
{
	tree->fd = close_fd(tree->fd);
	nftw(tree->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* All directories of path but its last component. */
static void make_parents(const struct temp_tree *tree, const char *path)
{
	char parent[512];

	snprintf(parent, sizeof(parent), "%s", path);
	for (char *slash = strchr(parent, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		ck_assert(mkdirat(tree->fd, parent, 0755) == 0 || errno == EEXIST);
		*slash = '/';
	}
}

void temp_tree_put_bytes(const struct temp_tree *tree, const char *path, const void *content, size_t size)
{
	_cleanup_close_ int fd = -EBADF;

	make_parents(tree, path);
	fd = openat(tree->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, content, size), (ssize_t)size);
}

void temp_tree_put(const struct temp_tree *tree, const char *path, const char *content)
{
	temp_tree_put_bytes(tree, path, content, strlen(content));
}

void temp_tree_replace(const struct temp_tree *tree, const char *path, const char *content)
{
	char soon[512];

	ck_assert_int_lt(snprintf(soon, sizeof(soon), "%s.soon", path), (int)sizeof(soon));
	temp_tree_put(tree, soon, content);
	ck_assert_int_eq(renameat(tree->fd, soon, tree->fd, path), 0);
}

void temp_tree_make_dir(const struct temp_tree *tree, const char *path)
{
	make_parents(tree, path);
	ck_assert(mkdirat(tree->fd, path, 0755) == 0 || errno == EEXIST);
}

void temp_tree_link(const struct temp_tree *tree, const char *path, const char *target)
{
	make_parents(tree, path);
	unlinkat(tree->fd, path, 0);
	ck_assert_int_eq(symlinkat(target, tree->fd, path), 0);
}

void temp_tree_make_fifo(const struct temp_tree *tree, const char *path)
{
	make_parents(tree, path);
	ck_assert_int_eq(mkfifoat(tree->fd, path, 0600), 0);
}

void temp_tree_remove(const struct temp_tree *tree, const char *path)
{
	nftw(temp_tree_path(tree, path), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *temp_tree_get(const struct temp_tree *tree, const char *path)
{
	static char content[16384];
	_cleanup_close_ int fd = openat(tree->fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	ck_assert_msg(fd >= 0, "%s/%s: %s", tree->path, path, strerror(errno));
	n = read(fd, content, sizeof(content) - 1);
	ck_assert_int_ge(n, 0);
	content[n] = '\0';
	return content;
}

size_t temp_tree_count(const struct temp_tree *tree, const char *path)
{
	_cleanup_closedir_ DIR *directory = opendir(temp_tree_path(tree, path));
	const struct dirent *entry;
	size_t n = 0;

	ck_assert_ptr_nonnull(directory);
	while ((entry = readdir(directory)))
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	return n;
}
