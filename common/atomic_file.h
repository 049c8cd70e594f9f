#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whole small files, read within a bound and replaced atomically. */

/* Reads all of path, at most max_size bytes, NUL-ended; the caller frees it. Returns the length or a negative errno (-EFBIG). */
ssize_t file_read(const char *path, size_t max_size, char **ret_content);

/* Writes content to a temporary file beside path, syncs it, renames it over path and syncs the directory: a reader sees the old or the new, never a part, and after
 * a power loss in the next moment it is the new one.
 * The file gets mode, and the owner of the file that it replaces where that is possible. 0 or negative errno. */
int file_write_atomic(const char *path, const char *content, size_t size, mode_t mode);

/* What is to be in a file, before it is written there. */
struct file_draft {
	char *content; /* owned */
	size_t size;
	mode_t mode;
};

/* Frees what it holds. */
void file_draft_done(struct file_draft *draft);

/* The same where there is no file yet: -EEXIST, and what is there stays, if there is one. */
int file_write_new(const char *path, const char *content, size_t size, mode_t mode);

/* Whether a line (length bytes, without its newline) is one of those to be replaced. */
typedef bool (*file_line_fn)(const char *line, size_t length, const void *userdata);

/* Rewrites the file at path, atomically: all lines stay but those that is_old picks, and addition (whole lines, maybe none) goes to the end. A missing
 * file is an empty one; one above max_size is left alone (-EFBIG), and so is one with a NUL byte (-EBADMSG). 0 or negative errno. */
int file_replace_lines(const char *path, size_t max_size, file_line_fn is_old, const void *userdata, const char *addition, mode_t mode);
