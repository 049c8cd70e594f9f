#include "doctor_machine.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "cleanup.h"
#include "local_request.h"
#include "machine.h"

#define ANSWER_LIMIT_MS 5000
#define DISK_LITTLE     ((uint64_t)8 * 1024 * 1024)
/* No machine that runs this stands before 2026-11-01. */
#define EARLIEST_TIME   1793491200

/* ---- kernel ---- */

static bool parse_version(const char *text, unsigned version[3])
{
	char *end;

	for (unsigned i = 0; i < 3; i++, text = end + (*end == '.')) {
		unsigned long number = strtoul(text, &end, 10);

		if (end == text || number > 9999) {
			version[i] = 0;
			return i >= 2; /* "6.12" is a version, too */
		}
		version[i] = (unsigned)number;
		if (*end != '.' && i < 2) {
			version[2] = 0;
			return i == 1;
		}
	}
	return true;
}

/* "... #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)"; the compiler that stands before is Debian's too. */
static const char *find_debian(const char *text)
{
	const char *last = NULL;

	for (const char *at = strstr(text, "Debian "); at; at = strstr(at + 1, "Debian "))
		last = at + strlen("Debian ");
	return last;
}

bool doctor_kernel_version(const struct doctor *doctor, unsigned ret_version[3])
{
	char text[512];
	const char *debian = doctor_read_line(doctor, "/proc/version", text, sizeof(text)) == 0 ? find_debian(text) : NULL;

	if (debian && strstr(text, " #") && debian > strstr(text, " #") && parse_version(debian, ret_version))
		return true;
	return doctor_read_line(doctor, "/proc/sys/kernel/osrelease", text, sizeof(text)) == 0 && parse_version(text, ret_version);
}

bool doctor_version_is_below(const unsigned version[3], unsigned a, unsigned b, unsigned c)
{
	if (version[0] != a)
		return version[0] < a;
	if (version[1] != b)
		return version[1] < b;
	return version[2] < c;
}

/* Debian's cloud kernel lacks what its standard one has. */
static const char *kernel_cure(const char *release, const char *other_cure, char buffer[160])
{
	const char *arch = machine_kernel_arch(release);

	if (!strstr(release, "cloud"))
		return other_cure;
	snprintf(buffer, 160, "apt install linux-image-%s, remove linux-image-cloud-%s, reboot.", arch, arch);
	return buffer;
}

void doctor_check_kernel(struct doctor *doctor)
{
	char release[128], cure[160];
	unsigned version[3];

	if (doctor_read_line(doctor, "/proc/sys/kernel/osrelease", release, sizeof(release)) < 0 || !doctor_kernel_version(doctor, version))
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, "which kernel runs here can't be read");
	else if (!doctor_exists(doctor, "/sys/bus/usb"))
		doctor_say(doctor, DOCTOR_WRONG, kernel_cure(release, "Boot a kernel with USB support.", cure),
			   "the kernel %s has no USB at all", release);
	else if (doctor_version_is_below(version, 6, 1, 0))
		doctor_say(doctor, DOCTOR_NOTE, "Upgrade to Debian 12 or later if devices misbehave.",
			   "the kernel %s is older than any that usbpush was tried on (6.1)", release);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "%s (%u.%u.%u)", release, version[0], version[1], version[2]);
}

static bool module_has_file(const struct doctor *doctor, const char *release, const char *file)
{
	static const char *const suffixes[] = { "", ".xz", ".zst", ".gz" };
	char path[DOCTOR_PATH_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
		if (snprintf(path, sizeof(path), "/lib/modules/%s/kernel/drivers/usb/usbip/%s.ko%s", release, file, suffixes[i]) <
			    (int)sizeof(path) &&
		    doctor_exists(doctor, path))
			return true;
	return false;
}

bool doctor_check_module(struct doctor *doctor, const char *interface, const char *file)
{
	char release[128] = "?", cure[160];

	if (doctor_exists(doctor, interface)) {
		doctor_say(doctor, DOCTOR_OK, NULL, "the module %s is loaded", file);
		return true;
	}
	(void)doctor_read_line(doctor, "/proc/sys/kernel/osrelease", release, sizeof(release));
	if (module_has_file(doctor, release, file)) {
		snprintf(cure, sizeof(cure), "sudo modprobe %s; if that fails, see: dmesg", file);
		doctor_say(doctor, DOCTOR_WRONG, cure, "the kernel's module %s is not loaded", file);
	} else {
		doctor_say(doctor, DOCTOR_WRONG,
			   kernel_cure(release,
				       "Reboot if the kernel was just upgraded; on Ubuntu install linux-modules-extra; else boot "
				       "a kernel that has it.",
				       cure),
			   "the kernel %s has no module %s", release, file);
	}
	return false;
}

/* ---- disk ---- */

void doctor_judge_disk(struct doctor *doctor, const char *path, const struct statvfs *status)
{
	uint64_t room = (uint64_t)status->f_bavail * status->f_frsize;

	if (status->f_flag & ST_RDONLY)
		doctor_say(doctor, DOCTOR_WRONG, "See dmesg for errors of the disk or the SD card, then: mount -o remount,rw",
			   "%s can't be written: its file system is read-only", path);
	else if (room == 0 || (status->f_files && status->f_favail == 0))
		doctor_say(doctor, DOCTOR_WRONG, "Make room; sudo du -xh / | sort -h shows what is large.", "%s: the disk is full", path);
	else if (room < DISK_LITTLE)
		doctor_say(doctor, DOCTOR_NOTE, "Make room; sudo du -xh / | sort -h shows what is large.",
			   "%s: only %llu KiB of disk are free", path, (unsigned long long)(room / 1024));
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "%s: room enough", path);
}

void doctor_check_disk(struct doctor *doctor)
{
	static const char *const paths[][2] = { { "/etc/usbpush", "/etc" },
						{ "/var/lib/usbpush", "/var/lib" },
						{ "/run/usbpush", "/run" } };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		const char *path = paths[i][doctor_exists(doctor, paths[i][0]) ? 0 : 1];
		char full[DOCTOR_PATH_SIZE];
		struct statvfs status;

		if (doctor_path(doctor, path, full) && statvfs(full, &status) == 0)
			doctor_judge_disk(doctor, path, &status);
		else
			doctor_say(doctor, DOCTOR_SKIPPED, NULL, "%s: %s", path, strerror(errno));
	}
}

/* ---- clock, mDNS ---- */

void doctor_check_clock(struct doctor *doctor)
{
	static const char *const signs[] = { "/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/run/ntpd.pid",
					     "/run/openntpd.pid" };
	time_t now = time(NULL);
	bool is_kept = false;
	char text[32];

	for (size_t i = 0; i < ARRAY_SIZE(signs); i++)
		is_kept = is_kept || doctor_exists(doctor, signs[i]);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", gmtime(&now));
	if (now < EARLIEST_TIME)
		doctor_say(doctor, DOCTOR_NOTE, "Look at: timedatectl. usbpush works all the same, but its logs have wrong times.",
			   "the clock stands at %s UTC, which can't be", text);
	else if (!is_kept)
		doctor_say(doctor, DOCTOR_NOTE,
			   "sudo timedatectl set-ntp true. usbpush needs no right clock; who compares the logs of two "
			   "machines does.",
			   "nothing keeps the clock right (%s UTC)", text);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "%s UTC, kept right", text);
}

/* The socket's file outlives who listened on it. */
static bool somebody_listens(const struct doctor *doctor, const char *path)
{
	char full[DOCTOR_PATH_SIZE];
	struct failure failure;
	_cleanup_close_ int fd = doctor_path(doctor, path, full) ? local_connect(full, "avahi-daemon", &failure) : -ENAMETOOLONG;

	return fd >= 0;
}

void doctor_check_mdns(struct doctor *doctor)
{
	if (somebody_listens(doctor, "/run/avahi-daemon/socket"))
		doctor_say(doctor, DOCTOR_OK, NULL, "avahi-daemon runs");
	else if (doctor_exists(doctor, "/usr/sbin/avahi-daemon"))
		doctor_say(doctor, DOCTOR_NOTE, "sudo systemctl start avahi-daemon",
			   "avahi-daemon does not run: the other machine is not found by "
			   "itself");
	else
		doctor_say(doctor, DOCTOR_NOTE, "sudo apt install avahi-daemon, or give addresses when pairing.",
			   "avahi-daemon is not installed: the other machine is not found by itself");
}

/* ---- firewall ---- */

/* What the chains on the way in do with a port, as far as their rules can be understood. */
struct way_in {
	enum { CHAIN_NONE, CHAIN_PLAIN, CHAIN_INPUT, CHAIN_OVER } chain; /* that is read; over: nothing in what is left of it matters */
	bool is_policy_drop;                                             /* of that chain */
	bool is_dropped, is_accepted;
};

/* The next word, quotes and what is in them in one; NULL at the end. */
static char *next_word(char **rest)
{
	char *word = *rest + strspn(*rest, " \t"), *end = word;
	bool is_quoted = false;

	for (; *end && (is_quoted || (*end != ' ' && *end != '\t')); end++)
		is_quoted ^= *end == '"';
	*rest = end + (*end != '\0');
	*end = '\0';
	return *word ? word : NULL;
}

/* Those of a statement that decides nothing, or NULL: words each with a value behind. */
static const char *find_options(const char *word)
{
	static const char *const statements[][2] = { { "counter", "packets bytes name" },
						     { "log", "prefix level group" },
						     { "comment", "" } };

	for (size_t i = 0; i < ARRAY_SIZE(statements); i++)
		if (strcmp(word, statements[i][0]) == 0)
			return statements[i][1];
	return NULL;
}

/* Takes counters, logging and comments off a line, and what space is too much. */
static void rule_clean(char *line)
{
	const char *options = NULL, *found;
	char *rest = line, *end = line, *word;
	bool is_value = false;

	while ((word = next_word(&rest))) {
		size_t length = strlen(word);

		if (is_value) {
			is_value = false;
		} else if ((found = find_options(word))) {
			options = found;
			is_value = !*found;
		} else if (options && strstr(options, word)) {
			is_value = true;
		} else {
			options = NULL;
			if (end > line)
				*end++ = ' ';
			memmove(end, word, length);
			end += length;
		}
	}
	*end = '\0';
}

/* Whether port is one of the ports and ranges from at to end. */
static bool ports_have(const char *at, const char *end, unsigned port)
{
	size_t length;

	for (; at < end; at += length + 1) {
		unsigned long first, last;
		char *rest;

		length = strcspn(at, " ,{}");
		first = last = strtoul(at, &rest, 10);
		if (*rest == '-')
			last = strtoul(rest + 1, NULL, 10);
		if (length && ((first <= port && port <= last) || (port == 22 && length == 3 && strncmp(at, "ssh", 3) == 0)))
			return true;
	}
	return false;
}

/* Whether a rule is about the TCP port, among others or not. What is in a named set is not known. */
static bool rule_names_port(const char *rule, unsigned port)
{
	const char *at = strstr(rule, "dport");
	bool is_negated;

	if (!at || (at - rule >= 4 && strncmp(at - 4, "udp ", 4) == 0))
		return false;
	at += strcspn(at, " ");
	at += strspn(at, " ");
	if (strncmp(at, "vmap ", 5) == 0)
		at += 5;
	is_negated = strncmp(at, "!= ", 3) == 0;
	at += is_negated ? 3 : 0;
	if (*at == '@')
		return false;
	return ports_have(at, at + strcspn(at, *at == '{' ? "}" : " "), port) != is_negated;
}

static bool rule_begins_with(const char *rule, const char *verdict)
{
	size_t length = strlen(verdict);

	return strncmp(rule, verdict, length) == 0 && (rule[length] == '\0' || rule[length] == ' ');
}

/* Whether it is a drop or reject, whatever comes in by TCP. */
static bool rule_drops_all(const char *rule)
{
	static const char *const tcp[] = { "meta l4proto tcp ", "ip protocol tcp " };

	for (size_t i = 0; i < ARRAY_SIZE(tcp); i++)
		if (strncmp(rule, tcp[i], strlen(tcp[i])) == 0)
			rule += strlen(tcp[i]);
	return rule_begins_with(rule, "drop") || rule_begins_with(rule, "reject") || rule_begins_with(rule, "xt target \"REJECT\"");
}

/* Whether it drops what comes from anywhere and however often: not some sources (fail2ban), not what is too much or no TCP connection. */
static bool rule_drops_unlimited(const char *rule)
{
	static const char *const limits[] = { "saddr", "@", "limit", "count", "invalid", "flags", "xt match", "vmap" };

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		if (strstr(rule, limits[i]))
			return false;
	return strstr(rule, " drop") || strstr(rule, " reject") || strstr(rule, "\"REJECT\"");
}

static void way_in_read_rule(struct way_in *way, const char *rule, unsigned port)
{
	bool is_input = way->chain == CHAIN_INPUT;

	if (rule_begins_with(rule, "accept")) {
		way->chain = CHAIN_OVER;
	} else if (rule_drops_all(rule)) {
		way->is_dropped = way->is_dropped || is_input;
		way->chain = CHAIN_OVER;
	} else if (rule_names_port(rule, port)) {
		if (strstr(rule, "accept")) /* or a jump to ufw-user-limit-accept */
			way->is_accepted = true;
		else if (is_input && rule_drops_unlimited(rule))
			way->is_dropped = true;
	}
}

/* A chain without a hook is taken for one that the input chain jumps to. */
static void way_in_read_line(struct way_in *way, char *line, unsigned port)
{
	rule_clean(line);
	if (rule_begins_with(line, "chain")) {
		way->chain = CHAIN_PLAIN;
		way->is_policy_drop = false;
	} else if (*line == '}') {
		way->is_dropped = way->is_dropped || (way->chain == CHAIN_INPUT && way->is_policy_drop);
		way->chain = CHAIN_NONE;
	} else if (way->chain == CHAIN_PLAIN && rule_begins_with(line, "type") && strstr(line, " hook ")) {
		way->chain = strstr(line, " hook input ") ? CHAIN_INPUT : CHAIN_OVER;
		way->is_policy_drop = strstr(line, "policy drop") != NULL;
	} else if (way->chain == CHAIN_PLAIN || way->chain == CHAIN_INPUT) {
		way_in_read_rule(way, line, port);
	}
}

/* Whether a chain on the way in drops what no rule accepts, or port by its name, and no rule accepts port. */
static bool rules_drop(char *rules, unsigned port)
{
	struct way_in way = { 0 };
	char *rest = rules, *line;

	while ((line = strsep(&rest, "\n")))
		way_in_read_line(&way, line, port);
	return way.is_dropped && !way.is_accepted;
}

void doctor_check_firewall(struct doctor *doctor, unsigned port, const char *what)
{
	static const char *const nft[] = { "/usr/sbin/nft", "list", "ruleset", NULL };
	_cleanup_free_ char *rules = NULL;
	char cure[200];
	int r = doctor_command(doctor, nft, NULL, &rules);

	if (r == -ENOENT)
		doctor_say(doctor, DOCTOR_OK, NULL, "no nftables here");
	else if (r != 0)
		doctor_say(doctor, DOCTOR_SKIPPED, "Run it with sudo.", "the firewall's rules can't be read");
	else if (strlen(rules) == DOCTOR_OUTPUT_MAX)
		doctor_say(doctor, DOCTOR_SKIPPED, "Look yourself: sudo nft list ruleset",
			   "the firewall's rules are more than 1 MiB: whether port %u (%s) is let in was not looked at", port, what);
	else if (rules_drop(rules, port)) {
		snprintf(cure, sizeof(cure),
			 "Let TCP port %u in, from your own network: with ufw, sudo ufw allow from NETWORK to any port %u", port, port);
		doctor_say(doctor, DOCTOR_NOTE, cure,
			   "the firewall drops what comes in, and no rule that could be understood lets port %u in (%s)", port, what);
	} else {
		doctor_say(doctor, DOCTOR_OK, NULL, "no rule that could be understood keeps port %u shut (%s)", port, what);
	}
}

/* ---- the daemon ---- */

bool doctor_ask_daemon(struct doctor *doctor, const char *socket_path, const char *unit, const char *version_field)
{
	_cleanup_json_ json_t *request = json_pack("{s:s}", "request", "status");
	char full[DOCTOR_PATH_SIZE], cure[160];
	struct failure failure = { 0 };
	const char *version;
	_cleanup_close_ int fd = doctor_path(doctor, socket_path, full) ? local_connect(full, unit, &failure) : -EBADF;

	if (fd < 0 || local_request(fd, request, ANSWER_LIMIT_MS, &doctor->status, &failure) < 0) {
		doctor_say(doctor, DOCTOR_WRONG, failure.cure, "%s", failure.text);
		return false;
	}
	version = json_string_value(json_object_get(doctor->status, version_field));
	if (version && strcmp(version, USBPUSH_VERSION) == 0) {
		doctor_say(doctor, DOCTOR_OK, NULL, "%s %s runs and answers", unit, version);
		return true;
	}
	snprintf(cure, sizeof(cure), "sudo systemctl restart %s", unit);
	doctor_say(doctor, DOCTOR_WRONG, cure, "%s that runs is version %.20s, what is installed is " USBPUSH_VERSION, unit,
		   version ? version : "?");
	return true;
}
