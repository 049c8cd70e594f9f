#include "pair_undo.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "atomic_file.h"
#include "authorized_keys.h"
#include "cleanup.h"
#include "directory.h"
#include "files_lock.h"
#include "json_text.h"
#include "piconf.h"

#define FILE_MAX_SIZE ((size_t)1024 * 1024)
#define UNDO_MAX_SIZE (8 * FILE_MAX_SIZE)

/* The files, and what their former and their new content is called. */
static const struct {
	const char *path, *before, *after;
	int (*remove)(const char *path, const char *pi_id);
} FILES[] = {
	/* The key first: a Pi that is not known must not be able to log in. */
	{ AUTHORIZED_KEYS_PATH, "keys_before", "keys_after", authorized_keys_remove },
	{ PICONF_PATH, "conf_before", "conf_after", piconf_remove_entry },
};

static int undo_fail(struct failure *failure, const char *path, int err)
{
	return failure_set(failure, FAILURE_NO_PERMISSION, "Look at the file and its directory.", "%s: %s", path, strerror(-err));
}

static int undo_path(const char *root, const char *path, char buffer[PATH_MAX])
{
	return snprintf(buffer, PATH_MAX, "%s%s", root, path) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* The file's content as a string, null without the file. Bytes that are no UTF-8 text make it -EBADMSG: JSON can't keep them. */
static int content_to_json(const char *path, json_t **ret_content)
{
	_cleanup_free_ char *content = NULL;
	ssize_t size = file_read(path, FILE_MAX_SIZE, &content);

	if (size < 0 && size != -ENOENT)
		return (int)size;
	*ret_content = size < 0 ? json_null() : json_stringn(content, (size_t)size);
	return *ret_content ? 0 : -EBADMSG;
}

static int undo_load(const char *root, json_t **ret_undo, char path[PATH_MAX])
{
	_cleanup_free_ char *content = NULL;
	json_t *undo;
	ssize_t size;
	int err = undo_path(root, PAIR_UNDO_PATH, path);

	if (err < 0)
		return err;
	size = file_read(path, UNDO_MAX_SIZE, &content);
	if (size < 0)
		return (int)size;
	undo = json_loadb(content, (size_t)size, 0, NULL);
	if (!json_is_string(json_object_get(undo, "pi"))) {
		json_decref(undo);
		return -EBADMSG;
	}
	*ret_undo = undo;
	return 0;
}

static int undo_save(const char *root, const json_t *undo, struct failure *failure)
{
	_cleanup_free_ char *text = json_text(undo, 0);
	char path[PATH_MAX];
	int err = undo_path(root, PAIR_UNDO_PATH, path);

	if (err == 0)
		err = directory_make_parents(path);
	if (err == 0)
		err = text ? file_write_atomic(path, text, strlen(text), 0600) : -ENOMEM;
	return err < 0 ? undo_fail(failure, PAIR_UNDO_PATH, err) : 0;
}

/* Adds the content of both files as they are now. */
static int undo_note(const char *root, json_t *undo, bool is_after, struct failure *failure)
{
	for (size_t i = 0; i < ARRAY_SIZE(FILES); i++) {
		json_t *content = NULL;
		char path[PATH_MAX];
		int err = undo_path(root, FILES[i].path, path);

		if (err == 0)
			err = content_to_json(path, &content);
		if (err == 0 && json_object_set_new(undo, is_after ? FILES[i].after : FILES[i].before, content) < 0)
			err = -ENOMEM;
		if (err < 0)
			return undo_fail(failure, FILES[i].path, err);
	}
	return 0;
}

int pair_undo_begin(const char *root, const char *pi_id, struct failure *ret_failure)
{
	_cleanup_json_ json_t *undo = json_pack("{s:s}", "pi", pi_id);
	int err = undo_note(root, undo, false, ret_failure);

	return err < 0 ? err : undo_save(root, undo, ret_failure);
}

int pair_undo_written(const char *root, struct failure *ret_failure)
{
	_cleanup_json_ json_t *undo = NULL;
	char path[PATH_MAX];
	int err = undo_load(root, &undo, path);

	if (err < 0)
		return undo_fail(ret_failure, PAIR_UNDO_PATH, err);
	err = undo_note(root, undo, true, ret_failure);
	return err < 0 ? err : undo_save(root, undo, ret_failure);
}

/* Whether nobody has written since: the file is as before, or as it was left. */
static bool is_ours(const json_t *now, const json_t *before, const json_t *after)
{
	return json_equal(now, before) || (after && json_equal(now, after));
}

static int file_restore(const char *root, size_t i, const json_t *undo)
{
	const json_t *before = json_object_get(undo, FILES[i].before), *after = json_object_get(undo, FILES[i].after);
	_cleanup_json_ json_t *now = NULL;
	char path[PATH_MAX];
	int err = undo_path(root, FILES[i].path, path);

	if (err == 0)
		err = content_to_json(path, &now);
	if (err < 0 || json_equal(now, before))
		return err;
	if (!is_ours(now, before, after))
		return FILES[i].remove(path, json_string_value(json_object_get(undo, "pi")));
	if (json_is_null(before))
		return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	return file_write_atomic(path, json_string_value(before), json_string_length(before), 0644);
}

int pair_undo_restore(const char *root, struct failure *ret_failure)
{
	_cleanup_json_ json_t *undo = NULL;
	_cleanup_close_ int lock = -EBADF;
	char path[PATH_MAX];
	int err = undo_load(root, &undo, path), first = 0;

	if (err == -ENOENT)
		return 0;
	if (err < 0)
		return undo_fail(ret_failure, PAIR_UNDO_PATH, err);
	lock = files_lock_take(root, ret_failure);
	if (lock < 0)
		return lock;
	for (size_t i = 0; i < ARRAY_SIZE(FILES); i++) {
		err = file_restore(root, i, undo);
		if (err < 0 && first == 0)
			first = undo_fail(ret_failure, FILES[i].path, err);
	}
	if (first < 0)
		return first;
	err = pair_undo_forget(root, ret_failure);
	return err < 0 ? err : 1;
}

int pair_undo_forget(const char *root, struct failure *ret_failure)
{
	char path[PATH_MAX];
	int err = undo_path(root, PAIR_UNDO_PATH, path);

	if (err == 0 && unlink(path) < 0 && errno != ENOENT)
		err = -errno;
	return err < 0 ? undo_fail(ret_failure, PAIR_UNDO_PATH, err) : 0;
}
