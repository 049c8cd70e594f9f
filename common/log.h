#pragma once

#include <stdbool.h>

/* Logging to stderr. Under systemd each line carries its level as "<3>" for journald; elsewhere the program's name stands
 * before it. Text of foreign origin goes through log_escape() or a "%s" of a string that was made safe when it was read. */

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_NOTICE = 5, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/* Sets the program's name and whether debug lines are written. Level prefixes are used when JOURNAL_STREAM is set. */
void log_init(const char *program, bool is_debug);

/* Writes one line in one write(2). Control characters in the result become '?'. A subject that storms is held up (log_limit.h), but for debug's sake. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a line is about. In the journal each that is neither NULL nor "" is a field of its own beside the message: USBPUSH_BUSID, USBPUSH_NAME, USBPUSH_PI, USBPUSH_VM,
 * USBPUSH_STATE (`journalctl USBPUSH_BUSID=1-1.4`). Elsewhere the line has to say it by itself, and does. */
struct log_about {
	const char *busid, *name, *pi, *vm, *state;
};

/* The same as log_write(), with these fields. */
void log_write_about(enum log_level level, const struct log_about *about, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_write(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
