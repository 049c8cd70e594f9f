#include "name_book.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "device_name.h"
#include "log.h"

#define LINK_KEY "USBPUSH_LINK=" /* in udev/usbpush-vm.rules, too */

struct entry {
	struct busid busid;
	char name[NAME_BOOK_SIZE];
	bool is_former; /* of the predecessor: a wish, and no claim */
};

struct name_book {
	char *directory; /* owned */
	struct entry *entries;
	size_t n, n_allocated;
};

static struct entry *book_find(const struct name_book *book, const struct busid *busid)
{
	for (size_t i = 0; i < book->n; i++)
		if (busid_equal(&book->entries[i].busid, busid))
			return &book->entries[i];
	return NULL;
}

static struct entry *book_add(struct name_book *book, const struct busid *busid)
{
	if (!book->entries || book->n == book->n_allocated) {
		size_t n = book->n ? 2 * book->n : 16;
		struct entry *grown = reallocarray(book->entries, n, sizeof(*grown));

		if (!grown)
			return NULL;
		book->entries = grown;
		book->n_allocated = n;
	}
	book->entries[book->n] = (struct entry){ .busid = *busid };
	return &book->entries[book->n++];
}

/* ---- files ---- */

/* "3-1:00" is about interface 0 of 3-1. */
static int parse_file_name(const char *name, struct busid *ret_busid)
{
	char text[BUSID_SIZE];
	size_t length = strcspn(name, ":");

	if (name[length] != ':' || length >= sizeof(text))
		return -EINVAL;
	memcpy(text, name, length);
	text[length] = '\0';
	return busid_parse(text, ret_busid);
}

static void book_write(const struct name_book *book, const struct busid *busid, unsigned interface, const char *name)
{
	char path[512], text[NAME_BOOK_SIZE + 32];
	int n = snprintf(path, sizeof(path), "%s/%s:%02x", book->directory, busid->text, interface), r;

	snprintf(text, sizeof(text), LINK_KEY "%.*s\n", NAME_BOOK_SIZE - 1, name);
	r = n > 0 && (size_t)n < sizeof(path) ? file_write_atomic(path, text, strlen(text), 0644) : -ENAMETOOLONG;
	if (r < 0)
		log_error("%s can't be written: %s; the device has no link in /dev/usbpush", path, strerror(-r));
}

/* Calls fn for each file of the book. */
static void book_scan(const struct name_book *book, void (*fn)(const struct busid *busid, int dir_fd, const char *file, void *userdata),
		      void *userdata)
{
	_cleanup_closedir_ DIR *directory = opendir(book->directory);
	const struct dirent *entry;
	struct busid busid;

	while (directory && (entry = readdir(directory)))
		if (parse_file_name(entry->d_name, &busid) >= 0)
			fn(&busid, dirfd(directory), entry->d_name, userdata);
}

static void remove_if_of(const struct busid *busid, int dir_fd, const char *file, void *userdata)
{
	if (busid_equal(busid, userdata))
		(void)unlinkat(dir_fd, file, 0);
}

/* Any interface's name does as the former one: it is compared with what the device may be called. */
static void take_over(const struct busid *busid, int dir_fd, const char *file, void *userdata)
{
	struct name_book *book = userdata;
	_cleanup_close_ int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char text[NAME_BOOK_SIZE + 32];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	struct entry *entry = book_find(book, busid);
	size_t length;

	(void)unlinkat(dir_fd, file, 0);
	if (n <= (ssize_t)strlen(LINK_KEY) || strncmp(text, LINK_KEY, strlen(LINK_KEY)) != 0)
		return;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	length = strlen(text + strlen(LINK_KEY));
	if (!entry)
		entry = book_add(book, busid);
	/* The main interface's is the shortest: the others' have something behind it. */
	if (!entry || length >= sizeof(entry->name) || (entry->name[0] && strlen(entry->name) <= length))
		return;
	memcpy(entry->name, text + strlen(LINK_KEY), length + 1);
	entry->is_former = true;
}

/* ---- names ---- */

static bool book_is_taken(const struct name_book *book, const char *name, const struct busid *by_other_than)
{
	for (size_t i = 0; i < book->n; i++)
		if (!book->entries[i].is_former && strcmp(book->entries[i].name, name) == 0 &&
		    !busid_equal(&book->entries[i].busid, by_other_than))
			return true;
	return false;
}

/* The Pi's name may have what a link must not have. */
static void make_safe(char *text)
{
	for (; *text; text++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *text))
			*text = '-';
}

/* The names that the device may have, best first. */
static void make_candidates(const struct name_claim *claim, char candidates[3][NAME_BOOK_SIZE])
{
	char base[RULE_NAME_SIZE], pi[25];

	if (rule_is_name(claim->offer->name))
		snprintf(base, sizeof(base), "%.*s", RULE_NAME_SIZE - 1, claim->offer->name);
	else
		device_name_make(&claim->offer->identity, &claim->offer->busid, base);
	snprintf(pi, sizeof(pi), "%.24s", claim->pi);
	make_safe(pi);
	snprintf(candidates[0], NAME_BOOK_SIZE, "%s", base);
	snprintf(candidates[1], NAME_BOOK_SIZE, "%s-at-%s", base, claim->offer->busid.text);
	snprintf(candidates[2], NAME_BOOK_SIZE, "%s-at-%s-%s", base, pi, claim->offer->busid.text);
}

static const char *choose(const struct name_book *book, const struct name_claim *claim, char candidates[3][NAME_BOOK_SIZE])
{
	const struct entry *former = book_find(book, claim->busid);

	for (size_t i = 0; former && former->is_former && i < 3; i++)
		if (strcmp(former->name, candidates[i]) == 0 && !book_is_taken(book, candidates[i], claim->busid))
			return candidates[i];
	for (size_t i = 0; i < 3; i++)
		if (!book_is_taken(book, candidates[i], claim->busid))
			return candidates[i];
	return NULL;
}

static void book_write_all(const struct name_book *book, const struct name_claim *claim, const char *name)
{
	char other[NAME_BOOK_SIZE];

	for (size_t i = 0; i < claim->descriptors->n_interfaces; i++) {
		unsigned number = claim->descriptors->interfaces[i].number;

		snprintf(other, sizeof(other), "%.104s-if%u", name, number);
		book_write(book, claim->busid, number, number == claim->main_interface ? name : other);
	}
}

bool name_book_enter(struct name_book *book, const struct name_claim *claim)
{
	char candidates[3][NAME_BOOK_SIZE];
	struct entry *entry = book_find(book, claim->busid);
	const char *name;

	make_candidates(claim, candidates);
	name = choose(book, claim, candidates);
	if (!name) {
		log_warning("%s: %s: three devices are called %s already; it gets no link", claim->pi, claim->offer->busid.text,
			    candidates[0]);
		name_book_leave(book, claim->busid);
		return entry != NULL;
	}
	if (entry && !entry->is_former && strcmp(entry->name, name) == 0)
		return false;
	if (name != candidates[0])
		log_notice("%s: %s: another device is called %s; this one is %s", claim->pi, claim->offer->busid.text, candidates[0], name);
	entry = entry ? entry : book_add(book, claim->busid);
	if (!entry)
		return false;
	snprintf(entry->name, sizeof(entry->name), "%.*s", NAME_BOOK_SIZE - 1, name);
	entry->is_former = false;
	book_write_all(book, claim, name);
	return true;
}

void name_book_leave(struct name_book *book, const struct busid *busid)
{
	struct entry *entry = book_find(book, busid);

	if (!entry)
		return;
	book_scan(book, remove_if_of, &entry->busid);
	*entry = book->entries[--book->n];
}

const char *name_book_get(const struct name_book *book, const struct busid *busid)
{
	const struct entry *entry = book_find(book, busid);

	return entry && !entry->is_former ? entry->name : "";
}

/* ---- life ---- */

int name_book_new(const char *runtime_dir, struct name_book **ret_book)
{
	struct name_book *book = calloc(1, sizeof(*book));

	if (!book)
		return -ENOMEM;
	if (asprintf(&book->directory, "%s/names", runtime_dir) < 0) {
		free(book);
		return -ENOMEM;
	}
	if (mkdir(book->directory, 0755) < 0 && errno != EEXIST)
		log_error("%s can't be made: %s; devices have no links in /dev/usbpush", book->directory, strerror(errno));
	book_scan(book, take_over, book);
	*ret_book = book;
	return 0;
}

struct name_book *name_book_free(struct name_book *book)
{
	if (!book)
		return NULL;
	free(book->directory);
	free(book->entries);
	free(book);
	return NULL;
}
