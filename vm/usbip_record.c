#include "usbip_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "atomic_file.h"
#include "cleanup.h"

#define MARK     " usbpush\n"
#define MAX_SIZE 1024

static bool file_is_ours(const char *path)
{
	_cleanup_free_ char *content = NULL;
	ssize_t n = file_read(path, MAX_SIZE, &content);

	return n >= (ssize_t)strlen(MARK) && strcmp(content + n - strlen(MARK), MARK) == 0;
}

static bool is_wanted(const char *name, const struct usbip_record *records, size_t n)
{
	char wanted[32];

	for (size_t i = 0; i < n; i++) {
		snprintf(wanted, sizeof(wanted), "port%" PRIu32, records[i].port);
		if (strcmp(name, wanted) == 0)
			return true;
	}
	return false;
}

static int record_remove(const char *dir, const char *name)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return -ENOMEM;
	return file_is_ours(path) && unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int record_write(const char *dir, const struct usbip_record *record)
{
	_cleanup_free_ char *path = NULL, *content = NULL, *old = NULL;
	char service[16] = "ssh";
	int length;

	if (record->direct_port)
		snprintf(service, sizeof(service), "%u", record->direct_port);
	if (asprintf(&path, "%s/port%" PRIu32, dir, record->port) < 0)
		return -ENOMEM;
	length = asprintf(&content, "%s %s %s" MARK, record->host, service, record->busid);
	if (length < 0)
		return -ENOMEM;
	if (file_read(path, MAX_SIZE, &old) == length && strcmp(old, content) == 0)
		return 0;
	return file_write_atomic(path, content, (size_t)length, 0600);
}

int usbip_records_write(const char *dir, const struct usbip_record *records, size_t n)
{
	_cleanup_closedir_ DIR *entries = opendir(dir);
	struct dirent *entry;
	int result = 0, err;

	if (!entries)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(entries))) {
		if (strncmp(entry->d_name, "port", 4) != 0 || is_wanted(entry->d_name, records, n))
			continue;
		err = record_remove(dir, entry->d_name);
		if (err < 0 && result == 0)
			result = err;
	}
	for (size_t i = 0; i < n; i++) {
		err = record_write(dir, &records[i]);
		if (err < 0 && result == 0)
			result = err;
	}
	return result;
}
