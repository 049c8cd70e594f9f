#include "metrics.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void put_head(FILE *stream, const char *name, const char *type, const char *help)
{
	fprintf(stream, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: what a device says of itself may hold anything. */
static void put_label(FILE *stream, const char *name, const char *value)
{
	fprintf(stream, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			fputc('\\', stream);
		fputc(*value == '\n' ? ' ' : *value, stream);
	}
	fputc('"', stream);
}

static void put_states(FILE *stream, const char *name, const char *const *states, size_t n, const char *is)
{
	for (size_t i = 0; i < n; i++)
		fprintf(stream, "%s{state=\"%s\"} %d\n", name, states[i], strcmp(states[i], is) == 0);
}

static void put_link(FILE *stream, const json_t *link)
{
	static const char *const states[] = { "UNPAIRED", "DOWN", "CONNECTING", "AUTHENTICATING", "SYNCING", "UP", "REFUSED" };
	const json_t *rtt = json_object_get(link, "rtt_ms");

	put_head(stream, "usbpush_link_state", "gauge", "Which state the link to the VM is in: 1 for that one.");
	put_states(stream, "usbpush_link_state", states, ARRAY_SIZE(states), text_of(link, "state"));
	if (json_is_number(rtt)) {
		put_head(stream, "usbpush_link_round_trip_seconds", "gauge", "The last round trip to the VM.");
		fprintf(stream, "usbpush_link_round_trip_seconds %.6f\n", json_number_value(rtt) / 1000);
	}
	put_head(stream, "usbpush_link_attempts_total", "counter", "Tries to reach the VM since vm.conf was last read.");
	fprintf(stream, "usbpush_link_attempts_total %lld\n", (long long)json_integer_value(json_object_get(link, "attempts")));
}

static void put_device_labels(FILE *stream, const json_t *device)
{
	fputc('{', stream);
	put_label(stream, "busid", text_of(device, "busid"));
	fputc(',', stream);
	put_label(stream, "vid", text_of(device, "vid"));
	fputc(',', stream);
	put_label(stream, "pid", text_of(device, "pid"));
	fputc(',', stream);
	put_label(stream, "serial", text_of(device, "serial"));
}

static void put_device_counts(FILE *stream, const json_t *devices, const char *name, const char *key, const char *help)
{
	const json_t *device;
	size_t i;

	put_head(stream, name, "counter", help);
	json_array_foreach(devices, i, device) {
		fputs(name, stream);
		put_device_labels(stream, device);
		fprintf(stream, "} %lld\n", (long long)json_integer_value(json_object_get(device, key)));
	}
}

static void put_devices(FILE *stream, const json_t *devices)
{
	static const char *const states[] = { "SEEN", "IGNORED", "BINDING", "READY", "OFFERED", "ATTACHED", "FAILED" };
	const json_t *device;
	size_t i;

	put_head(stream, "usbpush_devices", "gauge", "USB devices of this Pi by state.");
	for (size_t s = 0; s < ARRAY_SIZE(states); s++) {
		unsigned n = 0;

		json_array_foreach(devices, i, device)
			n += strcmp(text_of(device, "state"), states[s]) == 0;
		fprintf(stream, "usbpush_devices{state=\"%s\"} %u\n", states[s], n);
	}
	put_head(stream, "usbpush_device_attached", "gauge", "Whether the VM has the device.");
	json_array_foreach(devices, i, device) {
		fputs("usbpush_device_attached", stream);
		put_device_labels(stream, device);
		fprintf(stream, "} %d\n", strcmp(text_of(device, "state"), "ATTACHED") == 0);
	}
	put_device_counts(stream, devices, "usbpush_device_attached_total", "attached_count", "How often the device was attached.");
	put_device_counts(stream, devices, "usbpush_device_failed_total", "failed_count", "How often attaching it failed.");
}

static void put_blocked(FILE *stream, const json_t *blocked)
{
	put_head(stream, "usbpush_blocked_writes", "gauge", "Writes from which the Pi's kernel has not returned.");
	fprintf(stream, "usbpush_blocked_writes %zu\n", json_array_size(blocked));
}

static void put_portal(FILE *stream, const struct portal_numbers *numbers)
{
	put_head(stream, "usbpush_portal_requests_total", "counter", "Requests that the portal answered.");
	fprintf(stream, "usbpush_portal_requests_total %llu\n", (unsigned long long)numbers->n_requests);
	put_head(stream, "usbpush_portal_connections", "gauge", "Connections to the portal.");
	fprintf(stream, "usbpush_portal_connections %u\n", numbers->n_connections);
	put_head(stream, "usbpush_portal_watchers", "gauge", "Pages that are open.");
	fprintf(stream, "usbpush_portal_watchers %u\n", numbers->n_watchers);
}

char *metrics_format(const json_t *status, const struct portal_numbers *numbers)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	bool is_broken;

	if (!stream)
		return NULL;
	put_head(stream, "usbpush_exporter_up", "gauge", "Whether usbpush-exporter answers.");
	fprintf(stream, "usbpush_exporter_up %d\n", status != NULL);
	if (status) {
		put_head(stream, "usbpush_build_info", "gauge", "The exporter's version.");
		fputs("usbpush_build_info{", stream);
		put_label(stream, "version", text_of(status, "software"));
		fputs("} 1\n", stream);
		put_link(stream, json_object_get(status, "link"));
		put_devices(stream, json_object_get(status, "devices"));
		put_blocked(stream, json_object_get(status, "blocked"));
	}
	put_portal(stream, numbers);
	is_broken = ferror(stream) != 0;
	if (fclose(stream) != 0 || is_broken) {
		free(text);
		return NULL;
	}
	return text;
}
