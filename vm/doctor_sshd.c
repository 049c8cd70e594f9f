#include <errno.h>
#include <fnmatch.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "vm_doctor.h"

#define LOGIN       "usbpush"
#define CONNECTION  "user=usbpush,host=localhost,addr=127.0.0.1" /* as sshd -C wants it */
#define DROP_IN     "/etc/ssh/sshd_config.d/usbpush.conf"
#define BANNER_MS   15000 /* a busy sshd starts a process first */
#define RELOAD      "then: sudo systemctl reload ssh"
#define MIN_SESSION 64

/* What `sshd -T` says: "key value..." lines, keys in lower case, some of them more than once. */
struct sshd_settings {
	char *text; /* owned */
};

/* The n-th value of a key, or NULL; its end is the line's. */
static const char *setting_find(const struct sshd_settings *settings, const char *key, unsigned n, size_t *ret_length)
{
	size_t key_length = strlen(key);

	for (const char *line = settings->text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (strncasecmp(line, key, key_length) != 0 || line[key_length] != ' ' || n-- > 0)
			continue;
		line += key_length + 1;
		*ret_length = strcspn(line, "\n");
		return line;
	}
	return NULL;
}

/* Into buffer; "" without one. */
static const char *setting_get(const struct sshd_settings *settings, const char *key, char *buffer, size_t size)
{
	size_t length = 0;
	const char *value = setting_find(settings, key, 0, &length);

	snprintf(buffer, size, "%.*s", (int)length, value ? value : "");
	return buffer;
}

/* ---- who may log in ---- */

/* Patterns of sshd_config(5): wildcards, and maybe "@host" behind. */
static bool pattern_fits(const char *pattern, const char *name)
{
	char user[128];

	snprintf(user, sizeof(user), "%.*s", (int)strcspn(pattern, "@"), pattern);
	return fnmatch(user, name, 0) == 0;
}

/* Whether one of a key's patterns fits the login; ret_n: how many there are. */
static bool list_fits(const struct sshd_settings *settings, const char *key, unsigned *ret_n)
{
	bool is_found = false;
	const char *value;
	size_t length;

	*ret_n = 0;
	while ((value = setting_find(settings, key, *ret_n, &length))) {
		char words[512], *rest = words, *word;

		snprintf(words, sizeof(words), "%.*s", (int)length, value);
		while ((word = strsep(&rest, " \t")))
			is_found = is_found || (*word && pattern_fits(word, LOGIN));
		(*ret_n)++;
	}
	return is_found;
}

static void check_lists(struct doctor *doctor, const struct sshd_settings *settings)
{
	static const struct {
		const char *key, *name;
		bool is_deny;
		const char *cure;
	} lists[] = {
		{ "allowusers", "AllowUsers", false, "Add usbpush to AllowUsers in /etc/ssh/sshd_config, " RELOAD },
		{ "denyusers", "DenyUsers", true, "Take what fits usbpush out of DenyUsers in /etc/ssh/sshd_config, " RELOAD },
		{ "allowgroups", "AllowGroups", false, "Add the group usbpush to AllowGroups in /etc/ssh/sshd_config, " RELOAD },
		{ "denygroups", "DenyGroups", true, "Take what fits usbpush out of DenyGroups in /etc/ssh/sshd_config, " RELOAD },
	};

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		unsigned n;
		bool fits = list_fits(settings, lists[i].key, &n);

		if (n && fits == lists[i].is_deny)
			doctor_say(doctor, DOCTOR_WRONG, lists[i].cure, "sshd's %s keeps the login " LOGIN " out", lists[i].name);
	}
}

/* ---- what the login then gets ---- */

/* What must be so, else no Pi gets through, or an open door is left. */
static const struct {
	const char *key;
	const char *good; /* one of these, separated by '|' */
	enum doctor_state state;
	const char *text, *cure;
} EXPECTATIONS[] = {
	{ "pubkeyauthentication", "yes", DOCTOR_WRONG, "sshd takes no keys (PubkeyAuthentication no)",
	  "Take PubkeyAuthentication no out of /etc/ssh/sshd_config, " RELOAD },
	{ "authenticationmethods", "any|publickey", DOCTOR_WRONG, "sshd wants more than a key (AuthenticationMethods)",
	  "Let the drop-in " DROP_IN " come before what sets AuthenticationMethods, " RELOAD },
	{ "forcecommand", "none", DOCTOR_WRONG, "sshd runs another command for every login (ForceCommand), so the relay is never started",
	  "Put ForceCommand below a Match that does not fit usbpush, " RELOAD },
	{ "chrootdirectory", "none", DOCTOR_WRONG, "sshd shuts the login in (ChrootDirectory), where there is no relay",
	  "Put ChrootDirectory below a Match that does not fit usbpush, " RELOAD },
	{ "usepam", "yes", DOCTOR_WRONG, "sshd refuses a login without a password, keys or not (UsePAM no)",
	  "Set UsePAM yes in /etc/ssh/sshd_config, " RELOAD },
	{ "permituserenvironment", "no", DOCTOR_NOTE, "sshd takes environment variables from files of logins (PermitUserEnvironment)",
	  "Take PermitUserEnvironment out of /etc/ssh/sshd_config: it lets who writes such a file decide what programs do." },
	{ "permittty", "no", DOCTOR_NOTE, "the login could have a terminal (PermitTTY): usbpush's own settings are not in force", "" },
	{ "disableforwarding", "yes", DOCTOR_NOTE,
	  "the login could forward ports (DisableForwarding): usbpush's own settings are not in force", "" },
	{ "passwordauthentication", "no", DOCTOR_NOTE, "the login could be tried with passwords: usbpush's own settings are not in force",
	  "" },
};

static bool is_one_of(const char *value, const char *good)
{
	size_t length = strlen(value);

	while (*good) {
		size_t n = strcspn(good, "|");

		if (n == length && strncasecmp(good, value, n) == 0)
			return true;
		good += n;
		good += *good == '|';
	}
	return false;
}

static void check_expectations(struct doctor *doctor, const struct sshd_settings *settings)
{
	for (size_t i = 0; i < ARRAY_SIZE(EXPECTATIONS); i++) {
		char value[256];

		setting_get(settings, EXPECTATIONS[i].key, value, sizeof(value));
		if (*value && !is_one_of(value, EXPECTATIONS[i].good))
			doctor_say(doctor, EXPECTATIONS[i].state, EXPECTATIONS[i].cure, "%s", EXPECTATIONS[i].text);
	}
}

static void check_keys_file(struct doctor *doctor, const struct sshd_settings *settings)
{
	char files[512], algorithms[4096];

	setting_get(settings, "authorizedkeysfile", files, sizeof(files));
	if (*files && !strstr(files, "/var/lib/usbpush/.ssh/authorized_keys") && !strstr(files, ".ssh/authorized_keys"))
		doctor_say(doctor, DOCTOR_WRONG, "Let the drop-in " DROP_IN " be read (see below), or remove AuthorizedKeysFile, " RELOAD,
			   "sshd looks for keys elsewhere (AuthorizedKeysFile %.100s)", files);
	setting_get(settings, "pubkeyacceptedalgorithms", algorithms, sizeof(algorithms));
	if (*algorithms && !strstr(algorithms, "ssh-ed25519"))
		doctor_say(doctor, DOCTOR_WRONG, "Add ssh-ed25519 to PubkeyAcceptedAlgorithms in /etc/ssh/sshd_config, " RELOAD,
			   "sshd does not take ed25519 keys (PubkeyAcceptedAlgorithms)");
}

static bool config_includes_drop_ins(const struct doctor *doctor)
{
	_cleanup_free_ char *text = NULL;

	if (doctor_read(doctor, "/etc/ssh/sshd_config", 262144, &text) < 0)
		return false;
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *word = line + strspn(line, " \t");

		if (strncasecmp(word, "Include", 7) == 0 && memmem(word, strcspn(word, "\n"), "sshd_config.d/", 14))
			return true;
	}
	return false;
}

static void check_drop_in(struct doctor *doctor, const struct sshd_settings *settings)
{
	char sessions[16];
	long n = strtol(setting_get(settings, "maxsessions", sessions, sizeof(sessions)), NULL, 10);

	if (!doctor_exists(doctor, DROP_IN))
		doctor_say(doctor, DOCTOR_WRONG,
			   "sudo apt install --reinstall usbpush-vm, or: sudo cp /usr/share/usbpush/sshd.conf " DROP_IN,
			   "usbpush's settings for sshd are missing (%s)", DROP_IN);
	else if (!config_includes_drop_ins(doctor))
		doctor_say(doctor, DOCTOR_WRONG, "Put Include /etc/ssh/sshd_config.d/*.conf at the top of /etc/ssh/sshd_config, " RELOAD,
			   "sshd does not read its drop-ins: /etc/ssh/sshd_config has no Include");
	else if (n < MIN_SESSION)
		doctor_say(doctor, DOCTOR_NOTE, "What sets MaxSessions before " DROP_IN " does? Remove it, " RELOAD,
			   "sshd allows %ld sessions a connection, one of them for control: what a Pi has beyond that is not attached", n);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "it takes the Pis' login as it should be (%ld sessions)", n);
}

/* ---- is it there? ---- */

static bool port_speaks_ssh(unsigned port)
{
	const struct sockaddr_in address = { .sin_family = AF_INET,
					     .sin_port = htons((uint16_t)port),
					     .sin_addr = { htonl(INADDR_LOOPBACK) } };
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	char banner[8] = "";

	return fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 && poll(&polled, 1, BANNER_MS) > 0 &&
	       recv(fd, banner, sizeof(banner) - 1, MSG_WAITALL) > 0 && strncmp(banner, "SSH-", 4) == 0;
}

static unsigned settings_port(const struct sshd_settings *settings)
{
	char text[16];
	unsigned long port = strtoul(setting_get(settings, "port", text, sizeof(text)), NULL, 10);

	return port == 0 || port > UINT16_MAX ? 22 : (unsigned)port;
}

static void check_listening(struct doctor *doctor, const struct sshd_settings *settings)
{
	unsigned port = settings_port(settings);

	if (port_speaks_ssh(port))
		doctor_say(doctor, DOCTOR_OK, NULL, "it answers on port %u", port);
	else
		doctor_say(doctor, DOCTOR_WRONG,
			   "sudo systemctl enable --now ssh; see: systemctl status ssh. If it listens on one address only, give "
			   "the Pi that one.",
			   "no sshd answers on port %u of this machine", port);
}

static const char *const SHOW_SETTINGS[] = { "/usr/sbin/sshd", "-T", "-C", CONNECTION, NULL };

unsigned vm_doctor_sshd_port(const struct doctor *doctor)
{
	_cleanup_free_ char *text = NULL;

	return doctor_command(doctor, SHOW_SETTINGS, NULL, &text) == 0 ? settings_port(&(struct sshd_settings){ text }) : 22;
}

void vm_doctor_check_sshd(struct doctor *doctor)
{
	_cleanup_free_ char *text = NULL;
	struct sshd_settings settings;
	int r = doctor_command(doctor, SHOW_SETTINGS, NULL, &text);

	if (r == -ENOENT) {
		doctor_say(doctor, DOCTOR_WRONG, "sudo apt install openssh-server", "sshd is not installed: no Pi can get in");
		return;
	}
	if (r != 0 && geteuid() != 0) {
		doctor_say(doctor, DOCTOR_SKIPPED, "Run it with sudo.", "sshd tells its settings to root only");
		return;
	}
	if (r > 0 && strstr(text, "privilege separation directory")) { /* socket-activated, and nobody is logged in */
		doctor_say(doctor, DOCTOR_SKIPPED, "sudo mkdir -p /run/sshd, and run it again.",
			   "sshd tells its settings only while it runs");
		return;
	}
	if (r != 0) {
		doctor_say(doctor, DOCTOR_WRONG, "Mend what it says, check with: sudo sshd -t",
			   "sshd does not accept its own settings: %.150s", text ? text : strerror(-r));
		return;
	}
	settings.text = text;
	check_lists(doctor, &settings);
	check_expectations(doctor, &settings);
	check_keys_file(doctor, &settings);
	check_drop_in(doctor, &settings);
	check_listening(doctor, &settings);
}
