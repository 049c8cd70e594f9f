#include "doctor_archive.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cleanup.h"
#include "json_text.h"
#include "tar.h"

#define PART_MAX_SIZE ((size_t)1024 * 1024)
#define TOKEN_LENGTH  64 /* a session, a CSRF token: 256 bits in hex */

/* ---- secrets ---- */

static void blot(char *from, size_t length)
{
	memset(from, '#', length);
}

/* A whole block from "-----BEGIN ... PRIVATE KEY" to its end, or to the text's. */
static unsigned redact_private_keys(char *text)
{
	unsigned n = 0;
	char *at = text;

	while ((at = strstr(at, "-----BEGIN "))) {
		char *body = at + strcspn(at, "\r\n\\"), *end = strstr(body, "-----END ");
		size_t head = (size_t)(body - at);

		if (memmem(at, head, "PRIVATE KEY", strlen("PRIVATE KEY"))) {
			blot(body, end ? (size_t)(end - body) : strlen(body));
			n++;
		}
		at = body;
	}
	return n;
}

/* crypt(5): "$y$...", "$6$...". */
static unsigned redact_hashes(char *text)
{
	unsigned n = 0;

	for (char *at = text; (at = strchr(at, '$')); at++) {
		size_t id = strcspn(at + 1, "$ \t\r\n\""), length = strcspn(at, " \t\r\n\":,");

		if (at[1 + id] != '$' || id == 0 || id > 10 || length < 20)
			continue;
		blot(at, length);
		at += length - 1;
		n++;
	}
	return n;
}

/* Hex of just that length: tokens. Fingerprints, ids and hashes of packages have others. */
static unsigned redact_tokens(char *text)
{
	unsigned n = 0;

	for (char *at = text; *at;) {
		size_t length = strspn(at, "0123456789abcdefABCDEF");

		if (length == TOKEN_LENGTH) {
			blot(at, length);
			n++;
		}
		at += length ? length : 1;
	}
	return n;
}

/* "code ABCD-EFGH", "code: 123 456", "password=...": the word after it. */
static unsigned redact_words(char *text)
{
	static const char *const names[] = { "password", "passwd", "setup code", "\"code\"", "code:", "secret", "csrf", "cookie" };
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		for (char *at = text; (at = strcasestr(at, names[i]));) {
			size_t length;

			at += strlen(names[i]);
			at += strspn(at, " \t=:\"");
			length = strcspn(at, "\t\r\n\",;");
			/* Names of errors ("code":"no-free-port") are words in lower case, and help. */
			if (length == 0 || strspn(at, "abcdefghijklmnopqrstuvwxyz-.' ") >= length)
				continue;
			blot(at, length);
			n++;
		}
	return n;
}

unsigned doctor_redact(char *text)
{
	return redact_private_keys(text) + redact_hashes(text) + redact_tokens(text) + redact_words(text);
}

/* ---- parts ---- */

struct archive {
	const struct doctor *doctor;
	FILE *stream;
	time_t now;
	int error;
};

static void archive_add(struct archive *archive, const char *name, char *text)
{
	char full[100];
	int r = snprintf(full, sizeof(full), "usbpush-doctor/%s", name) < (int)sizeof(full) ? 0 : -ENAMETOOLONG;

	(void)doctor_redact(text);
	if (r == 0)
		r = tar_add(archive->stream, full, text, strlen(text), archive->now);
	if (r < 0 && archive->error == 0)
		archive->error = r;
}

static void archive_add_json(struct archive *archive, const char *name, const json_t *object)
{
	_cleanup_free_ char *text = json_text(object, JSON_INDENT(2));

	if (text)
		archive_add(archive, name, text);
	else if (archive->error == 0)
		archive->error = -ENOMEM;
}

/* One NUL in a file would hide the rest from who looks for secrets, and from who reads. */
static void replace_nuls(char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] == '\0')
			text[i] = '\n';
}

static void archive_add_part(struct archive *archive, const struct doctor_part *part)
{
	_cleanup_free_ char *text = NULL;
	char why[128];
	int r;

	if (part->kind == DOCTOR_PART_FILE) {
		ssize_t size = doctor_read(archive->doctor, part->argv[0], PART_MAX_SIZE, &text);

		if (size > 0)
			replace_nuls(text, (size_t)size);
		r = size < 0 ? (int)size : 0;
	} else {
		r = doctor_command(archive->doctor, part->argv, NULL, &text);
	}
	if (r < 0) {
		snprintf(why, sizeof(why), "not there: %s\n", strerror(-r));
		archive_add(archive, part->name, why);
	} else {
		archive_add(archive, part->name, text);
	}
}

static int archive_write(struct archive *archive, const struct doctor_part *parts, size_t n)
{
	_cleanup_json_ json_t *findings = doctor_to_json(archive->doctor);
	int r;

	archive_add_json(archive, "doctor.json", findings);
	if (archive->doctor->status) /* the daemon answered */
		archive_add_json(archive, "status.json", archive->doctor->status);
	for (size_t i = 0; i < n; i++)
		archive_add_part(archive, &parts[i]);
	r = tar_end(archive->stream);
	if (fflush(archive->stream) != 0)
		r = -errno;
	return archive->error ? archive->error : r;
}

int doctor_archive_write(const struct doctor *doctor, const char *path, const struct doctor_part *parts, size_t n,
			 struct failure *ret_failure)
{
	/* Never through what somebody else has put there: /tmp is a likely place. */
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	_cleanup_fclose_ FILE *stream = fd < 0 ? NULL : fdopen(fd, "w");
	struct archive archive = { .doctor = doctor, .stream = stream, .now = time(NULL) };
	int r;

	if (!stream && errno == EEXIST)
		return failure_set(ret_failure, FAILURE_BUSY, "Give another name, or remove it.", "%s is there already", path);
	if (!stream)
		return failure_set(ret_failure, FAILURE_NO_PERMISSION, "Give a file in a directory that you may write to.", "%s: %s", path,
				   strerror(errno));
	r = archive_write(&archive, parts, n);
	if (r < 0) {
		unlink(path);
		return failure_set(ret_failure, FAILURE_INTERNAL, "Look at the free space there.", "%s: %s", path, strerror(-r));
	}
	return 0;
}
