#include "doctor_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "identity.h"
#include "json_whole.h"
#include "table.h"

void doctor_run(struct doctor *doctor, const char *root, const struct doctor_check *checks, size_t n)
{
	*doctor = (struct doctor){ .root = root };
	for (size_t i = 0; i < n; i++) {
		doctor->check = checks[i].name;
		checks[i].run(doctor);
	}
}

void doctor_done(struct doctor *doctor)
{
	json_decref(doctor->status);
	doctor->status = NULL;
}

void doctor_say(struct doctor *doctor, enum doctor_state state, const char *cure, const char *format, ...)
{
	struct doctor_finding *finding;
	char text[1024];
	va_list arguments;

	if (doctor->n == DOCTOR_MAX_FINDINGS)
		return; /* who has so many does not read on */
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	finding = &doctor->findings[doctor->n++];
	finding->check = doctor->check;
	finding->state = state;
	identity_clean_string(text, finding->text, sizeof(finding->text));
	identity_clean_string(cure ? cure : "", finding->cure, sizeof(finding->cure));
}

enum doctor_state doctor_worst_of(const struct doctor *doctor, const char *check)
{
	enum doctor_state worst = DOCTOR_OK;

	for (size_t i = 0; i < doctor->n; i++)
		if (strcmp(doctor->findings[i].check, check) == 0 && doctor->findings[i].state > worst)
			worst = doctor->findings[i].state;
	return worst;
}

static unsigned doctor_count(const struct doctor *doctor, enum doctor_state state)
{
	unsigned n = 0;

	for (size_t i = 0; i < doctor->n; i++)
		n += doctor->findings[i].state == state;
	return n;
}

int doctor_exit_status(const struct doctor *doctor)
{
	return doctor_count(doctor, DOCTOR_WRONG) > 0;
}

const char *doctor_state_to_string(enum doctor_state state)
{
	switch (state) {
	case DOCTOR_OK:
		return "ok";
	case DOCTOR_SKIPPED:
		return "skipped";
	case DOCTOR_NOTE:
		return "note";
	case DOCTOR_WRONG:
		return "wrong";
	}
	return "wrong";
}

static enum table_color doctor_color(enum doctor_state state)
{
	switch (state) {
	case DOCTOR_OK:
		return TABLE_GREEN;
	case DOCTOR_SKIPPED:
		return TABLE_GREY;
	case DOCTOR_NOTE:
		return TABLE_YELLOW;
	case DOCTOR_WRONG:
		return TABLE_RED;
	}
	return TABLE_RED;
}

void doctor_print(const struct doctor *doctor, FILE *stream, bool is_coloured)
{
	unsigned n_wrong = doctor_count(doctor, DOCTOR_WRONG), n_notes = doctor_count(doctor, DOCTOR_NOTE);

	for (size_t i = 0; i < doctor->n; i++) {
		const struct doctor_finding *finding = &doctor->findings[i];

		fprintf(stream, "%s%-7s%s  %-10s  %s\n", table_color_start(doctor_color(finding->state), is_coloured),
			doctor_state_to_string(finding->state), table_color_end(is_coloured), finding->check, finding->text);
		if (finding->cure[0])
			fprintf(stream, "%21s%s\n", "", finding->cure);
	}
	if (n_wrong)
		fprintf(stream, "\n%u %s wrong%s. What to do stands below each.\n", n_wrong, n_wrong == 1 ? "thing is" : "things are",
			n_notes ? ", and there are notes" : "");
	else
		fprintf(stream, "\nNothing is wrong%s.\n", n_notes ? ", but read the notes" : "");
}

json_t *doctor_to_json(const struct doctor *doctor)
{
	json_t *list = json_array();

	for (size_t i = 0; i < doctor->n; i++) {
		const struct doctor_finding *finding = &doctor->findings[i];

		json_whole_append(&list, json_pack("{s:s, s:s, s:s, s:s}", "check", finding->check, "state",
						   doctor_state_to_string(finding->state), "text", finding->text, "cure", finding->cure));
	}
	return json_pack("{s:b, s:s, s:o}", "ok", doctor_exit_status(doctor) == 0, "software", USBPUSH_VERSION, "findings", list);
}

bool doctor_path(const struct doctor *doctor, const char *path, char buffer[DOCTOR_PATH_SIZE])
{
	return snprintf(buffer, DOCTOR_PATH_SIZE, "%s%s", doctor->root, path) < DOCTOR_PATH_SIZE;
}

bool doctor_exists(const struct doctor *doctor, const char *path)
{
	char full[DOCTOR_PATH_SIZE];

	return doctor_path(doctor, path, full) && access(full, F_OK) == 0;
}

ssize_t doctor_read(const struct doctor *doctor, const char *path, size_t max_size, char **ret_content)
{
	char full[DOCTOR_PATH_SIZE];
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *content = NULL;
	size_t used = 0;

	if (!doctor_path(doctor, path, full))
		return -ENAMETOOLONG;
	fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO in the place of a file does not hold us up */
	if (fd < 0)
		return -errno;
	content = malloc(max_size + 1);
	if (!content)
		return -ENOMEM;
	while (used < max_size) {
		ssize_t n = read(fd, content + used, max_size - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	content[used] = '\0';
	*ret_content = TAKE_PTR(content);
	return (ssize_t)used;
}

int doctor_read_line(const struct doctor *doctor, const char *path, char *buffer, size_t size)
{
	_cleanup_free_ char *content = NULL;
	ssize_t n = doctor_read(doctor, path, 4096, &content);

	if (n < 0)
		return (int)n;
	content[strcspn(content, "\n")] = '\0';
	identity_clean_string(content, buffer, size);
	return 0;
}
