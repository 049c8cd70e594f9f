#include "piconf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "cleanup.h"

#define PICONF_MAX_SIZE ((size_t)256 * 1024)
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

bool piconf_is_id(const char *text)
{
	size_t length = strlen(text);

	return length >= 1 && length <= 32 && strspn(text, "0123456789abcdef") == length;
}

/* As every machine's is: what is one can't be a name, or a Pi could be called by another's id. */
static bool is_machines_id(const char *text)
{
	return strlen(text) == 32 && piconf_is_id(text);
}

bool piconf_is_name(const char *text)
{
	size_t length = strlen(text);

	return length >= 1 && length < MESSAGE_NAME_SIZE && strspn(text, NAME_CHARACTERS) == length && !is_machines_id(text);
}

bool piconf_is_address(const char *text)
{
	size_t length = strlen(text);

	return length >= 1 && length < PICONF_ADDRESS_SIZE &&
	       strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:%[]") == length;
}

/* "ID NAME [ADDRESS]" */
static int entry_parse(const char *value, struct piconf_entry *ret_entry)
{
	char text[512], *rest = NULL, *id, *name, *address;

	if (strlen(value) >= sizeof(text))
		return -EINVAL;
	memcpy(text, value, strlen(value) + 1);
	id = strtok_r(text, " \t", &rest);
	name = strtok_r(NULL, " \t", &rest);
	address = strtok_r(NULL, " \t", &rest);
	if (!id || !piconf_is_id(id) || !name || !piconf_is_name(name) || (address && !piconf_is_address(address)) ||
	    strtok_r(NULL, " \t", &rest))
		return -EINVAL;
	snprintf(ret_entry->id, sizeof(ret_entry->id), "%s", id);
	snprintf(ret_entry->name, sizeof(ret_entry->name), "%s", name);
	snprintf(ret_entry->address, sizeof(ret_entry->address), "%s", address ? address : "");
	return 0;
}

static bool piconf_has_id_or_name(const struct piconf *piconf, const struct piconf_entry *entry)
{
	for (size_t i = 0; i < piconf->n; i++)
		if (strcmp(piconf->entries[i].id, entry->id) == 0 || strcmp(piconf->entries[i].name, entry->name) == 0)
			return true;
	return false;
}

static int piconf_on_pi(struct piconf *piconf, const char *value, char *ret_expected, size_t expected_size)
{
	struct piconf_entry entry;

	if (entry_parse(value, &entry) < 0) {
		snprintf(ret_expected, expected_size, "ID NAME [ADDRESS], as usbpush-vm authorize writes it");
		return -EINVAL;
	}
	if (piconf_has_id_or_name(piconf, &entry)) {
		snprintf(ret_expected, expected_size, "an ID and a NAME that no line before has");
		return -EINVAL;
	}
	if (piconf->n == PICONF_MAX_PIS) {
		snprintf(ret_expected, expected_size, "at most %d Pis", PICONF_MAX_PIS);
		return -EINVAL;
	}
	piconf->entries[piconf->n++] = entry;
	return 0;
}

static int piconf_on_setting(const char *key, const char *value, unsigned line, char *ret_expected, size_t expected_size, void *userdata)
{
	struct piconf *piconf = userdata;

	(void)line;
	if (strcmp(key, "PI") == 0)
		return piconf_on_pi(piconf, value, ret_expected, expected_size);
	if (strcmp(key, "DEFAULT_PI_HOST") != 0)
		return -ENOENT;
	if (*value && !piconf_is_address(value)) {
		snprintf(ret_expected, expected_size, "a host name or an IP address");
		return -EINVAL;
	}
	snprintf(piconf->default_host, sizeof(piconf->default_host), "%s", value);
	return 0;
}

int piconf_read(const char *path, config_problem_fn on_problem, struct piconf *ret_piconf)
{
	int r;

	memset(ret_piconf, 0, sizeof(*ret_piconf));
	r = config_read(path, piconf_on_setting, on_problem, ret_piconf);
	return r < 0 && r != -ENOENT ? r : 0;
}

const struct piconf_entry *piconf_find(const struct piconf *piconf, const char *id_or_name)
{
	for (size_t i = 0; i < piconf->n; i++)
		if (strcmp(piconf->entries[i].id, id_or_name) == 0)
			return &piconf->entries[i];
	for (size_t i = 0; i < piconf->n; i++)
		if (strcmp(piconf->entries[i].name, id_or_name) == 0)
			return &piconf->entries[i];
	return NULL;
}

int piconf_choose_name(const struct piconf *piconf, const char *suggested, const char *asked, const char *pi_id,
		       char ret_name[MESSAGE_NAME_SIZE])
{
	const struct piconf_entry *known = piconf_find(piconf, pi_id);
	const char *wanted = asked ? asked : suggested;
	char base[MESSAGE_NAME_SIZE - 4];

	snprintf(base, sizeof(base), "%s%.55s", is_machines_id(wanted) ? "pi-" : "", wanted);
	for (char *at = base; *at; at++)
		if (!strchr(NAME_CHARACTERS, *at))
			*at = '-';
	snprintf(ret_name, MESSAGE_NAME_SIZE, "%s", known && !asked ? known->name : base);
	for (unsigned n = 2; n <= PICONF_MAX_PIS + 1; n++) {
		const struct piconf_entry *other = piconf_find(piconf, ret_name);

		if (!other || strcmp(other->id, pi_id) == 0)
			return 0;
		snprintf(ret_name, MESSAGE_NAME_SIZE, "%s-%u", base, n);
	}
	return -ENOSPC;
}

struct owner {
	const char *id, *name; /* name may be NULL */
};

/* Whether the line is a PI line of id, or (name not NULL) of name. Lines that make no sense are nobody's and stay. */
static bool line_is_of(const char *line, size_t length, const void *userdata)
{
	const struct owner *owner = userdata;
	_cleanup_free_ char *text = strndup(line, length);
	struct piconf_entry entry;
	char *key, *value;

	if (!text || config_split_line(text, &key, &value) < 0 || strcmp(key, "PI") != 0)
		return false;
	return entry_parse(value, &entry) == 0 &&
	       (strcmp(entry.id, owner->id) == 0 || (owner->name && strcmp(entry.name, owner->name) == 0));
}

/* Keeps all lines but those of id and name, and appends addition. */
static int piconf_rewrite(const char *path, const char *id, const char *name, const char *addition)
{
	const struct owner owner = { id, name };

	return file_replace_lines(path, PICONF_MAX_SIZE, line_is_of, &owner, addition, 0644);
}

static void problem_pass_over(const struct config_problem *problem, void *userdata)
{
	(void)problem;
	(void)userdata;
}

int piconf_write_entry(const char *path, const struct piconf_entry *entry)
{
	_cleanup_free_ struct piconf *piconf = calloc(1, sizeof(*piconf));
	char lines[1024];
	bool is_default;
	int err;

	if (!piconf)
		return -ENOMEM;
	err = piconf_read(path, problem_pass_over, piconf);
	if (err < 0)
		return err;
	is_default = entry->address[0] && !piconf->default_host[0];
	snprintf(lines, sizeof(lines), "PI=%s %s%s%s\n%s%s%s", entry->id, entry->name, entry->address[0] ? " " : "", entry->address,
		 is_default ? "DEFAULT_PI_HOST=" : "", is_default ? entry->address : "", is_default ? "\n" : "");
	return piconf_rewrite(path, entry->id, entry->name, lines);
}

int piconf_remove_entry(const char *path, const char *id)
{
	return piconf_rewrite(path, id, NULL, "");
}
