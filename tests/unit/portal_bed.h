#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "local_server.h"
#include "portal.h"
#include "temp_tree.h"

/* A portal for tests: the real one in this process' loop, on an exporter's socket that is scripted, asked over real TCP. */
struct portal_bed {
	struct temp_tree tree;
	sd_event *event;
	struct local_server *exporter; /* NULL: not running */
	struct portal *portal;
	struct portal_options options;
	struct portal_config config; /* for its start */
	char control_path[128], state_dir[128], code_path[128];
	uint16_t port;
	json_t *status;                  /* what the exporter says */
	char last[512];                  /* its last request that was no question for status or events */
	unsigned n_changes;              /* how many of those there were */
	unsigned n_status_asked, n_gone; /* questions; connections to it that ended */
	const char *refusal;             /* the code that changes are refused with; NULL: they are done */
	bool is_silent;                  /* changes get no answer */
	char cookie[128], csrf[80];
};

/* An exporter, and a portal that nobody owns. */
void portal_bed_setup(struct portal_bed *bed);

/* The same on another exporter's socket, in that loop (borrowed). */
void portal_bed_setup_on(struct portal_bed *bed, sd_event *event, const char *control_path);
void portal_bed_teardown(struct portal_bed *bed);

/* It ends and starts again, on another port. */
void portal_bed_restart(struct portal_bed *bed);

void portal_bed_start_exporter(struct portal_bed *bed);
void portal_bed_stop_exporter(struct portal_bed *bed);

/* The exporter has an event of that state. */
void portal_bed_tell(struct portal_bed *bed, const char *state);

/* Opens a connection; the caller closes it. */
int portal_bed_connect(struct portal_bed *bed);

/* Writes text to it and runs the loop until an answer is there in whole, or the connection ends; what came, until the next call. */
const char *portal_bed_talk(struct portal_bed *bed, int fd, const char *text);

/* Runs the loop until part has come over fd; everything that came, until the next call. The test fails without it. */
const char *portal_bed_hear(struct portal_bed *bed, int fd, const char *part);

/* One request on a connection of its own: headers are whole lines. Its status; the answer is in portal_bed_answer(). */
int portal_bed_ask(struct portal_bed *bed, const char *method, const char *path, const char *headers, const char *body);

/* The last answer with its headers, and its body alone. */
const char *portal_bed_answer(void);
const char *portal_bed_body(void);

/* The code in the last answer's error; "" without one. */
const char *portal_bed_code(void);

/* Claims the portal, and logs in: from now on portal_bed_get() and _post() are the owner's. */
void portal_bed_claim(struct portal_bed *bed);
int portal_bed_get(struct portal_bed *bed, const char *path);
int portal_bed_post(struct portal_bed *bed, const char *path, const char *body);
