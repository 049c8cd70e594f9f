#include "vm_status_view.h"

#include <string.h>
#include <time.h>

#include "blocked.h"
#include "cleanup.h"
#include "table.h"

static const char *get(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static const char *get_first(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_array_get(json_object_get(object, key), 0));

	return text ? text : "";
}

static bool state_is(const json_t *object, const char *state)
{
	return strcmp(get(object, "state"), state) == 0;
}

/* ---- counting ---- */

struct counts {
	size_t n_pis, n_up, n_devices, n_attached, n_awaited;
};

static struct counts status_count(const json_t *status)
{
	struct counts counts = { 0 };
	const json_t *pi, *device;
	size_t i, j;

	json_array_foreach(json_object_get(status, "pis"), i, pi) {
		counts.n_pis++;
		counts.n_up += state_is(pi, "up");
		counts.n_awaited += (size_t)json_integer_value(json_object_get(pi, "awaited"));
		json_array_foreach(json_object_get(pi, "devices"), j, device) {
			counts.n_devices++;
			counts.n_attached += state_is(device, "attached");
		}
	}
	return counts;
}

bool vm_status_is_complete(const json_t *status)
{
	struct counts counts = status_count(status);

	return counts.n_up == counts.n_pis && counts.n_attached == counts.n_devices && counts.n_awaited == 0;
}

/* ---- words ---- */

static const char *pi_state_in_words(const json_t *pi)
{
	if (state_is(pi, "up"))
		return "connected";
	if (state_is(pi, "syncing"))
		return "connecting";
	if (state_is(pi, "lost"))
		return "connection lost, waiting";
	if (state_is(pi, "parting"))
		return "ends its pairing";
	return state_is(pi, "unpaired") ? "unpaired" : "not connected";
}

static const char *device_state_in_words(const json_t *device)
{
	static const struct {
		const char *state, *words;
	} states[] = {
		{ "waiting", "waiting for the Pi" },        { "attaching", "attaching" },
		{ "enumerating", "attaching: being read" }, { "verifying", "attaching: being checked" },
		{ "authorizing", "attaching: drivers" },    { "settling", "attaching: udev" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(states); i++)
		if (state_is(device, states[i].state))
			return states[i].words;
	return get(device, "state");
}

static enum table_color device_color(const json_t *device)
{
	if (state_is(device, "attached"))
		return TABLE_GREEN;
	return state_is(device, "failed") ? TABLE_RED : TABLE_YELLOW;
}

static const char *device_title(const json_t *device)
{
	if (*get(device, "name"))
		return get(device, "name");
	return *get(device, "product") ? get(device, "product") : "(without a name)";
}

static const char *link_name(const json_t *device)
{
	const char *link = get_first(device, "links"), *slash = strrchr(link, '/');

	return slash ? slash + 1 : link;
}

/* ---- the whole ---- */

static void print_verdict(const json_t *status, FILE *stream, bool is_coloured)
{
	struct counts counts = status_count(status);
	const json_t *error = json_object_get(json_object_get(status, "vhci"), "error");
	enum table_color color = TABLE_GREEN;
	const char *verdict = "usbpush works";

	if (json_is_object(error)) {
		fprintf(stream, "%susbpush does not work: %s.%s %s\n", table_color_start(TABLE_RED, is_coloured), get(error, "text"),
			table_color_end(is_coloured), get(error, "cure"));
		return;
	}
	if (counts.n_pis == 0) {
		fputs("No Pi is paired yet. Pair one: sudo usbpush-vm pair\n", stream);
		return;
	}
	if (counts.n_up == 0) {
		color = TABLE_RED;
		verdict = "usbpush does not work now";
	} else if (!vm_status_is_complete(status)) {
		color = TABLE_YELLOW;
		verdict = "usbpush works in part";
	}
	fprintf(stream, "%s%s%s: %zu of %zu Pis connected, %zu of %zu devices attached\n", table_color_start(color, is_coloured), verdict,
		table_color_end(is_coloured), counts.n_up, counts.n_pis, counts.n_attached, counts.n_devices + counts.n_awaited);
}

static void table_add_device(struct table *table, const json_t *pi, const json_t *device)
{
	const json_t *port = json_object_get(device, "port");

	table_add(table, TABLE_PLAIN, "%s", get(pi, "name"));
	table_add(table, TABLE_PLAIN, "%s", get(device, "pi_busid"));
	table_add(table, TABLE_PLAIN, "%s", device_title(device));
	table_add(table, TABLE_PLAIN, "%s:%s", get(device, "vid"), get(device, "pid"));
	table_add(table, device_color(device), "%s%s", device_state_in_words(device),
		  strcmp(get(device, "transport"), "direct") == 0 ? " (direct)" : "");
	table_add(table, TABLE_BOLD, "%s", get_first(device, "nodes"));
	table_add(table, TABLE_GREY, "%s", link_name(device));
	if (json_is_integer(port))
		table_add(table, TABLE_PLAIN, "%lld", (long long)json_integer_value(port));
	else
		table_add(table, TABLE_PLAIN, "%s", "");
}

static void table_add_pi(struct table *table, const json_t *pi)
{
	const json_t *devices = json_object_get(pi, "devices"), *device;
	size_t i;

	json_array_foreach(devices, i, device)
		table_add_device(table, pi, device);
	if (json_array_size(devices) > 0 && state_is(pi, "up"))
		return;
	table_add(table, TABLE_PLAIN, "%s", get(pi, "name"));
	for (int column = 0; column < 3; column++)
		table_add(table, TABLE_PLAIN, "%s", "");
	table_add(table, state_is(pi, "up") ? TABLE_GREEN : TABLE_RED, "%s%s", pi_state_in_words(pi),
		  state_is(pi, "up") ? ", no device" : "");
	for (int column = 0; column < 3; column++)
		table_add(table, TABLE_PLAIN, "%s", "");
}

static void print_errors(const json_t *status, FILE *stream)
{
	const json_t *pi, *device, *problem = json_object_get(status, "problem");
	size_t i, j;

	if (json_is_object(problem))
		fprintf(stream, "%s. %s\n", get(problem, "text"), get(problem, "cure"));
	json_array_foreach(json_object_get(status, "pis"), i, pi) {
		if (!state_is(pi, "up") && *get(pi, "reason"))
			fprintf(stream, "%s: %s\n", get(pi, "name"), get(pi, "reason"));
		json_array_foreach(json_object_get(pi, "devices"), j, device) {
			const json_t *error = json_object_get(device, "error");

			if (json_is_object(error))
				fprintf(stream, "%s: %s: %s. %s\n", get(pi, "name"), get(device, "pi_busid"), get(error, "text"),
					get(error, "cure"));
		}
	}
}

void vm_status_view_print(const json_t *status, FILE *stream, bool is_coloured)
{
	static const char *const titles[] = { "PI", "ON PI", "DEVICE", "VID:PID", "STATE", "NODE", "LINK", "PORT" };
	struct table *table;
	const json_t *pi;
	size_t i;

	print_verdict(status, stream, is_coloured);
	blocked_print(json_object_get(status, "blocked"), stream, is_coloured);
	if (json_array_size(json_object_get(status, "pis")) == 0)
		return;
	table = table_new(ARRAY_SIZE(titles));
	if (!table)
		return;
	for (i = 0; i < ARRAY_SIZE(titles); i++)
		table_add(table, TABLE_BOLD, "%s", titles[i]);
	json_array_foreach(json_object_get(status, "pis"), i, pi)
		table_add_pi(table, pi);
	fputc('\n', stream);
	table_print(table, stream, is_coloured);
	table_free(table);
	print_errors(status, stream);
}

void vm_status_view_print_missing(const json_t *status, const char *prefix, FILE *stream)
{
	const json_t *pi, *device;
	size_t i, j;

	json_array_foreach(json_object_get(status, "pis"), i, pi) {
		json_int_t n_awaited = json_integer_value(json_object_get(pi, "awaited"));

		if (!state_is(pi, "up"))
			fprintf(stream, "%s%s: %s\n", prefix, get(pi, "name"), pi_state_in_words(pi));
		if (n_awaited > 0)
			fprintf(stream, "%s%s: %lld devices were announced and not offered yet\n", prefix, get(pi, "name"),
				(long long)n_awaited);
		json_array_foreach(json_object_get(pi, "devices"), j, device)
			if (!state_is(device, "attached"))
				fprintf(stream, "%s%s: %s (%s): %s %s\n", prefix, get(pi, "name"), get(device, "pi_busid"),
					device_title(device), device_state_in_words(device), get(json_object_get(device, "error"), "text"));
	}
}

void vm_status_view_print_event(const json_t *event, FILE *stream)
{
	const json_t *device = json_object_get(event, "device"), *pi = json_object_get(event, "pi");
	const char *text = get(json_object_get(device, "error"), "text");
	time_t now = time(NULL);
	char clock[16] = "";
	struct tm local;

	if (localtime_r(&now, &local))
		strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	if (json_is_object(device))
		fprintf(stream, "%s %s %s %s %s%s%s%s\n", clock, get(event, "pi"), get(device, "pi_busid"), device_title(device),
			get(device, "state"), *get_first(device, "nodes") || *text ? " " : "", get_first(device, "nodes"), text);
	else if (json_is_object(pi))
		fprintf(stream, "%s %s %s\n", clock, get(pi, "name"), pi_state_in_words(pi));
	fflush(stream);
}
