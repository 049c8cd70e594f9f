#include "authorized_keys.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "directory.h"

#define KEYS_MAX_SIZE ((size_t)1024 * 1024)
/* exec: the login's shell would otherwise stay as a process of its own for each stream. */
#define LINE_START    "restrict,command=\"exec /usr/libexec/usbpush/usbpush-relay --pi "
#define COMMENT_START "usbpush:"

struct owner {
	const char *id, *name; /* name may be NULL */
};

/* Whether the line is one that we wrote for this id or (not NULL) this name; foreign lines are nobody's. */
static bool line_is_of(const char *line, size_t length, const void *userdata)
{
	const struct owner *owner = userdata;
	size_t start = strlen(LINE_START), id_length = strlen(owner->id);
	const char *comment;

	if (length < start + id_length + 1 || strncmp(line, LINE_START, start) != 0)
		return false;
	if (strncmp(line + start, owner->id, id_length) == 0 && line[start + id_length] == '"')
		return true;
	if (!owner->name)
		return false;
	comment = memrchr(line, ' ', length);
	if (!comment)
		return false;
	comment++;
	return (size_t)(line + length - comment) == strlen(COMMENT_START) + strlen(owner->name) &&
	       strncmp(comment, COMMENT_START, strlen(COMMENT_START)) == 0 &&
	       strncmp(comment + strlen(COMMENT_START), owner->name, strlen(owner->name)) == 0;
}

static int keys_rewrite(const char *path, const char *pi_id, const char *name, const char *addition)
{
	const struct owner owner = { pi_id, name };

	return file_replace_lines(path, KEYS_MAX_SIZE, line_is_of, &owner, addition, 0644);
}

int authorized_keys_write(const char *path, const struct pi_key *key, const char *name)
{
	char line[512];
	int err = directory_make_parents(path);

	if (err < 0)
		return err;
	if (snprintf(line, sizeof(line), LINE_START "%s\" ssh-ed25519 %s " COMMENT_START "%s\n", key->pi_id, key->text, name) >=
	    (int)sizeof(line))
		return -ENAMETOOLONG;
	return keys_rewrite(path, key->pi_id, name, line);
}

int authorized_keys_remove(const char *path, const char *pi_id)
{
	return access(path, F_OK) < 0 ? 0 : keys_rewrite(path, pi_id, NULL, "");
}
