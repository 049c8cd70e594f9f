#define SD_JOURNAL_SUPPRESS_LOCATION
#include "log_journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#define MAX_FIELDS 8

struct fields {
	char texts[MAX_FIELDS][1200];
	struct iovec items[MAX_FIELDS];
	int n;
};

bool log_journal_is_there(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char own[64];
	struct stat info;

	if (!stream || fstat(STDERR_FILENO, &info) < 0)
		return false;
	snprintf(own, sizeof(own), "%llu:%llu", (unsigned long long)info.st_dev, (unsigned long long)info.st_ino);
	return strcmp(stream, own) == 0;
}

static void fields_add(struct fields *fields, const char *key, const char *value)
{
	char *text = fields->texts[fields->n];

	if (!value || !*value)
		return;
	snprintf(text, sizeof(fields->texts[0]), "%s=%s", key, value);
	fields->items[fields->n++] = (struct iovec){ text, strlen(text) };
}

bool log_journal_send(const char *program, enum log_level level, const struct log_about *about, const char *text)
{
	struct fields fields = { .n = 0 };
	const char priority[] = { (char)('0' + level), '\0' };

	fields_add(&fields, "MESSAGE", text);
	fields_add(&fields, "PRIORITY", priority);
	fields_add(&fields, "SYSLOG_IDENTIFIER", program);
	fields_add(&fields, "USBPUSH_BUSID", about->busid);
	fields_add(&fields, "USBPUSH_NAME", about->name);
	fields_add(&fields, "USBPUSH_PI", about->pi);
	fields_add(&fields, "USBPUSH_VM", about->vm);
	fields_add(&fields, "USBPUSH_STATE", about->state);
	return sd_journal_sendv(fields.items, fields.n) == 0;
}
