#pragma once

/* Shared by policy.c (what is decided) and policy_edit.c (what is written into the file). */

#include "policy.h"
#include "rule_set.h"
#include "serial_driver.h"

#define POLICY_MAX_PLACES  128
#define POLICY_MAX_ANSWERS 64

struct policy_place {
	struct busid busid;
	char name[RULE_NAME_SIZE];
};

struct policy_reply {
	struct busid busid;
	uint16_t vid, pid;
	char serial[IDENTITY_STRING_SIZE];
	bool is_yes;
};

struct policy {
	const struct policy_options *options; /* borrowed: outlives us */
	struct serial_driver_index *drivers;  /* owned */
	struct rule_set rules;                /* owned: in force */
	struct config_problem problem;        /* of the file as it lies there; empty without */
	bool is_unread;                       /* the file as it lies there could not be read */
	struct policy_place places[POLICY_MAX_PLACES];
	size_t n_places, next_place; /* a ring once it is full */
	struct policy_reply answers[POLICY_MAX_ANSWERS];
	size_t n_answers, next_answer;
	bool is_direct; /* where no rule says it */
};

extern const struct rule_syntax POLICY_SYNTAX;

/* What rules ask about, filled from a device. With its drivers only if that is asked for: each takes a look into the module index. */
void policy_fill_subject(const struct policy *policy, const struct policy_device *device, bool with_drivers,
			 struct rule_subject *ret_subject);

/* What is never shared, by its kind: 1 with the reason, else 0. */
int policy_find_taboo_kind(const struct policy *policy, const struct policy_device *device, char *ret_reason, size_t size);

/* What is never shared, by its kind or because the Pi uses it: 1 with the reason, else 0. */
int policy_find_taboo(const struct policy *policy, const struct policy_device *device, char *ret_reason, size_t size);
