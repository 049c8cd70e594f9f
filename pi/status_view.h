#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* The exporter's status as a person reads it: first whether it works, then the devices. status is what `usbpush status --json` prints. */
void status_view_print(const json_t *status, FILE *stream, bool is_coloured);

/* The devices alone, as a table; with is_explained the policy's reason for each. */
void status_view_print_devices(const json_t *status, FILE *stream, bool is_coloured, bool is_explained);

/* One event as a line. */
void status_view_print_event(const json_t *event, FILE *stream, bool is_coloured);
