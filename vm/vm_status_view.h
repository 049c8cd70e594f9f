#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* The handler's status for people. */

/* Prints the whole: its first line answers "does it work?", then a table of Pis and devices, then what failed and what to do. */
void vm_status_view_print(const json_t *status, FILE *stream, bool is_coloured);

/* Prints one line about an event of `watch`. */
void vm_status_view_print_event(const json_t *event, FILE *stream);

/* Whether everything that is known is there: every Pi connected, every device attached. */
bool vm_status_is_complete(const json_t *status);

/* Prints a line for each Pi that is not connected and each device that is not attached; before each stands prefix. */
void vm_status_view_print_missing(const json_t *status, const char *prefix, FILE *stream);
