#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "identity.h"

#define CONFIG_MAX_SIZE ((size_t)256 * 1024)

struct config_reader {
	const char *path;
	unsigned line;
	int n_problems;
	config_setting_fn on_setting;
	config_problem_fn on_problem;
	void *userdata;
};

__attribute__((format(printf, 2, 3))) static void config_tell(struct config_reader *reader, const char *format, ...)
{
	struct config_problem problem;
	char text[sizeof(problem.text)];
	va_list arguments;
	int n = snprintf(text, sizeof(text), "%s:%u: ", reader->path, reader->line);

	if (n < 0 || (size_t)n >= sizeof(text))
		n = 0;
	va_start(arguments, format);
	vsnprintf(text + n, sizeof(text) - (size_t)n, format, arguments);
	va_end(arguments);
	identity_clean_string(text, problem.text, sizeof(problem.text));
	reader->n_problems++;
	reader->on_problem(&problem, reader->userdata);
}

static char *config_trim(char *text)
{
	size_t length;

	while (isspace((unsigned char)*text))
		text++;
	length = strlen(text);
	while (length > 0 && isspace((unsigned char)text[length - 1]))
		text[--length] = '\0';
	return text;
}

/* Takes matching quotes off. */
static char *config_unquote(char *value)
{
	size_t length = strlen(value);

	if (length >= 2 && (value[0] == '"' || value[0] == '\'') && value[length - 1] == value[0]) {
		value[length - 1] = '\0';
		return value + 1;
	}
	return value;
}

int config_split_line(char *text, char **ret_key, char **ret_value)
{
	char *value;

	*ret_key = config_trim(text);
	if (**ret_key == '\0' || **ret_key == '#')
		return -ENODATA;
	value = strchr(*ret_key, '=');
	if (!value)
		return -EINVAL;
	*value++ = '\0';
	*ret_key = config_trim(*ret_key);
	*ret_value = config_unquote(config_trim(value));
	return 0;
}

static void config_read_line(struct config_reader *reader, char *text)
{
	char expected[256] = "";
	char *key, *value;
	int r = config_split_line(text, &key, &value);

	if (r == -EINVAL)
		config_tell(reader, "\"%.80s\" is no setting; expected KEY=VALUE", key);
	if (r < 0)
		return;
	r = reader->on_setting(key, value, reader->line, expected, sizeof(expected), reader->userdata);
	if (r == -ENOENT)
		config_tell(reader, "unknown setting \"%.60s\"; known are those that the comments of this file and its man page list", key);
	else if (r < 0)
		config_tell(reader, "%.60s=%.80s makes no sense; expected %s", key, value, expected);
}

int config_read(const char *path, config_setting_fn on_setting, config_problem_fn on_problem, void *userdata)
{
	struct config_reader reader = { path, 0, 0, on_setting, on_problem, userdata };
	_cleanup_free_ char *content = NULL;
	ssize_t size = file_read(path, CONFIG_MAX_SIZE, &content);
	char *rest;

	if (size == -EFBIG) {
		config_tell(&reader, "the file is larger than %zu bytes; expected a short configuration file", CONFIG_MAX_SIZE);
		return reader.n_problems;
	}
	if (size < 0)
		return (int)size;
	if (memchr(content, '\0', (size_t)size)) {
		config_tell(&reader, "the file has a NUL byte; expected text");
		return reader.n_problems;
	}
	rest = content;
	while (rest) {
		char *text = strsep(&rest, "\n");
		reader.line++;
		config_read_line(&reader, text);
	}
	return reader.n_problems;
}

/* Whether a line of the file sets key. */
static bool config_line_sets(const char *line, size_t length, const char *key)
{
	size_t at = 0, key_length = strlen(key);

	while (at < length && isspace((unsigned char)line[at]))
		at++;
	if (length - at < key_length || strncmp(line + at, key, key_length) != 0)
		return false;
	at += key_length;
	while (at < length && isspace((unsigned char)line[at]))
		at++;
	return at < length && line[at] == '=';
}

/* The setting that a line of the file is about, or n. */
static size_t config_find(const char *line, size_t length, const struct config_setting *settings, size_t n)
{
	size_t i = 0;

	while (i < n && !config_line_sets(line, length, settings[i].key))
		i++;
	return i;
}

/* In quotes where config_read() would take something off. */
static void config_print(FILE *stream, const struct config_setting *setting)
{
	const char *value = setting->value;
	size_t length = strlen(value);
	bool is_bare =
		length == 0 || !(isspace((unsigned char)value[0]) || isspace((unsigned char)value[length - 1]) || strchr("\"'", value[0]));

	fprintf(stream, is_bare ? "%s=%s\n" : "%s=\"%s\"\n", setting->key, value);
}

static void config_copy(FILE *stream, const char *content, const struct config_setting *settings, size_t n, bool *is_written)
{
	while (*content) {
		size_t length = strcspn(content, "\n");
		size_t i = config_find(content, length, settings, n);

		if (i == n)
			fprintf(stream, "%.*s\n", (int)length, content);
		else if (settings[i].value && !is_written[i])
			config_print(stream, &settings[i]);
		if (i < n)
			is_written[i] = true;
		content += length;
		if (*content == '\n')
			content++;
	}
	for (size_t i = 0; i < n; i++)
		if (settings[i].value && !is_written[i])
			config_print(stream, &settings[i]);
}

int config_set(const char *path, const struct config_setting *settings, size_t n, unsigned mode)
{
	_cleanup_free_ char *old = NULL, *new = NULL;
	_cleanup_free_ bool *is_written = calloc(n + 1, sizeof(bool));
	_cleanup_fclose_ FILE *stream = NULL;
	size_t new_size = 0;
	struct stat status;
	ssize_t size;

	for (size_t i = 0; i < n; i++)
		if (settings[i].value && strpbrk(settings[i].value, "\n\r"))
			return -EINVAL;
	size = file_read(path, CONFIG_MAX_SIZE, &old);
	if (size < 0 && size != -ENOENT)
		return (int)size;
	if (size > 0 && memchr(old, '\0', (size_t)size))
		return -EBADMSG;
	stream = open_memstream(&new, &new_size);
	if (!stream || !is_written)
		return -ENOMEM;
	config_copy(stream, old ? old : "", settings, n, is_written);
	if (fflush(stream) != 0)
		return -ENOMEM;
	if (stat(path, &status) == 0)
		mode = status.st_mode & 07777;
	return file_write_atomic(path, new, new_size, mode);
}
