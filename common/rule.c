#include "rule.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "glob.h"

#define HEX_AND_WILDCARDS "0123456789abcdef*?"

/* ---- words ---- */

/* Names for class codes; usb.org, "Defined Class Codes". */
static const struct {
	const char *name, *code;
} CLASSES[] = {
	{ "audio", "01" },    { "cdc", "02" },     { "hid", "03" },     { "keyboard", "03:01:01" }, { "mouse", "03:01:02" },
	{ "image", "06" },    { "printer", "07" }, { "storage", "08" }, { "smartcard", "0b" },      { "video", "0e" },
	{ "wireless", "e0" }, { "dfu", "fe:01" },  { "vendor", "ff" },
};

struct parser {
	const struct rule_syntax *syntax;
	struct rule *rule;
	unsigned seen; /* one bit a key: each only once */
	char *problem; /* of problem_size */
	size_t problem_size;
};

__attribute__((format(printf, 2, 3))) static int parser_fail(struct parser *parser, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	identity_clean_string(text, parser->problem, parser->problem_size);
	return -EINVAL;
}

static void lower(char *text)
{
	for (; *text; text++)
		*text = (char)tolower((unsigned char)*text);
}

/* The next word of *rest, quotes taken off; a backslash keeps the character after it from ending the word, and stays for glob.h. NULL at the end, or at a comment.
 * *ret_is_open: a quote was not closed, or the last character is a backslash. */
static char *take_word(char **rest, bool *ret_is_open)
{
	char *from = *rest + strspn(*rest, " \t"), *to = from, *word = from;
	bool is_quoted = false, is_bare = false;

	*ret_is_open = false;
	if (!*from || *from == '#')
		return NULL;
	for (; *from && (is_quoted || !strchr(" \t", *from)); from++) {
		if (*from == '"') {
			is_quoted = !is_quoted;
			continue;
		}
		if (*from == '\\') {
			if (!from[1])
				is_bare = true; /* it stands before nothing */
			else
				*to++ = *from++;
		}
		*to++ = *from;
	}
	*rest = *from ? from + 1 : from;
	*to = '\0';
	*ret_is_open = is_quoted || is_bare;
	return word;
}

/* ---- values ---- */

bool rule_is_id(const char *text)
{
	return strlen(text) == 9 && text[4] == ':' && strspn(text, "0123456789abcdefABCDEF") == 4 &&
	       strspn(text + 5, "0123456789abcdefABCDEF") == 4;
}

bool rule_is_name(const char *text)
{
	size_t length = strlen(text);

	return length > 0 && length < RULE_NAME_SIZE && text[0] != '.' && text[0] != '-' &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

/* Half a VID:PID pattern: four hex digits, '?' for any one, or '*' in the place of some. */
static bool is_id_half(const char *text, size_t length)
{
	bool has_star = memchr(text, '*', length) != NULL;

	return length > 0 && (has_star ? length <= 4 : length == 4) && strspn(text, HEX_AND_WILDCARDS) >= length;
}

static bool is_id_pattern(const char *text)
{
	const char *colon = strchr(text, ':');

	return colon && is_id_half(text, (size_t)(colon - text)) && is_id_half(colon + 1, strlen(colon + 1)) && !strchr(colon + 1, ':');
}

static bool is_class_pattern(const char *text)
{
	unsigned n_parts = 0;

	for (;;) {
		size_t length = strcspn(text, ":");
		bool is_any = length == 1 && *text == '*';

		if (!is_any && (length != 2 || strspn(text, "0123456789abcdef") < 2))
			return false;
		n_parts++;
		if (!text[length])
			return n_parts <= 3;
		text += length + 1;
	}
}

static int parser_copy(struct parser *parser, const char *key, const char *value, char *buffer, size_t size)
{
	if (!*value)
		return parser_fail(parser, "%s has no value; expected %sVALUE", key, key);
	if (strlen(value) >= size)
		return parser_fail(parser, "the value of %s is too long; expected at most %zu bytes", key, size - 1);
	memcpy(buffer, value, strlen(value) + 1);
	return 0;
}

static int parse_id(struct parser *parser, char *value)
{
	lower(value);
	if (!is_id_pattern(value))
		return parser_fail(parser, "\"%.40s\" is neither VID:PID nor a match; expected 0403:6001, 0403:*, serial=, driver= ...",
				   value);
	return parser_copy(parser, "VID:PID", value, parser->rule->id, sizeof(parser->rule->id));
}

static int parse_serial(struct parser *parser, char *value)
{
	return parser_copy(parser, "serial=", value, parser->rule->serial, sizeof(parser->rule->serial));
}

static int parse_socket(struct parser *parser, char *value)
{
	if (strspn(value, "0123456789.-*?") != strlen(value))
		return parser_fail(parser, "socket=%.40s is no bus id; expected one as usbpush devices shows it, 1-1.4, or 1-1.*", value);
	return parser_copy(parser, "socket=", value, parser->rule->socket, sizeof(parser->rule->socket));
}

static int parse_driver(struct parser *parser, char *value)
{
	lower(value);
	for (char *at = value; *at; at++)
		if (*at == '-')
			*at = '_'; /* the kernel takes the two for the same in a module's name */
	if (strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789_*?") != strlen(value))
		return parser_fail(parser, "driver=%.40s is no driver's name; expected one as lsmod shows it, ftdi_sio", value);
	return parser_copy(parser, "driver=", value, parser->rule->driver, sizeof(parser->rule->driver));
}

static int parse_class(struct parser *parser, char *value)
{
	lower(value);
	for (size_t i = 0; i < ARRAY_SIZE(CLASSES); i++)
		if (strcmp(CLASSES[i].name, value) == 0)
			return parser_copy(parser, "class=", CLASSES[i].code, parser->rule->class, sizeof(parser->rule->class));
	if (!is_class_pattern(value))
		return parser_fail(parser,
				   "class=%.40s is no USB class; expected 08, 03:01:01, or storage, audio, video, hid, keyboard ...",
				   value);
	return parser_copy(parser, "class=", value, parser->rule->class, sizeof(parser->rule->class));
}

static int parse_pi(struct parser *parser, char *value)
{
	return parser_copy(parser, "pi=", value, parser->rule->pi, sizeof(parser->rule->pi));
}

static int parse_name(struct parser *parser, char *value)
{
	if (!rule_is_name(value))
		return parser_fail(parser, "name=%.60s can't be a name; expected letters, digits, '.', '_', '-', at most %d", value,
				   RULE_NAME_SIZE - 1);
	return parser_copy(parser, "name=", value, parser->rule->name, sizeof(parser->rule->name));
}

static int parse_also(struct parser *parser, char *value)
{
	size_t i = 0;

	lower(value);
	if (!rule_is_id(value))
		return parser_fail(parser, "also=%.40s is no VID:PID; expected four and four hex digits, 2e8a:0003", value);
	while (i < RULE_MAX_ALSO && parser->rule->also[i][0])
		i++;
	if (i == RULE_MAX_ALSO)
		return parser_fail(parser, "more than %d also= in a rule", RULE_MAX_ALSO);
	return parser_copy(parser, "also=", value, parser->rule->also[i], sizeof(parser->rule->also[i]));
}

static int parse_recover(struct parser *parser, char *value)
{
	if (strcmp(value, "reset") == 0)
		parser->rule->recover = RULE_RECOVER_RESET;
	else if (strcmp(value, "power") == 0)
		parser->rule->recover = RULE_RECOVER_POWER;
	else
		return parser_fail(parser, "recover=%.40s is not known; expected recover=reset or recover=power", value);
	return 0;
}

static int parse_reset(struct parser *parser, char *value)
{
	if (*value)
		return parser_fail(parser, "reset-before-share takes no value");
	parser->rule->is_reset = true;
	return 0;
}

static int parse_transport(struct parser *parser, char *value)
{
	if (strcmp(value, "tunnel") == 0)
		parser->rule->transport = RULE_TRANSPORT_TUNNEL;
	else if (strcmp(value, "direct") == 0)
		parser->rule->transport = RULE_TRANSPORT_DIRECT;
	else
		return parser_fail(parser, "transport=%.40s is not known; expected transport=tunnel or transport=direct", value);
	return 0;
}

static int parse_backend(struct parser *parser, char *value)
{
	if (strcmp(value, "usbip-host") == 0)
		parser->rule->backend = RULE_BACKEND_USBIP_HOST;
	else if (strcmp(value, "usbfs") == 0)
		parser->rule->backend = RULE_BACKEND_USBFS;
	else
		return parser_fail(parser, "backend=%.40s is not known; expected backend=usbip-host or backend=usbfs", value);
	return 0;
}

/* ---- a line ---- */

static const struct {
	const char *word;
	unsigned needs; /* of rule_syntax.keys; 0: in every file */
	bool is_repeatable;
	int (*parse)(struct parser *parser, char *value);
} KEYS[] = {
	{ "serial=", 0, false, parse_serial },
	{ "driver=", 0, false, parse_driver },
	{ "class=", 0, false, parse_class },
	{ "socket=", RULE_KEY_SOCKET, false, parse_socket },
	{ "pi=", RULE_KEY_PI, false, parse_pi },
	{ "name=", RULE_KEY_NAME, false, parse_name },
	{ "also=", RULE_KEY_NAME, true, parse_also },
	{ "reset-before-share", RULE_KEY_RESET, false, parse_reset },
	{ "recover=", RULE_KEY_RESET, false, parse_recover },
	{ "transport=", RULE_KEY_TRANSPORT, false, parse_transport },
	{ "backend=", RULE_KEY_BACKEND, false, parse_backend },
};

static int parse_action(struct parser *parser, const char *word)
{
	char list[96] = "";

	for (unsigned i = 0; parser->syntax->actions[i]; i++) {
		size_t used = strlen(list);

		if (strcmp(parser->syntax->actions[i], word) == 0) {
			parser->rule->action = i;
			return 0;
		}
		snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", parser->syntax->actions[i]);
	}
	return parser_fail(parser, "\"%.40s\" is no action; expected one of %s", word, list);
}

static int parse_word(struct parser *parser, char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(KEYS); i++) {
		size_t length = strlen(KEYS[i].word);

		if (strncmp(word, KEYS[i].word, length) != 0 || (KEYS[i].needs && !(parser->syntax->keys & KEYS[i].needs)))
			continue;
		if ((parser->seen & 1U << i) && !KEYS[i].is_repeatable)
			return parser_fail(parser, "%s stands there twice; expected it once", KEYS[i].word);
		parser->seen |= 1U << i;
		return KEYS[i].parse(parser, word + length);
	}
	if (strchr(word, '='))
		return parser_fail(parser, "\"%.*s\" is not known; expected one of those in the comments of the file",
				   (int)strcspn(word, "=") + 1, word);
	if (parser->rule->id[0])
		return parser_fail(parser, "\"%.40s\" after %s; expected one VID:PID in a rule", word, parser->rule->id);
	return parse_id(parser, word);
}

static int check_rule(struct parser *parser)
{
	const struct rule *rule = parser->rule;

	if (!rule->id[0] && !rule->serial[0] && !rule->socket[0] && !rule->driver[0] && !rule->class[0] && !rule->pi[0])
		return parser_fail(parser, "it does not say which devices; expected VID:PID, serial=, driver=, class= ...; *:* means all");
	if (rule->also[0][0] && (!rule->name[0] || !rule->id[0]))
		return parser_fail(parser,
				   "also= tells under which other VID:PID a named device comes back; expected VID:PID and name= too");
	return 0;
}

static bool is_text(const char *line)
{
	char clean[RULE_MAX_LINE + 1];

	for (const char *at = line; *at; at++)
		if (*at != '\t' && ((unsigned char)*at < 0x20 || *at == 0x7f))
			return false;
	identity_clean_string(line, clean, sizeof(clean));
	for (size_t i = 0; line[i]; i++)
		if (clean[i] != line[i] && line[i] != '\t')
			return false;
	return true;
}

int rule_parse(const struct rule_syntax *syntax, char *line, struct rule *ret_rule, char *problem, size_t problem_size)
{
	struct rule rule = { 0 };
	struct parser parser = { syntax, &rule, 0, problem, problem_size };
	bool is_open, is_first = true;
	char *rest = line, *word;
	int r = 0;

	if (strlen(line) > RULE_MAX_LINE)
		return parser_fail(&parser, "the line is longer than %d bytes", RULE_MAX_LINE);
	if (!is_text(line))
		return parser_fail(&parser, "the line has control characters or is no UTF-8; expected text");
	while (r == 0 && (word = take_word(&rest, &is_open))) {
		if (is_open)
			return parser_fail(&parser, "a quotation mark is not closed, or a backslash stands at the end");
		r = is_first ? parse_action(&parser, word) : parse_word(&parser, word);
		is_first = false;
	}
	if (r == 0 && !is_first)
		r = check_rule(&parser);
	if (r < 0)
		return r;
	*ret_rule = rule;
	return !is_first;
}

/* ---- matching ---- */

static bool fits_or_any(const char *pattern, const char *text)
{
	return !*pattern || glob_fits(pattern, text ? text : "");
}

static bool class_fits(const char *pattern, uint8_t class, uint8_t subclass, uint8_t protocol)
{
	char text[9], longer[12];
	size_t length = strlen(pattern);

	snprintf(text, sizeof(text), "%02x:%02x:%02x", class, subclass, protocol);
	snprintf(longer, sizeof(longer), "%s%s", pattern, length < sizeof(text) - 1 && pattern[length - 1] != '*' ? ":*" : "");
	return glob_fits(pattern, text) || glob_fits(longer, text);
}

static bool any_class_fits(const char *pattern, const struct descriptors *descriptors)
{
	if (!*pattern || class_fits(pattern, descriptors->class, descriptors->subclass, descriptors->protocol))
		return true;
	for (size_t i = 0; i < descriptors->n_interfaces; i++) {
		const struct usb_interface *interface = &descriptors->interfaces[i];

		if (class_fits(pattern, interface->class, interface->subclass, interface->protocol))
			return true;
	}
	return false;
}

static bool any_driver_fits(const char *pattern, const struct rule_subject *subject)
{
	for (size_t i = 0; i < subject->n_drivers; i++)
		if (glob_fits(pattern, subject->drivers[i]))
			return true;
	return !*pattern;
}

/* A boot loader often has no serial number, or its own: then the socket tells, in which the board was under its name a moment ago. */
static bool rule_lists_also(const struct rule *rule, const char *id)
{
	for (size_t i = 0; i < RULE_MAX_ALSO; i++)
		if (rule->also[i][0] && strcmp(rule->also[i], id) == 0)
			return true;
	return false;
}

static bool rule_fits_also(const struct rule *rule, const struct rule_subject *subject, const char *id)
{
	if (!rule_lists_also(rule, id))
		return false;
	if (rule->serial[0] && glob_fits(rule->serial, subject->serial))
		return true;
	return !subject->last_name || strcmp(subject->last_name, rule->name) == 0;
}

bool rule_fits(const struct rule *rule, const struct rule_subject *subject)
{
	char id[10];

	if (!fits_or_any(rule->socket, subject->socket) || !fits_or_any(rule->pi, subject->pi))
		return false;
	snprintf(id, sizeof(id), "%04x:%04x", subject->descriptors->vid, subject->descriptors->pid);
	if (!fits_or_any(rule->id, id))
		return rule_fits_also(rule, subject, id);
	return fits_or_any(rule->serial, subject->serial) && any_driver_fits(rule->driver, subject) &&
	       any_class_fits(rule->class, subject->descriptors);
}

enum rule_fit rule_fits_unread(const struct rule *rule, const struct rule_subject *subject)
{
	char id[10];

	if (!fits_or_any(rule->socket, subject->socket) || !fits_or_any(rule->pi, subject->pi))
		return RULE_FIT_NO;
	snprintf(id, sizeof(id), "%04x:%04x", subject->descriptors->vid, subject->descriptors->pid);
	if (!fits_or_any(rule->id, id))
		return rule_lists_also(rule, id) ? RULE_FIT_MAYBE : RULE_FIT_NO;
	if (!any_driver_fits(rule->driver, subject) || !any_class_fits(rule->class, subject->descriptors))
		return RULE_FIT_NO;
	return rule->serial[0] ? RULE_FIT_MAYBE : RULE_FIT_YES;
}

/* ---- writing ---- */

struct writer {
	char *buffer;
	size_t used, size;
	int error;
};

__attribute__((format(printf, 2, 3))) static void writer_add(struct writer *writer, const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(writer->buffer + writer->used, writer->size - writer->used, format, arguments);
	va_end(arguments);
	if (n < 0 || (size_t)n >= writer->size - writer->used)
		writer->error = -ENOSPC;
	else
		writer->used += (size_t)n;
}

/* In quotes where a blank would end it; a quotation mark in the text gets a backslash. */
static void writer_add_value(struct writer *writer, const char *key, const char *value)
{
	const char *quote = strpbrk(value, " \t\"") ? "\"" : "";

	if (!*value)
		return;
	writer_add(writer, " %s%s", key, quote);
	for (; *value; value++) {
		if (*value == '\\' && value[1])
			writer_add(writer, "%c", *value++);
		else if (*value == '"')
			writer_add(writer, "\\");
		writer_add(writer, "%c", *value);
	}
	writer_add(writer, "%s", quote);
}

int rule_format(const struct rule_syntax *syntax, const struct rule *rule, char *buffer, size_t size)
{
	struct writer writer = { buffer, 0, size, 0 };

	writer_add(&writer, "%s", syntax->actions[rule->action]);
	writer_add_value(&writer, "", rule->id);
	writer_add_value(&writer, "serial=", rule->serial);
	writer_add_value(&writer, "socket=", rule->socket);
	writer_add_value(&writer, "driver=", rule->driver);
	writer_add_value(&writer, "class=", rule->class);
	writer_add_value(&writer, "pi=", rule->pi);
	writer_add_value(&writer, "name=", rule->name);
	for (size_t i = 0; i < RULE_MAX_ALSO; i++)
		writer_add_value(&writer, "also=", rule->also[i]);
	if (rule->is_reset)
		writer_add(&writer, " reset-before-share");
	if (rule->recover != RULE_RECOVER_NONE)
		writer_add(&writer, " recover=%s", rule->recover == RULE_RECOVER_POWER ? "power" : "reset");
	if (rule->transport != RULE_TRANSPORT_DEFAULT)
		writer_add(&writer, " transport=%s", rule->transport == RULE_TRANSPORT_DIRECT ? "direct" : "tunnel");
	if (rule->backend != RULE_BACKEND_DEFAULT)
		writer_add(&writer, " backend=%s", rule->backend == RULE_BACKEND_USBFS ? "usbfs" : "usbip-host");
	return writer.error;
}

bool rule_matches_equal(const struct rule *a, const struct rule *b)
{
	return strcmp(a->id, b->id) == 0 && strcmp(a->serial, b->serial) == 0 && strcmp(a->socket, b->socket) == 0 &&
	       strcmp(a->driver, b->driver) == 0 && strcmp(a->class, b->class) == 0 && strcmp(a->pi, b->pi) == 0;
}
