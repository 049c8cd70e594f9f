#include "rule_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "identity.h"

#define FILE_MAX_SIZE ((size_t)256 * 1024)

struct reader {
	const char *path;
	const struct rule_syntax *syntax;
	struct rule_set set;
	size_t n_allocated;
	int n_problems;
	config_problem_fn on_problem;
	void *userdata;
};

static void reader_tell(struct reader *reader, unsigned line, const char *text)
{
	struct config_problem problem = { 0 };
	char whole[512];

	snprintf(whole, sizeof(whole), "%.120s:%u: %.360s", reader->path, line, text);
	identity_clean_string(whole, problem.text, sizeof(problem.text));
	if (reader->n_problems++ == 0) {
		reader->set.broken_line = line;
		reader->set.broken = problem;
	}
	if (reader->on_problem)
		reader->on_problem(&problem, reader->userdata);
}

static const struct rule *set_find_name(const struct rule_set *set, const char *name)
{
	for (size_t i = 0; i < set->n; i++)
		if (strcmp(set->rules[i].name, name) == 0)
			return &set->rules[i];
	return NULL;
}

static int reader_add(struct reader *reader, const struct rule *rule)
{
	struct rule_set *set = &reader->set;
	const struct rule *same = rule->name[0] ? set_find_name(set, rule->name) : NULL;
	char text[160];

	if (same) {
		snprintf(text, sizeof(text), "the name %s is given in line %u already; expected another one", rule->name, same->line);
		reader_tell(reader, rule->line, text);
		return 0;
	}
	if (set->n == RULE_SET_MAX) {
		reader_tell(reader, rule->line, "too many rules; expected at most 1024");
		return 0;
	}
	if (set->n == reader->n_allocated) {
		size_t n = reader->n_allocated ? 2 * reader->n_allocated : 8;
		struct rule *grown = reallocarray(set->rules, n, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		set->rules = grown;
		reader->n_allocated = n;
	}
	set->rules[set->n++] = *rule;
	return 0;
}

static int reader_read(struct reader *reader, char *content)
{
	char *rest = content, *line;
	int r = 0;

	for (unsigned number = 1; r == 0 && (line = strsep(&rest, "\n")); number++) {
		char problem[256];
		struct rule rule;
		size_t length = strlen(line);

		if (length > 0 && line[length - 1] == '\r')
			line[length - 1] = '\0';
		r = rule_parse(reader->syntax, line, &rule, problem, sizeof(problem));
		if (r < 0)
			reader_tell(reader, number, problem);
		rule.line = number;
		r = r > 0 ? reader_add(reader, &rule) : 0;
	}
	return r;
}

int rule_set_read(const char *path, const struct rule_syntax *syntax, config_problem_fn on_problem, void *userdata,
		  struct rule_set *ret_set)
{
	struct reader reader = { .path = path, .syntax = syntax, .on_problem = on_problem, .userdata = userdata };
	_cleanup_free_ char *content = NULL;
	ssize_t size = file_read(path, FILE_MAX_SIZE, &content);
	int r = 0;

	if (size < 0 && size != -ENOENT && size != -EFBIG)
		return (int)size;
	if (size == -EFBIG)
		reader_tell(&reader, 1, "the file is larger than 256 KiB; expected a short list of rules");
	else if (size > 0 && memchr(content, '\0', (size_t)size))
		reader_tell(&reader, 1, "the file has a NUL byte; expected text");
	else if (size > 0)
		r = reader_read(&reader, content);
	if (r < 0) {
		rule_set_done(&reader.set);
		return r;
	}
	*ret_set = reader.set;
	return reader.n_problems;
}

static bool rule_equal(const struct rule *a, const struct rule *b)
{
	for (size_t i = 0; i < RULE_MAX_ALSO; i++)
		if (strcmp(a->also[i], b->also[i]) != 0)
			return false;
	return a->line == b->line && a->action == b->action && a->is_reset == b->is_reset && a->recover == b->recover &&
	       a->transport == b->transport && a->backend == b->backend && strcmp(a->name, b->name) == 0 && rule_matches_equal(a, b);
}

bool rule_set_equal(const struct rule_set *a, const struct rule_set *b)
{
	if (a->n != b->n || a->broken_line != b->broken_line)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!rule_equal(&a->rules[i], &b->rules[i]))
			return false;
	return true;
}

void rule_set_done(struct rule_set *set)
{
	free(set->rules);
	*set = (struct rule_set){ 0 };
}

const struct rule *rule_set_find(const struct rule_set *set, const struct rule_subject *subject)
{
	for (size_t i = 0; i < set->n; i++) {
		if (set->broken_line && set->rules[i].line > set->broken_line)
			break;
		if (rule_fits(&set->rules[i], subject))
			return &set->rules[i];
	}
	return set->broken_line ? RULE_BROKEN : NULL;
}

/* ---- editing ---- */

static bool is_comment(const char *line)
{
	return line[strspn(line, " \t")] == '#';
}

/* A line of the file with its newline. */
struct line {
	const char *text;
	size_t length;
};

static size_t split(const char *content, struct line *lines)
{
	size_t n = 0;

	for (; *content; n++) {
		size_t length = strcspn(content, "\n");

		length += content[length] == '\n';
		if (lines)
			lines[n] = (struct line){ content, length };
		content += length;
	}
	return n;
}

/* The comment at a rule's end, with its '#'; "" without. What rule_parse() calls a comment. */
static void find_tail(const struct line *line, const char **ret_tail, size_t *ret_length)
{
	bool is_quoted = false, is_word = false;
	size_t i;

	for (i = 0; i < line->length && line->text[i] != '\n'; i++) {
		char c = line->text[i];

		if (c == '#' && !is_word)
			break;
		if (c == '"')
			is_quoted = !is_quoted;
		is_word = is_quoted || (c != ' ' && c != '\t');
		if (c == '\\' && i + 1 < line->length)
			i++;
	}
	*ret_tail = line->text + i;
	*ret_length = line->length - i - (line->length > i && line->text[line->length - 1] == '\n');
}

static void print_lines(FILE *stream, const struct line *lines, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		fwrite(lines[i].text, 1, lines[i].length, stream);
		if (lines[i].text[lines[i].length - 1] != '\n')
			fputc('\n', stream);
	}
}

static void print_edited(FILE *stream, const struct line *lines, size_t n, size_t at, bool is_replacing, const char *rule)
{
	const char *tail = "";
	size_t tail_length = 0;

	if (is_replacing)
		find_tail(&lines[at], &tail, &tail_length);
	while (!is_replacing && at < n && at > 0 && is_comment(lines[at - 1].text))
		at--;
	print_lines(stream, lines, 0, at);
	fprintf(stream, "%s%s%.*s\n", rule, tail_length ? "  " : "", (int)tail_length, tail);
	print_lines(stream, lines, at + is_replacing, n);
}

int rule_set_edit(const char *path, const struct rule_syntax *syntax, unsigned at_line, bool is_replacing, const struct rule *rule,
		  struct file_draft *ret_draft)
{
	_cleanup_free_ char *old = NULL, *new = NULL;
	_cleanup_free_ struct line *lines = NULL;
	_cleanup_fclose_ FILE *stream = NULL;
	ssize_t size = file_read(path, FILE_MAX_SIZE, &old);
	struct stat status;
	char text[RULE_MAX_LINE];
	size_t new_size = 0, n;

	if (size < 0 && size != -ENOENT)
		return (int)size;
	if (size > 0 && memchr(old, '\0', (size_t)size))
		return -EBADMSG; /* no text: what is behind it would be lost */
	if (rule_format(syntax, rule, text, sizeof(text)) < 0)
		return -EINVAL;
	n = split(old ? old : "", NULL);
	lines = calloc(n + 1, sizeof(*lines));
	stream = open_memstream(&new, &new_size);
	if (!lines || !stream)
		return -ENOMEM;
	split(old ? old : "", lines);
	if (at_line > n || (is_replacing && at_line == 0))
		return -EINVAL; /* the file is not the one that at_line was read from */
	print_edited(stream, lines, n, at_line ? at_line - 1 : n, is_replacing, text);
	if (fclose(TAKE_PTR(stream)) != 0) /* which gives the text its last place */
		return -ENOMEM;
	*ret_draft = (struct file_draft){ .content = TAKE_PTR(new),
					  .size = new_size,
					  .mode = stat(path, &status) == 0 ? status.st_mode & 07777 : 0644 };
	return 0;
}
