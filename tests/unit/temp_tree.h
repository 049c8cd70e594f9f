#pragma once

#include <stddef.h>

/* A temporary directory with whatever files a test needs in it. */
struct temp_tree {
	char path[64];
	int fd; /* of the directory */
};

void temp_tree_new(struct temp_tree *tree);

/* Removes it with all that is in it. */
void temp_tree_free(struct temp_tree *tree);

/* Writes a file below it; directories on the way are made. */
void temp_tree_put(const struct temp_tree *tree, const char *path, const char *content);
void temp_tree_put_bytes(const struct temp_tree *tree, const char *path, const void *content, size_t size);

/* The same for a file that another process may be reading: it finds all that was there before, or all that is new, and never a file that is still empty. */
void temp_tree_replace(const struct temp_tree *tree, const char *path, const char *content);

void temp_tree_make_dir(const struct temp_tree *tree, const char *path);
void temp_tree_link(const struct temp_tree *tree, const char *path, const char *target);
void temp_tree_make_fifo(const struct temp_tree *tree, const char *path);
void temp_tree_remove(const struct temp_tree *tree, const char *path);

/* The content of a file as it is now, in a buffer that lives until the next call. */
const char *temp_tree_get(const struct temp_tree *tree, const char *path);

/* How many entries a directory has. */
size_t temp_tree_count(const struct temp_tree *tree, const char *path);

/* The whole path of something below it, in one of four buffers that are used in turn. */
const char *temp_tree_path(const struct temp_tree *tree, const char *path);
