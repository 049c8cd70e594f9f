#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* What stands between a VM and the exporter, for tests: HTTP on loopback, each body passed on to the control socket as PROTOCOL.md says, and the answer back. It can also be
 * somebody with bad intentions, or a bad network. */
struct pair_portal;

enum pair_portal_loss {
	LOSS_NONE,
	LOSS_REQUEST, /* the connection ends before the request is passed on */
	LOSS_ANSWER,  /* the exporter has answered, and the connection ends */
};

/* What passes, for one who changes it: step, whether it is the answer, and the object, to be changed in place. */
typedef void (*pair_portal_tamper_fn)(const char *step, bool is_answer, json_t *object);

/* Listens on 127.0.0.1. socket_path: the exporter's; borrowed. */
struct pair_portal *pair_portal_new(sd_event *event, const char *socket_path);

/* Takes NULL, returns NULL. */
struct pair_portal *pair_portal_free(struct pair_portal *portal);

/* Where it listens. */
uint16_t pair_portal_port(const struct pair_portal *portal);

/* Whether it listens on ::1 too. */
bool pair_portal_has_ipv6(const struct pair_portal *portal);

/* From now on, n requests of that step (-1: all of them, and all that come later of any step) get lost in that way. */
void pair_portal_lose(struct pair_portal *portal, const char *step, enum pair_portal_loss loss, int n);

/* Everything passes through him. NULL: nobody. */
void pair_portal_tamper(struct pair_portal *portal, pair_portal_tamper_fn fn);

/* Answers everything with these bytes instead. NULL: no more. */
void pair_portal_answer(struct pair_portal *portal, const char *raw);

/* How many requests of that step came. */
unsigned pair_portal_count(const struct pair_portal *portal, const char *step);
