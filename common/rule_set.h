#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "atomic_file.h"
#include "config.h"
#include "rule.h"

/* All rules of a file, in its order. */

#define RULE_SET_MAX 1024

struct rule_set {
	struct rule *rules; /* owned */
	size_t n;
	unsigned broken_line;         /* of the first line that makes no sense; 0: there is none */
	struct config_problem broken; /* what is wrong with it */
};

/* What rule_set_find() says of a line that makes no sense: it might have been about this device. */
#define RULE_BROKEN ((const struct rule *)-1)

/* Reads the file at path. Each line that makes no sense is passed to on_problem (may be NULL); a name given twice is one. Returns the number of problems; a
 * missing file has no rules. A negative errno if it can't be read, and *ret_set is untouched. */
int rule_set_read(const char *path, const struct rule_syntax *syntax, config_problem_fn on_problem, void *userdata,
		  struct rule_set *ret_set);

/* Whether two files say the same, line for line. */
bool rule_set_equal(const struct rule_set *a, const struct rule_set *b);

/* Frees what it holds. */
void rule_set_done(struct rule_set *set);

/* The first rule that fits; NULL without one. RULE_BROKEN where a line that makes no sense comes before that: nobody knows what the owner wanted there, so what
 * is below it decides nothing. */
const struct rule *rule_set_find(const struct rule_set *set, const struct rule_subject *subject);

/* Puts a rule into what the file at path says, for the caller to write it there (file_write_atomic()); comments, order, all other lines and the mode stay as they are.
 * at_line 0: behind the last line. is_replacing: in the place of the rule in at_line, whose comment at the line's end stays; else before at_line and the comment lines
 * right above it. ret_draft is the caller's: file_draft_done(). 0, -EINVAL for a rule that can't be written, -EBADMSG for a file with a NUL byte, or negative errno. */
int rule_set_edit(const char *path, const struct rule_syntax *syntax, unsigned at_line, bool is_replacing, const struct rule *rule,
		  struct file_draft *ret_draft);
