#include "log_limit.h"

#include <pthread.h>
#include <string.h>
#include <sys/types.h>

#define USEC_PER_LINE (UINT64_C(1000000) / LOG_LIMIT_PER_SEC)
#define SUBJECT_SIZE  64

/* Empty until it is used. What it may still say is counted in time: full_usec is when it may say LOG_LIMIT_BURST lines again. */
struct subject {
	char name[SUBJECT_SIZE];
	bool is_trouble;
	uint64_t full_usec, used_usec;
	unsigned n_left_out;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static struct subject subjects[LOG_LIMIT_SUBJECTS];

/* The length of a bus id and the ": " behind it; 0 if there is none. */
static size_t find_busid(const char *text)
{
	size_t length = strspn(text, "0123456789-.");

	return length > 0 && memchr(text, '-', length) && strncmp(text + length, ": ", 2) == 0 ? length + 2 : 0;
}

int log_limit_subject(const char *line)
{
	const char *end = strstr(line, ": ");

	if (!end)
		return 0;
	return (int)(end - line + (ssize_t)find_busid(end + 2));
}

/* The one of that name, or in its place the one that has been silent for longest. */
static struct subject *find_subject(const char *name, size_t length, bool is_trouble)
{
	struct subject *oldest = &subjects[0];

	for (unsigned i = 0; i < LOG_LIMIT_SUBJECTS; i++) {
		if (subjects[i].is_trouble == is_trouble && strncmp(subjects[i].name, name, length) == 0 &&
		    subjects[i].name[length] == '\0')
			return &subjects[i];
		if (subjects[i].used_usec < oldest->used_usec)
			oldest = &subjects[i];
	}
	*oldest = (struct subject){ .is_trouble = is_trouble };
	memcpy(oldest->name, name, length);
	return oldest;
}

static bool subject_take(struct subject *subject, uint64_t now_usec, unsigned *ret_left_out)
{
	subject->used_usec = now_usec;
	if (subject->full_usec < now_usec)
		subject->full_usec = now_usec;
	if (subject->full_usec - now_usec > (LOG_LIMIT_BURST - 1) * USEC_PER_LINE) {
		subject->n_left_out++;
		return false;
	}
	subject->full_usec += USEC_PER_LINE;
	*ret_left_out = subject->n_left_out;
	subject->n_left_out = 0;
	return true;
}

bool log_limit_take(const char *line, bool is_trouble, uint64_t now_usec, unsigned *ret_left_out)
{
	size_t length = (size_t)log_limit_subject(line);
	bool is_taken;

	pthread_mutex_lock(&lock);
	length = length < SUBJECT_SIZE ? length : SUBJECT_SIZE - 1;
	is_taken = subject_take(find_subject(line, length, is_trouble), now_usec, ret_left_out);
	pthread_mutex_unlock(&lock);
	return is_taken;
}
