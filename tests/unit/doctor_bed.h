#pragma once

#include "doctor_check.h"
#include "temp_tree.h"

/* A machine for doctor to look at: a temporary tree in the place of /. */
struct doctor_bed {
	struct temp_tree tree;
	struct doctor doctor;
	pid_t daemon; /* 0: none */
};

void doctor_bed_setup(struct doctor_bed *bed);
void doctor_bed_teardown(struct doctor_bed *bed);

/* A program in the tree: what it prints, and its exit status. */
void doctor_bed_put_program(struct doctor_bed *bed, const char *path, const char *output, int status);

/* A daemon that answers every request on the socket at path with that line. */
void doctor_bed_serve(struct doctor_bed *bed, const char *path, const char *answer);

/* Runs these checks on the tree. */
void doctor_bed_run(struct doctor_bed *bed, const struct doctor_check *checks, size_t n);

/* Runs one. */
void doctor_bed_run_one(struct doctor_bed *bed, const char *name, void (*run)(struct doctor *doctor));

/* There is a finding of that state whose text has part in it; a wrong one has a cure. */
void expect_finding(const struct doctor_bed *bed, enum doctor_state state, const char *part);

/* Nothing worse than this was found. */
void doctor_bed_expect_worst(const struct doctor_bed *bed, enum doctor_state state);
