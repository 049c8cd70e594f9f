#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "authorized_keys.h"
#include "cleanup.h"
#include "piconf.h"
#include "vm_doctor.h"

#define LOGIN       "usbpush"
#define HOME        "/var/lib/usbpush"
#define RELAY_MARK  "usbpush-relay --pi "
#define DAY_SECONDS 86400

/* The line of the login in a file of passwd's form, cut at the colons; the text is the caller's. NULL without one. */
static char *find_line(const struct doctor *doctor, const char *path, char *fields[], size_t n_fields)
{
	_cleanup_free_ char *text = NULL;
	char *rest, *line;

	if (doctor_read(doctor, path, 1024 * 1024, &text) < 0)
		return NULL;
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		char *found, *field;
		size_t n = 0;

		if (strncmp(line, LOGIN ":", strlen(LOGIN ":")) != 0)
			continue;
		found = field = strdup(line);
		while (field && n < n_fields)
			fields[n++] = strsep(&field, ":");
		while (n < n_fields)
			fields[n++] = NULL;
		return found;
	}
	return NULL;
}

static void check_account(struct doctor *doctor)
{
	char *fields[7];
	_cleanup_free_ char *line = find_line(doctor, "/etc/passwd", fields, ARRAY_SIZE(fields));

	if (!line || !fields[6])
		doctor_say(doctor, DOCTOR_WRONG, "sudo systemd-sysusers, or reinstall usbpush-vm.", "there is no login " LOGIN);
	else if (strcmp(fields[5], HOME) != 0)
		doctor_say(doctor, DOCTOR_WRONG, "sudo usermod -d " HOME " " LOGIN, "the login's home is %.100s, its keys are in " HOME,
			   fields[5]);
	else if (!doctor_exists(doctor, fields[6]) || strstr(fields[6], "nologin") || strstr(fields[6], "/false"))
		doctor_say(doctor, DOCTOR_WRONG, "sudo usermod -s /bin/sh " LOGIN, "the login's shell %.100s starts no relay", fields[6]);
	else if (strcmp(fields[6], "/bin/sh") != 0)
		doctor_say(doctor, DOCTOR_NOTE,
			   "sudo usermod -s /bin/sh " LOGIN ": each channel starts a shell, and bash reads ~/.bashrc first.",
			   "the login's shell is %.100s", fields[6]);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "the login " LOGIN " is there");
}

static void check_expiry(struct doctor *doctor)
{
	char *fields[9];
	_cleanup_free_ char *line = find_line(doctor, "/etc/shadow", fields, ARRAY_SIZE(fields));

	if (line && fields[7] && *fields[7] && strtoll(fields[7], NULL, 10) < (long long)time(NULL) / DAY_SECONDS)
		doctor_say(doctor, DOCTOR_WRONG, "sudo chage -E -1 " LOGIN, "the login " LOGIN " has expired");
}

/* pam_nologin(8). */
static void check_nologin(struct doctor *doctor)
{
	static const char *const files[] = { "/etc/nologin", "/run/nologin" };

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (doctor_exists(doctor, files[i]))
			doctor_say(doctor, DOCTOR_WRONG, "Remove it, unless the machine is being shut down.",
				   "%s keeps everybody but root out", files[i]);
}

void vm_doctor_check_login(struct doctor *doctor)
{
	check_account(doctor);
	check_expiry(doctor);
	check_nologin(doctor);
}

/* ---- keys ---- */

/* sshd's StrictModes: it reads no keys from where others could write them. */
static void check_modes(struct doctor *doctor)
{
	static const char *const paths[] = { "/var/lib", HOME, HOME "/.ssh", AUTHORIZED_KEYS_PATH };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		char path[DOCTOR_PATH_SIZE];
		struct stat status;

		if (!doctor_path(doctor, paths[i], path) || stat(path, &status) < 0)
			continue;
		if (status.st_mode & 022)
			doctor_say(doctor, DOCTOR_WRONG, "sudo chmod go-w /var/lib " HOME " " HOME "/.ssh " AUTHORIZED_KEYS_PATH,
				   "%s can be written by others (mode %04o): sshd takes no key from there", paths[i],
				   (unsigned)status.st_mode & 07777);
		else if (status.st_uid != 0)
			doctor_say(doctor, DOCTOR_WRONG, "sudo chown -R root:root " HOME,
				   "%s does not belong to root: the login could let others in", paths[i]);
		else if (S_ISREG(status.st_mode) ? !(status.st_mode & 0004) : !(status.st_mode & 0001))
			doctor_say(doctor, DOCTOR_WRONG, "sudo chmod 755 " HOME " " HOME "/.ssh; sudo chmod 644 " AUTHORIZED_KEYS_PATH,
				   "%s can't be read by the login, as which sshd reads it (mode %04o)", paths[i],
				   (unsigned)status.st_mode & 07777);
	}
}

static void on_problem(const struct config_problem *problem, void *userdata)
{
	(void)userdata;
	(void)problem;
}

/* Whether a line that is no comment starts the relay for that Pi. */
static bool keys_have(const char *keys, const char *pi_id)
{
	char mark[80];

	snprintf(mark, sizeof(mark), RELAY_MARK "%s\"", pi_id);
	for (const char *line = keys; *line; line += strcspn(line, "\n"), line += *line == '\n')
		if (*line != '#' && memmem(line, strcspn(line, "\n"), mark, strlen(mark)))
			return true;
	return false;
}

static void check_pairs(struct doctor *doctor, const struct piconf *piconf, const char *keys)
{
	unsigned n_good = 0;

	for (size_t i = 0; i < piconf->n; i++) {
		if (keys_have(keys, piconf->entries[i].id))
			n_good++;
		else
			doctor_say(doctor, DOCTOR_WRONG, "Pair it anew: sudo usbpush-vm pair",
				   "%s stands in pi.conf, but no key of it in " AUTHORIZED_KEYS_PATH, piconf->entries[i].name);
	}
	if (piconf->n == 0)
		doctor_say(doctor, DOCTOR_NOTE, "sudo usbpush-vm pair", "no Pi is paired");
	else if (n_good)
		doctor_say(doctor, DOCTOR_OK, NULL, "%u %s may log in", n_good, n_good == 1 ? "Pi" : "Pis");
}

/* Lines that start the relay for nobody that pi.conf knows: the handler turns them away. */
static void check_strangers(struct doctor *doctor, const struct piconf *piconf, const char *keys)
{
	for (const char *at = strstr(keys, RELAY_MARK); at; at = strstr(at, RELAY_MARK)) {
		char id[MESSAGE_ID_SIZE];

		at += strlen(RELAY_MARK);
		snprintf(id, sizeof(id), "%.*s", (int)strspn(at, "0123456789abcdef"), at);
		if (!piconf_find(piconf, id))
			doctor_say(doctor, DOCTOR_NOTE, "Take the line out of " AUTHORIZED_KEYS_PATH ", or pair that Pi anew.",
				   "a key of Pi %s lets in whom pi.conf does not know", id);
	}
}

void vm_doctor_check_keys(struct doctor *doctor)
{
	_cleanup_free_ struct piconf *piconf = calloc(1, sizeof(*piconf));
	_cleanup_free_ char *keys = NULL;
	char path[DOCTOR_PATH_SIZE];

	if (!piconf || !doctor_path(doctor, PICONF_PATH, path) || piconf_read(path, on_problem, piconf) < 0) {
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, PICONF_PATH " can't be read");
		return;
	}
	check_modes(doctor);
	if (doctor_read(doctor, AUTHORIZED_KEYS_PATH, 1024 * 1024, &keys) < 0)
		keys = strdup("");
	if (!keys)
		return;
	check_pairs(doctor, piconf, keys);
	check_strangers(doctor, piconf, keys);
}
