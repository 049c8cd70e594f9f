#pragma once

#include "log.h"

/* A line for journald with fields of its own, by its native protocol (systemd.journal-fields(7)). */

/* Whether this process' stderr is the journal, so that a line that is sent to it directly stands where the others do. */
bool log_journal_is_there(void);

/* Sends it. False if it could not be. */
bool log_journal_send(const char *program, enum log_level level, const struct log_about *about, const char *text);
